//! The stack of items.

use alloc::vec::Vec;

use super::too_long;
use crate::tapescript::error::ScriptError;

const MAX_ITEMS: usize = 1024;
const MAX_ITEM: usize = 1024;

/// Items of up to 1024 bytes, up to 1024 of them.
#[derive(Debug, Default)]
pub(super) struct Stack {
    items: Vec<Vec<u8>>,
    bytes: usize,
}

impl Stack {
    /// Whether an item of this length may be put on top.
    pub(super) fn check_room(&self, length: usize) -> Result<(), ScriptError> {
        if length > MAX_ITEM {
            return Err(too_long(length, MAX_ITEM));
        }
        if self.items.len() >= MAX_ITEMS {
            return Err(ScriptError::StackFull);
        }
        Ok(())
    }

    /// Puts an item on top, for which there must be room.
    pub(super) fn put(&mut self, item: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(item.len());
        self.items.push(item);
    }

    pub(super) fn take(&mut self) -> Result<Vec<u8>, ScriptError> {
        let item = self.items.pop().ok_or(ScriptError::StackEmpty)?;
        self.bytes = self.bytes.saturating_sub(item.len());
        Ok(item)
    }

    /// The top item, which stays.
    pub(super) fn top(&self) -> Result<&[u8], ScriptError> {
        let top = self.items.last().map(Vec::as_slice);
        top.ok_or(ScriptError::StackEmpty)
    }

    /// Exchanges two items, counted from the top.
    pub(super) fn swap(
        &mut self,
        one: usize,
        other: usize,
    ) -> Result<(), ScriptError> {
        let place = |depth: usize| {
            let last = self.items.len().checked_sub(1)?;
            last.checked_sub(depth)
        };
        let (Some(one), Some(other)) = (place(one), place(other)) else {
            return Err(ScriptError::StackEmpty);
        };
        self.items.swap(one, other);
        Ok(())
    }

    /// Puts the top items in the opposite order.
    pub(super) fn reverse(&mut self, count: usize) -> Result<(), ScriptError> {
        let start = self.items.len().checked_sub(count);
        let top = start.and_then(|start| self.items.get_mut(start..));
        top.ok_or(ScriptError::StackEmpty)?.reverse();
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// What all items have together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn items(&self) -> &[Vec<u8>] {
        &self.items
    }

    pub(super) fn into_items(self) -> Vec<Vec<u8>> {
        self.items
    }
}
