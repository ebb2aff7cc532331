use proptest::prelude::*;

use super::*;

/// Attention by its definition, in f64.
fn reference(work: &Attention<'_>) -> Vec<f64> {
    let (dim, group) = (work.head_dim, work.heads / work.kv_heads);
    let mut out = Vec::new();
    for sequence in 0..work.batch {
        let start = work.padding.get(sequence).copied().unwrap_or(0);
        for position in 0..work.seq {
            let end = match work.causal {
                true => work.len - work.seq + position + 1,
                false => work.len,
            };
            for head in 0..work.heads {
                let row = (sequence * work.seq + position) * work.q_stride + head * dim;
                let kv = (sequence * work.kv_heads + head / group) * work.capacity;
                let at =
                    |cache: &[f32], key: usize, d: usize| f64::from(cache[(kv + key) * dim + d]);
                let scores: Vec<f64> = (start..end)
                    .map(|key| {
                        let dot =
                            (0..dim).map(|d| f64::from(work.q[row + d]) * at(work.keys, key, d));
                        dot.sum::<f64>() / (dim as f64).sqrt()
                    })
                    .collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let shares: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                let sum: f64 = shares.iter().sum();
                out.extend((0..dim).map(|d| {
                    let keys = (start..end).zip(&shares);
                    keys.map(|(key, share)| share * at(work.values, key, d))
                        .sum::<f64>()
                        / sum
                }));
            }
        }
    }
    out
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 500.0 - 2.0)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_is_softmax_of_scores_times_values(
        batch in 1usize..3, seq in prop_oneof![Just(1), 2usize..50],
        past in prop_oneof![0usize..120, 500usize..1100], kv_heads in 1usize..3,
        group in 1usize..8, half_dim in prop_oneof![1usize..20, Just(16), Just(32)],
        causal in any::<bool>(), spare in 0usize..9, padded in prop_oneof![0usize..4, Just(600)],
    ) {
        let (heads, head_dim, len) = (kv_heads * group, 2 * half_dim, past + seq);
        let (capacity, q_stride) = (len + spare, heads * head_dim + spare);
        let q = numbers(batch * seq * q_stride, 1);
        let keys = numbers(batch * kv_heads * capacity * head_dim, 2);
        let values = numbers(batch * kv_heads * capacity * head_dim, 3);
        // Queries see at least their own key.
        let padding: Vec<usize> = (0..batch).map(|i| (i * padded).min(past)).collect();
        for level in Level::available() {
            let mut out = vec![f32::NAN; batch * seq * heads * head_dim];
            let mut work = Attention {
                q: &q, q_stride, keys: &keys, values: &values, batch, seq, heads, kv_heads,
                head_dim, len, capacity, causal, padding: &padding, out: &mut [],
            };
            let expected = reference(&work);
            work.out = &mut out;
            attention_at(level, work);
            for (found, expected) in out.iter().zip(expected) {
                prop_assert!(
                    (f64::from(*found) - expected).abs() < 2e-5,
                    "{level:?}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn rows_that_see_nothing_give_numbers() {
    let (q, kv) = (numbers(3 * 4, 1), numbers(3 * 4, 2));
    let mut out = vec![f32::NAN; 12];
    attention(Attention {
        q: &q,
        q_stride: 4,
        keys: &kv,
        values: &kv,
        batch: 1,
        seq: 3,
        heads: 1,
        kv_heads: 1,
        head_dim: 4,
        len: 3,
        capacity: 3,
        causal: true,
        padding: &[2],
        out: &mut out,
    });
    assert!(out.iter().all(|x| x.is_finite()));
    assert_eq!(out[8..], kv[8..]);
}

/// One query of one head to keys that are values too.
fn one_query(q: &[f32], kv: &[f32], padding: &[usize]) -> Vec<f32> {
    let (head_dim, len) = (q.len(), kv.len() / q.len());
    let mut out = vec![f32::NAN; head_dim];
    attention(Attention {
        q,
        q_stride: head_dim,
        keys: kv,
        values: kv,
        batch: 1,
        seq: 1,
        heads: 1,
        kv_heads: 1,
        head_dim,
        len,
        capacity: len,
        causal: false,
        padding,
        out: &mut out,
    });
    out
}

#[test]
fn a_position_that_sees_nothing_gives_zeros() {
    for head_dim in [4, 32] {
        let (q, kv) = (numbers(head_dim, 1), numbers(3 * head_dim, 2));
        let found = one_query(&q, &kv, &[3]);
        assert!(found.iter().all(|&x| x == 0.0), "{found:?}");
    }
}

#[test]
fn huge_scores_do_not_overflow() {
    for head_dim in [4, 32] {
        let kv: Vec<f32> = (0..2 * head_dim).map(|i| 1e3 * i as f32).collect();
        let found = one_query(&vec![1e4; head_dim], &kv, &[]);
        assert_eq!(found, kv[head_dim..]);
    }
}

#[test]
fn scores_that_are_no_numbers_are_not_lost() {
    let (mut q, kv) = (numbers(32, 1), numbers(700 * 32, 2));
    for odd in [f32::NAN, f32::INFINITY] {
        q[5] = odd;
        let found = one_query(&q, &kv, &[]);
        assert!(found.iter().all(|x| x.is_nan()), "{found:?}");
    }
}
