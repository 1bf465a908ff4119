//! Content addresses.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

/// A hash function that a registry must know (image-spec, *Registered algorithms*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256: 64 hexadecimal characters.
    Sha256,
    /// SHA-512: 128 hexadecimal characters.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name before the colon of a digest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal characters follow the colon.
    #[must_use]
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The address of content by its hash: `<algorithm>:<hex>`.
///
/// Invariant: a registered algorithm, and exactly as many lowercase hexadecimal characters as it yields.
/// Source: OCI image-spec, `descriptor.md`, *Digests*.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// Shared, for the same digest stands in many places: a plan names each manifest half a dozen times.
    hex: Arc<str>,
}

impl Digest {
    /// Hashes `bytes`.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::from_hash(algorithm, &Sha256::digest(bytes)),
            Algorithm::Sha512 => Self::from_hash(algorithm, &Sha512::digest(bytes)),
        }
    }

    /// The digest whose hash is known; `None` where `hash` has not the algorithm's length.
    #[must_use]
    pub fn from_raw(algorithm: Algorithm, hash: &[u8]) -> Option<Self> {
        (hash.len() * 2 == algorithm.hex_len()).then(|| Self::from_hash(algorithm, hash))
    }

    /// The hash itself; what [`Self::from_raw`] takes.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        let nibble = |character: u8| if character.is_ascii_digit() { character - b'0' } else { character - b'a' + 10 };
        let (pairs, _) = self.hex.as_bytes().as_chunks::<2>();
        pairs.iter().map(|[high, low]| nibble(*high) << 4 | nibble(*low)).collect()
    }

    fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        let hex: String = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect();
        Self { algorithm, hex: hex.into() }
    }

    /// The hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash, in lowercase hexadecimal.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Whether `bytes` hash to this digest.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        Self::of(self.algorithm, bytes) == *self
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

/// The character of a number below 16.
fn hex_digit(nibble: u8) -> char {
    char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 })
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no colon.
    #[error("a digest is written <algorithm>:<hex>")]
    MissingSeparator,
    /// The part before the colon is not a registered algorithm.
    #[error("the digest algorithm is not supported: use sha256 or sha512")]
    UnsupportedAlgorithm,
    /// The part after the colon is not what the algorithm yields.
    #[error("a {algorithm} digest has {expected} lowercase hexadecimal characters after the colon")]
    InvalidHex {
        /// The algorithm named.
        algorithm: Algorithm,
        /// The number of characters it needs.
        expected: usize,
    },
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::MissingSeparator)?;
        let algorithm =
            Algorithm::ALL.into_iter().find(|a| a.as_str() == name).ok_or(DigestError::UnsupportedAlgorithm)?;
        let lowercase_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != algorithm.hex_len() || !hex.bytes().all(lowercase_hex) {
            return Err(DigestError::InvalidHex { algorithm, expected: algorithm.hex_len() });
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_of_empty_content_is_the_well_known_one() {
        assert_eq!(
            Digest::of(Algorithm::Sha256, b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn digest_survives_the_way_through_text() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"lagan");
            assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
            assert!(digest.matches(b"lagan"));
            assert!(!digest.matches(b"flotsam"));
        }
    }

    #[test]
    fn malformed_digests_are_refused() {
        let upper = format!("sha256:{}", "A".repeat(64));
        let short = format!("sha256:{}", "a".repeat(63));
        let traversal = format!("sha256:../{}", "a".repeat(61));
        for text in ["", "sha256", ":", "md5:00", "SHA256:00", &upper, &short, &traversal] {
            assert!(text.parse::<Digest>().is_err(), "{text:?} was accepted");
        }
    }
}
