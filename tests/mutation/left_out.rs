
/// Whether a protective step is to be left out, for the tests that have to notice.
pub(crate) fn left_out(step: &str) -> bool {
    static LEFT_OUT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    LEFT_OUT.get_or_init(|| std::env::var("LAGAN_LEAVE_OUT").ok()).as_deref() == Some(step)
}
