//! Manifests of a repository: reading them.

use bytes::Bytes;
use tracing::warn;

use crate::oci::{Algorithm, Descriptor, Digest, Manifest, MediaType, Reference, RepositoryName};

use crate::storage::{
    Error, Repository,
    blobs::linked_store::{LinkScope, blob_descriptor},
    cache::descriptors::Linked,
    driver::{self, ByteStream},
    layout::PathSpec,
    records::record::Lenient,
    store::Store,
};

/// How often a tag that moves while it is read is read again. A tag that moves faster than it can be read is answered as
/// unknown, which its next reader can correct.
const MAX_TAG_READS: usize = 4;

/// How many manifests are listed at a time to find one that is visible: nearly always the first one is.
const LOOKED_AT: usize = 8;

/// A manifest as it was pushed.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    /// What it is; the media type is the one that it was pushed with.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A manifest's bytes on their way to a client.
pub enum ManifestContent {
    /// All of them.
    Whole(Bytes),
    /// Piece by piece.
    Stream(ByteStream),
}

impl Repository {
    /// What a reference points to.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], which says nothing of the trash: a HEAD has no body that would. [`Error::Driver`].
    pub async fn stat_manifest(&self, reference: &Reference) -> Result<Descriptor, Error> {
        if let Some((digest, stored)) = self.look_up(reference).await? {
            return Ok(Descriptor { digest, ..stored });
        }
        let (repository, reference) = (self.name.clone(), reference.clone());
        Err(Error::ManifestUnknown { repository, reference, trash: None })
    }

    /// A manifest.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::Driver`].
    pub async fn manifest(&self, reference: &Reference) -> Result<StoredManifest, Error> {
        let (digest, stored) = self.find_manifest(reference).await?;
        self.read_manifest(reference, digest, stored).await
    }

    /// A manifest to be sent. A longer one than `whole` bytes is read as the client takes it, so that a slow one holds a
    /// piece of it.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::Driver`].
    pub async fn open_manifest(
        &self,
        reference: &Reference,
        whole: u64,
    ) -> Result<(Descriptor, ManifestContent), Error> {
        let (digest, stored) = self.find_manifest(reference).await?;
        if stored.size <= whole {
            let StoredManifest { descriptor, bytes } = self.read_manifest(reference, digest, stored).await?;
            return Ok((descriptor, ManifestContent::Whole(bytes)));
        }
        if self.store.stored_size(&stored.digest).await? == Some(stored.size)
            && let Some(stream) = self.store.read_blob(&stored.digest, 0..stored.size).await?
        {
            return Ok((Descriptor { digest, ..stored }, ManifestContent::Stream(stream)));
        }
        Err(self.manifest_torn(reference, &digest).await)
    }

    async fn read_manifest(
        &self,
        reference: &Reference,
        digest: Digest,
        stored: Descriptor,
    ) -> Result<StoredManifest, Error> {
        match self.store.driver.get(&PathSpec::BlobData(&stored.digest).path()).await {
            Ok(bytes) if bytes.len() as u64 == stored.size => {
                Ok(StoredManifest { descriptor: Descriptor { digest, ..stored }, bytes })
            }
            Ok(_) | Err(driver::Error::NotFound { .. }) => Err(self.manifest_torn(reference, &digest).await),
            Err(source) => Err(Error::driver("read a manifest", source)),
        }
    }

    /// Torn by a crash or a person since: the next push replaces it.
    async fn manifest_torn(&self, reference: &Reference, digest: &Digest) -> Error {
        // Memory promised what is gone: a HEAD that goes on answering keeps clients from pushing it again.
        self.store.drop_descriptors(&self.name, digest).await;
        self.manifest_unknown(reference).await
    }

    async fn find_manifest(&self, reference: &Reference) -> Result<(Digest, Descriptor), Error> {
        match self.look_up(reference).await? {
            Some(found) => Ok(found),
            None => Err(self.manifest_unknown(reference).await),
        }
    }

    /// The digest that a reference names, and the descriptor of the content that is stored for it.
    async fn look_up(&self, reference: &Reference) -> Result<Option<(Digest, Descriptor)>, Error> {
        Ok(match reference {
            Reference::Digest(digest) => self.revision(digest).await?.map(|stored| (digest.clone(), stored)),
            Reference::Tag(tag) => {
                let mut last = None;
                let mut found = None;
                for _ in 0..MAX_TAG_READS {
                    let target = self.store.tag_target(&self.name, tag).await?;
                    // The same as before: it does not move, its manifest is not visible.
                    let Some(digest) = target.filter(|target| last.as_ref() != Some(target)) else { break };
                    if let Some(stored) = self.revision(&digest).await? {
                        found = Some((digest, stored));
                        break;
                    }
                    last = Some(digest);
                }
                found
            }
        })
    }

    /// What is stored for a visible manifest, perhaps from memory.
    async fn revision(&self, digest: &Digest) -> Result<Option<Descriptor>, Error> {
        self.cached_descriptor(LinkScope::Manifests, digest).await
    }

    /// The answer for a reference that leads to nothing visible, with what the trash says of it.
    pub(in crate::storage) async fn manifest_unknown(&self, reference: &Reference) -> Error {
        let trash = self.store.explain_manifest(&self.name, reference).await;
        Error::ManifestUnknown { repository: self.name.clone(), reference: reference.clone(), trash }
    }
}

impl Store {
    /// What is stored for a visible manifest, read from the medium: the digest is the link's target, the media type the
    /// one that it was pushed with.
    pub(in crate::storage) async fn read_revision(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, Error> {
        Ok(self.linked_revision(name, digest).await?.map(|linked| linked.descriptor))
    }

    /// The same, with whether it can change.
    pub(in crate::storage) async fn linked_revision(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Linked>, Error> {
        let Some(target) = self.link(PathSpec::RevisionLink(name, digest), digest).await? else { return Ok(None) };
        let Some(size) = self.stored_size(&target).await? else { return Ok(None) };
        let known = match self.revision_fact(name, digest).await? {
            Lenient::Read(fact) if fact.size != size => {
                warn!(repository = %name, %digest, size, pushed = fact.size, "a manifest has another size than was pushed");
                None
            }
            Lenient::Read(fact) => Some((fact.media_type, fact.says_media_type)),
            Lenient::Unreadable => self.media_type_inside(&target).await?,
            Lenient::Absent => {
                self.suspect(name, digest).await;
                self.media_type_inside(&target).await?
            }
        };
        let linked = known.map(|(media_type, is_fixed)| {
            let is_fixed = is_fixed && target == *digest;
            Linked { descriptor: Descriptor { media_type, ..blob_descriptor(target, size) }, is_fixed }
        });
        Ok(linked)
    }

    /// What a manifest without facts says that it is, and whether it says so; one that cannot be read is served as what it
    /// most likely is, and one whose bytes are not those of its digest is not there.
    async fn media_type_inside(&self, target: &Digest) -> Result<Option<(MediaType, bool)>, Error> {
        let Some(bytes) = self.manifest_bytes(target).await? else { return Ok(None) };
        if !target.matches(&bytes) {
            warn!(digest = %target, size = bytes.len(), "a manifest's bytes are not those of its digest");
            return Ok(None);
        }
        let parsed = Manifest::parse(None, &bytes).ok();
        let parsed = parsed.map(|manifest| (manifest.media_type, manifest.says_media_type));
        Ok(parsed.or_else(|| Some((MediaType::OCI_MANIFEST.parse().ok()?, false))))
    }

    /// Whether a manifest is visible in a repository, read from the medium.
    pub(in crate::storage) async fn is_visible(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        Ok(self.age(PathSpec::RevisionLink(name, digest)).await?.is_some())
    }

    /// The digests of a repository's manifests; a folder whose link is gone is passed over by who reads the link.
    pub(in crate::storage) async fn revision_names(&self, name: &RepositoryName) -> Result<Vec<Digest>, Error> {
        let mut digests = Vec::new();
        for algorithm in Algorithm::ALL {
            let names = self.names(PathSpec::Revisions(name, algorithm)).await?;
            digests.extend(names.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok()));
        }
        Ok(digests)
    }

    /// Whether a repository exists: it has a visible manifest.
    pub(in crate::storage) async fn has_revision(&self, name: &RepositoryName) -> Result<bool, Error> {
        for algorithm in Algorithm::ALL {
            let mut after = None;
            loop {
                let names = self.names_after(PathSpec::Revisions(name, algorithm), after.as_deref(), LOOKED_AT).await?;
                for digest in names.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok()) {
                    if self.is_visible(name, &digest).await? {
                        return Ok(true);
                    }
                }
                if names.len() < LOOKED_AT {
                    break;
                }
                after = names.into_iter().last();
            }
        }
        Ok(false)
    }
}
