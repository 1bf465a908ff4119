//! One run, as far as it goes for now: candidates first, then the live listing, then the application.

use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use crate::api::v1alpha1::{InUseProtection, InUseSpec, RunOutcome};
use crate::api::wire::{ApplyRequest, AwaitedApproval, Brake, PlanSummary, RunResult, RunState, RunStatus};
use crate::operator::{
    config::WatchScope,
    in_use::{CandidateIndex, Inquiry, Protection},
    registry_client::{Error, RegistryClient},
};

use super::live::LivePolicies;

/// A reconciliation stays with a run for so long, and comes back later: most runs are over by then, and one that is
/// not keeps no other policy waiting for long.
const STAY: Duration = Duration::from_secs(20);
/// The first pause between two looks at a run: a small registry plans in a moment.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What the reader of a status should know who switched the protection off.
const UNPROTECTED: &str = "inUse.protection is Disabled: the cluster was not asked what it runs";

/// How far a run came.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It is over.
    Ended(Box<Ending>),
    /// It is to be looked at again.
    Going,
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
    /// The hash that was approved, if one was.
    pub approved: Option<&'a str>,
    /// Whether and where the cluster is asked what it runs.
    pub in_use: &'a InUseSpec,
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
                RunState::AwaitingUsage => {
                    if let Some(ending) = self.apply(status, None).await? {
                        return Ok(Progress::ended(ending));
                    }
                }
                RunState::AwaitingApproval => {
                    let hash = status.plan.as_ref().map(|plan| plan.hash.as_str());
                    let Some(hash) = self.approved.filter(|approved| Some(*approved) == hash) else {
                        return Ok(Progress::ended(self.ending(status.clone())));
                    };
                    if let Some(ending) = self.apply(status, Some(hash)).await? {
                        // It must not go on saying that it waits; nobody can approve it any more.
                        let words = ending.message.clone().unwrap_or_default();
                        self.registry.interrupt_run(self.id, words).await?;
                        return Ok(Progress::ended(ending));
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

    /// Reads the candidates, lists the cluster, and lets the registry apply the plan; or how the run ends instead.
    async fn apply(&self, status: &RunStatus, approve: Option<&str>) -> Result<Option<Ending>, Error> {
        if let Some(words) = (self.stop)() {
            return Ok(Some(Ending::cut(RunOutcome::Interrupted, words, status.clone())));
        }
        let mut request = match self.in_use.protection {
            InUseProtection::Disabled => ApplyRequest::default(),
            InUseProtection::Enabled => {
                let (candidates, list) = self.candidates().await?;
                match self.usage(&candidates).await {
                    Ok(request) => ApplyRequest { list, ..request },
                    Err(error) => {
                        let words = format!("what is in use is not known, so nothing more is deleted: {error}");
                        return Ok(Some(Ending::cut(RunOutcome::InUseUnknown, words, status.clone())));
                    }
                }
            }
        };
        // Listing takes a while, in which this policy may have been changed, and others may have come to keep something.
        request.policies = match self.policies.to_apply_with().await {
            Ok(Ok(policies)) => policies,
            Ok(Err(words)) => return Ok(Some(Ending::cut(RunOutcome::Interrupted, words, status.clone()))),
            Err(error) => {
                let words = format!(
                    "what the Registry's policies keep by now is not known, so nothing more is deleted: {}",
                    chain(&error)
                );
                return Ok(Some(Ending::cut(RunOutcome::InUseUnknown, words, status.clone())));
            }
        };
        request.approve = approve.map(str::to_owned);
        self.registry.apply_run(self.id, &request).await?;
        Ok(None)
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

    fn inquiry(&self) -> Inquiry<'_> {
        Inquiry { client: self.client, watched: self.watched, namespace: self.namespace, spec: self.in_use }
    }

    /// What is in use, or in words why that is not known.
    async fn usage(&self, candidates: &CandidateIndex) -> Result<ApplyRequest, String> {
        let (inquiry, mut protection) = (self.inquiry(), Protection::new(candidates, self.namespace));
        let took = inquiry.list(&mut protection).await.map_err(|error| {
            let hint = inquiry.hint(&error).map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{}{hint}", chain(&error))
        })?;
        Ok(ApplyRequest { listing_seconds: took.as_secs_f64(), in_use: protection.in_use(), ..ApplyRequest::default() })
    }

    fn ending(&self, status: RunStatus) -> Ending {
        let outcome = match (status.state, status.awaits.map(|awaits| awaits.brake)) {
            (RunState::Completed, _) => RunOutcome::Completed,
            (RunState::AwaitingApproval, Some(Brake::Manual)) => RunOutcome::AwaitingApproval,
            (RunState::AwaitingApproval | RunState::LimitExceeded, _) => RunOutcome::LimitExceeded,
            (RunState::Interrupted, _) => RunOutcome::Interrupted,
            (RunState::Failed | RunState::Planning | RunState::AwaitingUsage | RunState::Applying, _) => {
                RunOutcome::Failed
            }
        };
        let unprotected = match self.in_use.protection {
            InUseProtection::Disabled => Some(UNPROTECTED.to_owned()),
            InUseProtection::Enabled => self.inquiry().narrowness(),
        };
        let said: Vec<String> = status.message.into_iter().chain(unprotected).collect();
        let message = (!said.is_empty()).then(|| said.join("; "));
        let awaits = status.awaits.filter(|_| status.state == RunState::AwaitingApproval);
        Ending { outcome, message, plan: status.plan, result: status.result.unwrap_or_default(), awaits }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
