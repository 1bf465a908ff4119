//! `lagan trash restore`

use anyhow::bail;

use crate::api::wire::{
    Conflict, RestoreGroupReport, RestoreGroupRequest, RestoreReferenceRequest, RestoreReport, RestoreRequest,
    TombstoneState, TombstoneView,
};
use crate::oci::{Reference, RepositoryName};

use crate::cli::output::OutputFormat;
use crate::cli::registry_client::RegistryClient;

use super::{
    target::{Filter, Target, found, group_of, list},
    text::{described, report_text},
};

/// How to restore.
pub(super) struct Restore<'a> {
    /// Where.
    pub(super) client: &'a RegistryClient,
    /// What to do about tags that have moved.
    pub(super) conflict: Conflict,
    /// How to say what was done.
    pub(super) output: OutputFormat,
}

impl Restore<'_> {
    /// One entry, with what comes with it.
    pub(super) async fn entry(&self, what: Target, dry_run: bool) -> anyhow::Result<()> {
        if dry_run {
            let entry = found(self.client, &what).await?;
            refuse_missing(std::slice::from_ref(&entry))?;
            return self.output.print(&entry, |entry| format!("would restore {}", described(entry)));
        }
        let report = match what {
            Target::Image { repository, reference } => self.image(repository, reference).await?,
            what => {
                let id = match what {
                    Target::Entry(id) => id,
                    what => found(self.client, &what).await?.id,
                };
                self.client.post(&["trash", &id, "restore"], &RestoreRequest { conflict: self.conflict }).await?
            }
        };
        self.output.print(&report, report_text)
    }

    /// All that was deleted together with an entry.
    pub(super) async fn group(&self, what: &Target, dry_run: bool) -> anyhow::Result<()> {
        let entry = found(self.client, what).await?;
        if dry_run {
            let entries = group_of(self.client, &entry).await?;
            refuse_missing(&entries)?;
            let line = |entry: &TombstoneView| format!("would restore {}", described(entry));
            let text = |entries: &Vec<TombstoneView>| entries.iter().map(line).collect::<Vec<_>>().join("\n");
            return self.output.print(&entries, text);
        }
        let TombstoneView { repository, group, .. } = entry;
        let request = RestoreGroupRequest { repository, group, conflict: self.conflict };
        let report: RestoreGroupReport = self.client.post_long(&["trash", "restore"], &request).await?;
        self.output.print(&report, |report| report.restored.iter().map(report_text).collect::<Vec<_>>().join("\n"))
    }

    /// The registry leaves a tag that is there as it is. Who says `--conflict replace` wants what the tag was before.
    async fn image(&self, repository: RepositoryName, reference: Reference) -> anyhow::Result<RestoreReport> {
        let (client, conflict) = (self.client, self.conflict);
        let request =
            RestoreReferenceRequest { repository: repository.clone(), reference: reference.clone(), conflict };
        let report: RestoreReport = client.post(&["restore"], &request).await?;
        if !report.already_present || matches!(reference, Reference::Digest(_)) || conflict != Conflict::Replace {
            return Ok(report);
        }
        let filter = Filter { repository: Some(&repository), reference: Some(&reference), group: None };
        let entries = list(client, filter).await?;
        match entries.into_iter().find(|entry| entry.digest != report.digest) {
            Some(entry) => client.post(&["trash", &entry.id, "restore"], &RestoreRequest { conflict }).await,
            None => Ok(report),
        }
    }
}

fn refuse_missing(entries: &[TombstoneView]) -> anyhow::Result<()> {
    if let Some(entry) = entries.iter().find(|entry| entry.state == TombstoneState::Missing) {
        bail!("{} cannot be restored: content that {} needs is gone", described(entry), entry.id);
    }
    Ok(())
}
