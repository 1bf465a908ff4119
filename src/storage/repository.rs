//! One repository: everything that a client does under a name.

use std::sync::Arc;

use crate::oci::RepositoryName;

use super::store::Store;

/// Who is asking. A promise is made to who may push (docs/protocol.md, *Promises*); someone who may only pull is
/// answered from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// May only pull.
    Puller,
    /// May push, and so will rely on the answer.
    Pusher,
}

/// A name, and what is visible under it.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(super) name: RepositoryName,
    pub(super) store: Arc<Store>,
}

impl Repository {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }
}
