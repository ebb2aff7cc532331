//! What a pickle of `torch.save` says of tensors, without executing it.
//!
//! A pickle is a program for a stack machine that may call any Python function. This reader knows
//! the few operations and the few functions that a file of tensors needs, and refuses every other
//! by name. Nothing it reads is called: the "functions" are values of an enum. Objects stand in one
//! list and refer to each other by index, so that no file can make it recurse, and every operation
//! adds a bounded number of them.

mod objects;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use objects::{Function, Id, Object, global};

pub(super) use objects::TensorView;

/// Longest pickle; that of PLM-8B's 957 tensors has some 150 kB. An object costs a byte at least,
/// and some 60 bytes here.
pub(super) const MAX_PICKLE_BYTES: u64 = 2 << 20;

/// More than any tensor has.
const MAX_DIMENSIONS: usize = 8;

/// Longest name of a tensor or a record, for both can be said once and used often.
const MAX_NAME_BYTES: usize = 256;

/// More than any checkpoint has.
const MAX_TENSORS: usize = 20_000;

/// Reads the tensors of a saved dictionary, or of the dictionary `model` in it.
pub(super) fn tensors(pickle: &[u8]) -> Result<Vec<(String, TensorView)>, String> {
    let mut machine = Machine::new(pickle);
    let root = machine.run().map_err(|what| {
        let at = machine.at;
        format!("its pickle is not that of a checkpoint: {what}, at byte {at}")
    })?;
    machine.tensors_of(root)
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
