//! What a run was to delete and did not, and why.

use std::collections::{BTreeSet, HashMap};

use crate::api::wire::LeftOut;
use crate::oci::{Digest, Reference, Tag};
use crate::retention::{Decision, Deletion, RepositoryPlan};

use super::candidate_list::{Allowed, references};

/// How many are told one by one; all are counted. Enough to find out what happened, and few enough for a status.
const MAX_TOLD: usize = 20;

/// How long a reason may be, in characters: those of the retention engine are a line.
const MAX_REASON_CHARS: usize = 400;

/// The first of what is left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Leavings {
    told: Vec<LeftOut>,
    /// Whether a part of the run was applied before: what is gone is not left out then.
    goes_on: bool,
}

impl Leavings {
    /// After what an earlier part of the run left out; `goes_on`: it may have deleted something.
    pub(super) fn after(told: &[LeftOut], goes_on: bool) -> Self {
        Self { told: told.to_vec(), goes_on }
    }

    /// What was left out.
    pub(super) fn told(self) -> Vec<LeftOut> {
        self.told
    }

    /// A deletion was left out.
    pub(super) fn add(&mut self, reference: &str, reason: &str) {
        let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
        let has_room = self.told.len() < MAX_TOLD;
        match self.told.iter_mut().find(|known| known.reference == reference) {
            Some(known) => known.reason = reason,
            None if has_room => self.told.push(LeftOut { reference: reference.to_owned(), reason }),
            None => {}
        }
    }

    /// It was deleted after all.
    pub(super) fn remove(&mut self, reference: &str) {
        self.told.retain(|known| known.reference != reference);
    }

    /// What the first plan of a run named in a repository, and `plan` deletes no more. `held_back` it would delete, but not
    /// as the first plan said.
    pub(super) fn compare(&mut self, named: &Allowed<'_>, plan: &RepositoryPlan, held_back: &[Deletion]) {
        let named = named.in_repository(&plan.repository);
        if named.is_empty() {
            return;
        }
        let going = plan.deletions.iter().flat_map(|deletion| {
            let digest = &deletion.digest;
            references(deletion).into_iter().map(move |tag| (tag, digest))
        });
        let going: BTreeSet<(Option<&Tag>, &Digest)> = going.collect();
        let kept: HashMap<&Reference, &Decision> = plan.kept.iter().map(|kept| (&kept.reference, kept)).collect();
        for (tag, digest) in named.into_iter().filter(|name| !going.contains(name)) {
            if self.told.len() >= MAX_TOLD {
                return;
            }
            let reference = tag.map_or_else(|| Reference::Digest(digest.clone()), |tag| Reference::Tag(tag.clone()));
            let other = held_back.iter().find(|deletion| deletion.decisions.iter().any(|it| it.reference == reference));
            let why = match (kept.get(&reference), other) {
                (Some(kept), _) => words(kept),
                (None, Some(other)) if other.digest == *digest => "more would go with it than was planned".to_owned(),
                (None, Some(other)) => format!("it points to {} by now", other.digest),
                (None, None) if self.goes_on => continue,
                (None, None) => "it is gone already".to_owned(),
            };
            self.add(&reference.name_in(&plan.repository), &why);
        }
    }
}

/// A decision's reason, and the rule that decided.
pub(super) fn words(decision: &Decision) -> String {
    match &decision.rule {
        Some(rule) => format!("rule {rule}: {}", decision.reason),
        None => decision.reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_once_and_up_to_a_bound() {
        let mut leavings = Leavings::after(&[], false);
        for number in 0..MAX_TOLD + 5 {
            leavings.add(&format!("app:t{number}"), "pulled since");
        }
        leavings.add("app:t3", &"é".repeat(MAX_REASON_CHARS + 1));
        leavings.remove("app:t0");
        let told = leavings.told();
        assert_eq!(told.len(), MAX_TOLD - 1);
        let third = told.iter().find(|left| left.reference == "app:t3").unwrap();
        assert_eq!(third.reason.chars().count(), MAX_REASON_CHARS);
    }
}
