//! What a pickle of `torch.save` says of tensors, without executing it.
//!
//! A pickle is a program for a stack machine that may call any Python function. This reader knows
//! the few operations and the few functions that a file of tensors needs, and refuses every other
//! by name. Nothing it reads is called: the "functions" are values of an enum. Objects stand in one
//! list and refer to each other by index, so that no file can make it recurse, and every operation
//! adds a bounded number of them.

use std::collections::HashMap;

use safetensors::tensor::Dtype;

/// Longest pickle; that of PLM-8B's 957 tensors has some 150 kB. An object costs a byte at least,
/// and some 60 bytes here.
pub(super) const MAX_PICKLE_BYTES: u64 = 2 << 20;

/// More than any tensor has.
const MAX_DIMENSIONS: usize = 8;

/// Longest name of a tensor or a record, for both can be said once and used often.
const MAX_NAME_BYTES: usize = 256;

/// More than any checkpoint has.
const MAX_TENSORS: usize = 20_000;

/// A tensor of a `torch.save` file: a view of a storage, which is a record of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorView {
    /// The record, below `data/`.
    pub(super) storage: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Numbers of the storage between neighbours, by dimension.
    pub(super) strides: Vec<usize>,
    /// Numbers of the storage before the first.
    pub(super) offset: usize,
}

/// Reads the tensors of a saved dictionary, or of the dictionary `model` in it.
pub(super) fn tensors(pickle: &[u8]) -> Result<Vec<(String, TensorView)>, String> {
    let mut machine = Machine::new(pickle);
    let root = machine.run().map_err(|what| {
        let at = machine.at;
        format!("its pickle is not that of a checkpoint: {what}, at byte {at}")
    })?;
    machine.tensors_of(root)
}

/// Index of an object.
type Id = usize;

#[derive(Debug, Clone)]
enum Object {
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
enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
}

/// The globals that a pickle may name.
fn global(module: &str, name: &str) -> Option<Object> {
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

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    /// Runs to the end and returns the saved object.
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let [operation] = self.take()?;
            match operation {
                b'.' => return self.pop(),
                b'\x80' => drop(self.skip(1)?),
                b'\x95' => drop(self.skip(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'N' => self.push(Object::None),
                b'\x88' | b'\x89' => self.push(Object::Bool),
                b'K' => {
                    let [value] = self.take()?;
                    self.push(Object::Int(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.take()?);
                    self.push(Object::Int(value.into()));
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.take()?);
                    self.push(Object::Int(value.into()));
                }
                b'\x8a' => self.long()?,
                b'G' => {
                    self.skip(8)?;
                    self.push(Object::Other);
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.take()?);
                    self.text(length as usize)?;
                }
                b'\x8c' => {
                    let [length] = self.take()?;
                    self.text(length.into())?;
                }
                b')' => self.push(Object::Tuple(Vec::new())),
                b']' => self.push(Object::List(Vec::new())),
                b'}' => self.push(Object::Dict(Vec::new())),
                b't' => {
                    let items = self.above_mark()?;
                    self.push(Object::Tuple(items));
                }
                b'\x85'..=b'\x87' => {
                    let items = self.above(usize::from(operation - b'\x84'))?;
                    self.push(Object::Tuple(items));
                }
                b'a' | b'e' => {
                    let items = self.items(operation == b'e', 1)?;
                    let list = self.top()?;
                    match &mut self.objects[list] {
                        Object::List(list) => list.extend(items),
                        _ => return Err("it appends to what is no list".into()),
                    }
                }
                b's' | b'u' => {
                    let items = self.items(operation == b'u', 2)?;
                    let dict = self.top()?;
                    let Object::Dict(dict) = &mut self.objects[dict] else {
                        return Err("it sets an item of what is no dictionary".into());
                    };
                    let (pairs, rest) = items.as_chunks::<2>();
                    if !rest.is_empty() {
                        return Err("it sets a key without a value".into());
                    }
                    dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
                }
                b'q' => {
                    let [slot] = self.take()?;
                    self.remember(slot.into())?;
                }
                b'r' => {
                    let slot = u32::from_le_bytes(self.take()?);
                    self.remember(slot)?;
                }
                b'\x94' => self.remember(self.memo.len() as u32)?,
                b'h' => {
                    let [slot] = self.take()?;
                    self.recall(slot.into())?;
                }
                b'j' => {
                    let slot = u32::from_le_bytes(self.take()?);
                    self.recall(slot)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                b'\x93' => {
                    let name = self.pop()?;
                    let module = self.pop()?;
                    match (self.objects[module].clone(), self.objects[name].clone()) {
                        (Object::Text(module), Object::Text(name)) => {
                            self.global(&module, &name)?
                        }
                        _ => return Err("it names a global by what is no text".into()),
                    }
                }
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                b'b' => self.set_state()?,
                other => return Err(format!("operation {other:#04x} is not allowed")),
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let rest = &self.bytes[self.at..];
        let bytes = rest.first_chunk::<N>().ok_or("it is cut short")?;
        self.at += N;
        Ok(*bytes)
    }

    fn skip(&mut self, length: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let bytes = rest.get(..length).ok_or("it is cut short")?;
        self.at += length;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(200).position(|&byte| byte == b'\n');
        let line = self.skip(length.ok_or("a name does not end")?)?;
        self.at += 1;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let text = std::str::from_utf8(self.skip(length)?).map_err(|_| "a text is not UTF-8")?;
        self.push(Object::Text(text.to_owned()));
        Ok(())
    }

    /// An integer of any length; longer ones than 64 bits mean nothing here.
    fn long(&mut self) -> Result<(), String> {
        let [length] = self.take()?;
        let bytes = self.skip(length.into())?;
        let object = match bytes.len() {
            0 => Object::Int(0),
            length @ 1..=8 => {
                let negative = bytes[length - 1] & 0x80 != 0;
                let mut value = [if negative { 0xFF } else { 0 }; 8];
                value[..length].copy_from_slice(bytes);
                Object::Int(i64::from_le_bytes(value))
            }
            _ => Object::Other,
        };
        self.push(object);
        Ok(())
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    /// The stack cannot be taken apart below an open mark.
    fn pop(&mut self) -> Result<Id, String> {
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err("its stack is empty".into());
        }
        self.stack.pop().ok_or_else(|| "its stack is empty".into())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack
            .last()
            .copied()
            .ok_or_else(|| "its stack is empty".into())
    }

    fn above_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn above(&mut self, count: usize) -> Result<Vec<Id>, String> {
        let mut items = (0..count)
            .map(|_| self.pop())
            .collect::<Result<Vec<Id>, String>>()?;
        items.reverse();
        Ok(items)
    }

    fn items(&mut self, marked: bool, count: usize) -> Result<Vec<Id>, String> {
        if marked {
            self.above_mark()
        } else {
            self.above(count)
        }
    }

    fn remember(&mut self, slot: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), String> {
        let id = self
            .memo
            .get(&slot)
            .ok_or("it recalls what it never kept")?;
        self.stack.push(*id);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let object = global(module, name)
            .ok_or_else(|| format!("it asks for `{module}.{name}`, which no checkpoint needs"))?;
        self.push(object);
        Ok(())
    }

    fn tuple(&self, id: Id) -> Option<&[Id]> {
        match &self.objects[id] {
            Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let items = self.tuple(id)?;
        if items.len() > MAX_DIMENSIONS {
            return None;
        }
        items.iter().map(|&item| self.size(item)).collect()
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.objects[id] {
            Object::Int(value) => usize::try_from(value).ok(),
            _ => None,
        }
    }

    /// `("storage", type, record, device, length)` in place of a stored object.
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let parts = match self.tuple(id) {
            Some([_, kind, record, ..]) => (&self.objects[*kind], &self.objects[*record]),
            _ => return Err("it refers to no storage".into()),
        };
        let (Object::StorageType(dtype), Object::Text(record)) = parts else {
            return Err("it refers to a storage of an unknown type".into());
        };
        if record.len() > MAX_NAME_BYTES {
            return Err("the name of a storage is too long".into());
        }
        let storage = Object::Storage {
            record: record.clone(),
            dtype: *dtype,
        };
        self.push(storage);
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let Object::Function(function) = self.objects[function] else {
            return Err("it calls what is no function".into());
        };
        let arguments = self
            .tuple(arguments)
            .ok_or("it calls without a tuple of arguments")?;
        let result = match (function, arguments) {
            (Function::OrderedDict, []) => Object::Dict(Vec::new()),
            (Function::RebuildTensor, [storage, offset, shape, strides, ..]) => self
                .view(*storage, *offset, *shape, *strides)
                .map(|view| Object::Tensor(Box::new(view)))
                .ok_or("a tensor is described wrongly")?,
            (Function::RebuildParameter, [tensor, ..]) => match &self.objects[*tensor] {
                Object::Tensor(view) => Object::Tensor(view.clone()),
                _ => return Err("a parameter is no tensor".into()),
            },
            (Function::Size, [sizes]) => match self.tuple(*sizes) {
                Some(sizes) if sizes.len() <= MAX_DIMENSIONS => Object::Tuple(sizes.to_vec()),
                _ => return Err("a size is no short tuple".into()),
            },
            _ => return Err("it calls a function with other arguments than it takes".into()),
        };
        self.push(result);
        Ok(())
    }

    fn view(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Option<TensorView> {
        let Object::Storage { record, dtype } = &self.objects[storage] else {
            return None;
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        (shape.len() == strides.len()).then_some(TensorView {
            storage: record.clone(),
            dtype: *dtype,
            shape,
            strides,
            offset: self.size(offset)?,
        })
    }

    /// A dictionary's attributes, such as `_metadata`, are nothing that a tensor needs.
    fn set_state(&mut self) -> Result<(), String> {
        self.pop()?;
        match self.objects[self.top()?] {
            Object::Dict(_) => Ok(()),
            _ => Err("it sets the state of what is no dictionary".into()),
        }
    }

    fn tensors_of(&self, root: Id) -> Result<Vec<(String, TensorView)>, String> {
        let Object::Dict(saved) = &self.objects[root] else {
            return Err("it holds no dictionary of tensors".into());
        };
        let wrapped = saved.iter().find_map(|&(key, value)| {
            match (&self.objects[key], &self.objects[value]) {
                (Object::Text(name), Object::Dict(model)) if name == "model" => Some(model),
                _ => None,
            }
        });
        let entries = wrapped.unwrap_or(saved);
        if entries.len() > MAX_TENSORS {
            let count = entries.len();
            return Err(format!("it has {count} entries, more than {MAX_TENSORS}"));
        }
        entries
            .iter()
            .map(
                |&(key, value)| match (&self.objects[key], &self.objects[value]) {
                    (Object::Text(name), _) if name.len() > MAX_NAME_BYTES => {
                        Err("the name of an entry is too long".into())
                    }
                    (Object::Text(name), Object::Tensor(view)) => {
                        Ok((name.clone(), (**view).clone()))
                    }
                    (Object::Text(name), _) => Err(format!("its entry `{name}` is no tensor")),
                    _ => Err("it has an entry whose name is no text".into()),
                },
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"a.weight": <f16 of [2, 3] in record 7, from number 5 on>}`, as `torch.save` writes it.
    fn saved(wrapped: bool) -> Vec<u8> {
        let tensor: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage\
            ctorch\nHalfStorage\nX\x01\0\0\x007X\x03\0\0\0cpuK\x0btQK\x05K\x02K\x03\x86K\x03K\x01\x86\x89\
            ccollections\nOrderedDict\n)RtR";
        let dict = [b"}q\0(X\x08\0\0\0a.weight", tensor, b"u"].concat();
        match wrapped {
            true => [
                b"\x80\x02}(X\x04\0\0\0stepK\x03X\x05\0\0\0model",
                dict.as_slice(),
                b"u.",
            ]
            .concat(),
            false => [b"\x80\x02", dict.as_slice(), b"."].concat(),
        }
    }

    #[test]
    fn tensors_are_read_wrapped_or_not() {
        for wrapped in [false, true] {
            let view = TensorView {
                storage: "7".into(),
                dtype: Dtype::F16,
                shape: vec![2, 3],
                strides: vec![3, 1],
                offset: 5,
            };
            let expected = vec![("a.weight".to_owned(), view)];
            assert_eq!(tensors(&saved(wrapped)), Ok(expected));
        }
    }

    #[test]
    fn what_would_be_executed_is_refused_by_name() {
        for (pickle, expected) in [
            (
                &b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R."[..],
                "`os.system`",
            ),
            (
                b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
                "`builtins.eval`",
            ),
            (b"cposix\nsystem\n.", "`posix.system`"),
            (b"ctorch\nload\n.", "`torch.load`"),
            (b"(iposix\nsystem\n.", "operation 0x69 is not allowed"),
            (
                b"ccollections\nOrderedDict\n)\x81.",
                "operation 0x81 is not allowed",
            ),
            (b"ccollections\nOrderedDict\n(K\x01tR.", "other arguments"),
            (b"K\x01)R.", "calls what is no function"),
            (b"K\x01K\x02b.", "state of what is no dictionary"),
        ] {
            let message = tensors(pickle).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let pickle = saved(true);
        for end in 0..pickle.len() {
            assert!(tensors(&pickle[..end]).is_err(), "{end}");
        }
        for at in 0..pickle.len() {
            for byte in 0..=255 {
                let mut damaged = pickle.clone();
                damaged[at] = byte;
                let _ = tensors(&damaged);
            }
        }
    }

    #[test]
    fn loops_and_repetitions_stay_small() {
        // A list in itself, and a long name used often.
        assert!(tensors(b"]q\0h\0a.").unwrap_err().contains("no dictionary"));
        let mut bomb = b"}X\0\0\x10\0".to_vec();
        bomb.resize(bomb.len() + (1 << 20), b'a');
        bomb.extend(b"q\0(");
        bomb.extend(b"h\0h\0".repeat(100_000));
        bomb.extend(b"u.");
        assert!(tensors(&bomb).is_err());
        assert!(tensors(&b"(".repeat(1 << 20)).is_err());
        assert!(tensors(&b"K\x01\x85".repeat(1 << 19)).is_err());
    }

    #[test]
    fn wrong_descriptions_are_refused() {
        for (find, replace, expected) in [
            (
                &b"K\x02K\x03\x86"[..],
                &b"K\x02NN0\x86"[..],
                "described wrongly",
            ),
            (b"K\x03K\x01\x86", b"K\x03NN0\x85", "described wrongly"),
            (b"HalfStorage", b"HalfStoragX", "`torch.HalfStoragX`"),
            (
                b"X\x08\0\0\0a.weight",
                b"K\x01K\x01NN00000000",
                "stack is empty",
            ),
        ] {
            let pickle = saved(false);
            let at = pickle.windows(find.len()).position(|w| w == find).unwrap();
            let damaged = [&pickle[..at], replace, &pickle[at + find.len()..]].concat();
            let message = tensors(&damaged).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
