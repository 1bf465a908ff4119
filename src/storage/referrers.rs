//! Which manifests refer to which.

use tracing::info;

use crate::oci::{Descriptor, Digest, Manifest, RepositoryName};

use super::{
    Error, Repository, concurrent::concurrently, driver::Durability, layout::PathSpec, record::Lenient, store::Store,
};

impl Repository {
    /// The descriptors of the visible manifests whose subject is `subject`, in the order of their digests.
    ///
    /// In a repository that another registry wrote, the first call reads every manifest once.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        self.store.build_referrers(&self.name).await?;
        let digests = self.store.referrer_names(&self.name, subject).await?;
        let reads = digests.iter().map(|digest| self.store.visible_referrer(&self.name, subject, digest));
        let found: Vec<_> = concurrently(reads).await?;
        Ok(found.into_iter().flatten().collect())
    }
}

impl Store {
    /// Notes that a manifest refers to another one, if it does.
    pub(super) async fn put_referrer(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        manifest: &Manifest,
        size: u64,
    ) -> Result<(), Error> {
        let Some(subject) = &manifest.subject else { return Ok(()) };
        let descriptor = referrer(digest, manifest, size);
        self.put_record(PathSpec::Referrer(name, &subject.digest, digest), &descriptor, Durability::Durable).await
    }

    /// The digests of all manifests that were pushed with a subject, visible or not.
    pub(super) async fn referrer_names(&self, name: &RepositoryName, subject: &Digest) -> Result<Vec<Digest>, Error> {
        let names = self.names(PathSpec::Referrers(name, subject)).await?;
        Ok(names.iter().filter_map(|text| text.parse().ok()).collect())
    }

    async fn visible_referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, Error> {
        if !self.is_visible(name, digest).await? {
            return Ok(None);
        }
        match self.lenient_record(PathSpec::Referrer(name, subject, digest)).await? {
            Lenient::Read(descriptor) => Ok(Some(descriptor)),
            Lenient::Absent => Ok(None),
            Lenient::Unreadable => self.referrer_from_bytes(name, digest).await,
        }
    }

    async fn referrer_from_bytes(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Descriptor>, Error> {
        let Some((manifest, size)) = self.parsed(name, digest).await? else { return Ok(None) };
        Ok(Some(referrer(digest, &manifest, size)))
    }

    /// A visible manifest, parsed, and its length in bytes; `None` where it is not there or cannot be read.
    pub(super) async fn parsed(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Manifest, u64)>, Error> {
        let Some(stored) = self.read_revision(name, digest).await? else { return Ok(None) };
        let Some(bytes) = self.manifest_bytes(&stored.digest).await? else { return Ok(None) };
        Ok(Manifest::parse(Some(&stored.media_type), &bytes).ok().map(|manifest| (manifest, stored.size)))
    }

    /// Notes the referrers of a repository that another registry wrote, once. What is pushed meanwhile notes itself.
    async fn build_referrers(&self, name: &RepositoryName) -> Result<(), Error> {
        if self.age(PathSpec::ReferrersBuilt(name)).await?.is_some() {
            return Ok(());
        }
        let digests = self.revision_names(name).await?;
        if digests.is_empty() {
            return Ok(());
        }
        let notes = digests.iter().map(|digest| async move {
            match self.parsed(name, digest).await? {
                Some((manifest, size)) => self.put_referrer(name, digest, &manifest, size).await,
                None => Ok(()),
            }
        });
        concurrently(notes).await?;
        info!(repository = %name, manifests = digests.len(), "noted which manifests refer to which");
        self.put_record(PathSpec::ReferrersBuilt(name), &(), Durability::Durable).await
    }
}

fn referrer(digest: &Digest, manifest: &Manifest, size: u64) -> Descriptor {
    Descriptor {
        media_type: manifest.media_type.clone(),
        digest: digest.clone(),
        size,
        artifact_type: manifest.referrer_type(),
        urls: Vec::new(),
        annotations: manifest.annotations.clone(),
    }
}
