//! One run, as far as it goes for now: candidates first, then the live listing, then the application.

use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use crate::api::v1alpha1::RunOutcome;
use crate::api::wire::{
    ApplyRequest, AwaitedApproval, Brake, InUse, LeftOut, PlanSummary, PolicySource, RunResult, RunState, RunStatus,
};
use crate::operator::{
    config::WatchScope,
    in_use::{CandidateIndex, Demand, Inquiry, Protection},
    registry_client::{Error, RegistryClient},
};

use super::live::{self, LivePolicies};

/// A reconciliation stays with a run for so long, and comes back later: most runs are over by then, and one that is
/// not keeps no other policy waiting for long.
const STAY: Duration = Duration::from_secs(20);
/// The first pause between two looks at a run: a small registry plans in a moment.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What the reader of a status should know who switched the protection off.
const UNPROTECTED: &str = "inUse.protection is Disabled: the cluster was not asked what it runs";

/// How much is told one by one of what a run was to delete and did not: a message has a line's length.
const TOLD_LEFT_OUT: usize = 3;

/// How far a run came.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It is over.
    Ended(Box<Ending>),
    /// It is to be looked at again.
    Going,
    /// It could not be told what is in use, and is told later: what that is called, and in words.
    Later(RunOutcome, String),
}

impl Progress {
    /// It is over.
    #[must_use]
    pub fn ended(ending: Ending) -> Self {
        Self::Ended(Box::new(ending))
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// In a word.
    pub outcome: RunOutcome,
    /// In words.
    pub message: Option<String>,
    /// What was planned, as far as it was.
    pub plan: Option<PlanSummary>,
    /// What was done.
    pub result: RunResult,
    /// What the plan waits for, where it does.
    pub awaits: Option<AwaitedApproval>,
}

impl Ending {
    /// An end without a plan.
    #[must_use]
    pub fn early(outcome: RunOutcome, message: impl Into<String>) -> Self {
        Self { outcome, message: Some(message.into()), plan: None, result: RunResult::default(), awaits: None }
    }

    /// The end of a run that cannot go on: with what was done, where the registry said so.
    #[must_use]
    pub fn short(outcome: RunOutcome, message: String, last: Option<RunStatus>) -> Self {
        match last {
            Some(last) => Self::cut(outcome, message, last),
            None => Self::early(outcome, message),
        }
    }

    /// The end of a run that is not to go on from where it is.
    fn cut(outcome: RunOutcome, message: String, status: RunStatus) -> Self {
        let result = status.result.unwrap_or_default();
        Self { outcome, message: Some(message), plan: status.plan, result, awaits: None }
    }
}

/// One run of a policy.
pub struct Run<'a, C> {
    /// Its id.
    pub id: &'a str,
    /// The policy's namespace.
    pub namespace: &'a str,
    /// The policy's name.
    pub name: &'a str,
    /// The hash that was approved, if one was.
    pub approved: Option<&'a str>,
    /// Whether a plan that was approved is applied later where it is not known now what is in use.
    pub is_patient: bool,
    /// What the Registry's policies count as in use as far as the cache knows: for the words of an end.
    pub known_demand: &'a Demand,
    /// Where the operator has rights.
    pub watched: &'a WatchScope,
    /// The cluster.
    pub client: &'a Client,
    /// The policies of the Registry, the one that runs too.
    pub policies: LivePolicies<'a>,
    /// The registry.
    pub registry: &'a RegistryClient,
    /// Why the plan must not be applied, in words, if it must not by now.
    pub stop: C,
}

impl<C: Fn() -> Option<String>> Run<'_, C> {
    /// Does what is next, until the run is over or has taken long enough for now. `status` is what the registry said
    /// last, then and in the end.
    ///
    /// # Guarantees
    /// The registry is told to apply only after every list of the cluster was read to its end, with the policies as
    /// the API server has them then, and while nothing stops the run.
    ///
    /// # Cancel safety
    /// Whatever is cut off, the registry knows how far the run is.
    ///
    /// # Errors
    /// When the registry does not do what it is asked.
    pub async fn advance(&self, status: &mut RunStatus) -> Result<Progress, Error> {
        let until = Instant::now() + STAY;
        let mut pause = FIRST_PAUSE;
        loop {
            match status.state {
                RunState::Planning | RunState::Applying => {}
                RunState::AwaitingUsage => match self.apply(status, None).await? {
                    Applied::Asked => {}
                    Applied::Later(outcome, words) => return Ok(Progress::Later(outcome, words)),
                    Applied::Over(ending) => return Ok(Progress::Ended(ending)),
                },
                RunState::AwaitingApproval => {
                    let hash = status.plan.as_ref().map(|plan| plan.hash.as_str());
                    let Some(hash) = self.approved.filter(|approved| Some(*approved) == hash) else {
                        return Ok(Progress::ended(self.ending(status.clone())));
                    };
                    match self.apply(status, Some(hash)).await? {
                        Applied::Asked => {}
                        Applied::Later(outcome, words) => return Ok(Progress::Later(outcome, words)),
                        Applied::Over(ending) => {
                            // It must not go on saying that it waits; nobody can approve it any more.
                            let words = ending.message.clone().unwrap_or_default();
                            self.registry.interrupt_run(self.id, words).await?;
                            return Ok(Progress::Ended(ending));
                        }
                    }
                }
                RunState::Completed | RunState::LimitExceeded | RunState::Interrupted | RunState::Failed => {
                    return Ok(Progress::ended(self.ending(status.clone())));
                }
            }
            if Instant::now() >= until {
                return Ok(Progress::Going);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            *status = self.registry.run(self.id).await?;
        }
    }

    /// Reads the candidates, lists the cluster, and lets the registry apply the plan.
    async fn apply(&self, status: &RunStatus, approve: Option<&str>) -> Result<Applied, Error> {
        if let Some(words) = (self.stop)() {
            return Ok(Applied::over(RunOutcome::Interrupted, words, status));
        }
        let is_approved = approve.is_some() || status.approved;
        let unknown = |outcome, words: String| {
            if is_approved && self.is_patient {
                Applied::Later(outcome, format!("{words}; the approved plan waits, for this is tried again"))
            } else {
                Applied::over(outcome, words, status)
            }
        };
        let policies_unknown = |error: live::Error| {
            let why = chain(&error);
            let words = format!("what the Registry's policies keep is not known, so nothing more is deleted: {why}");
            unknown(RunOutcome::PoliciesUnknown, words)
        };
        let demand = match self.policies.demand().await {
            Ok(demand) => demand,
            Err(error) => return Ok(policies_unknown(error)),
        };
        let listing = if demand.is_nothing() {
            Listing::default()
        } else {
            let (candidates, of) = self.candidates().await?;
            match self.list(&candidates, &demand).await {
                Ok(listing) => Listing { of, ..listing },
                Err(why) => {
                    let words = format!("what is in use is not known, so nothing more is deleted: {why}");
                    return Ok(unknown(RunOutcome::InUseUnknown, words));
                }
            }
        };
        // Listing takes a while, in which this policy may have been changed, and others may have come to keep something.
        let latest = match self.policies.to_apply_with().await {
            Ok(Ok(latest)) => latest,
            Ok(Err(words)) => return Ok(Applied::over(RunOutcome::Interrupted, words, status)),
            Err(error) => return Ok(policies_unknown(error)),
        };
        if latest.demand == demand {
            let request = listing.into_request(latest.policies, approve);
            self.registry.apply_run(self.id, &request).await?;
        }
        // Otherwise something else counts as in use by now: the run still waits, and the next look lists that, too.
        Ok(Applied::Asked)
    }

    /// The candidates, and which list they are.
    async fn candidates(&self) -> Result<(CandidateIndex, Option<String>), Error> {
        let mut index = CandidateIndex::default();
        let (mut last, mut list) = (None, None);
        loop {
            let page = self.registry.candidates(self.id, last).await?;
            if last.is_some() && page.list != list {
                let said = "the run was planned anew while its candidates were read".to_owned();
                return Err(Error::Conflict { said });
            }
            list = page.list;
            page.candidates.into_iter().for_each(|candidate| index.add(candidate));
            match page.next {
                None => return Ok((index, list)),
                Some(next) if last.is_none_or(|last| next > last) => last = Some(next),
                // Numbers rise. What a registry that repeats itself has further on would not be protected.
                Some(_) => {
                    let said = "the registry's list of candidates does not come to an end".to_owned();
                    return Err(Error::Refused { said });
                }
            }
        }
    }

    fn inquiry<'b>(&'b self, demand: &'b Demand) -> Inquiry<'b> {
        let Self { client, watched, namespace, name: policy, .. } = *self;
        Inquiry { client, watched, namespace, policy, demand }
    }

    /// What is in use, or in words why that is not known.
    async fn list(&self, candidates: &CandidateIndex, demand: &Demand) -> Result<Listing, String> {
        let (inquiry, mut protection) = (self.inquiry(demand), Protection::new(candidates, self.namespace));
        let began = inquiry.list(&mut protection).await.map_err(|error| {
            let hint = inquiry.hint(&error).map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{}{hint}", chain(&error))
        })?;
        Ok(Listing { began: Some(began), in_use: protection.in_use(), of: None })
    }

    fn ending(&self, status: RunStatus) -> Ending {
        let failed = status.result.filter(|result| result.failed > 0);
        let outcome = match (status.state, status.awaits.map(|awaits| awaits.brake)) {
            (RunState::Completed, _) if failed.is_some() => RunOutcome::Failed,
            (RunState::Completed, _) => RunOutcome::Completed,
            (RunState::AwaitingApproval, Some(Brake::Manual)) => RunOutcome::AwaitingApproval,
            (RunState::AwaitingApproval | RunState::LimitExceeded, _) => RunOutcome::LimitExceeded,
            (RunState::Interrupted, _) => RunOutcome::Interrupted,
            (RunState::Failed | RunState::Planning | RunState::AwaitingUsage | RunState::Applying, _) => {
                RunOutcome::Failed
            }
        };
        let unprotected = if self.known_demand.is_nothing() {
            Some(UNPROTECTED.to_owned())
        } else {
            self.inquiry(self.known_demand).narrowness()
        };
        let failed = failed.map(|RunResult { deleted_tags, deleted_manifests, failed, .. }| {
            format!(
                "{failed} could not be deleted, and the registry's log says why; {deleted_tags} tags and \
                 {deleted_manifests} manifests went to the trash"
            )
        });
        let left_out = left_out(&status.left_out);
        let said = failed.into_iter().chain(status.message).chain(unprotected).chain(left_out);
        let said: Vec<String> = said.collect();
        let message = (!said.is_empty()).then(|| said.join("; "));
        let awaits = status.awaits.filter(|_| status.state == RunState::AwaitingApproval);
        Ending { outcome, message, plan: status.plan, result: status.result.unwrap_or_default(), awaits }
    }
}

/// What came of telling the registry to apply a plan.
enum Applied {
    /// It was asked, or is asked at the next look.
    Asked,
    /// It is asked later: why, as in [`Progress::Later`].
    Later(RunOutcome, String),
    /// It must not be asked.
    Over(Box<Ending>),
}

impl Applied {
    fn over(outcome: RunOutcome, words: String, status: &RunStatus) -> Self {
        Self::Over(Box::new(Ending::cut(outcome, words, status.clone())))
    }
}

/// What the cluster was found to use.
#[derive(Debug, Default)]
struct Listing {
    /// When the listing began; nothing where the cluster was not asked.
    began: Option<Instant>,
    in_use: Vec<InUse>,
    /// Which list of candidates the numbers are of, where the registry said that.
    of: Option<String>,
}

impl Listing {
    /// The request to apply a plan, to be sent at once: it says how old the listing is.
    fn into_request(self, policies: Vec<PolicySource>, approve: Option<&str>) -> ApplyRequest {
        let listing_seconds = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        let Self { in_use, of: list, .. } = self;
        ApplyRequest { listing_seconds, in_use, list, policies, approve: approve.map(str::to_owned) }
    }
}

/// What a run was to delete and did not, in one line.
fn left_out(left: &[LeftOut]) -> Option<String> {
    let told = left.iter().take(TOLD_LEFT_OUT).map(|left| format!("{} ({})", left.reference, left.reason));
    let told: Vec<String> = told.collect();
    let more = if left.len() > told.len() { ", and others: `lagan retention plan` shows them" } else { "" };
    (!told.is_empty()).then(|| format!("stayed: {}{more}", told.join(", ")))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
