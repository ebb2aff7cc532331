//! What a pickle of tensors may speak of.

use safetensors::tensor::Dtype;

/// A tensor of a `torch.save` file: a view of a storage, which is a record of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct TensorView {
    /// The record, below `data/`.
    pub(in super::super) storage: String,
    pub(in super::super) dtype: Dtype,
    pub(in super::super) shape: Vec<usize>,
    /// Numbers of the storage between neighbours, by dimension.
    pub(in super::super) strides: Vec<usize>,
    /// Numbers of the storage before the first.
    pub(in super::super) offset: usize,
}

/// Index of an object.
pub(super) type Id = usize;

#[derive(Debug, Clone)]
pub(super) enum Object {
    None,
    Bool,
    Int(i64),
    /// A number or text whose value no tensor needs.
    Other,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Function(Function),
    StorageType(Dtype),
    Storage {
        record: String,
        dtype: Dtype,
    },
    Tensor(Box<TensorView>),
}

/// What a pickle may ask to be called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
}

/// The globals that a pickle may name.
pub(super) fn global(module: &str, name: &str) -> Option<Object> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Object::Function(Function::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => {
            Object::Function(Function::RebuildTensor)
        }
        ("torch._utils", "_rebuild_parameter") => Object::Function(Function::RebuildParameter),
        ("torch", "Size") => Object::Function(Function::Size),
        ("torch", storage) => Object::StorageType(match storage {
            "FloatStorage" => Dtype::F32,
            "HalfStorage" => Dtype::F16,
            "BFloat16Storage" => Dtype::BF16,
            "DoubleStorage" => Dtype::F64,
            "LongStorage" => Dtype::I64,
            "IntStorage" => Dtype::I32,
            "ShortStorage" => Dtype::I16,
            "CharStorage" => Dtype::I8,
            "ByteStorage" => Dtype::U8,
            "BoolStorage" => Dtype::BOOL,
            // A precision, of a value beside the tensors.
            "float32" | "float16" | "bfloat16" | "float64" | "int64" | "int32" => {
                return Some(Object::Other);
            }
            _ => return None,
        }),
        _ => return None,
    })
}
