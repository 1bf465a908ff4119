//! What is looked at before a text is read as YAML.

/// How many brackets may be open. YAML's reader allows 128, and needs time that grows with the square of their number to
/// come to that. Those in strings and comments count here, too, so there is room for them.
const MOST_OPEN: usize = 10_000;

/// Whether a text can be read in a time that somebody waits for.
///
/// # Errors
/// Names the line, if it is nested too deeply.
pub(super) fn check_depth(text: &str) -> Result<(), String> {
    let mut open = 0_usize;
    for (at, line) in text.lines().enumerate() {
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > MOST_OPEN {
                return Err(format!("line {}: more than {MOST_OPEN} brackets are open", at + 1));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_deeply_is_refused_at_once() {
        assert_eq!(check_depth(&"a: [{}]\n".repeat(50_000)), Ok(()));
        let deep = format!("a:\n  b: {}", "[".repeat(100_000));
        assert_eq!(check_depth(&deep).unwrap_err(), "line 2: more than 10000 brackets are open");
        assert!(check_depth(&"{\"a\":".repeat(100_000)).is_err());
    }
}
