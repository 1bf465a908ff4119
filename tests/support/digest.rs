//! Digests of what tests push, made without the code under test.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// As manifests and addresses have it: `sha256:` with the hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_digits(bytes))
}

/// The hexadecimal digits alone.
pub(crate) fn sha256_digits(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
