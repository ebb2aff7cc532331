use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor};
use plm_kernels::{Matrix, Weights, expand_row};

use crate::blocks::Blocks;
use crate::host::{self, Numbers};
use crate::nf4::{HeldNf4, Nf4};
use crate::rows::select_rows;

/// A weight matrix, `[d_output, d_input]`.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a tensor's handle is large, and a model has few hundred weights"
)]
pub enum Weight {
    /// Numbers of their own: f32, f16 or bf16, as in the checkpoint.
    Float(Param<Tensor<2>>),
    /// Numbers rounded in blocks.
    Blocks(Blocks),
    /// Numbers rounded to levels of a normal distribution.
    Nf4(Nf4),
}

/// What keeps the numbers of a [`Matrix`] alive.
pub(crate) enum Held {
    Float(Numbers),
    Blocks { codes: Numbers, scales: Numbers },
    Nf4(Box<HeldNf4>),
}

impl Weight {
    /// Sizes, `[d_output, d_input]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Float(weight) => {
                let shape = weight.lazy_shape();
                [shape[0], shape[1]]
            }
            Self::Blocks(blocks) => blocks.dims(),
            Self::Nf4(nf4) => nf4.dims(),
        }
    }

    /// Where the numbers are.
    pub fn device(&self) -> Device {
        match self {
            Self::Float(weight) => weight.lazy_device(),
            Self::Blocks(blocks) => blocks.scales().device(),
            Self::Nf4(nf4) => nf4.device(),
        }
    }

    /// The format: `f32`, `bf16`, `f16`, `q8`, `q4` or `nf4`.
    pub fn format_name(&self) -> &'static str {
        match self {
            Self::Float(weight) => weight.val().dtype().name(),
            Self::Blocks(blocks) => blocks.format().name(),
            Self::Nf4(_) => "nf4",
        }
    }

    /// Bytes that the numbers take.
    pub fn num_bytes(&self) -> u64 {
        match self {
            Self::Float(weight) => {
                let weight = weight.val();
                (weight.shape().num_elements() * weight.dtype().size()) as u64
            }
            Self::Blocks(blocks) => blocks.num_bytes(),
            Self::Nf4(nf4) => nf4.num_bytes(),
        }
    }

    /// Whether a device can multiply with rows of `d_input` numbers in `dtype`, or with the codes of
    /// [`Blocks`] in it, as they are: it computes in that type, or has a kernel that reads it.
    pub fn is_read(device: &Device, dtype: DType, d_input: usize) -> bool {
        #[cfg(feature = "gpu")]
        if crate::gpu::reads(device, dtype, d_input) {
            return true;
        }
        #[cfg(not(feature = "gpu"))]
        let _ = d_input;
        device.supports_dtype(dtype)
    }

    /// Rows of the matrix, in f32; the embeddings of tokens, where it is a vocabulary's.
    ///
    /// # Shapes
    ///
    /// - result: `[ids.len(), d_input]`
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn rows(&self, ids: &[u32], device: &Device) -> Tensor<2> {
        let [_, d_input] = self.dims();
        if ids.is_empty() {
            return Tensor::zeros([0, d_input], (device, DType::F32));
        }
        if host::is_host(device)
            && let Some(held) = self.held()
        {
            let matrix = self.matrix(&held);
            let mut rows = vec![0.0; ids.len() * d_input];
            for (&id, row) in ids.iter().zip(rows.chunks_mut(d_input)) {
                expand_row(&matrix, id as usize, row);
            }
            return host::tensor(rows, [ids.len(), d_input], device);
        }
        let chosen = || {
            let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
            Tensor::<1, Int>::from_data(ids.as_slice(), device)
        };
        #[cfg(feature = "gpu")]
        if let Some(rows) = crate::gpu::rows(self, ids.iter().map(|&id| id as usize)) {
            return rows;
        }
        match self {
            Self::Float(weight) if weight.val().dtype() == DType::F32 => {
                select_rows(weight.val(), ids)
            }
            Self::Float(weight) => select_rows(weight.val(), ids).cast(DType::F32),
            Self::Blocks(blocks) => blocks.select(chosen()),
            Self::Nf4(nf4) => nf4.select(chosen()),
        }
    }

    /// The same weight, of which no gradient is taken.
    #[cfg(feature = "flex-autodiff")]
    pub(crate) fn without_autodiff(&self) -> Self {
        match self {
            Self::Float(weight) => {
                let tensor = weight.val().without_autodiff();
                Self::Float(Param::initialized(weight.id, tensor))
            }
            Self::Blocks(blocks) => Self::Blocks(burn::module::Module::valid(blocks)),
            Self::Nf4(nf4) => Self::Nf4(burn::module::Module::valid(nf4)),
        }
    }

    /// The numbers, where they are in this process's memory.
    pub(crate) fn held(&self) -> Option<Held> {
        Some(match self {
            Self::Float(weight) => Held::Float(host::floats(&weight.val())?),
            Self::Blocks(blocks) => Held::Blocks {
                codes: host::integers(&blocks.codes())?,
                scales: host::floats(&blocks.scales())?,
            },
            Self::Nf4(nf4) => Held::Nf4(Box::new(nf4.held()?)),
        })
    }

    /// The matrix of the numbers that are held.
    pub(crate) fn matrix<'a>(&self, held: &'a Held) -> Matrix<'a> {
        let weights = match held {
            Held::Float(numbers) => match (numbers.f32(), numbers.bf16(), numbers.f16()) {
                (Some(numbers), _, _) => Weights::F32(numbers),
                (_, Some(numbers), _) => Weights::Bf16(numbers),
                (_, _, Some(numbers)) => Weights::F16(numbers),
                _ => panic!("a weight of {}", self.format_name()),
            },
            Held::Blocks { codes, scales } => {
                let scales = scales.f16().expect("scales are f16");
                match (codes.i8(), codes.u8()) {
                    (Some(codes), _) => Weights::Q8 { codes, scales },
                    (_, Some(codes)) => Weights::Q4 { codes, scales },
                    _ => panic!("codes of a weight are bytes"),
                }
            }
            Held::Nf4(held) => Weights::Nf4(held.numbers()),
        };
        let [d_output, d_input] = self.dims();
        Matrix::new(d_output, d_input, weights)
    }
}
