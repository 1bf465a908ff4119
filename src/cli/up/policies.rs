//! Runs a registry's policies on their schedules, and restores what they hold. Nothing is in use here.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::v1alpha1::{Mode, PlanDecision};
use crate::api::wire::{ApplyRequest, PolicySource, RunRequest, RunState, RunStatus};
use crate::cli::clock::SystemClock;
use crate::cli::output;
use crate::cli::registry::OpenRegistry;
use crate::maintenance::{PolicyClock, RunId};
use crate::oci::{Algorithm, Digest};
use crate::retention::{Due, Policy};
use crate::storage::{Clock, Conflict, Error};

use super::site::SitePolicy;

/// How long to sleep at most: a machine that was suspended, or whose clock was set, is then no later than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The policies of one registry.
#[derive(Debug)]
pub(super) struct PolicyLoop<'a> {
    registry: &'a OpenRegistry,
    policies: Vec<SitePolicy>,
    clocks: BTreeMap<String, PolicyClock>,
}

impl<'a> PolicyLoop<'a> {
    /// Runs policies until `stop` is cancelled; they may change meanwhile.
    pub(super) async fn run(
        registry: &'a OpenRegistry,
        mut policies: watch::Receiver<Vec<SitePolicy>>,
        stop: &CancellationToken,
    ) {
        let mut policy_loop = Self { registry, policies: Vec::new(), clocks: BTreeMap::new() };
        policies.mark_changed();
        loop {
            let sleep = tokio::select! {
                () = stop.cancelled() => return,
                sleep = policy_loop.step(&mut policies) => sleep,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                // An error says that the policies never change again; then the schedules alone count.
                Ok(()) = policies.changed() => policies.mark_changed(),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Does what is due, and answers how long nothing is.
    async fn step(&mut self, policies: &mut watch::Receiver<Vec<SitePolicy>>) -> Duration {
        if policies.has_changed().unwrap_or(false) {
            let changed = policies.borrow_and_update().clone();
            self.change(changed).await;
        }
        let mut sleep = LONGEST_SLEEP;
        for policy in self.policies.clone() {
            if policy.source.spec.suspend {
                continue;
            }
            let now = SystemClock.now();
            match self.clocks.get(&policy.source.uid).map_or(Due::Never, |clock| clock.due(now)) {
                Due::Now(scheduled) => {
                    if let Some(clock) = self.clocks.get_mut(&policy.source.uid) {
                        clock.handle(scheduled);
                    }
                    self.run_policy(&policy.source, &scheduled.as_second().to_string()).await;
                }
                Due::At(next) => sleep = sleep.min(until(next, now)),
                Due::Never => {}
            }
        }
        sleep
    }

    /// Takes other policies, restores what they hold, and runs those that ask for it.
    async fn change(&mut self, policies: Vec<SitePolicy>) {
        let now = SystemClock.now();
        let known = std::mem::take(&mut self.policies);
        for policy in &policies {
            let source = &policy.source;
            let unchanged = known.iter().any(|old| {
                let old = &old.source;
                old.uid == source.uid
                    && (&old.spec.schedule, &old.spec.time_zone) == (&source.spec.schedule, &source.spec.time_zone)
            });
            if !unchanged {
                match PolicyClock::new(source, now) {
                    Ok(clock) => drop(self.clocks.insert(source.uid.clone(), clock)),
                    Err(error) => say(source, &format!("no schedule: {error}")),
                }
            }
        }
        self.clocks.retain(|uid, _| policies.iter().any(|policy| policy.source.uid == *uid));
        self.policies = policies;
        for policy in self.policies.clone() {
            match &policy.run_at {
                // It restores what is held, too.
                Some(value) => {
                    let digest = Digest::of(Algorithm::Sha256, value.as_bytes());
                    self.run_policy(&policy.source, &format!("at-{:.16}", digest.hex())).await;
                }
                None => self.restore_holds(&policy.source).await,
            }
        }
    }

    async fn run_policy(&self, policy: &PolicySource, trigger: &str) {
        self.restore_holds(policy).await;
        match self.try_run(policy, trigger).await {
            Ok(Some(status)) => say(policy, &outcome(&status)),
            Ok(None) => {}
            Err(error) => say(policy, &format!("did not run: {error:#}")),
        }
    }

    /// Runs a policy; `None`: that run has been before.
    async fn try_run(&self, policy: &PolicySource, trigger: &str) -> anyhow::Result<Option<RunStatus>> {
        let run: RunId = format!("{}.{trigger}", policy.uid).parse().context("the policy's name is too long")?;
        let runs = &self.registry.runs;
        let policies = self.policies.iter().map(|policy| policy.source.clone()).collect();
        let request = RunRequest { run: run.to_string(), policy: policy.uid.clone(), policies };
        let begun = runs.start(request).await?.state;
        if matches!(begun, RunState::Completed | RunState::LimitExceeded | RunState::Failed) {
            return Ok(None);
        }
        let mut status = runs.settled(&run).await?;
        // An application that takes longer than five minutes, or that a stop cut off, goes on with what is left.
        while status.state == RunState::AwaitingUsage {
            let before = status.result;
            let policies = self.policies.iter().map(|policy| policy.source.clone()).collect();
            runs.apply(&run, ApplyRequest { listing_seconds: 0.0, in_use: Vec::new(), policies }).await?;
            status = runs.settled(&run).await?;
            if status.result == before {
                break;
            }
        }
        Ok(Some(status))
    }

    async fn restore_holds(&self, source: &PolicySource) {
        let Ok(policy) = Policy::try_from(source) else { return };
        let now = SystemClock.now();
        let trash = self.registry.catalog.trash();
        for hold in policy.holds.iter().filter(|hold| hold.is_active(now)) {
            let actor = format!("policy {}", policy.id);
            let restored = trash.restore_reference(&hold.repository, &hold.reference, Conflict::Fail, &actor).await;
            let image = format!("{} {}", hold.repository, hold.reference);
            match restored {
                Ok(restored) if restored.already_present => {}
                Ok(_) => say(source, &format!("restored {image}, which it holds")),
                Err(Error::NotInTrash { .. }) => say(source, &format!("holds {image}, which is not there")),
                Err(error) => say(source, &format!("could not restore {image}: {:#}", anyhow::Error::new(error))),
            }
        }
    }
}

fn until(next: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or_default()
}

fn say(policy: &PolicySource, what: &str) {
    // A terminal that is gone must not stop a policy.
    let _ = output::print(&format!("policy {}/{}: {what}", policy.namespace, policy.name));
}

/// A run in one line, and what it would delete where it deletes nothing.
fn outcome(status: &RunStatus) -> String {
    let message = status.message.as_deref().map(|message| format!(" ({message})")).unwrap_or_default();
    let (Some(plan), RunState::Completed) = (&status.plan, status.state) else {
        return format!("{:?}{message}", status.state);
    };
    if let (Mode::Enforce, Some(result)) = (status.mode, status.result) {
        let (tags, manifests) = (result.deleted_tags, result.deleted_manifests);
        let where_to_look = if tags + manifests > 0 { "; `lagan trash list` shows what" } else { "" };
        return format!("deleted {tags} tags and {manifests} manifests, kept {}{message}{where_to_look}", plan.keeps);
    }
    let lines = plan.sample.iter().filter(|line| line.decision == PlanDecision::Delete);
    let lines: Vec<String> = lines.map(|line| format!("\n  {}: {}", line.reference, line.reason)).collect();
    format!("would delete {} and keep {}{message}{}", plan.deletes, plan.keeps, lines.concat())
}
