//! Items that move on the stack.

use super::{Done, Run};

impl Run<'_> {
    /// Puts a stretch of the code on the stack.
    pub(super) fn push(&mut self, length: usize) -> Done {
        let item = self.blocks.current().read(length)?;
        self.put_long(item.as_bytes())
    }

    /// Puts bytes on the stack of which it is not known that they fit.
    pub(super) fn put_long(&mut self, bytes: &[u8]) -> Done {
        self.work.spend_bytes(bytes.len())?;
        self.put(bytes.to_vec())
    }

    pub(super) fn copy(&mut self) -> Done {
        let copies = self.count()?;
        let item = self.take()?;
        for _ in 0..copies {
            self.put(item.clone())?;
        }
        self.put(item)
    }

    pub(super) fn duplicate(&mut self) -> Done {
        let item = self.take()?;
        self.put(item.clone())?;
        self.put(item)
    }

    pub(super) fn swap(&mut self) -> Done {
        let (one, other) = (self.count()?, self.count()?);
        if one == other {
            return Ok(());
        }
        self.stack.swap(one, other)
    }

    pub(super) fn swap_top(&mut self) -> Done {
        let (top, below) = (self.take()?, self.take()?);
        self.put(top)?;
        self.put(below)
    }

    pub(super) fn reverse(&mut self) -> Done {
        let count = self.count()?;
        self.work.spend(count as u64)?;
        self.stack.reverse(count)
    }
}
