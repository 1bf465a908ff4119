//! Time, as a thing that is handed in.

use std::fmt;

use jiff::Timestamp;

/// Where the storage reads the time. Implemented by the process (`cli`) and by whoever drives time in a test.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The wall clock, for what is written down and shown.
    fn now(&self) -> Timestamp;
}
