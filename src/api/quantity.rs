//! Amounts of bytes as Kubernetes writes them.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of bytes, such as `20Gi`, `1.5G` or `4194304`.
///
/// Invariant: at most [`Quantity::MAX_LEN`] bytes that match [`Quantity::PATTERN`]. It is the part of
/// Kubernetes' quantities that makes sense for bytes: no sign, no exponent, nothing below one. The text is
/// kept as it was written; more than a `u64` holds is the largest `u64`.
#[derive(Debug, Clone)]
pub struct Quantity {
    text: Box<str>,
    bytes: u64,
}

impl Quantity {
    /// The longest text, in bytes.
    pub const MAX_LEN: usize = 20;
    /// The pattern that the schema of a resource checks.
    pub const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

    /// A whole number of mebibytes.
    #[must_use]
    pub fn from_mebibytes(count: u32) -> Self {
        Self { text: format!("{count}Mi").into(), bytes: u64::from(count) << 20 }
    }

    /// A whole number of gibibytes.
    #[must_use]
    pub fn from_gibibytes(count: u32) -> Self {
        Self { text: format!("{count}Gi").into(), bytes: u64::from(count) << 30 }
    }

    /// The amount in bytes, rounded up.
    #[must_use]
    pub fn as_bytes(&self) -> u64 {
        self.bytes
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Two quantities are equal when they are as many bytes, however they are written.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Quantity {}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is no amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a size is a number of bytes with an optional unit, such as 20Gi, 4Mi, 500M or 1048576")]
pub struct QuantityError;

/// What a number followed by `unit` is multiplied with.
fn scale(unit: &str) -> Option<u128> {
    let power = |base: u128, exponent: u32| base.checked_pow(exponent);
    match unit {
        "" => Some(1),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        _ => None,
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > Self::MAX_LEN {
            return Err(QuantityError);
        }
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = text.strip_suffix(unit).ok_or(QuantityError)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let parse = |digits: &str| match digits {
            "" => Err(QuantityError),
            digits => digits.parse::<u128>().map_err(|_| QuantityError),
        };
        // Twenty digits and a scale of at most 2^60 stay far below what 128 bits hold.
        let divisor = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| QuantityError)?);
        let scale = scale(unit).ok_or(QuantityError)?;
        let bytes = parse(whole)? * scale + (parse(fraction)? * scale).div_ceil(divisor);
        Ok(Self { text: text.into(), bytes: u64::try_from(bytes).unwrap_or(u64::MAX) })
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// Reads a text, or a plain number of bytes.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Number(number) => number.to_string(),
            Raw::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": Self::PATTERN,
            "maxLength": Self::MAX_LEN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1000_and_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("1k", 1000),
            ("1Ki", 1024),
            ("1.5Gi", 3 << 29),
            ("0.1", 1),
            ("20Gi", 20 << 30),
            ("16Ei", u64::MAX),
            ("99999999999999999E", u64::MAX),
        ] {
            let parsed: Quantity = text.parse().unwrap();
            assert_eq!(parsed.as_bytes(), bytes, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn a_plain_number_is_read_as_bytes() {
        assert_eq!(serde_json::from_str::<Quantity>("4096").unwrap().as_bytes(), 4096);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "Gi", "-1", "1e3", "1.Gi", ".5", "1.2.3", "1 Gi", "1gi", "1m", "111111111111111111111"] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?} was accepted");
        }
    }
}
