//! Waiting until something is so.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Longer than anything takes on a busy machine of two cores; what is so is seen at once.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often to look. Each look runs a program or two.
const PAUSE: Duration = Duration::from_millis(200);

/// Tries until an attempt succeeds, and returns what it gave.
///
/// # Panics
///
/// With the last attempt's complaint, when two minutes have passed.
pub(crate) fn eventually<T>(what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, attempt)
}

/// [`eventually`], with a limit of its own.
pub(crate) fn eventually_within<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(complaint) if began.elapsed() >= limit => {
                panic!("not so after {limit:?}: {what}\nthe last attempt: {complaint}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
