//! What commands print, as a table for people or as data for programs.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// How a command that reads prints what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

impl OutputFormat {
    /// Prints `value` as data, or what `table` makes of it.
    ///
    /// # Errors
    /// If standard output cannot be written to.
    pub(super) fn print<T: Serialize>(self, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let text = match self {
            Self::Table => table(value),
            Self::Json => serde_json::to_string_pretty(value).context("could not write JSON")?,
            Self::Yaml => serde_yaml::to_string(value).context("could not write YAML")?,
        };
        print(&text)
    }
}

/// Prints a text and ends its line. A reader that has gone away, such as `head`, is no error.
///
/// # Errors
/// If standard output cannot be written to.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{}", harmless(text.trim_end())) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("could not write the output"),
        _ => Ok(()),
    }
}

/// A text for a terminal, which obeys control characters: those that others wrote are shown instead.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if is_harmful(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Prints a part of a longer text; whether somebody still reads.
///
/// # Errors
/// If standard output cannot be written to.
pub(super) fn go_on(text: &str) -> anyhow::Result<bool> {
    match io::stdout().lock().write_all(harmless(text).as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("could not write the output"),
        Ok(()) => Ok(true),
    }
}

/// So many of something, as people say it: `1 entry`, `2 entries`.
pub(super) fn counted(count: u64, one: &str) -> String {
    match (count, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {one}s"),
    }
}

/// A table without borders, as `kubectl` prints them.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_others_are_shown_and_not_obeyed() {
        assert_eq!(harmless("a\n  b\tc"), "a\n  b\tc");
        assert_eq!(harmless("\u{1b}[31mEVIL\u{7}\r\u{9b}"), "\\u{1b}[31mEVIL\\u{7}\\r\\u{9b}");
    }

    #[test]
    fn one_is_one_and_others_are_several() {
        let said = [counted(1, "entry"), counted(0, "entry"), counted(1, "blob"), counted(2, "blob")];
        assert_eq!(said, ["1 entry", "0 entries", "1 blob", "2 blobs"]);
    }
}
