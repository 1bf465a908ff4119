//! How a controller paces itself while the API server is away.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// Six watches that fail in turn ask the API server once in three seconds each.
const PAUSE: Duration = Duration::from_millis(500);

/// The pause after an error of any of a controller's watches, always the same.
///
/// A controller merges its watches into one stream, and kube's default doubles the pause of all of them with each
/// error of one. An API server that was away for seconds breaks every watch a few times, which adds up to minutes in
/// which no watch is read after it is back.
#[derive(Debug)]
pub(super) struct TriggerBackoff;

impl Iterator for TriggerBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PAUSE)
    }
}

impl Backoff for TriggerBackoff {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_does_not_grow_with_errors() {
        assert!(TriggerBackoff.take(100).all(|pause| pause == PAUSE));
    }
}
