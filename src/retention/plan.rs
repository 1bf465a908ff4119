//! The plan for a registry: the plans of its repositories, summed.

use std::collections::BTreeMap;

use crate::oci::{Algorithm, Digest, RepositoryName, Tag};

use super::{Decision, Deletion, Limits, Policy, PolicyId, RepositoryPlan, UntaggedAction};

/// Kept references that a plan shows, at most. The status of a policy has room for twenty lines, deletions first.
const SHOWN_KEEPS: usize = 20;

/// References that a plan shows of what each other policy prevents. Enough to find out which rule it is.
const SHOWN_PREVENTED: usize = 5;

/// What a run of a policy is to delete, and a count of what stays.
#[derive(Debug, Clone)]
pub struct Plan {
    policy: PolicyId,
    run: String,
    limits: Limits,
    untagged: UntaggedAction,
    deletions: BTreeMap<RepositoryName, Vec<Deletion>>,
    kept_sample: Vec<(RepositoryName, Decision)>,
    prevented: BTreeMap<String, PreventedBy>,
    kept_by_reason: BTreeMap<&'static str, u64>,
    counts: Counts,
}

/// What another policy prevents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PreventedBy {
    /// How many references would go without it.
    pub count: u64,
    /// Some of them: `repository:tag` or `repository@digest`.
    pub sample: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    tags_in_scope: u64,
    deletes: u64,
    deleted_tags: u64,
    keeps: u64,
    protected_in_use: u64,
    unshared_bytes: u64,
}

/// A plan is larger than its policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// More tags and manifests than `maxDeletions`.
    #[error("the plan deletes {deletes} tags and manifests, and limits.maxDeletions is {limit}")]
    Deletions {
        /// How many the plan deletes.
        deletes: u64,
        /// How many it may.
        limit: u64,
    },
    /// More of the tags than `maxDeletePercent`.
    #[error(
        "the plan deletes {deleted_tags} of the {tags_in_scope} tags in its repositories, and limits.maxDeletePercent is {limit}"
    )]
    Percent {
        /// How many tags the plan deletes.
        deleted_tags: u64,
        /// How many there are.
        tags_in_scope: u64,
        /// How many of a hundred it may.
        limit: u32,
    },
}

/// Something about a plan that its reader may not expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// Tags go, and everything that they point to stays.
    #[error("this frees no space: untagged.action is Keep, so manifests stay when their tags go")]
    FreesNothing,
}

impl Plan {
    /// The plan of a run, with no repository in it yet.
    #[must_use]
    pub fn new(policy: &Policy, run: &str) -> Self {
        Self {
            policy: policy.id.clone(),
            run: run.to_owned(),
            limits: policy.limits,
            untagged: policy.untagged.action,
            deletions: BTreeMap::new(),
            kept_sample: Vec::new(),
            prevented: BTreeMap::new(),
            kept_by_reason: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Adds a repository. Each is added once; the order does not matter to counts and hash.
    pub fn add(&mut self, plan: RepositoryPlan) {
        self.counts.tags_in_scope += plan.tags_in_scope;
        self.counts.deletes += plan.deletes();
        self.counts.deleted_tags += plan.deleted_tags();
        self.counts.keeps += plan.keeps;
        self.counts.protected_in_use += plan.protected_in_use;
        for decision in &plan.kept {
            *self.kept_by_reason.entry(decision.reason.kind()).or_default() += 1;
        }
        let bytes = plan.deletions.iter().map(|deletion| deletion.unshared_bytes);
        self.counts.unshared_bytes = bytes.fold(self.counts.unshared_bytes, u64::saturating_add);
        for prevented in &plan.prevented {
            let by = self.prevented.entry(prevented.policy.clone()).or_default();
            by.count += 1;
            if by.sample.len() < SHOWN_PREVENTED {
                by.sample.push(prevented.reference.name_in(&plan.repository));
            }
        }
        let room = SHOWN_KEEPS.saturating_sub(self.kept_sample.len());
        let shown = plan.kept_sample.into_iter().take(room);
        self.kept_sample.extend(shown.map(|decision| (plan.repository.clone(), decision)));
        if !plan.deletions.is_empty() {
            self.deletions.insert(plan.repository, plan.deletions);
        }
    }

    /// The policy that runs.
    #[must_use]
    pub fn policy(&self) -> &PolicyId {
        &self.policy
    }

    /// What goes, by repository; within one, in the order in which it is to go.
    pub fn deletions(&self) -> impl Iterator<Item = (&RepositoryName, &Deletion)> {
        self.deletions.iter().flat_map(|(repository, list)| list.iter().map(move |deletion| (repository, deletion)))
    }

    /// Up to `limit` decisions, deletions first.
    pub fn sample(&self, limit: usize) -> impl Iterator<Item = (&RepositoryName, &Decision)> {
        let deletions = self.deletions().flat_map(|(name, deletion)| deletion.decisions.iter().map(move |d| (name, d)));
        deletions.chain(self.kept_sample.iter().map(|(name, decision)| (name, decision))).take(limit)
    }

    /// How many tags the policy's repositories have.
    #[must_use]
    pub fn tags_in_scope(&self) -> u64 {
        self.counts.tags_in_scope
    }

    /// How many references stop answering: tags, and manifests that had none.
    #[must_use]
    pub fn deletes(&self) -> u64 {
        self.counts.deletes
    }

    /// How many tags go.
    #[must_use]
    pub fn deleted_tags(&self) -> u64 {
        self.counts.deleted_tags
    }

    /// How many references stay.
    #[must_use]
    pub fn keeps(&self) -> u64 {
        self.counts.keeps
    }

    /// How many references stay for each [kind](super::Reason::kind) of reason.
    #[must_use]
    pub fn kept_by_reason(&self) -> &BTreeMap<&'static str, u64> {
        &self.kept_by_reason
    }

    /// How many references would go if nothing was in use.
    #[must_use]
    pub fn protected_in_use(&self) -> u64 {
        self.counts.protected_in_use
    }

    /// What would go if it was not for another policy, by that policy's `namespace/name`.
    #[must_use]
    pub fn prevented(&self) -> &BTreeMap<String, PreventedBy> {
        &self.prevented
    }

    /// Bytes that nothing in the same repository refers to once the plan is applied. Other repositories may share
    /// them.
    #[must_use]
    pub fn unshared_bytes(&self) -> u64 {
        self.counts.unshared_bytes
    }

    /// The limit of the policy that the plan is over, if it is.
    ///
    /// `maxDeletions` counts tags, and manifests that had no tag. `maxDeletePercent` looks at tags alone: of a
    /// hundred tags in the policy's repositories, so many may go.
    ///
    /// # Errors
    /// [`LimitExceeded`], the number first.
    pub fn check_limits(&self) -> Result<(), LimitExceeded> {
        let Counts { deletes, deleted_tags, tags_in_scope, .. } = self.counts;
        if deletes > self.limits.max_deletions {
            return Err(LimitExceeded::Deletions { deletes, limit: self.limits.max_deletions });
        }
        let limit = self.limits.max_delete_percent;
        if u128::from(deleted_tags) * 100 > u128::from(tags_in_scope) * u128::from(limit) {
            return Err(LimitExceeded::Percent { deleted_tags, tags_in_scope, limit });
        }
        Ok(())
    }

    /// What the reader of the plan should be told.
    #[must_use]
    pub fn remark(&self) -> Option<Remark> {
        let frees_nothing = self.counts.deletes > 0 && self.untagged == UntaggedAction::Keep;
        frees_nothing.then_some(Remark::FreesNothing)
    }

    /// A hash over the policy's UID and generation, the run, and every deletion: 64 hexadecimal characters of
    /// SHA-256.
    #[must_use]
    pub fn hash(&self) -> String {
        // Every field ends with a character that it cannot hold, so that no two plans are one text.
        let mut text = format!("{}\n{}\n{}\n", self.policy.uid, self.policy.generation, self.run);
        for (repository, deletion) in self.deletions() {
            let tags: Vec<&str> = deletion.tags.iter().map(Tag::as_str).collect();
            let Deletion { reference, digest, .. } = deletion;
            text.extend([format!("{repository} {reference} {digest} {}\n", tags.join(","))]);
        }
        Digest::of(Algorithm::Sha256, text.as_bytes()).hex().to_owned()
    }
}
