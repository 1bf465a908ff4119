//! What names a request in the log, in its trace, and in what a user reports.

use std::fmt;

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

/// Where a caller gives a name, and the answer repeats it.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that is taken from a caller. A UUID has 36 characters, and a few of them fit.
const MAX_LENGTH: usize = 128;

/// Names a request.
///
/// Invariant: 1 to 128 letters, digits, `.`, `_`, `-` and `:`, so that it breaks no line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(String);

impl RequestId {
    /// The caller's name, if it gives one that can be written down as it is; otherwise a random one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        match given.filter(|text| is_sane(text)) {
            Some(text) => Self(text.to_owned()),
            None => Self(format!("{:032x}", rand::random::<u128>())),
        }
    }

    /// As the answer gives it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

fn is_sane(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(allowed)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(given: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
        RequestId::of(&headers).to_string()
    }

    #[test]
    fn a_sane_name_is_kept_and_another_one_is_replaced() {
        for kept in ["a", "0a1b-22_3.4:5", &"x".repeat(MAX_LENGTH)] {
            assert_eq!(id(kept.as_bytes()), *kept);
        }
        for replaced in ["", "two words", "a\"b", "a;b", "\u{e4}", &"x".repeat(MAX_LENGTH + 1)] {
            let made = id(replaced.as_bytes());
            assert!(made != *replaced && made.len() == 32 && is_sane(&made), "{made} for {replaced}");
        }
        assert_ne!(id(b" "), id(b" "));
        assert!(RequestId::of(&HeaderMap::new()).header().is_some());
    }
}
