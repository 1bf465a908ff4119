//! How runs ended whose end is not in their policy's status yet.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::run::Ending;

/// How runs ended whose end is not in their policy's status yet, because the API server could not be reached.
///
/// A run that ended because the cluster could not be listed would otherwise, once the API server is back, look as if
/// it were still waiting for the list. Of a process that dies in between that is so: its run goes on, with a new list.
#[derive(Debug, Default)]
pub struct Endings {
    by_run: Mutex<HashMap<String, Ending>>,
}

impl Endings {
    /// Remembers how a run ended.
    pub(super) fn remember(&self, run: &str, ending: Ending) {
        self.lock().insert(run.to_owned(), ending);
    }

    /// How a run ended, if the status does not say it yet.
    pub(super) fn of(&self, run: &str) -> Option<Ending> {
        self.lock().get(run).cloned()
    }

    /// The status says it.
    pub(super) fn forget(&self, run: &str) {
        self.lock().remove(run);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Ending>> {
        // Each change is one call of the map: there is no half of one to see.
        self.by_run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
