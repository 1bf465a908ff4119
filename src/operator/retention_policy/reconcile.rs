//! One reconciliation of a `RetentionPolicy`.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        controller::Action,
        reflector::{ObjectRef, Store},
    },
};
use serde_json::json;

use crate::api::v1alpha1::{HoldState, Registry, RetentionPolicy, RetentionPolicyStatus, RunOutcome};
use crate::api::wire::{RunRequest, RunStatus};
use crate::operator::{
    context::Context,
    in_use::Demand,
    labels,
    registries::Registries,
    registry_client::{self, RegistryClient},
};

use super::{
    announce,
    assess::{Assessment, assess, invalid_sibling},
    decide::Step,
    hold_looks::HoldLooks,
    holds,
    live::{self, LivePolicies},
    run::{Ending, Progress, Run},
    status::{accept, approve, begin, conclude, end, failing_since, go_on, set_aside},
};

/// A policy is looked at this often without a cause, for watches miss things.
const RESYNC: Duration = Duration::from_secs(600);
/// Holds that could not be looked at are tried again after this.
const OPEN_HOLDS: Duration = Duration::from_secs(30);
/// The first pause before a run is looked at again, and the longest; in between, a quarter of its age.
const RUN_PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// A plan that was approved waits so long for what is in use to be known, where that fails: an API server may be
/// restarting. After that nobody would expect any more that it is applied.
const PATIENCE: SignedDuration = SignedDuration::from_mins(15);

/// A reconciliation failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not do what it was asked.
    #[error("could not {action}")]
    Api {
        /// What was asked.
        action: &'static str,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The Registry's policies could not be read.
    #[error("could not begin a run")]
    Policies(#[from] live::Error),
    /// The policy has changed since it was read.
    #[error("the policy has changed meanwhile")]
    Stale,
}

impl Error {
    fn api(action: &'static str) -> impl Fn(kube::Error) -> Self {
        move |source| Self::Api { action, source: Box::new(source) }
    }
}

/// Reconciles policies.
pub struct Reconciler {
    /// What both controllers share.
    pub context: Context,
    /// The policies of the namespaces that are watched.
    pub policies: Store<RetentionPolicy>,
    /// How registries are reached.
    pub registries: Registries,
    /// When holds were looked at that no run looks after.
    pub looks: HoldLooks,
}

impl Reconciler {
    /// Does what is to be done about a policy now, and says in its status what that was.
    ///
    /// # Errors
    /// When it has to be tried again.
    pub async fn reconcile(&self, cached: Arc<RetentionPolicy>) -> Result<Action, Error> {
        if cached.metadata.deletion_timestamp.is_some() {
            return Ok(Action::await_change());
        }
        let registry = self.registry(&cached).await?;
        let assessment = self.assess(&cached, registry.as_ref());
        if !assessment.has_work() {
            return self.rest(&cached, cached.status.clone().unwrap_or_default(), &assessment).await;
        }
        // What is acted on is what the API server has: the cache may not have this controller's own last write.
        let Some(policy) = self.live(&cached).await? else { return Ok(Action::await_change()) };
        let assessment = self.assess(&policy, registry.as_ref());
        // Boxed: what a run holds is too much for the stacks of those who wait for it.
        Box::pin(self.act(policy, registry.as_ref(), &assessment)).await
    }

    fn assess(&self, policy: &RetentionPolicy, registry: Option<&Registry>) -> Assessment {
        let (siblings, now) = (self.siblings(policy), self.context.now());
        let mut assessment = assess(policy, registry, siblings.iter().map(AsRef::as_ref), now);
        let nobody_looks = assessment.awaits_no_run() && !assessment.holds.is_empty();
        assessment.holds_are_due |= nobody_looks && self.looks.are_due(&policy.uid().unwrap_or_default(), now);
        assessment
    }

    /// A policy as the API server has it.
    pub(super) async fn live(&self, policy: &RetentionPolicy) -> Result<Option<RetentionPolicy>, Error> {
        self.api(policy).get_opt(&policy.name_any()).await.map_err(Error::api("read the policy"))
    }

    fn api(&self, policy: &RetentionPolicy) -> Api<RetentionPolicy> {
        Api::namespaced(self.context.client.clone(), &policy.namespace().unwrap_or_default())
    }

    async fn registry(&self, policy: &RetentionPolicy) -> Result<Option<Registry>, Error> {
        let api: Api<Registry> = Api::namespaced(self.context.client.clone(), &policy.namespace().unwrap_or_default());
        api.get_opt(&policy.spec.registry_ref.name).await.map_err(Error::api("read the Registry"))
    }

    async fn connect(&self, policy: &RetentionPolicy) -> Result<RegistryClient, registry_client::Error> {
        let namespace = policy.namespace().unwrap_or_default();
        self.registries.connect(&self.context.client, &namespace, &policy.spec.registry_ref.name).await
    }

    async fn act(
        &self,
        mut policy: RetentionPolicy,
        object: Option<&Registry>,
        assessment: &Assessment,
    ) -> Result<Action, Error> {
        let mut status = policy.status.clone().unwrap_or_default();
        if object.is_none() && !matches!(assessment.step, Step::Void { .. }) {
            let words = assessment.stop.clone().unwrap_or_default();
            return self.end_run(&policy, object, status, Ending::early(RunOutcome::Interrupted, words)).await;
        }
        let registry = self.connect(&policy).await;
        let starts = matches!(assessment.step, Step::Start(_));
        if let Ok(registry) = registry.as_ref()
            && starts
        {
            self.restore_for_siblings(&policy, registry).await?;
        }
        if assessment.holds_are_due || starts {
            let now = self.context.now();
            self.looks.note(&policy.uid().unwrap_or_default(), now);
            status.holds = holds::restore(registry.as_ref(), &assessment.holds, &status.holds, now).await;
            if let Some(running) = self.running_sibling(&policy) {
                holds::leave_open(&mut status.holds, &running);
            }
        }
        if let Step::Start(trigger) = &assessment.step {
            begin(&mut status, trigger, trigger.run_id(&policy), policy.spec.mode, self.context.now());
            if let Some(words) = assessment.deletion_unavailable {
                let ending = Ending::early(RunOutcome::DeletionUnavailable, words);
                return self.end_run(&policy, object, status, ending).await;
            }
            // The id is in the status before the registry hears of it, so that whoever comes next goes on with it.
            policy = self.write(&policy, conclude(&policy, status, assessment, self.context.now())).await?;
            status = policy.status.clone().unwrap_or_default();
        }
        if let Step::Approve { hash } = &assessment.step {
            approve(&mut status, hash, self.context.now());
            // Before the registry hears of it, as with a run that begins.
            policy = self.write(&policy, conclude(&policy, status, assessment, self.context.now())).await?;
            status = policy.status.clone().unwrap_or_default();
        }
        if let Step::Void { run, words } = &assessment.step {
            return self.set_aside(&policy, status, assessment, registry, (run, words)).await;
        }
        match status.last_run.as_ref().filter(|run| run.completion_time.is_none()).map(|run| run.run.clone()) {
            Some(run) => self.advance(&policy, object, status, assessment, registry, &run).await,
            None => self.rest(&policy, status, assessment).await,
        }
    }

    /// Says that a plan can be approved no more, also to the registry; one that does not answer finds out by itself, with
    /// the next run or when the plan's time is over.
    async fn set_aside(
        &self,
        policy: &RetentionPolicy,
        mut status: RetentionPolicyStatus,
        assessment: &Assessment,
        registry: Result<RegistryClient, registry_client::Error>,
        (run, words): (&str, &str),
    ) -> Result<Action, Error> {
        if let Ok(registry) = registry {
            interrupt(&registry, run, words).await;
        }
        set_aside(&mut status, words);
        let again = self.rest(policy, status, assessment).await?;
        announce::plan_is_void(&self.context, policy, words).await;
        Ok(again)
    }

    /// Goes on with the run in progress.
    async fn advance(
        &self,
        policy: &RetentionPolicy,
        object: Option<&Registry>,
        mut status: RetentionPolicyStatus,
        assessment: &Assessment,
        registry: Result<RegistryClient, registry_client::Error>,
        run: &str,
    ) -> Result<Action, Error> {
        let client = registry.as_ref().ok().cloned();
        let age = self.age(&status);
        let driven = match (self.context.endings.of(run), registry) {
            (Some(ending), _) => Driven { last: None, progress: Ok(Progress::Ended(Box::new(ending))) },
            (None, Ok(registry)) => {
                self.drive(policy, assessment, &registry, run, self.may_start(policy, &status)).await?
            }
            (None, Err(error)) => Driven { last: None, progress: Err(error) },
        };
        if driven.last.is_some() {
            accept(&mut status, self.context.now());
        }
        let in_the_way = match driven.progress {
            Ok(Progress::Ended(ending)) => {
                // What came to be held while the plan was being applied may have gone after it was looked at.
                if let Some(registry) = client.as_ref().filter(|_| assessment.holds_are_due) {
                    let now = self.context.now();
                    status.holds = holds::restore(Ok(registry), &assessment.holds, &status.holds, now).await;
                }
                return self.end_run(policy, object, status, *ending).await;
            }
            Ok(Progress::Going) => None,
            Ok(Progress::Later(outcome, words)) => Some((Some(outcome), words)),
            Err(error) => Some(match obstacle(&error, !self.may_start(policy, &status)) {
                Obstacle::End(outcome, words) => {
                    if let Some(registry) = client.as_ref().filter(|_| driven.last.is_some()) {
                        interrupt(registry, run, &words).await;
                    }
                    return self.end_run(policy, object, status, Ending::short(outcome, words, driven.last)).await;
                }
                Obstacle::Later(outcome, words) => (outcome, words),
            }),
        };
        let outcome = in_the_way.as_ref().and_then(|(outcome, _)| *outcome);
        go_on(&mut status, outcome, in_the_way.as_ref().map(|(_, words)| words.as_str()));
        self.write(policy, conclude(policy, status, assessment, self.context.now())).await?;
        Ok(Action::requeue((age / 4).clamp(RUN_PAUSES.0, RUN_PAUSES.1)))
    }

    /// How long ago the run in progress began.
    fn age(&self, status: &RetentionPolicyStatus) -> Duration {
        let since = status.last_run.as_ref().map(|run| self.context.now().duration_since(run.start_time.0));
        since.and_then(|since| Duration::try_from(since).ok()).unwrap_or_default()
    }

    /// Whether the run in progress is not too late to begin, or has begun: what the registry took on goes on, however
    /// long it takes.
    fn may_start(&self, policy: &RetentionPolicy, status: &RetentionPolicyStatus) -> bool {
        let was_accepted = status.last_run.as_ref().is_some_and(|run| run.accepted_time.is_some());
        was_accepted || self.age(status) <= policy.spec.starting_deadline.as_std()
    }

    /// Asks the registry how far a run is, asks it to start where it does not know it, and does what is next.
    async fn drive(
        &self,
        policy: &RetentionPolicy,
        assessment: &Assessment,
        registry: &RegistryClient,
        run: &str,
        may_start: bool,
    ) -> Result<Driven, Error> {
        let over = |outcome, words: String| Driven {
            last: None,
            progress: Ok(Progress::ended(Ending::early(outcome, words))),
        };
        let stop = || self.stop(policy, assessment);
        let policies = LivePolicies::new(self.api(policy), policy);
        let status = match registry.run(run).await {
            Err(registry_client::Error::NotFound { .. }) => {
                if let Some(words) = stop() {
                    return Ok(over(RunOutcome::Interrupted, words));
                }
                if !may_start {
                    let words = "the registry could not be asked to run it within startingDeadline";
                    return Ok(over(RunOutcome::RegistryUnavailable, words.to_owned()));
                }
                let policies = policies.to_start_with().await?;
                let uid = policy.uid().unwrap_or_default();
                registry
                    .start_run(&RunRequest {
                        run: run.to_owned(),
                        policy: uid,
                        policies,
                        approval: policy.spec.approval,
                    })
                    .await
            }
            known => known,
        };
        let mut status = match status {
            Ok(status) => status,
            Err(error) => return Ok(Driven { last: None, progress: Err(error) }),
        };
        let namespace = policy.namespace().unwrap_or_default();
        let name = policy.name_any();
        let known = policy.status.as_ref();
        let failing_for = known.and_then(failing_since).map(|since| self.context.now().duration_since(since));
        let run = Run {
            id: run,
            namespace: &namespace,
            name: &name,
            approved: known.and_then(|status| status.last_handled_approval.as_deref()),
            is_patient: failing_for.is_none_or(|failing| failing < PATIENCE),
            known_demand: &self.known_demand(policy),
            watched: &self.context.config.scope,
            client: &self.context.client,
            policies,
            registry,
            stop,
        };
        let progress = run.advance(&mut status).await;
        Ok(Driven { last: Some(status), progress })
    }

    /// What the Registry's policies count as in use, as far as the cache knows.
    fn known_demand(&self, policy: &RetentionPolicy) -> Demand {
        let others: Vec<_> = self.others(policy).collect();
        live::demand(others.iter().map(AsRef::as_ref).chain([policy]))
    }

    /// Why a plan that was made for `policy` must not be applied, in words, if it must not by now.
    fn stop(&self, policy: &RetentionPolicy, assessment: &Assessment) -> Option<String> {
        if let Some(words) = &assessment.stop {
            return Some(words.clone());
        }
        let latest = self.policies.get(&ObjectRef::from_obj(policy));
        let latest = latest.and_then(|latest| latest.metadata.generation).max(policy.metadata.generation);
        if latest > policy.status.as_ref().and_then(|status| status.observed_generation) {
            return Some("the policy was changed during the run, so its plan was not applied".to_owned());
        }
        invalid_sibling(policy, self.siblings(policy).iter().map(AsRef::as_ref))
    }

    /// Writes how the run in progress ended, if there is one.
    async fn end_run(
        &self,
        policy: &RetentionPolicy,
        object: Option<&Registry>,
        mut status: RetentionPolicyStatus,
        ending: Ending,
    ) -> Result<Action, Error> {
        let Some(run) = status.last_run.as_ref().filter(|run| run.completion_time.is_none()) else {
            let assessment = self.assess(policy, object);
            return self.rest(policy, status, &assessment).await;
        };
        let run = run.run.clone();
        self.context.endings.remember(&run, ending.clone());
        go_on(&mut status, None, None);
        end(&mut status, &ending, self.context.now());
        if status.observed_generation != policy.metadata.generation {
            set_aside(&mut status, "the policy was changed, so nobody can approve its plan any more");
        }
        // What is ready, and what is next, depends on whether a plan waits by now.
        let ended = RetentionPolicy { status: Some(status.clone()), ..policy.clone() };
        let action = self.rest(policy, status.clone(), &self.assess(&ended, object)).await?;
        self.context.endings.forget(&run);
        announce::run_ended(&self.context, policy, &status, &ending).await;
        Ok(action)
    }

    /// Writes the status, and waits for what is next.
    async fn rest(
        &self,
        policy: &RetentionPolicy,
        status: RetentionPolicyStatus,
        assessment: &Assessment,
    ) -> Result<Action, Error> {
        let now = self.context.now();
        let expires_at = status.plan.as_ref().and_then(|plan| plan.expires_at.as_ref()).map(|time| time.0);
        let holds_are_open = status.holds.iter().any(|hold| hold.state == HoldState::Unknown);
        self.write(policy, conclude(policy, status, assessment, now)).await?;
        let moments = [assessment.next, expires_at, assessment.hold_ends].into_iter().flatten();
        let until = moments.map(|next| until(next, now)).fold(RESYNC, Duration::min);
        Ok(Action::requeue(if holds_are_open { until.min(OPEN_HOLDS) } else { until }))
    }

    /// Writes a status if it is not the one that is there, and only over the object that it was made from.
    pub(super) async fn write(
        &self,
        policy: &RetentionPolicy,
        status: RetentionPolicyStatus,
    ) -> Result<RetentionPolicy, Error> {
        if policy.status.as_ref() == Some(&status) {
            return Ok(policy.clone());
        }
        let patch = json!({
            "apiVersion": RetentionPolicy::api_version(&()),
            "kind": RetentionPolicy::kind(&()),
            "metadata": {"name": policy.name_any(), "resourceVersion": policy.resource_version()},
            "status": status,
        });
        let params = PatchParams::apply(labels::OPERATOR).force();
        let written = self.api(policy).patch_status(&policy.name_any(), &params, &Patch::Apply(patch)).await;
        match written {
            Err(kube::Error::Api(refusal)) if refusal.code == 409 => Err(Error::Stale),
            Err(error) => Err(Error::api("write the status")(error)),
            Ok(written) => {
                announce::changes(&self.context, policy, &status).await;
                Ok(written)
            }
        }
    }
}

/// How far a run came.
struct Driven {
    /// What the registry said of it last, if it knows it.
    last: Option<RunStatus>,
    /// The error is the registry's.
    progress: Result<Progress, registry_client::Error>,
}

/// Tells the registry that a run is over; one that does not answer finds out by itself, with the next run.
async fn interrupt(registry: &RegistryClient, run: &str, words: &str) {
    if let Err(error) = registry.interrupt_run(run, words.to_owned()).await {
        tracing::warn!(run, error = error.in_words(), "could not tell the registry that a run is over");
    }
}

/// What an error of the registry means for a run.
enum Obstacle {
    /// It is over.
    End(RunOutcome, String),
    /// It is tried again. What that is called, if it is more than waiting, and in words.
    Later(Option<RunOutcome>, String),
}

/// `late`: the run did not begin, and has been waiting for longer than a run may be late.
fn obstacle(error: &registry_client::Error, late: bool) -> Obstacle {
    use registry_client::Error as E;
    let words = error.in_words();
    let outcome = match error {
        E::Unsupported { .. } => return Obstacle::End(RunOutcome::DeletionUnavailable, words),
        E::Refused { .. } | E::Malformed { .. } => return Obstacle::End(RunOutcome::Failed, words),
        // Another policy's run is in progress; or the registry was restarted while it planned, and forgot the run.
        E::Conflict { .. } | E::NotFound { .. } => None,
        E::Secret { .. } | E::Credentials { .. } | E::Unreachable { .. } | E::Failing { .. } => {
            Some(RunOutcome::RegistryUnavailable)
        }
    };
    if late { Obstacle::End(RunOutcome::RegistryUnavailable, words) } else { Obstacle::Later(outcome, words) }
}

/// How long it is until a time, at least a moment.
fn until(time: Timestamp, now: Timestamp) -> Duration {
    let left: SignedDuration = time.duration_since(now);
    Duration::try_from(left).unwrap_or_default() + Duration::from_millis(10)
}
