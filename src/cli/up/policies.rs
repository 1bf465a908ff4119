//! Runs a registry's policies on their schedules, and restores what they hold. Nothing is in use here.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::v1alpha1::RetentionPolicySpec;
use crate::api::wire::{ApplyRequest, PolicySource, RunRequest, RunState, RunStatus};
use crate::cli::clock::SystemClock;
use crate::cli::output;
use crate::cli::registry::OpenRegistry;
use crate::cli::run_outcome::{ANNOTATION, outcome};
use crate::cli::site_policy::SitePolicy;
use crate::maintenance::{self, PolicyClock, RunId, RunWish};
use crate::oci::{Algorithm, Digest};
use crate::retention::{Due, Policy};
use crate::storage::{Clock, Conflict, Error};

/// How long to sleep at most: a machine that was suspended, or whose clock was set, is then no later than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Holds of policies without runs are looked at this often, as the operator does.
const LOOK_AT_HOLDS_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// The policies of a registry, as far as files tell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeclaredPolicies {
    /// As they were read last.
    pub(super) all: Vec<SitePolicy>,
    /// Whether a file cannot be read any more, or is wrong: nothing is deleted then, for what it is to say is not known.
    pub(super) is_unreadable: bool,
}

/// The policies of one registry.
#[derive(Debug)]
pub(super) struct PolicyLoop<'a> {
    registry: &'a OpenRegistry,
    declared: watch::Receiver<DeclaredPolicies>,
    policies: DeclaredPolicies,
    /// How often they were taken.
    taken: u64,
    /// How often they had been taken when all were looked through for what they ask for at once.
    heard: u64,
    clocks: BTreeMap<String, PolicyClock>,
    /// When the holds of policies without runs were looked at.
    looked_at: Timestamp,
    /// What was said last of a hold that holds nothing, by policy and image: it is said once.
    said: BTreeMap<(String, String), String>,
}

impl<'a> PolicyLoop<'a> {
    fn new(registry: &'a OpenRegistry, declared: watch::Receiver<DeclaredPolicies>) -> Self {
        let policies = DeclaredPolicies { all: Vec::new(), is_unreadable: false };
        let (clocks, said, looked_at) = (BTreeMap::new(), BTreeMap::new(), SystemClock.now());
        let mut policy_loop = Self { registry, declared, policies, taken: 0, heard: 0, clocks, looked_at, said };
        policy_loop.take();
        policy_loop
    }

    /// Runs policies until `stop` is cancelled; they may change meanwhile, also while one runs.
    pub(super) async fn run(
        registry: &'a OpenRegistry,
        declared: watch::Receiver<DeclaredPolicies>,
        stop: &CancellationToken,
    ) {
        let mut policy_loop = Self::new(registry, declared);
        tokio::select! {
            () = stop.cancelled() => {}
            () = policy_loop.keep_running() => {}
        }
        registry.runs.decline_wishes().await;
    }

    async fn keep_running(&mut self) {
        loop {
            let sleep = self.step().await;
            tokio::select! {
                // An error says that the policies never change again; then the schedules alone count.
                Ok(()) = self.declared.changed() => self.take(),
                Some(wish) = self.registry.runs.next_wish() => self.grant(wish).await,
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Takes the policies as they are declared by now.
    fn take(&mut self) {
        let policies = self.declared.borrow_and_update().clone();
        let now = SystemClock.now();
        for SitePolicy { source, .. } in &policies.all {
            let unchanged = self.policy(&source.uid).is_some_and(|known| {
                let known = &known.source.spec;
                (&known.schedule, &known.time_zone) == (&source.spec.schedule, &source.spec.time_zone)
            });
            if !unchanged {
                match PolicyClock::new(source, now) {
                    Ok(clock) => drop(self.clocks.insert(source.uid.clone(), clock)),
                    Err(error) => say(source, &format!("no schedule: {error}")),
                }
            }
        }
        self.clocks.retain(|uid, _| policies.all.iter().any(|policy| policy.source.uid == *uid));
        self.policies = policies;
        self.taken += 1;
        self.registry.runs.declare(self.sources());
        self.registry.runs.policies_changed();
    }

    fn policy(&self, uid: &str) -> Option<&SitePolicy> {
        self.policies.all.iter().find(|policy| policy.source.uid == uid)
    }

    fn uids(&self) -> Vec<String> {
        self.policies.all.iter().map(|policy| policy.source.uid.clone()).collect()
    }

    fn sources(&self) -> Vec<PolicySource> {
        self.policies.all.iter().map(|policy| policy.source.clone()).collect()
    }

    /// Does what is due, and answers how long nothing is.
    async fn step(&mut self) -> Duration {
        while self.heard != self.taken {
            self.heard = self.taken;
            self.hear().await;
        }
        self.look_at_holds(SystemClock.now()).await;
        let mut sleep = LONGEST_SLEEP;
        for uid in self.uids() {
            // They may have changed while another one ran.
            let runs = self.policy(&uid).filter(|policy| !policy.source.spec.suspend && !self.policies.is_unreadable);
            let Some(policy) = runs.map(|policy| policy.source.clone()) else { continue };
            let now = SystemClock.now();
            match self.clocks.get(&uid).map_or(Due::Never, |clock| clock.due(now)) {
                Due::Now(scheduled) => {
                    if let Some(clock) = self.clocks.get_mut(&uid) {
                        clock.handle(scheduled);
                    }
                    match self.waiting(&uid).await {
                        // The schedule does not replace what somebody may be reading.
                        Some(waiting) => {
                            self.restore_all_holds().await;
                            say(&policy, &outcome(&waiting, ANNOTATION));
                        }
                        None => self.run_policy(&policy, &scheduled.as_second().to_string()).await,
                    }
                }
                Due::At(next) => sleep = sleep.min(until(next, now)),
                Due::Never => {}
            }
        }
        if self.heard == self.taken { sleep } else { Duration::ZERO }
    }

    /// Restores what policies hold, applies what is approved, and runs those that ask for it.
    async fn hear(&mut self) {
        if !self.policies.is_unreadable {
            self.void_changed().await;
        }
        for uid in self.uids() {
            let Some(SitePolicy { source, run_at, approve }) = self.policy(&uid).cloned() else { continue };
            if let Some(value) = approve.filter(|_| !self.policies.is_unreadable) {
                self.approve(&source, &value).await;
            }
            match run_at.filter(|_| !self.policies.is_unreadable) {
                // It restores what is held, too.
                Some(value) => {
                    let digest = Digest::of(Algorithm::Sha256, value.as_bytes());
                    self.run_policy(&source, &format!("at-{:.16}", digest.hex())).await;
                }
                None => self.restore_holds(&source).await,
            }
        }
        // Later, one that waits may be somebody's who is about to apply it.
        let is_first = self.taken == 1;
        if is_first && !self.policies.is_unreadable {
            self.end_what_was_cut_off().await;
        }
    }

    /// Applies what a process that is gone had begun, or gives it up where its policy is another by now.
    async fn end_what_was_cut_off(&mut self) {
        for status in self.runs().await.into_iter().filter(|run| run.state == RunState::AwaitingUsage) {
            let Ok(run) = status.run.parse::<RunId>() else { continue };
            let policy = self.policy(&status.policy_uid).map(|policy| policy.source.clone());
            let same = policy.filter(|source| source.generation == status.generation && !source.spec.suspend);
            let name = status.policy.clone();
            let ended = if let Some(policy) = same {
                self.carry_on(&policy, &run, status, None).await
            } else {
                let reason = "it was cut off, and the policy was changed, suspended or removed since";
                self.registry.runs.interrupt(&run, reason).await.map_err(anyhow::Error::new)
            };
            let words = match ended {
                Ok(status) => format!("a run that was cut off: {}", outcome(&status, ANNOTATION)),
                Err(error) => format!("a run that was cut off did not go on: {error:#}"),
            };
            // A terminal that is gone must not stop a policy.
            let _ = output::print(&format!("policy {name}: {words}"));
        }
    }

    /// All runs; none where they cannot be read, which is said.
    async fn runs(&self) -> Vec<RunStatus> {
        match self.registry.runs.all().await {
            Ok(runs) => runs,
            Err(error) => {
                let _ = output::print(&format!("the runs of policies cannot be read: {:#}", anyhow::Error::new(error)));
                Vec::new()
            }
        }
    }

    /// The run of a policy whose plan waits for approval.
    async fn waiting(&self, uid: &str) -> Option<RunStatus> {
        let waits = |run: &RunStatus| run.policy_uid == uid && run.state == RunState::AwaitingApproval;
        self.runs().await.into_iter().find(waits)
    }

    /// A plan whose policy was changed or removed can be approved no more.
    async fn void_changed(&self) {
        for run in self.runs().await.into_iter().filter(|run| run.state == RunState::AwaitingApproval) {
            let known = self.policy(&run.policy_uid).map(|policy| &policy.source);
            let words = match known {
                Some(source) if source.generation == run.generation => continue,
                Some(_) => "the policy was changed, so nobody can approve its plan any more",
                None => "the policy was removed, so nobody can approve its plan any more",
            };
            let Ok(id) = run.run.parse() else { continue };
            match self.registry.runs.interrupt(&id, words).await {
                Ok(_) => drop(output::print(&format!("policy {}: {words}", run.policy))),
                Err(error) => drop(output::print(&format!("policy {}: {:#}", run.policy, anyhow::Error::new(error)))),
            }
        }
    }

    /// Applies the plan that waits, if this is its hash. A hash that was approved before says nothing more.
    async fn approve(&mut self, policy: &PolicySource, hash: &str) {
        let has_hash = |run: &RunStatus| run.plan.as_ref().is_some_and(|plan| plan.hash == hash);
        let runs: Vec<RunStatus> = self.runs().await.into_iter().filter(|run| run.policy_uid == policy.uid).collect();
        if runs.iter().any(|run| run.approved && has_hash(run) && run.state != RunState::AwaitingUsage) {
            return;
        }
        let is_open = |run: &&RunStatus| {
            run.state == RunState::AwaitingApproval || (run.approved && run.state == RunState::AwaitingUsage)
        };
        let Some((status, run)) = runs
            .iter()
            .filter(is_open)
            .find(|run| has_hash(run))
            .and_then(|status| Some((status.clone(), status.run.parse::<RunId>().ok()?)))
        else {
            return say(
                policy,
                &format!("annotation lagan.dev/approve approves nothing: no plan with hash {hash} waits"),
            );
        };
        self.restore_all_holds().await;
        match self.carry_on(policy, &run, status, Some(hash.to_owned())).await {
            Ok(status) => say(policy, &outcome(&status, ANNOTATION)),
            Err(error) => say(policy, &format!("its plan was not applied: {error:#}")),
        }
    }

    async fn run_policy(&mut self, policy: &PolicySource, trigger: &str) {
        self.restore_all_holds().await;
        if let Some(done) = self.try_run(policy, trigger).await.transpose() {
            say_done(policy, done);
        }
    }

    /// Runs a policy; `None`: that run has been before.
    ///
    /// What the policies hold counts from the next deletion on. A policy that is changed in another way, suspended or
    /// removed runs no further: nobody has seen what the plan that is left would be by its new words.
    async fn try_run(&mut self, policy: &PolicySource, trigger: &str) -> anyhow::Result<Option<RunStatus>> {
        let run: RunId = format!("{}.{trigger}", policy.uid).parse().context("the policy's name is too long")?;
        match self.begin(policy, &run).await?.state {
            RunState::Planning | RunState::AwaitingUsage | RunState::Applying => {}
            RunState::AwaitingApproval
            | RunState::Completed
            | RunState::LimitExceeded
            | RunState::Interrupted
            | RunState::Failed => {
                return Ok(None);
            }
        }
        self.finish(policy, &run).await.map(Some)
    }

    /// Goes on with a run that has begun, until it is over or waits for approval.
    async fn finish(&mut self, policy: &PolicySource, run: &RunId) -> anyhow::Result<RunStatus> {
        let status = self.settled(run).await?;
        self.carry_on(policy, run, status, None).await
    }

    async fn begin(&self, policy: &PolicySource, run: &RunId) -> Result<RunStatus, maintenance::Error> {
        let request = RunRequest {
            run: run.to_string(),
            policy: policy.uid.clone(),
            policies: self.sources(),
            approval: policy.spec.approval,
        };
        self.registry.runs.start(request).await
    }

    /// Runs a policy because somebody asked for it, who is told once it runs.
    async fn grant(&mut self, wish: RunWish) {
        if wish.is_given_up() {
            return;
        }
        let policy = self.policy(&wish.policy).map(|policy| policy.source.clone());
        let policy = match policy {
            Some(policy) if !self.policies.is_unreadable => policy,
            None => return wish.refuse("the policy was removed"),
            Some(_) => return wish.refuse("a file of the policies cannot be read"),
        };
        let Ok(run) = format!("{}.asked-{}", policy.uid, SystemClock.now().as_millisecond()).parse::<RunId>() else {
            return wish.refuse("the policy's name is too long");
        };
        self.restore_all_holds().await;
        let begun = self.begin(&policy, &run).await;
        let is_begun = begun.is_ok();
        wish.answer(begun);
        if is_begun {
            let done = self.finish(&policy, &run).await;
            say_done(&policy, done);
        }
    }

    /// Applies a run that waits, until it is over or waits for approval. `approve` is the hash of a plan that does.
    async fn carry_on(
        &mut self,
        policy: &PolicySource,
        run: &RunId,
        mut status: RunStatus,
        mut approve: Option<String>,
    ) -> anyhow::Result<RunStatus> {
        let registry = self.registry;
        // An application that takes longer than five minutes, that a stop cut off or a change of policies, goes on with
        // what is left.
        while status.state == RunState::AwaitingUsage
            || (status.state == RunState::AwaitingApproval && approve.is_some())
        {
            if let Some(reason) = objection(policy, &self.policies) {
                return Ok(registry.runs.interrupt(run, reason).await?);
            }
            let (before, taken) = (status.clone(), self.taken);
            let request = ApplyRequest { policies: self.sources(), approve: approve.take(), ..ApplyRequest::default() };
            registry.runs.apply(run, request).await?;
            status = self.settled(run).await?;
            if taken != self.taken {
                self.restore_all_holds().await;
            } else if (status.state, status.result) == (before.state, before.result) {
                break;
            }
        }
        Ok(status)
    }

    /// Waits until a run does nothing, and takes policies that change meanwhile.
    async fn settled(&mut self, run: &RunId) -> Result<RunStatus, maintenance::Error> {
        let settled = self.registry.runs.settled(run);
        tokio::pin!(settled);
        loop {
            tokio::select! {
                status = &mut settled => return status,
                Ok(()) = self.declared.changed() => self.take(),
            }
        }
    }

    /// Restores what suspended policies hold, from time to time: they have no runs that would.
    async fn look_at_holds(&mut self, now: Timestamp) {
        if self.policies.is_unreadable || now.duration_since(self.looked_at) < LOOK_AT_HOLDS_EVERY {
            return;
        }
        self.looked_at = now;
        for source in self.sources().into_iter().filter(|source| source.spec.suspend) {
            self.restore_holds(&source).await;
        }
    }

    /// Restores what any policy holds, for those that are suspended have no runs of their own.
    async fn restore_all_holds(&mut self) {
        for source in self.sources() {
            self.restore_holds(&source).await;
        }
    }

    async fn restore_holds(&mut self, source: &PolicySource) {
        let Ok(policy) = Policy::try_from(source) else { return };
        let now = SystemClock.now();
        let trash = self.registry.catalog.trash();
        for hold in policy.holds.iter().filter(|hold| hold.is_active(now)) {
            let actor = format!("policy {}", policy.id);
            let restored = trash.restore_reference(&hold.repository, &hold.reference, Conflict::Fail, &actor).await;
            let image = format!("{} {}", hold.repository, hold.reference);
            let key = (source.uid.clone(), image.clone());
            let in_vain = match restored {
                Ok(restored) => {
                    self.said.remove(&key);
                    if !restored.already_present {
                        say(source, &format!("restored {image}, which it holds"));
                    }
                    continue;
                }
                Err(Error::NotInTrash { .. }) => format!("holds {image}, which is not there"),
                Err(error) => format!("could not restore {image}: {:#}", anyhow::Error::new(error)),
            };
            if self.said.insert(key, in_vain.clone()).as_ref() != Some(&in_vain) {
                say(source, &in_vain);
            }
        }
    }
}

/// Why a run that began with `policy` may not go on, by the policies as they are now.
fn objection(policy: &PolicySource, now: &DeclaredPolicies) -> Option<&'static str> {
    if now.is_unreadable {
        return Some("a file cannot be read any more, or is wrong; what was not deleted yet stays");
    }
    let Some(by_now) = now.all.iter().find(|known| known.source.uid == policy.uid) else {
        return Some("the policy was removed; what was not deleted yet stays");
    };
    let apart_from_holds = |source: &PolicySource| RetentionPolicySpec { holds: Vec::new(), ..source.spec.clone() };
    if apart_from_holds(policy) == apart_from_holds(&by_now.source) {
        return None;
    }
    Some(match (policy.spec.suspend, by_now.source.spec.suspend) {
        (false, true) => "the policy was suspended; what was not deleted yet stays",
        _ => "the policy was changed; what was not deleted yet stays",
    })
}

fn until(next: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or_default()
}

fn say_done(policy: &PolicySource, done: anyhow::Result<RunStatus>) {
    match done {
        Ok(status) => say(policy, &outcome(&status, ANNOTATION)),
        Err(error) => say(policy, &format!("did not run: {error:#}")),
    }
}

fn say(policy: &PolicySource, what: &str) {
    // A terminal that is gone must not stop a policy.
    let _ = output::print(&format!("policy {}/{}: {what}", policy.namespace, policy.name));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::cli::registry::{Medium, options};
    use crate::cli::up::site::Place;
    use crate::oci::{Manifest, Reference, RepositoryName};
    use crate::storage::{DeleteCause, PutManifest, Repository, StorageMetrics};

    /// So many that a change is there long before the last one is deleted.
    const TAGS: u64 = 80;

    async fn open(folder: &Path) -> OpenRegistry {
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = Place { listen, health_listen: None, data: folder.to_owned(), allow_anonymous: false }
            .default_site()
            .unwrap()
            .config;
        let options = options(&config, None, StorageMetrics::new());
        OpenRegistry::open(&config, Medium::Folder, options, &|_| {}).await.unwrap()
    }

    fn app() -> RepositoryName {
        "app".parse().unwrap()
    }

    async fn push_tags(repository: &Repository) {
        for number in 0..TAGS {
            let index = json!({"schemaVersion": 2, "manifests": [], "annotations": {"number": number.to_string()}});
            let bytes = serde_json::to_vec(&index).unwrap();
            let manifest = Manifest::parse(None, &bytes).unwrap();
            let tags = vec![format!("t{number:02}").parse().unwrap()];
            let put = PutManifest {
                digest: None,
                tags,
                manifest,
                bytes: bytes.into(),
                immutable: Vec::new(),
                actor: "test".into(),
            };
            repository.put_manifest(put).await.unwrap();
        }
    }

    async fn count_tags(repository: &Repository) -> u64 {
        repository.tags(None, 1000).await.unwrap().entries.len() as u64
    }

    fn source(extra: &serde_json::Value) -> PolicySource {
        let mut spec = json!({
            "registryRef": {"name": "images"}, "mode": "Enforce", "minimumAge": "0s", "unmatchedTags": "Delete",
            "keep": [{"name": "releases", "tags": ["v*"], "always": {}}], "limits": {"maxDeletePercent": 100},
        });
        for (field, value) in extra.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let spec = serde_json::from_value(spec).unwrap();
        PolicySource { namespace: "default".into(), name: "p".into(), uid: "default.p".into(), generation: 1, spec }
    }

    fn declared(extra: &serde_json::Value) -> DeclaredPolicies {
        let policy = SitePolicy { source: source(extra), run_at: Some("go".into()), approve: None };
        DeclaredPolicies { all: vec![policy], is_unreadable: false }
    }

    /// Begins a run, declares other policies once it deletes, and answers how it ended.
    async fn run_with_change(change: DeclaredPolicies) -> (RunStatus, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(folder.path()).await;
        let repository = registry.catalog.repository(&app());
        push_tags(&repository).await;
        let run: RunId = format!("default.p.at-{:.16}", Digest::of(Algorithm::Sha256, b"go").hex()).parse().unwrap();
        let (sender, receiver) = watch::channel(declared(&json!({})));
        let stop = CancellationToken::new();
        let change = async {
            while count_tags(&repository).await > TAGS - 3 {
                tokio::task::yield_now().await;
            }
            sender.send(change).unwrap();
            loop {
                let status = registry.runs.settled(&run).await.unwrap();
                if status.state != RunState::AwaitingUsage {
                    stop.cancel();
                    return status;
                }
                tokio::task::yield_now().await;
            }
        };
        let ((), status) = tokio::join!(PolicyLoop::run(&registry, receiver, &stop), change);
        let tags = repository.tags(None, 1000).await.unwrap().entries.iter().map(ToString::to_string).collect();
        registry.close().await;
        (status, tags)
    }

    #[tokio::test]
    async fn what_is_held_while_a_run_deletes_is_not_deleted() {
        let holds = ["t77", "t78", "t79"].map(|tag| json!({"repository": "app", "reference": tag}));

        let (status, tags) = run_with_change(declared(&json!({"holds": holds}))).await;

        assert_eq!(status.state, RunState::Completed, "{status:?}");
        assert_eq!(tags, ["t77", "t78", "t79"]);
        // Not deleted first, and then restored.
        assert_eq!(status.result.unwrap().deleted_tags, TAGS - 3);
    }

    #[tokio::test]
    async fn policy_that_is_suspended_changed_or_removed_stops_where_it_is() {
        let keep_all = json!({"keep": [{"name": "all", "tags": ["*"], "always": {}}]});
        let changes = [
            (declared(&json!({"suspend": true})), "suspended"),
            (declared(&keep_all), "changed"),
            (DeclaredPolicies { all: Vec::new(), is_unreadable: false }, "removed"),
            (DeclaredPolicies { is_unreadable: true, ..declared(&json!({})) }, "cannot be read"),
        ];
        for (change, word) in changes {
            let (status, tags) = run_with_change(change).await;
            assert_eq!(status.state, RunState::Interrupted, "{status:?}");
            assert!(status.message.as_ref().unwrap().contains(word), "{status:?}");
            let deleted = status.result.unwrap().deleted_tags;
            assert!(deleted >= 3 && deleted + tags.len() as u64 == TAGS, "{deleted} of {TAGS}, {} left", tags.len());
            assert!(tags.contains(&"t79".to_owned()), "{word}: it went on to the end");
        }
    }

    #[tokio::test]
    async fn a_run_that_was_cut_off_goes_on_with_the_same_policy_only() {
        for (extra, left) in [(json!({}), 0), (json!({"suspend": true}), TAGS)] {
            let folder = tempfile::tempdir().unwrap();
            let registry = open(folder.path()).await;
            let repository = registry.catalog.repository(&app());
            push_tags(&repository).await;
            let policy = source(&json!({}));
            let run: RunId = "default.p.1".parse().unwrap();
            let request = RunRequest {
                run: run.to_string(),
                policy: policy.uid.clone(),
                policies: vec![policy.clone()],
                approval: policy.spec.approval,
            };
            registry.runs.start(request).await.unwrap();
            assert_eq!(registry.runs.settled(&run).await.unwrap().state, RunState::AwaitingUsage);

            let policies = DeclaredPolicies {
                all: vec![SitePolicy { source: source(&extra), run_at: None, approve: None }],
                is_unreadable: false,
            };
            let (_sender, declared) = watch::channel(policies);
            let mut policy_loop = PolicyLoop::new(&registry, declared);
            policy_loop.step().await;
            drop(policy_loop);
            assert!(registry.runs.status(&run).await.unwrap().state.is_over());
            assert_eq!(count_tags(&repository).await, left, "{extra}");
            registry.close().await;
        }
    }

    #[tokio::test]
    async fn nothing_runs_while_a_file_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(folder.path()).await;
        let repository = registry.catalog.repository(&app());
        push_tags(&repository).await;
        let unreadable = DeclaredPolicies { is_unreadable: true, ..declared(&json!({})) };
        let (sender, declared) = watch::channel(unreadable.clone());
        let mut policy_loop = PolicyLoop::new(&registry, declared);

        policy_loop.step().await;
        assert_eq!(count_tags(&repository).await, TAGS);

        sender.send(DeclaredPolicies { is_unreadable: false, ..unreadable }).unwrap();
        policy_loop.take();
        policy_loop.step().await;
        assert_eq!(count_tags(&repository).await, 0, "the run that was asked for deletes all of them");
        drop(policy_loop);
        registry.close().await;
    }

    async fn delete(repository: &Repository, tag: &Reference) {
        let cause = DeleteCause { actor: "test".into(), reason: "on purpose".into(), policy: None, group: None };
        repository.delete_manifest(tag, cause).await.unwrap();
        assert_eq!(count_tags(repository).await, TAGS - 1);
    }

    #[tokio::test]
    async fn suspended_policys_hold_comes_back_with_a_run_of_another_one_and_from_time_to_time() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(folder.path()).await;
        let repository = registry.catalog.repository(&app());
        push_tags(&repository).await;
        let held = json!([{"repository": "app", "reference": "t00"}]);
        let mut both = declared(&json!({"mode": "DryRun"}));
        let mut holder = both.all[0].clone();
        holder.source = source(&json!({"suspend": true, "unmatchedTags": "Ignore", "holds": held}));
        (holder.source.uid, holder.source.name, holder.run_at) = ("default.h".into(), "h".into(), None);
        both.all.push(holder);
        let (sender, changes) = watch::channel(both.clone());
        let mut policy_loop = PolicyLoop::new(&registry, changes);
        policy_loop.step().await;

        let tag: Reference = "t00".parse().unwrap();
        delete(&repository, &tag).await;
        let runner = policy_loop.sources().remove(0);
        policy_loop.run_policy(&runner, "again").await;
        assert_eq!(count_tags(&repository).await, TAGS, "the run of another policy restores it");

        delete(&repository, &tag).await;
        let now = SystemClock.now();
        policy_loop.look_at_holds(now).await;
        assert_eq!(count_tags(&repository).await, TAGS - 1, "it was looked at a moment ago");
        policy_loop.look_at_holds(now + SignedDuration::from_mins(11)).await;
        assert_eq!(count_tags(&repository).await, TAGS);
        drop((policy_loop, sender));
        registry.close().await;
    }

    /// A policy whose plan waits for approval, and the loop that runs it.
    async fn waiting_plan(
        registry: &OpenRegistry,
        changes: watch::Receiver<DeclaredPolicies>,
    ) -> (PolicyLoop<'_>, RunStatus) {
        let mut policy_loop = PolicyLoop::new(registry, changes);
        policy_loop.step().await;
        let waiting = policy_loop.waiting("default.p").await.unwrap();
        (policy_loop, waiting)
    }

    fn with_annotations(declared: &DeclaredPolicies, run_at: &str, approve: Option<&str>) -> DeclaredPolicies {
        let mut changed = declared.clone();
        changed.all[0].run_at = Some(run_at.to_owned());
        changed.all[0].approve = approve.map(str::to_owned);
        changed
    }

    #[tokio::test]
    async fn plan_waits_for_its_hash_in_the_file_and_each_change_of_the_policy_makes_it_void() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(folder.path()).await;
        registry.begin_maintenance().await;
        let repository = registry.catalog.repository(&app());
        push_tags(&repository).await;
        let first = declared(&json!({"approval": "Manual"}));
        let (sender, changes) = watch::channel(first.clone());
        let (mut policy_loop, waiting) = waiting_plan(&registry, changes).await;
        let hash = waiting.plan.clone().unwrap().hash;
        assert!(
            outcome(&waiting, ANNOTATION).contains(&format!("lagan.dev/approve: {hash}")),
            "{}",
            outcome(&waiting, ANNOTATION)
        );

        // Another hash does nothing; neither does the same file again.
        for approve in [None, Some("0123")] {
            sender.send(with_annotations(&first, "go", approve)).unwrap();
            policy_loop.take();
            policy_loop.step().await;
            assert_eq!(policy_loop.waiting("default.p").await.as_ref(), Some(&waiting));
        }
        // A change of the policy makes it void, and so does nothing else approve it.
        let mut changed = with_annotations(&first, "go", Some(&hash));
        changed.all[0].source.generation = 2;
        sender.send(changed.clone()).unwrap();
        policy_loop.take();
        policy_loop.step().await;
        assert_eq!(policy_loop.waiting("default.p").await, None);
        assert_eq!(count_tags(&repository).await, TAGS);

        // Run again by hand, and approved.
        sender.send(with_annotations(&changed, "again", None)).unwrap();
        policy_loop.take();
        policy_loop.step().await;
        let waiting = policy_loop.waiting("default.p").await.unwrap();
        let hash = waiting.plan.unwrap().hash;
        sender.send(with_annotations(&changed, "again", Some(&hash))).unwrap();
        policy_loop.take();
        policy_loop.step().await;
        assert_eq!(count_tags(&repository).await, 0);
        assert_eq!(policy_loop.waiting("default.p").await, None);
        drop(policy_loop);
        registry.close().await;
    }

    #[tokio::test]
    async fn who_asks_for_a_run_is_told_why_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(folder.path()).await;
        let mut unreadable = declared(&json!({}));
        (unreadable.is_unreadable, unreadable.all[0].run_at) = (true, None);
        let (_sender, receiver) = watch::channel(unreadable);
        let stop = CancellationToken::new();
        let ask = async {
            let refused = registry.runs.run_now("default", "p").await.unwrap_err();
            assert!(matches!(refused, maintenance::Error::DeletionUnavailable { reason } if reason.contains("file")));
            let unknown = registry.runs.run_now("default", "q").await.unwrap_err();
            assert!(matches!(unknown, maintenance::Error::PolicyUnknown { .. }));
            stop.cancel();
        };
        tokio::join!(PolicyLoop::run(&registry, receiver, &stop), ask);

        // Nobody runs policies any more.
        let late = registry.runs.run_now("default", "p").await.unwrap_err();
        assert!(matches!(late, maintenance::Error::PolicyUnknown { .. }));
        registry.close().await;
    }
}
