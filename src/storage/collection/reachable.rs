//! What a manifest needs.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::oci::{Digest, Manifest, MediaType, RepositoryName};
use crate::storage::{Error, layout::PathSpec};

use super::{CollectionProblem, marker::Marker};

/// What became of reading a manifest.
enum Content {
    /// It says this.
    Known(Box<Manifest>),
    /// There is nothing to be read: it was deleted meanwhile, or an index lists it and it was never pushed.
    Nothing,
    /// It is there, or ought to be, and what it needs is not known.
    Damaged(String),
}

impl Marker<'_> {
    /// Roots a manifest, and all that it needs: config, layers, children and what they need; not its subject. `own` is
    /// the address of its link, which names `target`. Whether that is known.
    ///
    /// A child needs no link of its own: whoever can pull an index must find what it lists.
    pub(super) async fn closure(
        &self,
        name: &RepositoryName,
        own: &Digest,
        target: Digest,
        media_type: Option<MediaType>,
    ) -> Result<bool, Error> {
        let mut is_known = true;
        let mut seen = BTreeSet::from([target.clone()]);
        let mut queue = vec![(target, media_type, Some(own))];
        while let Some((digest, media_type, link)) = queue.pop() {
            self.state().table.need(&digest);
            if self.state().table.was_read(&digest) {
                continue;
            }
            let manifest = match self.content(name, &digest, media_type.as_ref(), link).await? {
                Content::Known(manifest) => manifest,
                Content::Nothing => continue,
                Content::Damaged(what) => {
                    let message = format!("{what}: everything in its repository is kept");
                    let (repository, digest) = (Some(name.clone()), Some(digest));
                    self.progress.note_problem(CollectionProblem { repository, digest, message });
                    is_known = false;
                    continue;
                }
            };
            // An address may stand for something in one repository, and for something else, or nothing, in another.
            let mut is_same_everywhere = true;
            for blob in manifest.blobs() {
                is_same_everywhere &= self.need(name, &blob.digest).await?;
            }
            for child in manifest.children() {
                let is_same = self.need(name, &child.digest).await?;
                is_same_everywhere &= is_same;
                let target = if is_same { child.digest.clone() } else { self.target_of(name, &child.digest).await? };
                if seen.insert(target.clone()) {
                    queue.push((target, Some(child.media_type.clone()), None));
                }
            }
            if is_same_everywhere {
                self.state().table.note_read(&digest);
            }
        }
        Ok(is_known)
    }

    async fn target_of(&self, name: &RepositoryName, digest: &Digest) -> Result<Digest, Error> {
        let target = self.store.link(PathSpec::RevisionLink(name, digest), digest).await?;
        Ok(target.unwrap_or_else(|| digest.clone()))
    }

    async fn content(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        media_type: Option<&MediaType>,
        link: Option<&Digest>,
    ) -> Result<Content, Error> {
        let Some(bytes) = self.bytes_at_last(digest).await? else {
            return Ok(match link {
                Some(own) if self.store.link(PathSpec::RevisionLink(name, own), own).await?.is_none() => {
                    Content::Nothing
                }
                None if self.store.stored_size(digest).await?.is_none() => Content::Nothing,
                _ => Content::Damaged("the bytes of a manifest are gone or damaged".to_owned()),
            });
        };
        let parsed = Manifest::parse(media_type, &bytes).or_else(|_| Manifest::parse(None, &bytes));
        Ok(match parsed {
            Ok(manifest) => Content::Known(Box::new(manifest)),
            Err(error) => Content::Damaged(format!("a manifest is of an unknown kind ({error})")),
        })
    }

    /// A manifest's bytes; `None` where they are not there, or damaged, whoever asks twice.
    async fn bytes_at_last(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        match self.store.manifest_bytes(digest).await? {
            None => self.store.manifest_bytes(digest).await,
            found => Ok(found),
        }
    }
}
