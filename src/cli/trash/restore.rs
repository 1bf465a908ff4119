//! `lagan trash restore`

use anyhow::{bail, ensure};

use crate::api::wire::{
    Conflict, RestoreGroupReport, RestoreGroupRequest, RestoreReferenceRequest, RestoreReport, RestoreRequest,
    TombstoneState, TombstoneView,
};
use crate::oci::{Reference, RepositoryName};

use crate::cli::image::Image;
use crate::cli::output::OutputFormat;
use crate::cli::registry_client::RegistryClient;

use super::{
    target::{Filter, Target, found, group_of, list},
    text::{described, identified, report_text, whereabouts},
};

/// What moves tags back.
const HINT: &str = "--conflict replace moves it back, and puts what it points to into the trash";

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
    ///
    /// # Errors
    /// Where nothing was restored, or not all of it, too.
    pub(super) async fn entry(&self, what: Target, dry_run: bool) -> anyhow::Result<()> {
        if dry_run {
            let entry = found(self.client, &what).await?;
            return self.would(&[entry], what.reference());
        }
        match what {
            Target::Image(Image { repository, reference }) => self.image(repository, reference).await,
            what => {
                let id = match what {
                    Target::Entry(id) => id,
                    what => found(self.client, &what).await?.id,
                };
                self.finish(&self.by_id(&id).await?)
            }
        }
    }

    /// All that was deleted together with an entry.
    ///
    /// # Errors
    /// Where nothing was restored, or not all of it, too.
    pub(super) async fn group(&self, what: &Target, dry_run: bool) -> anyhow::Result<()> {
        let entry = found(self.client, what).await?;
        if dry_run {
            return self.would(&group_of(self.client, &entry).await?, None);
        }
        let TombstoneView { repository, group, .. } = entry;
        let request = RestoreGroupRequest { repository, group, conflict: self.conflict };
        let report: RestoreGroupReport = self.client.post_long(&["trash", "restore"], &[], &request).await?;
        let text = |report: &RestoreGroupReport| report.restored.iter().map(report_text).collect::<Vec<_>>().join("\n");
        self.output.print(&report, text)?;
        ensure!(!report.restored.is_empty(), "nothing was restored: somebody else did it meanwhile");
        report.restored.iter().try_for_each(refuse_moved)
    }

    /// The registry leaves a tag that is there as it is. Who says `--conflict replace` wants what the tag was before.
    async fn image(&self, repository: RepositoryName, reference: Reference) -> anyhow::Result<()> {
        let (client, conflict) = (self.client, self.conflict);
        let request =
            RestoreReferenceRequest { repository: repository.clone(), reference: reference.clone(), conflict };
        let report: RestoreReport = client.post(&["restore"], &request).await?;
        if !report.already_present {
            return self.finish(&report);
        }
        let filter = Filter { repository: Some(&repository), reference: Some(&reference), group: None };
        let before = list(client, filter).await?.into_iter().find(|entry| entry.digest != report.digest);
        if let (Some(before), Conflict::Replace) = (&before, conflict) {
            return self.finish(&self.by_id(&before.id).await?);
        }
        self.output.print(&report, report_text)?;
        let name = reference.name_in(&repository);
        match before {
            Some(before) => bail!(
                "nothing was restored: {name} points to {} by now. {HINT}; the trash has {}",
                report.digest,
                identified(&before)
            ),
            None => bail!("nothing was restored: {name} is there, and the trash holds nothing else of that name"),
        }
    }

    async fn by_id(&self, id: &str) -> anyhow::Result<RestoreReport> {
        self.client.post(&["trash", id, "restore"], &RestoreRequest { conflict: self.conflict }).await
    }

    fn finish(&self, report: &RestoreReport) -> anyhow::Result<()> {
        self.output.print(report, report_text)?;
        refuse_moved(report)
    }

    /// What a restore would do, and how it would end. `wanted` is the tag or digest that was asked for; `None`: all tags.
    fn would(&self, entries: &[TombstoneView], wanted: Option<&Reference>) -> anyhow::Result<()> {
        if let Some(entry) = entries.iter().find(|entry| entry.state == TombstoneState::Missing) {
            bail!("{} cannot be restored: content that {} needs is gone", described(entry), entry.id);
        }
        let moved: Vec<&TombstoneView> = entries.iter().filter(|entry| !entry.moved_tags.is_empty()).collect();
        let is_in_the_way = |entry: &&&TombstoneView| match wanted {
            None => true,
            Some(Reference::Digest(_)) => false,
            Some(Reference::Tag(tag)) => entry.moved_tags.iter().any(|moved| moved.tag == *tag),
        };
        let replaces = self.conflict == Conflict::Replace;
        if let Some(entry) = moved.iter().find(is_in_the_way).filter(|_| !replaces) {
            let tags = whereabouts(&entry.repository, &entry.moved_tags);
            bail!("nothing would be restored: {tags}. {HINT}; the trash has {}", identified(entry));
        }
        let line = |entry: &TombstoneView| {
            let tags = whereabouts(&entry.repository, &entry.moved_tags);
            let moved = if tags.is_empty() { tags } else { format!("; {tags}, and would move back") };
            format!("would restore {}{}", identified(entry), if replaces { moved } else { String::new() })
        };
        let text = |entries: &&[TombstoneView]| entries.iter().map(line).collect::<Vec<_>>().join("\n");
        self.output.print(&entries, text)?;
        match moved.first().filter(|_| !replaces) {
            Some(entry) => {
                let tags = whereabouts(&entry.repository, &entry.moved_tags);
                bail!("not all would be restored: {tags}, and would stay there. {HINT}")
            }
            None => Ok(()),
        }
    }
}

fn refuse_moved(report: &RestoreReport) -> anyhow::Result<()> {
    let tags = whereabouts(&report.repository, &report.moved_tags);
    ensure!(tags.is_empty(), "not all was restored: {tags}, and stays there. {HINT}");
    Ok(())
}
