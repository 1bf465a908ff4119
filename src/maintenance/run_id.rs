//! The name of a run.

use std::{fmt, str::FromStr};

use crate::storage::driver::PathComponent;

/// The name of a run: its policy's UID and the time or trigger it runs for.
///
/// Invariant: 1 to 128 bytes of `[a-z0-9.-]`, the first a letter or digit. So it is a file's name, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(Box<str>);

impl RunId {
    /// The longest, in bytes.
    pub const MAX_LEN: usize = 128;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of its records.
    #[expect(clippy::expect_used, reason = "the alphabet has neither slash nor NUL, and it begins with neither dot")]
    pub(super) fn folder(&self) -> PathComponent {
        self.0.parse().expect("a run's id is a file's name")
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text names no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run's id is 1 to 128 lowercase letters, digits, dots and dashes, and begins with a letter or digit")]
pub struct RunIdError;

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = text.bytes().next().is_some_and(plain);
        let rest = text.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'-'));
        if first && rest && text.len() <= Self::MAX_LEN { Ok(Self(text.into())) } else { Err(RunIdError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_a_plain_name() {
        for text in ["a", "0", "5f1e-4a.1700000000", &"a".repeat(128)] {
            assert_eq!(text.parse::<RunId>().map(|id| id.folder().to_string()), Ok(text.to_owned()));
        }
        for text in ["", ".", "..", "-a", ".a", "A", "a/b", "a_b", &"a".repeat(129)] {
            assert_eq!(text.parse::<RunId>(), Err(RunIdError), "{text:?}");
        }
    }
}
