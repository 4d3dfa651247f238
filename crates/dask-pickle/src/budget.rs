//! What one conversion of a tree may still cost.

use std::cell::Cell;

use crate::view::View;
use crate::{Error, Limits};

/// Bytes of text that count as one item.
const BYTES_PER_ITEM: usize = 64;

/// Counts the nodes visited: a shared node counts every time, so that sharing cannot multiply without bound.
pub(crate) struct Budget {
    left: Cell<usize>,
    limits: Limits,
}

impl Budget {
    /// The budget for one conversion. Every byte of the source and its buffers can be paid for once besides the
    /// items.
    pub(crate) fn new(view: View<'_>) -> Self {
        let tree = view.tree();
        let bytes = tree.buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
        let own = bytes.saturating_add(tree.source.len()) / BYTES_PER_ITEM;
        Self { left: Cell::new(tree.limits.items.saturating_add(own)), limits: tree.limits }
    }

    pub(crate) fn depth(&self) -> usize {
        self.limits.depth
    }

    pub(crate) fn spend(&self) -> Result<(), Error> {
        self.spend_items(1)
    }

    pub(crate) fn spend_bytes(&self, len: usize) -> Result<(), Error> {
        self.spend_items(len / BYTES_PER_ITEM)
    }

    pub(crate) fn spend_items(&self, items: usize) -> Result<(), Error> {
        let left = self.left.get().checked_sub(items).ok_or(Error::Items { limit: self.limits.items })?;
        self.left.set(left);
        Ok(())
    }

    pub(crate) fn deeper(&self, room: usize) -> Result<usize, Error> {
        room.checked_sub(1).ok_or(Error::Depth { limit: self.limits.depth })
    }
}
