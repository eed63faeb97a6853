//! What scripts store under names, and the names of the outside.
//!
//! The two do not meet: what a script stores under the bytes `timestamp` is not
//! what `GET_VALUE` gives for that text.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use super::{Done, Run, integers};
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;

/// What an item and an entry count beside their bytes, so that empty ones are not
/// for nothing.
const OVERHEAD: usize = 32;

/// Entries under keys.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<Vec<u8>, Entry>,
    bytes: usize,
}

/// What is stored under one key.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// What a script has stored; its size is the number of items.
    Items(Rc<[Vec<u8>]>),
    /// What an instruction leaves beside its result; its size is its length.
    Single(Rc<[Vec<u8>]>),
}

impl Entry {
    pub(super) fn items(items: impl Into<Rc<[Vec<u8>]>>) -> Self {
        Self::Items(items.into())
    }

    fn all(&self) -> &Rc<[Vec<u8>]> {
        match self {
            Self::Items(items) | Self::Single(items) => items,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Items(items) => items.len(),
            Self::Single(items) => items.iter().map(Vec::len).sum(),
        }
    }

    fn bytes(&self, key: &[u8]) -> usize {
        let items = self.all().iter();
        let lengths = items.map(|item| item.len().saturating_add(OVERHEAD));
        lengths.fold(key.len().saturating_add(OVERHEAD), usize::saturating_add)
    }
}

impl Cache {
    /// What all keys and entries count together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn store(&mut self, key: Vec<u8>, entry: Entry) {
        let added = entry.bytes(&key);
        let old = self.entries.get(&key).map_or(0, |old| old.bytes(&key));
        self.bytes = self.bytes.saturating_add(added).saturating_sub(old);
        self.entries.insert(key, entry);
    }
}

impl Run<'_> {
    pub(super) fn store(&mut self, key: Vec<u8>, entry: Entry) -> Done {
        self.work.spend(1)?;
        self.hold(entry.bytes(&key))?;
        self.cache.store(key, entry);
        Ok(())
    }

    /// What instructions of the curve leave under a name besides their results.
    pub(super) fn store_result(&mut self, name: &str, result: &[u8]) -> Done {
        let entry = Entry::Single([result.to_vec()].into());
        self.store(name.as_bytes().to_vec(), entry)
    }

    pub(super) fn pop(&mut self, count: usize) -> Done {
        let items = self.take_many(count)?;
        self.store(b"P".to_vec(), Entry::items(items))
    }

    pub(super) fn write_cache(&mut self) -> Done {
        let key = self.key_operand()?;
        let count = self.count()?;
        let items = self.take_many(count)?;
        self.store(key, Entry::items(items))
    }

    /// Puts what is stored on the stack, in the order in which it was taken off.
    pub(super) fn read_cache(&mut self, key: &[u8]) -> Done {
        let entry = self.cache.entries.get(key);
        let items = Rc::clone(entry.ok_or(ScriptError::NotStored)?.all());
        items.iter().try_for_each(|item| self.put(item.clone()))
    }

    pub(super) fn read_cache_size(&mut self, key: &[u8]) -> Done {
        let entry = self.cache.entries.get(key);
        self.put_length(entry.map_or(0, Entry::size))
    }

    pub(super) fn key_operand(&mut self) -> Result<Vec<u8>, ScriptError> {
        let length = self.count()?;
        self.literal(length)
    }

    pub(super) fn put_length(&mut self, length: usize) -> Done {
        self.put(integers::encode_unsigned(length as u64))
    }

    /// Puts a value of the outside on the stack.
    pub(super) fn get_value(&mut self) -> Done {
        let name = self.key_operand()?;
        let Ok(name) = core::str::from_utf8(&name) else {
            let opcode = Opcode::GetValue;
            return Err(ScriptError::BadOperand { opcode });
        };
        match name {
            "timestamp" => {
                self.put(integers::encode_unsigned(self.inputs.timestamp))
            }
            // The mark is there, and nothing that could be put on the stack.
            "returned" if self.returned => Ok(()),
            _ => {
                let field =
                    sig_field(name).and_then(|at| self.inputs.fields.get(at));
                let field = field.ok_or(ScriptError::NotStored)?;
                self.put_long(field)
            }
        }
    }
}

/// The place, from 0 on, of the field with this name.
fn sig_field(name: &str) -> Option<usize> {
    match name.strip_prefix("sigfield")?.as_bytes() {
        [digit @ b'1'..=b'8'] => Some(usize::from(digit - b'1')),
        _ => None,
    }
}
