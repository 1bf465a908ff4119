//! Links: files whose content is the digest of what they point to.

use bytes::Bytes;
use tracing::warn;

use crate::oci::Digest;

use crate::storage::{
    Error,
    driver::{self, Durability},
    layout::PathSpec,
    store::Store,
};

/// What a link's file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) enum Link {
    /// The digest of its target.
    To(Digest),
    /// Nothing that can be read: torn by a crash of another registry.
    Torn,
}

/// The digest that is a link's content.
pub(in crate::storage) fn target_in(bytes: &[u8]) -> Option<Digest> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

impl Store {
    /// What a link points to; `None` where there is none. A link's target is its content (stock distribution's
    /// SHA-512 links name SHA-256 content); a torn one is the digest in its own path, `own`.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn link(&self, spec: PathSpec<'_>, own: &Digest) -> Result<Option<Digest>, Error> {
        Ok(self.raw_link(spec).await?.map(|link| match link {
            Link::To(digest) => digest,
            Link::Torn => own.clone(),
        }))
    }

    /// A link as it lies; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn raw_link(&self, spec: PathSpec<'_>) -> Result<Option<Link>, Error> {
        let path = spec.path();
        let bytes = match self.driver.get(&path).await {
            Ok(bytes) => bytes,
            Err(driver::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(Error::driver("read a link", source)),
        };
        let digest = target_in(&bytes);
        if digest.is_none() {
            warn!(%path, "a link is torn");
        }
        Ok(Some(digest.map_or(Link::Torn, Link::To)))
    }

    /// Writes a link, durably.
    ///
    /// # Errors
    /// [`Error::Driver`]; on a store of several processes [`Error::Uncertain`].
    pub(in crate::storage) async fn put_link(&self, spec: PathSpec<'_>, target: &Digest) -> Result<(), Error> {
        let content = Bytes::from(target.to_string());
        if self.replicas.is_some() && self.fence.is_none() {
            return self.put_once(&spec.path(), content).await;
        }
        let written = self.driver.put(&spec.path(), content, Durability::Durable).await;
        written.map_err(|source| Error::driver("write a link", source))
    }

    /// Removes a link, durably; whether it was there.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn remove_link(&self, spec: PathSpec<'_>) -> Result<bool, Error> {
        self.remove_file(&spec.path(), "remove a link").await
    }
}
