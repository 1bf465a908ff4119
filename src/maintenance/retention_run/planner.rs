//! Plans a policy over a whole registry, a repository at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::api::wire::PolicySource;
use crate::oci::{Reference, RepositoryName};
use crate::retention::{
    ImmutableTags, Plan, Planning, Policy, PolicyId, PullsKnown, Reason, RepositoryPlan, RepositorySnapshot, Usage,
    plan_repository,
};
use crate::storage::{Catalog, on_a_thread};

use super::Error;
use super::candidate_list::Allowed;
use super::excerpt::Excerpt;
use super::left_out::Leavings;
use super::snapshot::Facts;
use super::stored_plan::PlanWriter;

/// How many names of repositories are read at a time.
const PAGE: usize = 1000;

/// How many repositories are read and planned at the same time: enough that the processors of a small machine need not wait
/// for a medium, and each of them is in memory meanwhile.
const READ_AHEAD: usize = 4;

/// What becomes of the lines of a plan.
#[derive(Debug)]
pub(super) enum PlanLines<'a, 'b> {
    /// Nobody wants them.
    Dropped,
    /// They are stored.
    Stored(&'a mut PlanWriter<'b>),
    /// Some are shown.
    Excerpt(&'a mut Excerpt),
}

/// What bounds a plan, beside the policies.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlanBounds<'a> {
    /// What is in use, by repository.
    pub(super) usage: &'a BTreeMap<RepositoryName, Usage>,
    /// What may go at all; `None`: anything.
    pub(super) allowed: Option<&'a Allowed<'a>>,
    /// What was pulled since then stays, whatever the policies ask; `None`: as they ask.
    pub(super) unpulled_since: Option<Timestamp>,
}

/// The policies of a run, ready to be planned with.
#[derive(Debug, Clone)]
pub(super) struct Planner {
    policies: Arc<[Policy]>,
    running: PolicyId,
    restore_window: Duration,
    immutable: Arc<ImmutableTags>,
}

impl Planner {
    /// Compiles policies, to run the one with this UID.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`]: a policy that does not compile blocks all deletion in its registry; or the one
    /// that is to run is not among them.
    pub(super) fn new(
        running: &str,
        policies: &[PolicySource],
        restore_window: Duration,
        immutable: Arc<ImmutableTags>,
    ) -> Result<Self, Error> {
        let policies = policies.iter().map(compile).collect::<Result<Arc<[Policy]>, Error>>()?;
        let mut uids = BTreeSet::new();
        if let Some(twice) = policies.iter().find(|policy| !uids.insert(&policy.id.uid)) {
            let reason = format!("two of the policies have UID {:?}: each is to be sent once", twice.id.uid);
            return Err(Error::InvalidRequest { reason });
        }
        let running = policies.iter().find(|policy| policy.id.uid == running).ok_or_else(|| Error::InvalidRequest {
            reason: format!("the policy with UID {running:?} is not among policies"),
        })?;
        let running = running.id.clone();
        Ok(Self { policies, running, restore_window, immutable })
    }

    /// The policy that runs.
    ///
    /// # Errors
    /// Never: [`Self::new`] found it.
    pub(super) fn running(&self) -> Result<&Policy, Error> {
        let running = self.policies.iter().find(|policy| policy.id == self.running);
        running.ok_or_else(|| Error::InvalidRequest { reason: "the policy that runs is gone".into() })
    }

    /// Which policies hold an image, whether or not it is there, and how they say so.
    pub(super) fn held(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        now: Timestamp,
    ) -> Vec<(PolicyId, Reason)> {
        let holds = |policy: &Policy| {
            let mut active = policy.holds.iter().filter(|hold| hold.is_active(now));
            let hold = active.find(|hold| hold.repository == *repository && hold.reference == *reference)?;
            let (by, why) = (policy.id.to_string(), hold.reason.clone());
            Some((policy.id.clone(), Reason::Held { policy: by, until: hold.until, why }))
        };
        self.policies.iter().filter_map(holds).collect()
    }

    /// Plans every repository that the policy names, some at a time, and hands on the lines in the order of their names.
    /// `left_out` is told what may go and does not.
    ///
    /// # Errors
    /// [`Error::Storage`]: what could not be read is not known, so there is no plan.
    pub(super) async fn plan(
        &self,
        catalog: &Catalog,
        run: &str,
        now: Timestamp,
        bounds: &PlanBounds<'_>,
        mut lines: PlanLines<'_, '_>,
        mut left_out: Option<&mut Leavings>,
    ) -> Result<Plan, Error> {
        let running = self.running()?;
        let facts = self.facts(catalog, bounds.unpulled_since.is_some()).await?;
        let mut plan = Plan::new(running, run);
        let mut after: Option<RepositoryName> = None;
        loop {
            let page = catalog.repositories(after.as_ref().map(RepositoryName::as_str), PAGE).await;
            let page = page.map_err(|source| Error::Storage { action: "list the repositories", source })?;
            let named = page.entries.iter().filter(|name| running.repositories.matches(name));
            let planned: Vec<_> = named.map(|name| self.plan_named(catalog, &facts, name, now, bounds)).collect();
            let mut planned = stream::iter(planned).buffered(READ_AHEAD);
            while let Some(repository) = planned.next().await {
                let mut repository = repository?;
                let held_back = bounds.allowed.map(|allowed| allowed.restrict(&mut repository)).unwrap_or_default();
                if let (Some(left_out), Some(allowed)) = (&mut left_out, bounds.allowed) {
                    left_out.compare(allowed, &repository, &held_back);
                }
                match &mut lines {
                    PlanLines::Dropped => {}
                    PlanLines::Stored(writer) => writer.add(&repository, &held_back).await?,
                    PlanLines::Excerpt(excerpt) => excerpt.add(&repository),
                }
                plan.add(repository);
            }
            drop(planned);
            match page.entries.into_iter().last() {
                Some(last) if page.more => after = Some(last),
                _ => return Ok(plan),
            }
        }
    }

    /// Reads one repository, and plans it.
    async fn plan_named(
        &self,
        catalog: &Catalog,
        facts: &Facts,
        name: &RepositoryName,
        now: Timestamp,
        bounds: &PlanBounds<'_>,
    ) -> Result<RepositoryPlan, Error> {
        let snapshot = facts.snapshot(&catalog.repository(name)).await;
        let snapshot = snapshot.map_err(|source| Error::Storage { action: "read a repository", source })?;
        let mut usage = bounds.usage.get(name).cloned().unwrap_or_default();
        if let Some(since) = bounds.unpulled_since {
            add_pulled(&mut usage, &snapshot, since);
        }
        self.plan_one(&self.running, Arc::new(snapshot), usage, now).await
    }

    /// What each policy would decide about one repository, if nothing was in use.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn verdicts(
        &self,
        catalog: &Catalog,
        name: &RepositoryName,
        now: Timestamp,
    ) -> Result<Vec<(PolicyId, RepositoryPlan)>, Error> {
        let facts = self.facts(catalog, false).await?;
        let snapshot = facts.snapshot(&catalog.repository(name)).await;
        let snapshot = Arc::new(snapshot.map_err(|source| Error::Storage { action: "read a repository", source })?);
        let mut verdicts = Vec::new();
        for policy in self.policies.iter().filter(|policy| policy.repositories.matches(name)) {
            let plan = self.plan_one(&policy.id, Arc::clone(&snapshot), Usage::nothing(), now).await?;
            verdicts.push((policy.id.clone(), plan));
        }
        Ok(verdicts)
    }

    async fn facts(&self, catalog: &Catalog, with_pulls: bool) -> Result<Facts, Error> {
        let facts = Facts::asked_by(&self.policies, catalog, with_pulls).await;
        facts.map_err(|source| Error::Storage { action: "read what was pulled", source })
    }

    async fn plan_one(
        &self,
        running: &PolicyId,
        snapshot: Arc<RepositorySnapshot>,
        usage: Usage,
        now: Timestamp,
    ) -> Result<RepositoryPlan, Error> {
        let (planner, running, name) = (self.clone(), running.clone(), snapshot.repository.clone());
        // A repository may have 100,000 tags: not on a thread that answers requests.
        let task = on_a_thread(move || {
            let Planner { policies, restore_window, immutable, .. } = &planner;
            let planning = Planning::new(policies, &running, *restore_window, now)?.with_immutable(immutable);
            Some(plan_repository(&planning, &snapshot, &usage))
        });
        let plan = task.await.ok().flatten();
        plan.ok_or_else(|| Error::InvalidRequest { reason: format!("repository {name} could not be planned") })
    }
}

/// What was pulled since an approved plan was made is in use: whoever approved it could not know. What is not known of
/// pulls counts as pulled.
fn add_pulled(usage: &mut Usage, snapshot: &RepositorySnapshot, since: Timestamp) {
    let missing = match snapshot.pulls {
        PullsKnown::All => None,
        PullsKnown::Until(missing) => Some(missing),
        PullsKnown::Nothing => Some(Timestamp::MAX),
    };
    let words = |at: Option<Timestamp>| match (at.filter(|at| *at > since), missing.filter(|at| *at > since)) {
        (Some(at), _) => Some(format!("pulled at {at}, after the plan was made")),
        (None, Some(_)) => Some("it is not known what was pulled after the plan was made".to_owned()),
        (None, None) => None,
    };
    for tag in &snapshot.tags {
        usage.tags.extend(words(tag.pulled_at).map(|words| (tag.tag.clone(), words)));
    }
    for manifest in &snapshot.manifests {
        usage.digests.extend(words(manifest.pulled_at).map(|words| (manifest.digest.clone(), words)));
    }
}

fn compile(source: &PolicySource) -> Result<Policy, Error> {
    Policy::try_from(source).map_err(|invalid| Error::InvalidRequest {
        reason: format!("policy {}/{} is invalid: {invalid}", source.namespace, source.name),
    })
}
