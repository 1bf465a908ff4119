//! What the first plan of a run would delete.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::api::wire::{Candidate, InUse};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::retention::{Deletion, Plan, RepositoryPlan, Usage};

/// A candidate as it is kept between planning and applying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    candidate: Candidate,
    /// Whether the manifest was to go too, not only the tag.
    takes_manifest: bool,
}

/// The candidates of a run, by index.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct CandidateList(Vec<Planned>);

impl CandidateList {
    /// One candidate for each reference that the plan would delete.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut list = Vec::new();
        for (repository, deletion) in plan.deletions() {
            for tag in references(deletion) {
                // More candidates than an index can count cannot be handed out: they are not deleted.
                let Ok(index) = u32::try_from(list.len()) else { return Self(list) };
                let candidate = Candidate {
                    index,
                    repository: repository.clone(),
                    tag: tag.cloned(),
                    digest: deletion.digest.clone(),
                    closure: deletion.closure.clone(),
                };
                list.push(Planned { candidate, takes_manifest: deletion.takes_manifest() });
            }
        }
        Self(list)
    }

    /// Those that a later plan would still delete, by their old numbers: who has read the longer list means the same by
    /// them.
    pub(super) fn narrowed(&self, plan: &Plan) -> Self {
        let mut left: HashMap<(&RepositoryName, Option<&Tag>, &Digest), bool> = HashMap::new();
        for (repository, deletion) in plan.deletions() {
            for tag in references(deletion) {
                left.insert((repository, tag, &deletion.digest), deletion.takes_manifest());
            }
        }
        let narrowed = self.0.iter().filter_map(|Planned { candidate, takes_manifest }| {
            let takes = left.get(&(&candidate.repository, candidate.tag.as_ref(), &candidate.digest))?;
            Some(Planned { candidate: candidate.clone(), takes_manifest: *takes_manifest && *takes })
        });
        Self(narrowed.collect())
    }

    /// The tags that would go, and what each points to.
    pub(super) fn tags(&self) -> impl Iterator<Item = (&RepositoryName, &Tag, &Digest)> {
        let candidates = self.0.iter().map(|planned| &planned.candidate);
        candidates.filter_map(|candidate| Some((&candidate.repository, candidate.tag.as_ref()?, &candidate.digest)))
    }

    /// At most `limit` candidates after the one of index `after`, and whether more follow.
    pub(super) fn page(&self, after: Option<u32>, limit: usize) -> (Vec<Candidate>, bool) {
        let first = after.map_or(0, |after| self.0.partition_point(|planned| planned.candidate.index <= after));
        let rest = self.0.get(first..).unwrap_or_default();
        let page = rest.iter().take(limit).map(|planned| planned.candidate.clone()).collect();
        (page, rest.len() > limit)
    }

    /// What is in use, by repository.
    ///
    /// # Errors
    /// The first index that no candidate has.
    pub(super) fn usage(&self, in_use: &[InUse]) -> Result<BTreeMap<RepositoryName, Usage>, u32> {
        let mut by_repository: BTreeMap<RepositoryName, Usage> = BTreeMap::new();
        for InUse { candidate: index, reason } in in_use {
            let at = self.0.binary_search_by_key(index, |planned| planned.candidate.index);
            let Planned { candidate, .. } = at.ok().and_then(|at| self.0.get(at)).ok_or(*index)?;
            let usage = by_repository.entry(candidate.repository.clone()).or_default();
            usage.digests.entry(candidate.digest.clone()).or_insert_with(|| reason.clone());
            if let Some(tag) = &candidate.tag {
                usage.tags.entry(tag.clone()).or_insert_with(|| reason.clone());
            }
        }
        Ok(by_repository)
    }

    /// What may still be deleted, for quick look-ups.
    pub(super) fn allowed(&self) -> Allowed<'_> {
        let mut allowed = Allowed::default();
        for Planned { candidate, takes_manifest } in &self.0 {
            let of_repository = allowed.0.entry(&candidate.repository).or_default();
            of_repository.references.insert((candidate.tag.as_ref(), &candidate.digest));
            if *takes_manifest {
                of_repository.manifests.insert(&candidate.digest);
            }
        }
        allowed
    }
}

/// The references of a deletion: its tags, or the manifest itself where it has none.
pub(super) fn references(deletion: &Deletion) -> Vec<Option<&Tag>> {
    if deletion.tags.is_empty() { vec![None] } else { deletion.tags.iter().map(Some).collect() }
}

/// What the first plan named. A later plan may only take from it.
#[derive(Debug, Default)]
pub(super) struct Allowed<'a>(HashMap<&'a RepositoryName, AllowedIn<'a>>);

#[derive(Debug, Default)]
struct AllowedIn<'a> {
    references: HashSet<(Option<&'a Tag>, &'a Digest)>,
    manifests: HashSet<&'a Digest>,
}

impl Allowed<'_> {
    /// Drops from a later plan what the first one did not name, and hands it back.
    pub(super) fn restrict(&self, plan: &mut RepositoryPlan) -> Vec<Deletion> {
        let allowed = self.0.get(&plan.repository);
        let (named, new) =
            std::mem::take(&mut plan.deletions).into_iter().partition(|d| allowed.is_some_and(|a| a.contains(d)));
        plan.deletions = named;
        new
    }

    /// What the first plan named in a repository, in order.
    pub(super) fn in_repository(&self, name: &RepositoryName) -> Vec<(Option<&Tag>, &Digest)> {
        let mut named: Vec<_> =
            self.0.get(name).into_iter().flat_map(|allowed| allowed.references.iter().copied()).collect();
        named.sort_unstable();
        named
    }

    /// How many references of the first plan a later one does not delete, those in use aside.
    pub(super) fn len(&self) -> u64 {
        self.0.values().map(|allowed| allowed.references.len() as u64).sum()
    }
}

impl AllowedIn<'_> {
    fn contains(&self, deletion: &Deletion) -> bool {
        let named = references(deletion).into_iter().all(|tag| self.references.contains(&(tag, &deletion.digest)));
        named && (!deletion.takes_manifest() || self.manifests.contains(&deletion.digest))
    }
}
