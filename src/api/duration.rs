//! Lengths of time as people write them.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

/// A length of time in hours, minutes and seconds, such as `168h`, `1h30m` or `45s`.
///
/// Invariant: at most [`Duration::MAX_LEN`] bytes that match `([0-9]+(h|m|s))+`. The text is kept as it was
/// written. Numbers that fit the pattern but no clock are the longest length there is.
#[derive(Debug, Clone)]
pub struct Duration {
    text: Box<str>,
    seconds: u64,
}

impl Duration {
    /// The longest text, in bytes.
    pub const MAX_LEN: usize = 16;
    /// The pattern that the schema of a resource checks.
    pub const PATTERN: &'static str = "^([0-9]+(h|m|s))+$";
    /// What to write where a text does not match it: an API server tells nobody what a pattern means.
    pub const FORM: &'static str = "write hours, minutes and seconds, such as 720h or 1h30m; there are no days";

    /// A whole number of hours.
    #[must_use]
    pub fn from_hours(hours: u32) -> Self {
        Self { text: format!("{hours}h").into(), seconds: u64::from(hours) * 3600 }
    }

    /// A whole number of seconds.
    #[must_use]
    pub fn from_seconds(seconds: u32) -> Self {
        Self { text: format!("{seconds}s").into(), seconds: u64::from(seconds) }
    }

    /// The length in seconds.
    #[must_use]
    pub fn as_seconds(&self) -> u64 {
        self.seconds
    }

    /// The length as the standard library has it.
    #[must_use]
    pub fn as_std(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.seconds)
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Two lengths are equal when they last equally long, however they are written.
impl PartialEq for Duration {
    fn eq(&self, other: &Self) -> bool {
        self.seconds == other.seconds
    }
}

impl Eq for Duration {}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a duration is written in hours, minutes and seconds, such as 168h, 1h30m or 45s; there are no days")]
pub struct DurationError;

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(DurationError);
        }
        let mut seconds = 0_u64;
        let mut number: Option<u64> = None;
        for byte in text.bytes() {
            let scale = match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
                    continue;
                }
                b'h' => 3600,
                b'm' => 60,
                b's' => 1,
                _ => return Err(DurationError),
            };
            let value = number.take().ok_or(DurationError)?;
            seconds = seconds.saturating_add(value.saturating_mul(scale));
        }
        if number.is_some() {
            return Err(DurationError);
        }
        Ok(Self { text: text.into(), seconds })
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = json!([{"rule": format!("self.matches('{}')", Self::PATTERN), "message": Self::FORM}]);
        json_schema!({
            "type": "string", "pattern": Self::PATTERN, "maxLength": Self::MAX_LEN, "x-kubernetes-validations": words,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_and_seconds_add_up() {
        for (text, seconds) in [("0s", 0), ("45s", 45), ("168h", 604_800), ("1h30m", 5400), ("1m1m", 120)] {
            let parsed: Duration = text.parse().unwrap();
            assert_eq!(parsed.as_seconds(), seconds, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_the_pattern_takes_is_taken_however_large() {
        assert_eq!("999999999999999h".parse::<Duration>().map(|d| d.as_seconds() > 1 << 60), Ok(true));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "h", "1", "1h30", "1d", "-1h", "1.5h", " 1h", "10000000000000000h"] {
            assert!(text.parse::<Duration>().is_err(), "{text:?} was accepted");
        }
    }
}
