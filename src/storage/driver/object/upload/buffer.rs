//! Bytes that are gathered until they fill a part.

use std::ops::Range;

use bytes::Bytes;
use object_store::PutPayload;

use crate::storage::driver::object::budget::Reservation;

/// Bytes in memory, and the part of the budget that they have.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    chunks: Vec<Bytes>,
    length: usize,
    /// There is one while there are bytes.
    pub(super) reservation: Option<Reservation>,
}

impl Buffer {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Adds bytes that there is a reservation for.
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.length += chunk.len();
        debug_assert!(
            self.reservation.as_ref().is_none_or(|held| held.covers(self.length)),
            "more is held than was reserved"
        );
        self.chunks.push(chunk);
    }

    pub(super) fn payload(&self) -> PutPayload {
        self.chunks.iter().cloned().collect()
    }

    /// Takes the last `bytes` back; whether there were as many.
    pub(super) fn cut(&mut self, bytes: u64) -> bool {
        let Some(keep) = usize::try_from(bytes).ok().and_then(|bytes| self.length.checked_sub(bytes)) else {
            return false;
        };
        while self.length > keep {
            let Some(last) = self.chunks.pop() else { break };
            self.length -= last.len();
            if self.length < keep {
                self.push(last.slice(..keep - self.length));
            }
        }
        true
    }

    /// A part of the bytes; `None` where it does not lie within them.
    pub(super) fn slice(&self, range: Range<u64>) -> Option<Vec<Bytes>> {
        if range.start > range.end || range.end > self.length as u64 {
            return None;
        }
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        let mut at = 0;
        let mut found = Vec::new();
        for chunk in &self.chunks {
            let from = start.clamp(at, at + chunk.len()) - at;
            let to = end.clamp(at, at + chunk.len()) - at;
            if from < to {
                found.push(chunk.slice(from..to));
            }
            at += chunk.len();
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_and_any_cut_is_exact() {
        let whole = b"one two three";
        let filled = || {
            let mut buffer = Buffer::default();
            for chunk in ["one", " ", "two three"] {
                buffer.push(Bytes::from(chunk));
            }
            buffer
        };
        for end in 0..=whole.len() {
            for start in 0..=end {
                assert_eq!(filled().slice(start as u64..end as u64).unwrap().concat(), whole[start..end]);
            }
            let mut buffer = filled();
            assert!(buffer.cut((whole.len() - end) as u64));
            assert_eq!(buffer.chunks().concat(), whole[..end]);
            assert_eq!(buffer.length(), end);
        }
        assert!(!filled().cut(14));
        assert!(filled().slice(0..14).is_none());
    }
}
