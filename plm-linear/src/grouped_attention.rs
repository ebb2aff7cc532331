use burn::tensor::activation;
use burn::tensor::{Bool, Device, Tensor};

use crate::DeviceMemory;

/// The score of an entry that is not seen. In f32 it is finite, so that a query that sees nothing, as padding
/// does, has a result.
const UNSEEN: f32 = -1e30;

/// Scores that are written down at a time at most (300 MB of f32, which four tiles of 448 stay below).
const MOST_SCORES: usize = 75_000_000;

/// Attention by burn's operations, in the precision of its arguments; scores are scaled by
/// `1/√head_dim`. Query head `h` reads key-value head `h / (heads / kv_heads)`.
///
/// Queries go through it so many at a time that the memory of their scores is bounded, also by what the
/// device can hold in one piece; where a gradient is taken, it keeps those of all.
///
/// burn's own fused attention would multiply in f16 on a GPU with matrix units, whatever the precision.
///
/// # Shapes
///
/// - `q` and result: `[batch, heads, seq, head_dim]`
/// - `keys`, `values`: `[batch, kv_heads, total, head_dim]`
/// - `unseen`: `[1 or batch, 1, 1 or seq, total]`, which entries a query does not see
pub fn grouped_attention(
    q: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    unseen: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    match q.dims()[2] {
        1 => attend(q, keys, values, unseen),
        _ => {
            let most_scores = most_scores(&q.device());
            in_parts(q, keys, values, unseen, most_scores)
        }
    }
}

/// Scores that may be written down at a time on a device.
fn most_scores(device: &Device) -> usize {
    let piece = DeviceMemory::of(device).map(|memory| memory.largest_piece);
    let numbers = piece.and_then(|bytes| usize::try_from(bytes / size_of::<f32>() as u64).ok());
    numbers.map_or(MOST_SCORES, |numbers| numbers.min(MOST_SCORES))
}

/// As [`grouped_attention`], with no more than so many scores at a time, but those of one query.
fn in_parts(
    q: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    unseen: Option<Tensor<4, Bool>>,
    most_scores: usize,
) -> Tensor<4> {
    let [batch, heads, seq, _] = q.dims();
    let scores_of_one = batch * heads * keys.dims()[2];
    let step = (most_scores / scores_of_one.max(1)).max(1);
    if step >= seq {
        return attend(q, keys, values, unseen);
    }
    let parts = (0..seq).step_by(step).map(|start| {
        let size = step.min(seq - start);
        let unseen = unseen.clone().map(|unseen| match unseen.dims()[2] {
            1 => unseen,
            _ => unseen.narrow(2, start, size),
        });
        let q = q.clone().narrow(2, start, size);
        attend(q, keys.clone(), values.clone(), unseen)
    });
    Tensor::cat(parts.collect(), 2)
}

fn attend(
    q: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    unseen: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = q.dims();
    let [_, kv_heads, total, _] = keys.dims();
    // The heads of a group are rows of one product, so that keys and values are not repeated.
    let rows = heads / kv_heads * seq;
    let q = q.mul_scalar(1.0 / (head_dim as f64).sqrt());
    let scores = q
        .reshape([batch, kv_heads, rows, head_dim])
        .matmul(keys.swap_dims(2, 3));
    let scores = match unseen {
        Some(unseen) => scores
            .reshape([batch, heads, seq, total])
            .mask_fill(unseen.expand([batch, heads, seq, total]), UNSEEN)
            .reshape([batch, kv_heads, rows, total]),
        None => scores,
    };
    softmax(scores)
        .matmul(values)
        .reshape([batch, heads, seq, head_dim])
}

/// The softmax over the last dimension.
fn softmax(scores: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "gpu")]
    if let Some(y) = crate::gpu::softmaxed(&scores) {
        return y;
    }
    activation::softmax(scores, 3)
}

#[cfg(test)]
mod tests {
    use burn::tensor::module;
    use burn::tensor::ops::AttentionModuleOptions;
    use burn::tensor::{Device, Distribution, TensorData, Tolerance};

    use super::*;

    #[test]
    fn heads_of_a_group_read_the_same_keys_and_values() {
        let device = Device::flex();
        let random =
            |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (q, k, v) = (
            random([2, 6, 5, 8]),
            random([2, 2, 7, 8]),
            random([2, 2, 7, 8]),
        );
        // A query sees the entries up to its own; the second sequence begins with padding.
        let unseen: Vec<bool> = (0..2 * 5 * 7)
            .map(|at| {
                let (batch, query, entry) = (at / 35, at / 7 % 5, at % 7);
                entry > query + 2 || batch == 1 && entry == 0
            })
            .collect();
        let unseen = TensorData::new(unseen, [2, 1, 5, 7]);
        let unseen = Tensor::<4, Bool>::from_data(unseen, &device);
        let repeated = |x: &Tensor<4>| {
            let heads = [0, 0, 0, 1, 1, 1].map(|head| x.clone().narrow(1, head, 1));
            Tensor::cat(heads.to_vec(), 1)
        };
        let expected = module::attention(
            q.clone(),
            repeated(&k),
            repeated(&v),
            Some(unseen.clone().expand([2, 6, 5, 7])),
            None,
            AttentionModuleOptions::default(),
        );
        grouped_attention(q, k, v, Some(unseen))
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
    }

    #[test]
    fn queries_in_parts_attend_as_together() {
        let device = Device::flex();
        let random =
            |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (q, k, v) = (
            random([2, 4, 5, 8]),
            random([2, 2, 6, 8]),
            random([2, 2, 6, 8]),
        );
        let later =
            Tensor::<4>::random([2, 1, 5, 6], Distribution::Default, &device).greater_elem(0.7);
        let padding = later.clone().narrow(2, 0, 1);
        for unseen in [None, Some(later), Some(padding)] {
            let whole = attend(q.clone(), k.clone(), v.clone(), unseen.clone()).into_data();
            // 48 scores a query: all at once, three and two, two by two, and one by one.
            for most_scores in [240, 150, 130, 48, 1] {
                let (q, k, v) = (q.clone(), k.clone(), v.clone());
                in_parts(q, k, v, unseen.clone(), most_scores)
                    .into_data()
                    .assert_approx_eq::<f32>(&whole, Tolerance::absolute(1e-5));
            }
        }
    }

    #[test]
    fn a_query_that_sees_nothing_has_a_result() {
        let device = Device::flex();
        let x = Tensor::<4>::ones([1, 1, 2, 4], &device);
        let unseen = Tensor::<4, Bool>::from_data([[[[true, true], [false, false]]]], &device);
        let found: Vec<f32> = grouped_attention(x.clone(), x.clone(), x, Some(unseen))
            .into_data()
            .try_into_vec()
            .unwrap();
        assert!(found.iter().all(|x| (x - 1.0).abs() < 1e-6), "{found:?}");
    }
}
