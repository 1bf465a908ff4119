//! What an operation relies on, where other processes can see it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tracing::warn;
use ulid::Ulid;

use crate::oci::{Digest, RepositoryName, Tag};

use crate::storage::{Error, driver::Durability, layout::PathSpec, store::Store};

/// What a manifest PUT or a restore relies on. A collection that did not see its links yet keeps what it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::storage) struct Intent {
    /// Where.
    pub(in crate::storage) repository: RepositoryName,
    /// Everything that must exist.
    pub(in crate::storage) digests: BTreeSet<Digest>,
    /// The tags that will point there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::storage) tags: Vec<Tag>,
}

/// An intent that is written or about to be. It stays unless it is [ended](Store::end_intent): after a write whose
/// outcome is not known it has to, until its age ends it.
#[derive(Debug)]
#[must_use = "it stays until it is ended"]
pub(in crate::storage) struct IntentId(Option<Ulid>);

impl Store {
    /// The name of an intent to be written. One process on its store knows in memory what it relies on.
    pub(in crate::storage) fn new_intent(&self) -> IntentId {
        IntentId(self.replicas.as_ref().map(|_| self.ids.next(self.clock.now())))
    }

    /// Writes down what is relied on.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn put_intent(&self, id: &IntentId, intent: &Intent) -> Result<(), Error> {
        let Some(id) = id.0 else { return Ok(()) };
        self.put_record(PathSpec::Intent(id), intent, Durability::Visible).await
    }

    /// Removes an intent whose operation has ended, and whose every write is known to have landed or not.
    pub(in crate::storage) async fn end_intent(&self, id: IntentId) {
        let Some(id) = id.0 else { return };
        if let Err(error) = self.remove_record(PathSpec::Intent(id)).await {
            warn!(%id, error = &error as &dyn std::error::Error, "an intent stays until it is old");
        }
    }
}
