//! The trash: that each tombstone is found by time and by tag, that what leads to tombstones does, and that what they
//! keep is there.

use std::collections::HashSet;

use ulid::Ulid;

use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::{
    Error, Tombstone, TombstoneState, driver,
    guard::keys::Key,
    layout::PathSpec,
    records::record::Lenient,
    repository_walk::RepositoryWalk,
    trash::index::{Place, inverted},
};

use super::{BATCH, Finding, FindingKind, Inspection, Treatment};

impl Inspection {
    pub(super) async fn trash(&self) -> Result<(), Error> {
        // The ids of all tombstones: 16 bytes each.
        let mut known = HashSet::new();
        let mut walk = RepositoryWalk::begin_in(&self.store, PathSpec::AllTrash, None);
        while let Some(name) = walk.next().await? {
            for text in self.store.names(PathSpec::TombstonedDigests(&name)).await? {
                let Ok(digest) = text.parse::<Digest>() else { continue };
                for id in ulids(&self.store.names(PathSpec::Tombstones(&name, &digest)).await?) {
                    known.insert(id);
                    self.tombstone(&name, &digest, id).await?;
                }
            }
            for text in self.store.names(PathSpec::AllTrashedTags(&name)).await? {
                let Ok(tag) = text.parse::<Tag>() else { continue };
                for id in ulids(&self.store.names(PathSpec::TrashedTags(&name, &tag)).await?) {
                    self.trashed_tag(&name, &tag, id, &known).await?;
                }
            }
        }
        self.trash_by_time(&known).await
    }

    async fn tombstone(&self, name: &RepositoryName, digest: &Digest, id: Ulid) -> Result<(), Error> {
        self.progress.trash.add(1);
        let spec = PathSpec::Tombstone(name, digest, id);
        let finding = |kind| Finding::new(kind, spec.path()).of(name).about(digest);
        let tombstone: Tombstone = match self.store.lenient_record(spec).await? {
            Lenient::Read(tombstone) => tombstone,
            Lenient::Absent => return Ok(()),
            Lenient::Unreadable => {
                let finding = finding(FindingKind::UnreadableRecord).saying("the entry of the trash cannot be read");
                self.report(finding, Treatment::Beyond).await;
                return Ok(());
            }
        };
        if tombstone.is_expired(self.store.clock.now()) {
            return Ok(());
        }
        let keys = [Key::Revision(name.clone(), digest.clone())];
        if let Some(((), held)) = self.steady(keys, || self.is_unlisted_trash(&tombstone)).await? {
            let finding = finding(FindingKind::UnlistedTrash).saying("no list of the trash shows it");
            // What a list needs, and the entry itself once more.
            self.mend(finding, held.store.bury(&tombstone)).await?;
        }
        if self.store.looked_up(tombstone).await?.state == TombstoneState::Missing {
            let finding = finding(FindingKind::MissingTrash).saying("its content is gone: it cannot be restored");
            self.report(finding, Treatment::Beyond).await;
        }
        Ok(())
    }

    async fn is_unlisted_trash(&self, tombstone: &Tombstone) -> Result<Option<()>, Error> {
        let (name, id) = (&tombstone.repository, tombstone.id.0);
        if !self.store.has_tombstone(name, &tombstone.digest, id).await? {
            return Ok(None);
        }
        let place: Lenient<Place> = self.store.lenient_record(PathSpec::TrashEntry(inverted(id))).await?;
        let mut is_listed = matches!(place, Lenient::Read(_));
        for tag in &tombstone.tags {
            let entry: Lenient<Digest> = self.store.lenient_record(PathSpec::TrashedTag(name, tag, id)).await?;
            is_listed &= matches!(entry, Lenient::Read(_));
        }
        Ok((!is_listed).then_some(()))
    }

    async fn trashed_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        id: Ulid,
        known: &HashSet<Ulid>,
    ) -> Result<(), Error> {
        let spec = PathSpec::TrashedTag(name, tag, id);
        let entry: Lenient<Digest> = self.store.lenient_record(spec).await?;
        let place = match entry {
            Lenient::Absent => return Ok(()),
            Lenient::Read(digest) => Some(Place { repository: name.clone(), digest }),
            // Reported with its tombstone.
            Lenient::Unreadable if known.contains(&id) => return Ok(()),
            Lenient::Unreadable => None,
        };
        let finding = Finding::new(FindingKind::StaleTrash, spec.path()).of(name).tagged(tag);
        self.trash_index_entry(spec, finding, place, id).await
    }

    async fn trash_by_time(&self, known: &HashSet<Ulid>) -> Result<(), Error> {
        let mut after: Option<String> = None;
        loop {
            let folder = PathSpec::TrashEntries.path();
            let batch = match self.store.driver.list(&folder, after.as_deref(), BATCH).await {
                Ok(batch) => batch,
                Err(driver::Error::NotFound { .. }) => return Ok(()),
                Err(source) => return Err(Error::driver("list the trash", source)),
            };
            let names: Vec<String> = batch.iter().map(|entry| entry.name.clone()).collect();
            for key in ulids(&names) {
                let spec = PathSpec::TrashEntry(key);
                let place: Lenient<Place> = self.store.lenient_record(spec).await?;
                let is_reported = place == Lenient::Unreadable && known.contains(&inverted(key));
                if place != Lenient::Absent && !is_reported {
                    let finding = Finding::new(FindingKind::StaleTrash, spec.path());
                    self.trash_index_entry(spec, finding, place.read(), inverted(key)).await?;
                }
            }
            if batch.len() < BATCH {
                return Ok(());
            }
            after = batch.into_iter().last().map(|entry| entry.name);
        }
    }

    /// Removes what leads to no tombstone. An entry that cannot be read leads nowhere either.
    async fn trash_index_entry(
        &self,
        spec: PathSpec<'_>,
        finding: Finding,
        place: Option<Place>,
        id: Ulid,
    ) -> Result<(), Error> {
        let place = place.as_ref();
        let keys = place.map(|place| Key::Revision(place.repository.clone(), place.digest.clone()));
        let look = || async move {
            let Some(Place { repository, digest }) = place else { return Ok(Some(())) };
            Ok((!self.store.has_tombstone(repository, digest, id).await?).then_some(()))
        };
        let Some(((), held)) = self.steady(keys, look).await? else { return Ok(()) };
        let finding = finding.saying("it leads to no entry of the trash");
        self.mend(finding, held.store.remove_record(spec)).await
    }
}

fn ulids(names: &[String]) -> Vec<Ulid> {
    names.iter().filter_map(|name| Ulid::from_string(name).ok()).collect()
}
