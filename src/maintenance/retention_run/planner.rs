//! Plans a policy over a whole registry, a repository at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::api::wire::{PolicySource, RunRequest};
use crate::oci::RepositoryName;
use crate::retention::{ImmutableTags, Plan, Planning, Policy, PolicyId, RepositoryPlan, Usage, plan_repository};
use crate::storage::{Catalog, on_a_thread};

use super::Error;
use super::snapshot::Facts;

/// How many names of repositories are read at a time.
const PAGE: usize = 1000;

/// The policies of a run, ready to be planned with.
#[derive(Debug, Clone)]
pub(super) struct Planner {
    policies: Arc<[Policy]>,
    running: PolicyId,
    restore_window: Duration,
    immutable: Arc<ImmutableTags>,
}

impl Planner {
    /// Compiles the policies of a request.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`]: a policy that does not compile blocks all deletion in its registry; or the one
    /// that is to run is not among them.
    pub(super) fn new(
        request: &RunRequest,
        restore_window: Duration,
        immutable: Arc<ImmutableTags>,
    ) -> Result<Self, Error> {
        let policies = request.policies.iter().map(compile).collect::<Result<Arc<[Policy]>, Error>>()?;
        let mut uids = BTreeSet::new();
        if let Some(twice) = policies.iter().find(|policy| !uids.insert(&policy.id.uid)) {
            let reason = format!("two of the policies have UID {:?}: each is to be sent once", twice.id.uid);
            return Err(Error::InvalidRequest { reason });
        }
        let running = policies.iter().find(|policy| policy.id.uid == request.policy).ok_or_else(|| {
            Error::InvalidRequest { reason: format!("the policy with UID {:?} is not among policies", request.policy) }
        })?;
        let running = running.id.clone();
        Ok(Self { policies, running, restore_window, immutable })
    }

    /// The policy that runs; `None` never happens, for [`Self::new`] found it.
    pub(super) fn running(&self) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.id == self.running)
    }

    /// Plans every repository that the policy names.
    ///
    /// `adjust` may drop deletions from a repository's plan before it is added.
    ///
    /// # Errors
    /// [`Error::Storage`]: what could not be read is not known, so there is no plan.
    pub(super) async fn plan(
        &self,
        catalog: &Catalog,
        run: &str,
        now: Timestamp,
        usage: &BTreeMap<RepositoryName, Usage>,
        adjust: impl Fn(&mut RepositoryPlan) + Send,
    ) -> Result<Plan, Error> {
        let Some(running) = self.running() else {
            return Err(Error::InvalidRequest { reason: "the policy that runs is gone".into() });
        };
        let facts = Facts::asked_by(&self.policies, catalog).await;
        let facts = facts.map_err(|source| Error::Storage { action: "read what was pulled", source })?;
        let mut plan = Plan::new(running, run);
        let mut after: Option<RepositoryName> = None;
        loop {
            let page = catalog.repositories(after.as_ref().map(RepositoryName::as_str), PAGE).await;
            let page = page.map_err(|source| Error::Storage { action: "list the repositories", source })?;
            for name in page.entries.iter().filter(|name| running.repositories.matches(name)) {
                let mut repository = self.plan_one(catalog, &facts, name, now, usage.get(name)).await?;
                adjust(&mut repository);
                plan.add(repository);
            }
            match page.entries.into_iter().last() {
                Some(last) if page.more => after = Some(last),
                _ => return Ok(plan),
            }
        }
    }

    async fn plan_one(
        &self,
        catalog: &Catalog,
        facts: &Facts,
        name: &RepositoryName,
        now: Timestamp,
        usage: Option<&Usage>,
    ) -> Result<RepositoryPlan, Error> {
        let snapshot = facts.snapshot(&catalog.repository(name)).await;
        let snapshot = snapshot.map_err(|source| Error::Storage { action: "read a repository", source })?;
        let planner = self.clone();
        let usage = usage.cloned().unwrap_or_default();
        // A repository may have 100,000 tags: not on a thread that answers requests.
        let task = on_a_thread(move || {
            let Planner { policies, running, restore_window, immutable } = &planner;
            let planning = Planning::new(policies, running, *restore_window, now)?.with_immutable(immutable);
            Some(plan_repository(&planning, &snapshot, &usage))
        });
        let plan = task.await.ok().flatten();
        plan.ok_or_else(|| Error::InvalidRequest { reason: format!("repository {name} could not be planned") })
    }
}

fn compile(source: &PolicySource) -> Result<Policy, Error> {
    Policy::try_from(source).map_err(|invalid| Error::InvalidRequest {
        reason: format!("policy {}/{} is invalid: {invalid}", source.namespace, source.name),
    })
}
