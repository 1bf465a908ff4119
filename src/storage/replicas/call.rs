//! What replicas ask of each other.

use std::{collections::BTreeMap, error::Error as StdError, fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::oci::{Digest, RepositoryName};

use crate::storage::guard::keys::Key;

/// What a freeze stands for: a key in the store. It ends when that key is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Holder {
    /// A delete or restore: `pending/<ulid>`.
    Pending(Ulid),
    /// A batch of a collection: `gc/<epoch>/sealed-<batch>`.
    Sealed {
        /// The epoch.
        epoch: Ulid,
        /// The batch.
        batch: u32,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending(id) => write!(f, "pending/{id}"),
            Self::Sealed { epoch, batch } => write!(f, "gc/{epoch}/sealed-{batch}"),
        }
    }
}

/// What a replica is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ReplicaCall {
    /// Let nobody enter these keys from now on, and answer when nobody is in them any more.
    Freeze {
        /// What it stands for.
        holder: Holder,
        /// A change that died, whose freeze this one takes the place of.
        after: Option<Holder>,
        /// What is frozen.
        keys: Vec<Key>,
        /// How long to wait for who is in them, or has them frozen, in milliseconds.
        wait_ms: u64,
    },
    /// Let nobody enter these blobs from now on, but for those that are in flight or touched: the answer names them.
    FreezeIdle {
        /// What it stands for.
        holder: Holder,
        /// What is frozen.
        digests: Vec<Digest>,
    },
    /// The key that a freeze stood for is gone.
    Thaw {
        /// That key.
        holder: Holder,
    },
    /// Forget what memory knows of these digests.
    Clear {
        /// Where.
        repository: RepositoryName,
        /// What.
        digests: Vec<Digest>,
        /// What is part of every key of the shared cache by now; absent where there is no such cache.
        cache_epoch: Option<Ulid>,
    },
    /// Forget what memory knows of links that a collection removed.
    ClearSwept {
        /// Where, and what.
        swept: BTreeMap<RepositoryName, Vec<Digest>>,
        /// What is part of every key of the shared cache by now; absent where there is no such cache.
        cache_epoch: Option<Ulid>,
    },
    /// Forget what memory knows of everything: bytes turned out to be damaged, and any repository may have them.
    ClearAll {
        /// What is part of every key of the shared cache by now; absent where there is no such cache.
        cache_epoch: Option<Ulid>,
    },
    /// Note from now on which digests are relied on, beginning with those in flight.
    Begin {
        /// The collection that asks.
        epoch: Ulid,
    },
    /// Write down what was pulled until now.
    WritePulls,
}

impl ReplicaCall {
    /// Its name in the path of a request.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Freeze { .. } | Self::FreezeIdle { .. } => "freeze",
            Self::Thaw { .. } => "thaw",
            Self::Clear { .. } | Self::ClearSwept { .. } | Self::ClearAll { .. } => "clear",
            Self::Begin { .. } => "begin",
            Self::WritePulls => "pulls",
        }
    }

    /// How long whoever answers may wait before it does.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match self {
            Self::Freeze { wait_ms, .. } => Duration::from_millis(*wait_ms),
            Self::FreezeIdle { .. }
            | Self::Thaw { .. }
            | Self::Clear { .. }
            | Self::ClearSwept { .. }
            | Self::ClearAll { .. }
            | Self::Begin { .. }
            | Self::WritePulls => Duration::ZERO,
        }
    }
}

/// What a replica answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ReplicaAnswer {
    /// It is done.
    Done,
    /// Somebody was in the way for as long as the call could wait; nothing is frozen.
    Busy {
        /// Which key.
        key: String,
    },
    /// All is frozen but these.
    Kept {
        /// In flight, or touched since the epoch began.
        digests: Vec<Digest>,
    },
    /// It could not do that now.
    Failed,
    /// The process that answers is not the replica that was meant, or not any more.
    NotMe,
}

/// A replica could not be asked, or its answer did not come.
#[derive(Debug, thiserror::Error)]
#[error("the replica did not answer")]
pub struct CallError {
    /// Why.
    pub source: Box<dyn StdError + Send + Sync>,
}

/// The way to other replicas. Implemented over their control listeners (`http`), and by the simulator.
#[async_trait]
pub trait ReplicaCalls: Send + Sync + fmt::Debug + 'static {
    /// Asks the replica `id`, whose control listener is at `address`.
    ///
    /// # Errors
    /// Where no answer comes. The call may have taken effect all the same.
    async fn call(&self, id: Ulid, address: &str, call: &ReplicaCall) -> Result<ReplicaAnswer, CallError>;
}
