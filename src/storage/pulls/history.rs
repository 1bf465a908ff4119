//! When what was pulled last.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::{Reference, RepositoryName};

/// When each reference was pulled last, as far as that is known.
///
/// It says when, and not by whom: nothing of a client is kept. Times are whole seconds, rounded up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullHistory {
    /// Until then pulls are missing: everything may have been pulled at that second.
    #[serde(skip_serializing_if = "Option::is_none")]
    everything_at: Option<i64>,
    pulls: HashMap<RepositoryName, HashMap<Reference, i64>>,
}

impl PullHistory {
    /// When a reference was pulled last; `None` where no pull of it is known.
    #[must_use]
    pub fn pulled_at(&self, repository: &RepositoryName, reference: &Reference) -> Option<Timestamp> {
        let second = self.pulls.get(repository)?.get(reference)?;
        Timestamp::from_second(*second).ok()
    }

    /// Until when pulls are missing, so that anything may have been pulled then; `None` where none are.
    #[must_use]
    pub fn missing_until(&self) -> Option<Timestamp> {
        self.everything_at.and_then(|second| Timestamp::from_second(second).ok())
    }

    /// Notes a pull. An earlier one than what is known changes nothing.
    pub(super) fn note(&mut self, repository: &RepositoryName, reference: &Reference, at: Timestamp) -> Noted {
        let second = rounded_up(at);
        let of_repository = match self.pulls.get_mut(repository) {
            Some(known) => known,
            None => self.pulls.entry(repository.clone()).or_default(),
        };
        if let Some(known) = of_repository.get_mut(reference) {
            *known = second.max(*known);
            Noted::Known
        } else {
            of_repository.insert(reference.clone(), second);
            Noted::New
        }
    }

    /// Whether a pull of the reference is known.
    pub(super) fn knows(&self, repository: &RepositoryName, reference: &Reference) -> bool {
        self.pulls.get(repository).is_some_and(|known| known.contains_key(reference))
    }

    /// Notes that pulls until `at` are missing.
    pub(super) fn note_missing(&mut self, at: Timestamp) {
        self.everything_at = self.everything_at.max(Some(rounded_up(at)));
    }

    /// Takes in what another one knows: of each reference the later pull.
    pub(super) fn merge(&mut self, other: Self) {
        self.everything_at = self.everything_at.max(other.everything_at);
        if self.pulls.is_empty() {
            self.pulls = other.pulls;
            return;
        }
        for (repository, references) in other.pulls {
            let of_repository = self.pulls.entry(repository).or_default();
            for (reference, second) in references {
                let known = of_repository.entry(reference).or_insert(second);
                *known = second.max(*known);
            }
        }
    }

    /// How many references it knows of.
    pub(super) fn len(&self) -> usize {
        self.pulls.values().map(HashMap::len).sum()
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.everything_at.is_none() && self.pulls.is_empty()
    }

    /// What was not pulled after `moment`.
    pub(super) fn not_since(&self, moment: Timestamp) -> Vec<(RepositoryName, Reference)> {
        let second = moment.as_second();
        let all = self.pulls.iter().flat_map(|(name, references)| references.iter().map(move |entry| (name, entry)));
        let old = all.filter(|(_, (_, at))| **at <= second);
        old.map(|(name, (reference, _))| (name.clone(), reference.clone())).collect()
    }

    /// Forgets a reference.
    pub(super) fn forget(&mut self, repository: &RepositoryName, reference: &Reference) {
        if let Some(references) = self.pulls.get_mut(repository) {
            references.remove(reference);
            if references.is_empty() {
                self.pulls.remove(repository);
            }
        }
    }
}

/// Whether a pull was of something that no pull was known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// One was.
    Known,
    /// None was.
    New,
}

/// A pull must not seem earlier than it was.
fn rounded_up(at: Timestamp) -> i64 {
    at.as_second() + i64::from(at.subsec_nanosecond() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn app() -> RepositoryName {
        "app".parse().unwrap()
    }

    fn history(pulls: &[(&str, i64)]) -> PullHistory {
        let mut history = PullHistory::default();
        for (reference, second) in pulls {
            history.note(&app(), &reference.parse().unwrap(), at(*second));
        }
        history
    }

    #[test]
    fn of_two_pulls_the_later_one_counts_whichever_comes_first() {
        let (mut a, mut b) = (history(&[("v1", 10), ("v2", 20)]), history(&[("v1", 15), ("v3", 5)]));
        let (a_before, b_before) = (a.clone(), b.clone());
        a.merge(b_before);
        b.merge(a_before);
        assert_eq!(a, b);
        assert_eq!(a, history(&[("v1", 15), ("v2", 20), ("v3", 5), ("v1", 2)]));
        assert_eq!(a.len(), 3);
    }

    #[test]
    fn a_part_of_a_second_counts_as_a_whole_one() {
        let mut history = PullHistory::default();
        let v1: Reference = "v1".parse().unwrap();
        history.note(&app(), &v1, Timestamp::from_millisecond(10_001).unwrap());
        assert_eq!(history.pulled_at(&app(), &v1), Some(at(11)));
        assert_eq!(history.pulled_at(&app(), &"v2".parse().unwrap()), None);
    }

    #[test]
    fn what_is_missing_is_missing_until_the_latest_time() {
        let mut one = PullHistory::default();
        assert_eq!((one.missing_until(), one.is_empty()), (None, true));
        one.note_missing(at(30));
        let mut other = PullHistory::default();
        other.note_missing(at(20));
        one.merge(other);
        assert_eq!((one.missing_until(), one.is_empty()), (Some(at(30)), false));
    }

    #[test]
    fn it_survives_the_way_through_json() {
        let mut history = history(&[("v1", 10), (&format!("sha256:{}", "0".repeat(64)), 20)]);
        history.note_missing(at(5));
        let text = serde_json::to_string(&history).unwrap();
        assert_eq!(serde_json::from_str::<PullHistory>(&text).unwrap(), history);
    }

    #[test]
    fn what_is_forgotten_is_as_if_it_had_never_been() {
        let mut history = history(&[("v1", 10), ("v2", 20)]);
        assert_eq!(history.not_since(at(10)), [(app(), "v1".parse().unwrap())]);
        history.forget(&app(), &"v1".parse().unwrap());
        history.forget(&app(), &"v2".parse().unwrap());
        assert_eq!(history, PullHistory::default());
    }
}
