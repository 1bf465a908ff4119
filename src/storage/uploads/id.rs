//! Names of uploads.

use std::{fmt, str::FromStr};

use crate::storage::entropy;

/// The name of an upload in progress.
///
/// Invariant: a UUID in its lowercase text form, 8-4-4-4-12, as distribution names the folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Box<str>);

impl UploadId {
    /// A new name that nobody can guess: a UUID of version 4 (RFC 9562, section 5.4).
    #[must_use]
    pub fn random() -> Self {
        let bits = (entropy::bits() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
        Self(parts.join("-").into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text names no upload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an upload is named by a UUID in lowercase")]
pub struct UploadIdError;

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let fits = |(at, byte): (usize, u8)| match byte {
            b'-' => is_dash(at),
            b'0'..=b'9' | b'a'..=b'f' => !is_dash(at),
            _ => false,
        };
        let valid = text.len() == 36 && text.bytes().enumerate().all(fits);
        if valid { Ok(Self(text.into())) } else { Err(UploadIdError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_is_a_version_4_uuid_and_new_each_time() {
        let id = UploadId::random();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.as_str().as_bytes()[14], b'4');
        assert!(b"89ab".contains(&id.as_str().as_bytes()[19]));
        assert_ne!(id, UploadId::random());
    }

    #[test]
    fn malformed_ids_are_refused() {
        let upper = "A".repeat(8) + "-0000-4000-8000-000000000000";
        for text in ["", "..", &"0".repeat(36), &"-".repeat(36), "../../../../../../../../../../../../", &upper] {
            assert!(text.parse::<UploadId>().is_err(), "{text:?} was accepted");
        }
    }
}
