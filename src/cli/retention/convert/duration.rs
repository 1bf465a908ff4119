//! Lengths of time as Go programs write them.

/// The seconds of a text such as `720h`, `1h30m` or `1.5h`, rounded up.
///
/// # Errors
/// In words, if it is none.
pub(super) fn go_seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no length of time such as 720h or 1h30m");
    if text == "0" {
        return Ok(0);
    }
    let (mut rest, mut nanoseconds) = (text, 0_f64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let (number, after) = rest.split_at_checked(end).ok_or_else(wrong)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end).ok_or_else(wrong)?;
        nanoseconds += number.parse::<f64>().map_err(|_| wrong())? * unit_nanoseconds(unit).ok_or_else(wrong)?;
        rest = after;
    }
    let seconds = (nanoseconds / 1e9).ceil();
    // What a duration here can hold; it is some thousand years.
    if text.is_empty() || !(0.0..=1e11).contains(&seconds) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and within the range above"
    )]
    Ok(seconds as u64)
}

fn unit_nanoseconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_go_reads_them() {
        for (text, seconds) in [
            ("720h", 2_592_000),
            ("1h30m", 5400),
            ("1.5h", 5400),
            ("90s", 90),
            ("100ms", 1),
            ("0", 0),
            ("0s", 0),
            ("2h0m0.5s", 7201),
        ] {
            assert_eq!(go_seconds(text), Ok(seconds), "{text}");
        }
        for text in ["", "24", "1d", "h", "-1h", "1h-", "1..2h", "999999999999999h"] {
            assert!(go_seconds(text).is_err(), "{text}");
        }
    }
}
