//! How large things are.

/// The sizes that uploads go by; smaller in tests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// The first part, in bytes. What is not longer is not divided.
    pub(super) first_part: usize,
    /// How many parts there are of one size; those after them are twice as large.
    pub(super) parts_of_a_size: usize,
    /// How many parts are sent between two states that are written for the case of a crash.
    pub(super) parts_between_states: usize,
    /// The longest object that the store copies in one request, in bytes.
    pub(super) longest_copy: u64,
    /// The least that is copied into one part, in bytes, where the store copies in parts.
    pub(super) copied_part: u64,
}

impl Sizes {
    /// What the stores of the world allow: parts of at least 5 MiB (S3), at most 10,000 of them (S3, GCS), a copy of at
    /// most 5 GiB (S3). 8 MiB keep a connection busy; 2,000 of each size are 109 GiB before a part is larger than
    /// 32 MiB, and 484 GiB in all. Some stores want parts of one size: up to 15 GiB they are. A store takes a second or
    /// two to copy 128 MiB, and does so with many parts at once.
    pub(super) const REAL: Self = Self {
        first_part: 8 * 1024 * 1024,
        parts_of_a_size: 2_000,
        parts_between_states: 16,
        longest_copy: 5 * 1024 * 1024 * 1024,
        copied_part: 128 * 1024 * 1024,
    };

    /// The most parts that an object has.
    const MAX_PARTS: usize = 10_000;

    /// How many bytes are copied into each part of an object of this length.
    pub(super) fn copied_part(&self, length: u64) -> u64 {
        self.copied_part.max(length.div_ceil(Self::MAX_PARTS as u64)).max(1)
    }

    /// The size in bytes of the part with this number, counted from 0; `None` after the last.
    pub(super) fn part(&self, number: usize) -> Option<usize> {
        let doublings = u32::try_from(number.checked_div(self.parts_of_a_size)?).ok()?;
        (number < Self::MAX_PARTS).then(|| self.first_part.checked_shl(doublings)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn a_hundred_gibibytes_need_less_than_the_parts_there_are_and_moderate_ones() {
        let mut sent = 0;
        let mut parts = 0;
        while sent < 100 * 1024 * MIB {
            let size = Sizes::REAL.part(parts).unwrap();
            assert!((5 * MIB..=32 * MIB).contains(&size));
            sent += size;
            parts += 1;
        }
        assert!(parts < Sizes::MAX_PARTS);
        assert_eq!(Sizes::REAL.part(Sizes::MAX_PARTS), None);
    }

    #[test]
    fn a_copy_of_any_length_has_less_than_the_parts_there_are() {
        for (length, size) in [(0, 128 << 20), (6 << 30, 128 << 20), (5 << 40, (5 << 40) / 10_000 + 1)] {
            let found = Sizes::REAL.copied_part(length);
            assert!(found >= size && length.div_ceil(found) <= Sizes::MAX_PARTS as u64, "{length}: {found}");
        }
    }
}
