//! What the policies say about one image.

use jiff::Timestamp;

use crate::api::v1alpha1::PlanDecision;
use crate::api::wire::{PlanLine, PlannedVerdict, RunRequest, Verdict};
use crate::oci::{Digest, Reference, RepositoryName};
use crate::storage;

use super::records::{self, Record};
use super::stored_plan::{self, StoredPlan};
use super::{Error, Inner, RetentionRuns, RunId};

/// What the policies say about one image, and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The manifest; `None` where it is not there.
    pub digest: Option<Digest>,
    /// What the newest stored plan of each policy says.
    pub planned: Vec<PlannedVerdict>,
    /// What a run of each policy would say now, if nothing was in use; of what is not there, who holds it.
    pub now: Vec<Verdict>,
    /// When the policies were told to the registry that `now` goes by.
    pub policies_of: Option<Timestamp>,
}

impl RetentionRuns {
    /// Explains what becomes, or became, of a tag or a manifest; of a manifest, what becomes of its tags, too.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`].
    pub async fn explain(&self, repository: &RepositoryName, reference: &Reference) -> Result<Explained, Error> {
        let inner = &self.inner;
        inner.look_around().await?;
        let digest = inner.digest(repository, reference).await?;
        let wanted = inner.names(repository, reference, digest.as_ref()).await?;
        let planned = inner.planned(repository, &wanted).await?;
        let (now, policies_of) = match digest {
            Some(_) => inner.verdicts(repository, &wanted).await?,
            None => inner.held(repository, reference).await?,
        };
        Ok(Explained { digest, planned, now, policies_of })
    }
}

impl Inner {
    async fn digest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Option<Digest>, Error> {
        match self.catalog.repository(repository).stat_manifest(reference).await {
            Ok(descriptor) => Ok(Some(descriptor.digest)),
            Err(storage::Error::ManifestUnknown { .. } | storage::Error::RepositoryUnknown { .. }) => Ok(None),
            Err(source) => Err(Error::Storage { action: "look for the image", source }),
        }
    }

    /// By what plans may name an image: of a manifest, by the tags that point to it.
    async fn names(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        digest: Option<&Digest>,
    ) -> Result<Vec<Reference>, Error> {
        let mut names = vec![reference.clone()];
        let (Reference::Digest(_), Some(digest)) = (reference, digest) else { return Ok(names) };
        let tags = self.catalog.repository(repository).tags_to(digest).await;
        let tags = tags.map_err(|source| Error::Storage { action: "read the tags of a manifest", source })?;
        names.extend(tags.into_iter().map(Reference::Tag));
        Ok(names)
    }

    /// What the stored plans say. Of each policy one is stored, but while a newer one is being written.
    async fn planned(&self, repository: &RepositoryName, wanted: &[Reference]) -> Result<Vec<PlannedVerdict>, Error> {
        let mut planned = Vec::new();
        for status in self.all_by_now() {
            let (Some(lines), Some(plan), Ok(run)) = (status.plan_lines, status.plan, status.run.parse::<RunId>())
            else {
                continue;
            };
            let stored = StoredPlan { catalog: &self.catalog, run: &run, lines };
            for reference in wanted {
                let line = match stored.find(repository, reference).await {
                    Ok(Some(line)) => line,
                    // It was replaced just now.
                    Ok(None) | Err(Error::PlanUnknown { .. }) => continue,
                    Err(error) => return Err(error),
                };
                planned.push(PlannedVerdict {
                    policy: status.policy.clone(),
                    run: status.run.clone(),
                    mode: status.mode,
                    state: status.state,
                    created_at: plan.created_at,
                    awaits: status.awaits,
                    line,
                });
            }
        }
        Ok(planned)
    }

    /// What the policies say now that the registry was told of last.
    async fn verdicts(
        &self,
        repository: &RepositoryName,
        wanted: &[Reference],
    ) -> Result<(Vec<Verdict>, Option<Timestamp>), Error> {
        let Some((request, told_at)) = self.last_request().await? else { return Ok((Vec::new(), None)) };
        let _turn = self.explaining.acquire().await;
        let plans = self.planner(&request)?.verdicts(&self.catalog, repository, self.clock.now()).await?;
        let mut verdicts = Vec::new();
        for (policy, plan) in plans {
            let lines = stored_plan::lines(&plan, &[]).into_iter().filter(|(reference, _)| wanted.contains(reference));
            verdicts.extend(lines.map(|(_, line)| Verdict { policy: policy.to_string(), line }));
        }
        Ok((verdicts, Some(told_at)))
    }

    /// Which policies hold what is not there, by what the registry was told of them last.
    async fn held(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(Vec<Verdict>, Option<Timestamp>), Error> {
        let Some((request, told_at)) = self.last_request().await? else { return Ok((Vec::new(), None)) };
        let held = self.planner(&request)?.held(repository, reference, self.clock.now());
        let verdicts = held.into_iter().map(|(policy, reason)| {
            let reason = format!("{reason}; it is restored with the next run, if the trash has it");
            let (reference, decision) = (reference.name_in(repository), PlanDecision::Keep);
            Verdict { policy: policy.to_string(), line: PlanLine { reference, decision, rule: None, reason } }
        });
        let verdicts: Vec<Verdict> = verdicts.collect();
        let told_at = (!verdicts.is_empty()).then_some(told_at);
        Ok((verdicts, told_at))
    }

    async fn last_request(&self) -> Result<Option<(RunRequest, Timestamp)>, Error> {
        for status in self.ledger.all() {
            let Ok(run) = status.run.parse::<RunId>() else { continue };
            if let Some(request) = records::read(&self.catalog, &run, Record::Request).await? {
                return Ok(Some((request, status.created_at)));
            }
        }
        Ok(None)
    }
}
