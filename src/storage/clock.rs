//! Time, as a thing that is handed in.

use std::{fmt, time::Duration};

use futures::{
    future::{self, BoxFuture, Either},
    pin_mut,
};
use jiff::Timestamp;

/// Where the storage reads the time. Implemented by the process (`cli`) and by whoever drives time in a test.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The wall clock, for what is written down and shown.
    fn now(&self) -> Timestamp;

    /// Since some moment in the past that stays the same while the process lives. It goes on while the machine sleeps
    /// (`CLOCK_BOOTTIME`), and nobody sets it: what leases are measured by.
    fn boot_time(&self) -> Duration;

    /// Passes so much time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// What a future yields; `None` where that takes longer than `limit`.
pub(super) async fn within<T>(clock: &dyn Clock, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timer = clock.sleep(limit);
    pin_mut!(future);
    match future::select(future, timer).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(((), _)) => None,
    }
}
