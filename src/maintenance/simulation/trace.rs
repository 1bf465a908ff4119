//! What happened, in order: a number that two runs of a seed have in common, and the last lines of it for a reader.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How many lines are kept for a reader, where `LAGAN_STEPS` does not say.
const KEPT: usize = 400;

/// A record of a run.
#[derive(Debug)]
pub(super) struct Trace(Mutex<State>);

#[derive(Debug)]
struct State {
    hash: u64,
    steps: u64,
    /// Only where somebody will read them: writing them takes longer than all the rest.
    lines: Option<VecDeque<String>>,
    kept: usize,
}

impl Trace {
    pub(super) fn new(is_kept: bool) -> Self {
        // FNV-1a, with its own constants.
        let kept = std::env::var("LAGAN_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(KEPT);
        let state = State { hash: 0xcbf2_9ce4_8422_2325, steps: 0, lines: is_kept.then(VecDeque::new), kept };
        Self(Mutex::new(state))
    }

    /// Notes what somebody did, with what, and what came of it.
    pub(super) fn note(&self, now: Duration, who: &str, did: &str, what: &str, came: &dyn fmt::Display) {
        let mut state = self.state();
        state.steps += 1;
        let millis = u64::try_from(now.as_millis()).unwrap_or_default();
        let mut hash = state.hash;
        let words = [who.as_bytes(), did.as_bytes(), what.as_bytes()];
        for byte in millis.to_le_bytes().iter().chain(words.into_iter().flatten()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        state.hash = hash;
        let kept = state.kept;
        if let Some(lines) = &mut state.lines {
            if lines.len() >= kept {
                lines.pop_front();
            }
            let line = format!("{:>9.3} {who:<8} {did} {what} {came}", now.as_secs_f64());
            lines.push_back(shortened(&line));
        }
    }

    /// What two runs of one seed agree on.
    pub(super) fn hash(&self) -> (u64, u64) {
        let state = self.state();
        (state.hash, state.steps)
    }

    pub(super) fn text(&self) -> String {
        let state = self.state();
        state.lines.iter().flatten().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of each digest the first characters.
fn shortened(line: &str) -> String {
    let mut short = String::new();
    let mut digits = 0;
    for character in line.chars() {
        digits = if character.is_ascii_hexdigit() { digits + 1 } else { 0 };
        if digits <= 10 {
            short.push(character);
        }
    }
    short.replace("docker/registry/v2/", "").replace("Algorithm::", "")
}
