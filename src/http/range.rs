//! Which bytes of a blob are asked for, and which of an upload are sent.

use std::ops::Range;

/// What a `Range` header means for content of a known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Requested {
    /// Everything: no header, or one that RFC 9110 lets a server ignore (another unit, several ranges, no grammar).
    Whole,
    /// A part.
    Part(Range<u64>),
    /// A range that the content does not have.
    Unsatisfiable,
}

impl Requested {
    /// Reads a `Range` header's value (RFC 9110, section 14.1.2).
    pub(super) fn parse(header: Option<&str>, size: u64) -> Self {
        let Some(spec) = header.and_then(|value| value.trim().strip_prefix("bytes=")) else { return Self::Whole };
        let Some((first, last)) = spec.trim().split_once('-') else { return Self::Whole };
        match (number(first), number(last)) {
            (Ok(None), Ok(Some(suffix))) => Self::suffix(suffix, size),
            (Ok(Some(first)), Ok(None)) => Self::part(first, u64::MAX, size),
            (Ok(Some(first)), Ok(Some(last))) => Self::part(first, last, size),
            _ => Self::Whole,
        }
    }

    fn suffix(length: u64, size: u64) -> Self {
        if length == 0 || size == 0 { Self::Unsatisfiable } else { Self::Part(size.saturating_sub(length)..size) }
    }

    fn part(first: u64, last: u64, size: u64) -> Self {
        // One that ends before it begins may be ignored or refused (section 14.2); OCI's conformance tests want the latter.
        if first >= size || last < first {
            return Self::Unsatisfiable;
        }
        Self::Part(first..last.saturating_add(1).min(size))
    }
}

/// A decimal number, `None` where there is none. Larger ones than 64 bits hold saturate: no content is that long.
fn number(text: &str) -> Result<Option<u64>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

/// Where the bytes of a request belong in an upload: from `start`, `len` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The offset of the first byte.
    pub(super) start: u64,
    /// How many follow.
    pub(super) len: u64,
}

impl Chunk {
    /// Reads a chunk's `Content-Range`: `<first>-<last>` as distribution-spec writes it. Clients that follow RFC 9110
    /// instead (`bytes <first>-<last>/<size>`) are understood, too.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        let value = value.strip_prefix("bytes ").or_else(|| value.strip_prefix("bytes=")).unwrap_or(value);
        let value = value.split_once('/').map_or(value, |(range, _size)| range);
        let (first, last) = value.split_once('-')?;
        let (first, last) = (number(first).ok()??, number(last).ok()??);
        let len = last.checked_sub(first)?.checked_add(1)?;
        Some(Self { start: first, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_the_grammar_are_cut_to_the_content() {
        let cases = [
            ("bytes=500-1499", Requested::Part(500..1500)),
            ("bytes=500-", Requested::Part(500..2048)),
            ("bytes=-500", Requested::Part(1548..2048)),
            ("bytes=2000-5000", Requested::Part(2000..2048)),
            ("bytes=-5000", Requested::Part(0..2048)),
            ("bytes=0-0", Requested::Part(0..1)),
            ("bytes=0-99999999999999999999999", Requested::Part(0..2048)),
            ("bytes=500-0", Requested::Unsatisfiable),
            ("bytes=2048-", Requested::Unsatisfiable),
            ("bytes=5000-10000", Requested::Unsatisfiable),
            ("bytes=-0", Requested::Unsatisfiable),
        ];
        for (header, expected) in cases {
            assert_eq!(Requested::parse(Some(header), 2048), expected, "{header}");
        }
    }

    #[test]
    fn headers_that_may_be_ignored_are() {
        for header in ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,5-6", "bytes=+1-2"] {
            assert_eq!(Requested::parse(Some(header), 2048), Requested::Whole, "{header}");
        }
        assert_eq!(Requested::parse(None, 2048), Requested::Whole);
    }

    #[test]
    fn nothing_of_empty_content_can_be_ranged() {
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(Requested::parse(Some(header), 0), Requested::Unsatisfiable, "{header}");
        }
    }

    #[test]
    fn chunks_are_read_in_both_notations() {
        let chunk = Some(Chunk { start: 10, len: 10 });
        for value in ["10-19", " 10-19 ", "bytes 10-19/30", "bytes 10-19/*", "bytes=10-19"] {
            assert_eq!(Chunk::parse(value), chunk, "{value}");
        }
        for value in ["", "-", "10", "10-", "-19", "19-10", "a-b", "0-18446744073709551615"] {
            assert_eq!(Chunk::parse(value), None, "{value}");
        }
    }
}
