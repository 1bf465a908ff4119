//! Steps: what one process does next, and the state that it leads to.

use std::fmt;

use crate::state::State;

/// One step of one process.
#[derive(Clone, PartialEq)]
pub struct Step {
    /// The process.
    pub who: &'static str,
    /// What it does.
    pub what: &'static str,
    /// The replica that the step is about.
    pub replica: Option<u8>,
    /// Time or a process brings it about; if only other steps are left, somebody waits for ever.
    pub progress: bool,
    /// What comes of it.
    pub to: State,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.who, self.what)?;
        self.replica.map_or(Ok(()), |replica| write!(f, " (r{replica})"))
    }
}

/// The steps that may follow one state.
pub struct Steps<'a> {
    /// That state.
    pub from: &'a State,
    /// The steps found so far.
    pub next: &'a mut Vec<Step>,
}

impl Steps<'_> {
    /// A step that comes, sooner or later.
    pub fn go(&mut self, who: &'static str, what: &'static str, replica: usize, change: impl FnOnce(&mut State)) {
        self.add(who, what, Some(replica as u8), true, change);
    }

    /// A step that may never come.
    pub fn maybe(&mut self, what: &'static str, replica: Option<u8>, change: impl FnOnce(&mut State)) {
        self.add("world", what, replica, false, change);
    }

    fn add(
        &mut self,
        who: &'static str,
        what: &'static str,
        replica: Option<u8>,
        progress: bool,
        change: impl FnOnce(&mut State),
    ) {
        let mut to = *self.from;
        change(&mut to);
        self.next.push(Step { who, what, replica, progress, to });
    }
}
