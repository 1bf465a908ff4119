//! What becomes of one request to the store.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// The store has not begun with it, and says so.
    Refused,
    /// It does not arrive.
    Lost,
    /// It takes effect, so much later than others, and its answer gets lost.
    Unanswered(Duration),
    /// An error of the medium, before anything was done.
    Broken,
    /// An error of the medium, after it was done.
    BrokenAfter,
    /// The disk is full.
    Full,
}

impl Fate {
    /// Whether it takes effect.
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::Answered | Self::Unanswered(_) | Self::BrokenAfter)
    }
}

/// What is asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Read(&'static str),
    Write(&'static str),
    Removal(&'static str),
}

impl Request {
    pub(super) fn name(self) -> &'static str {
        let (Self::Read(name) | Self::Write(name) | Self::Removal(name)) = self;
        name
    }

    pub(super) fn is_read(self) -> bool {
        matches!(self, Self::Read(_))
    }
}

/// The one request that goes wrong, in a world where nothing else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    /// Whose request.
    pub(super) address: String,
    /// Whether it is one that reads, or one that writes.
    pub(super) is_read: bool,
    /// What its path contains.
    pub(super) path: &'static str,
    /// How many others come before it.
    pub(super) after: u32,
    pub(super) fate: Fate,
}

/// Waits for the request of a point.
#[derive(Debug, Default)]
pub(super) struct Trap(Mutex<Option<Point>>);

impl Trap {
    pub(super) fn set(&self, point: Option<Point>) {
        *self.point() = point;
    }

    /// Whether its request has not come.
    pub(super) fn is_set(&self) -> bool {
        self.point().is_some()
    }

    /// What becomes of a request.
    pub(super) fn fate(&self, address: &str, request: Request, path: &str) -> Option<Fate> {
        let mut point = self.point();
        let is_meant =
            |point: &Point| point.address == address && point.is_read == request.is_read() && path.contains(point.path);
        let meant = point.as_mut().filter(|point| is_meant(point))?;
        if meant.after > 0 {
            meant.after -= 1;
            return None;
        }
        point.take().map(|point| point.fate)
    }

    fn point(&self) -> MutexGuard<'_, Option<Point>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
