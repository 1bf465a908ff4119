//! Exploring a model from end to end, or until something is wrong.

use std::{collections::BTreeMap, fmt, hash::Hash};

use stateright::{Checker, HasDiscoveries, Model};

/// What came of it.
pub struct Outcome {
    /// How many states were seen.
    pub states: usize,
    /// By the property that does not hold, the steps that lead there.
    pub violations: BTreeMap<&'static str, Vec<String>>,
}

/// Explores all that can happen, breadth first, on one thread: so the traces are short, and the same each time.
pub fn explore<M>(model: M) -> Outcome
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Clone + PartialEq + fmt::Debug,
{
    let checker = model.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let trace = |path: stateright::Path<M::State, M::Action>| {
        path.into_actions().iter().map(|action| checker.model().format_action(action)).collect()
    };
    let violations = checker.discoveries().into_iter().map(|(property, path)| (property, trace(path))).collect();
    Outcome { states: checker.unique_state_count(), violations }
}

impl Outcome {
    /// One line, for a table.
    #[must_use]
    pub fn line(&self, title: &str) -> String {
        let verdict = match self.violations.iter().next() {
            None => String::from("holds"),
            Some((property, trace)) => format!("violated after {} steps: {property}", trace.len()),
        };
        format!("{title:<46} {:>9} states  {verdict}", self.states)
    }

    /// How each violation comes about, step by step.
    #[must_use]
    pub fn traces(&self) -> String {
        let of = |(property, trace): (&&str, &Vec<String>)| format!("{property}\n    {}\n", trace.join("\n    "));
        self.violations.iter().map(of).collect()
    }
}
