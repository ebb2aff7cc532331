//! Kernels at the sizes of PerceptionLM-1B, beside what the machine can do.
//!
//! ```sh
//! cargo bench --bench kernels
//! ```
//!
//! Weights of few rows are read from memory, not from a cache: each product takes another copy.

use half::{bf16, f16};
use plm_kernels::machine::{self, median_seconds};
use plm_kernels::{
    Attention, BLOCK, BlockFormat, Level, Matrix, Nf4Rounding, Norm, Product, Weights, attention,
    in_pool, normalize, num_threads, products, quantize, silu_mul,
};

/// Inputs and outputs of a matrix of the decoder's MLP.
const INPUTS: usize = 2048;
const OUTPUTS: usize = 8192;

/// Copies of a matrix: more than a cache holds.
const COPIES: usize = 16;

fn main() {
    println!(
        "{}, {} threads: {:.1} GB/s, {:.0} GFLOP/s in registers, {:.0} in a large product",
        Level::best().name(),
        num_threads(),
        machine::read_bandwidth(5) / 1e9,
        machine::arithmetic_rate(5) / 1e9,
        machine::matrix_rate(5) / 1e9,
    );
    in_pool(|| {
        all_products();
        attentions();
        passes();
    });
}

fn all_products() {
    let numbers: Vec<f32> = (0..INPUTS * OUTPUTS)
        .map(|i| (i * 7919 % 2003) as f32 / 1000.0 - 1.0)
        .collect();
    report("f32", &[matrix(Weights::F32(&numbers))]);

    let halves: Vec<bf16> = numbers.iter().map(|&x| bf16::from_f32(x)).collect();
    let copies = vec![halves; COPIES];
    let matrices: Vec<_> = copies.iter().map(|c| matrix(Weights::Bf16(c))).collect();
    report("bf16", &matrices);

    let blocks = OUTPUTS * INPUTS / BLOCK;
    for format in [BlockFormat::Q8, BlockFormat::Q4] {
        let mut codes = vec![0; blocks * format.block_bytes()];
        let mut scales = vec![f16::ZERO; blocks];
        quantize(
            &matrix(Weights::F32(&numbers)),
            format,
            &mut codes,
            &mut scales,
        );
        let scales = &scales;
        match format {
            BlockFormat::Q8 => {
                let codes: Vec<i8> = codes.into_iter().map(|code| code as i8).collect();
                let copies = vec![codes; 2 * COPIES];
                let weights = copies.iter().map(|codes| Weights::Q8 { codes, scales });
                report("q8", &weights.map(matrix).collect::<Vec<_>>());
            }
            BlockFormat::Q4 => {
                let copies = vec![codes; 3 * COPIES];
                let weights = copies.iter().map(|codes| Weights::Q4 { codes, scales });
                report("q4", &weights.map(matrix).collect::<Vec<_>>());
            }
        }
    }

    let mut codes = vec![0; OUTPUTS * INPUTS / 2];
    let mut rounding = Nf4Rounding::new(&mut codes);
    rounding.push(&matrix(Weights::F32(&numbers)));
    let scales = rounding.finish();
    let copies = vec![codes; 3 * COPIES];
    let weights = copies.iter().map(|codes| Weights::Nf4(scales.nf4(codes)));
    report("nf4", &weights.map(matrix).collect::<Vec<_>>());
}

fn matrix(weights: Weights<'_>) -> Matrix<'_> {
    Matrix::new(OUTPUTS, INPUTS, weights)
}

/// Prints the product of few and of many rows with one of several equal matrices.
fn report(format: &str, matrices: &[Matrix<'_>]) {
    for rows in [1, 2, 4, 8, 16, 306, 1025] {
        let x = vec![0.5; rows * INPUTS];
        let mut y = vec![0.0; rows * OUTPUTS];
        let mut turn = 0;
        let seconds = median_seconds(if rows > 16 { 5 } else { 31 }, || {
            turn += 1;
            let matrix = matrices[turn % matrices.len()];
            products(&x, rows, &mut [Product::new(matrix, &mut y)]);
        });
        println!(
            "{format:<5}{rows:>5} rows  {:>8.2} ms  {:>6.1} GB/s  {:>6.1} GFLOP/s",
            1e3 * seconds,
            matrices[0].num_bytes() as f64 / seconds / 1e9,
            2.0 * (rows * INPUTS * OUTPUTS) as f64 / seconds / 1e9,
        );
    }
}

fn attentions() {
    let (tokens, heads, head_dim) = (1025, 16, 64);
    let numbers = vec![0.1; tokens * heads * head_dim];
    let mut out = vec![0.0; numbers.len()];
    let seconds = median_seconds(7, || {
        attention(Attention {
            q: &numbers,
            q_stride: heads * head_dim,
            keys: &numbers,
            values: &numbers,
            batch: 1,
            seq: tokens,
            heads,
            kv_heads: heads,
            head_dim,
            len: tokens,
            capacity: tokens,
            causal: false,
            padding: &[],
            out: &mut out,
        });
    });
    let flops = 4.0 * (tokens * tokens * heads * head_dim) as f64;
    println!(
        "attention of a tile      {:>8.2} ms  {:>6.1} GFLOP/s",
        1e3 * seconds,
        flops / seconds / 1e9
    );

    for (batch, len) in [(1, 300), (1, 3000), (1, 9500), (8, 300), (8, 3000)] {
        step_attention(batch, len);
    }
}

/// Attention of a token of each sequence to those before it.
fn step_attention(batch: usize, len: usize) {
    let (heads, kv_heads, head_dim) = (32, 8, 64);
    let (q, cache) = (
        vec![0.1; batch * heads * head_dim],
        vec![0.1; batch * kv_heads * len * head_dim],
    );
    // Of each layer other ones, from memory.
    let caches = vec![cache; 8.max(30_000 / (batch * len))];
    let mut out = vec![0.0; q.len()];
    let mut turn = 0;
    let seconds = median_seconds(31, || {
        turn += 2;
        attention(Attention {
            q: &q,
            q_stride: heads * head_dim,
            keys: &caches[turn % caches.len()],
            values: &caches[(turn + 1) % caches.len()],
            batch,
            seq: 1,
            heads,
            kv_heads,
            head_dim,
            len,
            capacity: len,
            causal: true,
            padding: &[],
            out: &mut out,
        });
    });
    println!(
        "attention of {batch} to {len:>4} tokens {:>8.3} ms  {:>6.1} GB/s",
        1e3 * seconds,
        (2 * size_of_val(caches[0].as_slice())) as f64 / seconds / 1e9
    );
}

/// What passes over activations: norms and gates.
fn passes() {
    let rows = 306;
    let (x, weight) = (vec![0.5; rows * INPUTS], vec![1.0; INPUTS]);
    let mut y = vec![0.0; x.len()];
    let seconds = median_seconds(31, || {
        normalize(&x, Norm::Rms { weight: &weight }, 1e-5, &mut y);
    });
    println!("RMS norm of {rows} tokens   {:>8.3} ms", 1e3 * seconds);
    let (mut gate, up) = (vec![0.5; rows * OUTPUTS], vec![0.5; rows * OUTPUTS]);
    let seconds = median_seconds(31, || silu_mul(&mut gate, &up));
    println!("SwiGLU of {rows} tokens     {:>8.3} ms", 1e3 * seconds);
}
