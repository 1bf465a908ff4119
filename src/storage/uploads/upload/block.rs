//! Memory that uploads pass on to the medium, and get back.

use std::{
    mem,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::FLUSH_BYTES;

/// How many free blocks are kept: 32 MiB, which a hundred uploads at once hand to each other.
const KEPT: usize = 128;

/// Blocks that nobody has. A driver keeps one for as long as a bucket takes to receive it. Were they allocated anew each
/// time, a hundred uploads would have the process grow by half as much again as they hold, between what else is allocated
/// meanwhile.
static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Up to [`FLUSH_BYTES`], in memory of that size: drivers count what they hold by its length, and what grows by itself has
/// room for more.
#[derive(Debug)]
pub(super) struct Block(Vec<u8>);

impl Block {
    /// An empty one.
    pub(super) fn new() -> Self {
        let kept = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(kept.unwrap_or_else(|| Vec::with_capacity(FLUSH_BYTES)))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() == FLUSH_BYTES
    }

    /// Takes what fits from the beginning of a chunk.
    pub(super) fn fill(&mut self, chunk: &mut Bytes) {
        let fits = chunk.len().min(FLUSH_BYTES - self.0.len());
        self.0.extend_from_slice(&chunk.split_to(fits));
    }

    /// Its bytes. The memory is free when nobody has them any more.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut block = mem::take(&mut self.0);
        block.clear();
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_takes_what_fits_and_never_grows() {
        let mut block = Block::new();
        let mut chunk = Bytes::from(vec![7; FLUSH_BYTES + 1]);
        block.fill(&mut chunk);
        assert_eq!((block.len(), chunk.len(), block.is_full()), (FLUSH_BYTES, 1, true));
        block.fill(&mut chunk);
        assert_eq!((block.0.capacity(), chunk.len()), (FLUSH_BYTES, 1));
        let bytes = block.freeze();
        let other = Block::new();
        assert_eq!(other.len(), 0, "memory that comes back is empty");
        assert!(bytes.iter().all(|byte| *byte == 7), "memory that somebody has does not come back");
    }
}
