//! Manifests: that they are there, with all that they need and what is noted of them.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::oci::{Descriptor, Digest, Manifest, Reference, RepositoryName};
use crate::storage::{
    Error, Repository, guard::keys::Key, layout::PathSpec, manifests::facts::RevisionFact, records::record::Lenient,
};

use super::{Finding, FindingKind, Inspection, Treatment};

/// What is wrong with a fact record.
enum FactDamage {
    Absent,
    Foreign,
    Unreadable,
}

impl Inspection {
    /// Looks at every visible manifest; the blobs that they need.
    pub(super) async fn manifests(&self, name: &RepositoryName) -> Result<BTreeSet<Digest>, Error> {
        let digests = self.store.revision_names(name).await?;
        let needed = Mutex::new(BTreeSet::new());
        self.each(&digests, |digest| self.manifest(name, digest.clone(), &needed)).await?;
        Ok(needed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    async fn manifest(
        &self,
        name: &RepositoryName,
        digest: Digest,
        needed: &Mutex<BTreeSet<Digest>>,
    ) -> Result<(), Error> {
        let digest = &digest;
        let spec = PathSpec::RevisionLink(name, digest);
        let key = || [Key::Revision(name.clone(), digest.clone())];
        self.link(spec, name, digest, key()).await?;
        let Some(target) = self.store.link(spec, digest).await? else { return Ok(()) };
        self.progress.manifests.add(1);
        let finding = |kind| Finding::new(kind, spec.path()).of(name).about(digest);
        let Some(bytes) = self.store.manifest_bytes(&target).await? else {
            if self.steady(key(), || self.lost_manifest(name, digest)).await?.is_some() {
                let lost = finding(FindingKind::MissingManifest).saying("its bytes are gone or damaged: push it again");
                self.report(lost, Treatment::Beyond).await;
            }
            return Ok(());
        };
        let media_type = self.store.revision_fact(name, digest).await?.read().map(|fact| fact.media_type);
        let parsed = Manifest::parse(media_type.as_ref(), &bytes).or_else(|_| Manifest::parse(None, &bytes));
        let manifest = match parsed {
            Ok(manifest) => manifest,
            Err(error) => {
                let unknown = finding(FindingKind::UnknownManifest).saying(error.to_string());
                self.report(unknown, Treatment::Beyond).await;
                return Ok(());
            }
        };
        let blobs = manifest.blobs().map(|descriptor| descriptor.digest.clone());
        needed.lock().unwrap_or_else(PoisonError::into_inner).extend(blobs);
        self.fact(name, digest, &manifest, bytes.len() as u64).await?;
        self.referrer_entry(name, digest, &manifest, bytes.len() as u64).await?;
        self.references(name, digest, &manifest).await
    }

    async fn lost_manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<()>, Error> {
        match self.store.link(PathSpec::RevisionLink(name, digest), digest).await? {
            Some(target) => Ok(self.store.manifest_bytes(&target).await?.is_none().then_some(())),
            None => Ok(None),
        }
    }

    async fn fact(&self, name: &RepositoryName, digest: &Digest, manifest: &Manifest, size: u64) -> Result<(), Error> {
        let keys = [Key::Revision(name.clone(), digest.clone())];
        let found = self.steady(keys, || self.fact_damage(name, digest)).await?;
        let Some((damage, held)) = found else { return Ok(()) };
        let (kind, detail) = match damage {
            FactDamage::Foreign => (
                FindingKind::ForeignWriter,
                "another registry wrote it since this store is served here: stop it, or nothing can be collected",
            ),
            FactDamage::Absent => (FindingKind::MissingFact, "its link's age is the time of its push"),
            FactDamage::Unreadable => (FindingKind::UnreadableRecord, "what is noted of its push cannot be read"),
        };
        let finding = Finding::new(kind, PathSpec::Fact(name, digest).path()).of(name).about(digest).saying(detail);
        if kind == FindingKind::ForeignWriter {
            // To write the record would hide the other registry.
            self.report(finding, Treatment::Beyond).await;
        } else if self.is_repairing() {
            if let Some(age) = self.store.age(PathSpec::RevisionLink(name, digest)).await? {
                let fact = RevisionFact::of(manifest, size, age);
                held.store.put_revision_fact(name, digest, &fact).await?;
                self.report(finding, Treatment::Repaired).await;
            }
        } else {
            self.report(finding, Treatment::Reported).await;
        }
        Ok(())
    }

    async fn fact_damage(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<FactDamage>, Error> {
        match self.store.revision_fact(name, digest).await? {
            Lenient::Read(_) => Ok(None),
            Lenient::Unreadable => Ok(Some(FactDamage::Unreadable)),
            Lenient::Absent => {
                let Some(age) = self.store.age(PathSpec::RevisionLink(name, digest)).await? else { return Ok(None) };
                let is_foreign = self.adoption.as_ref().is_some_and(|adoption| adoption.is_foreign(age));
                Ok(Some(if is_foreign { FactDamage::Foreign } else { FactDamage::Absent }))
            }
        }
    }

    async fn references(&self, name: &RepositoryName, digest: &Digest, manifest: &Manifest) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        let required = manifest.blobs().chain(manifest.children()).filter(|descriptor| descriptor.is_required());
        let required: Vec<Descriptor> = required.filter(|d| seen.insert((d.digest.clone(), d.size))).cloned().collect();
        self.each(&required, |descriptor| self.reference(name, digest, descriptor.clone())).await
    }

    async fn reference(&self, name: &RepositoryName, digest: &Digest, descriptor: Descriptor) -> Result<(), Error> {
        let to = &descriptor.digest;
        let keys = [Key::Revision(name.clone(), digest.clone()), Key::Revision(name.clone(), to.clone())];
        let found = self.steady(keys, || self.reference_damage(name, digest, &descriptor)).await?;
        let Some((kind, _held)) = found else { return Ok(()) };
        let detail = match kind {
            FindingKind::WrongSize => format!("{digest} says that it has {} bytes", descriptor.size),
            FindingKind::DeletedReference => format!("{digest} needs it; the trash has it"),
            _ => format!("{digest} needs it: push it again"),
        };
        let finding = Finding::new(kind, PathSpec::BlobData(to).path()).of(name).about(to).saying(detail);
        self.report(finding, Treatment::Beyond).await;
        Ok(())
    }

    async fn reference_damage(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        descriptor: &Descriptor,
    ) -> Result<Option<FindingKind>, Error> {
        match self.store.member_size(name, descriptor).await? {
            Some(size) if size == descriptor.size => return Ok(None),
            Some(_) => return Ok(Some(FindingKind::WrongSize)),
            None => {}
        }
        if !self.store.is_visible(name, digest).await? {
            return Ok(None);
        }
        let to = &descriptor.digest;
        let is_manifest = descriptor.media_type.is_manifest();
        let trashed = if is_manifest {
            self.store.explain_manifest(name, &Reference::Digest(to.clone())).await
        } else {
            self.store.explain_blob(name, to).await
        };
        Ok(Some(match trashed {
            Some(_) => FindingKind::DeletedReference,
            None if is_manifest => FindingKind::MissingManifest,
            None => FindingKind::MissingBlob,
        }))
    }

    pub(super) fn as_repository(&self, name: &RepositoryName) -> Repository {
        Repository { name: name.clone(), store: self.store.clone() }
    }
}
