//! `lagan version`

use super::output;

/// Prints the program's version.
///
/// # Errors
/// If standard output cannot be written to.
pub(super) fn run() -> anyhow::Result<()> {
    output::print(&format!("lagan {}", env!("CARGO_PKG_VERSION")))
}
