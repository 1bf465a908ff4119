//! What a state of the model holds: the store's keys, each replica's memory, and where every process is.
//!
//! One repository, a blob B, a manifest M that references it, one tag T. A key's age is abstract: a link is
//! `Fresh` (a root of its own) or `Old`.

/// A set of keys of the guard. The first two are digests, and a set of them is a set of bytes or of touched digests.
pub type Keys = u8;
pub const BLOB: Keys = 1;
pub const MANIFEST: Keys = 2;
pub const DIGESTS: Keys = BLOB | MANIFEST;
/// `repository@M`
pub const REVISION: Keys = 4;
/// `repository:T`
pub const TAG: Keys = 8;

/// In a set of digests that a replica left: that it left.
pub const LEFT: Keys = 128;
/// What may lead to M, beside a tag: an index.
pub const INDEX: Keys = 16;

/// Replicas 0 and 1 serve from the start, replica 2 may join: a new pod, or another's process under a new ulid.
pub const REPLICAS: usize = 3;
pub const JOINER: usize = 2;
/// Who may hold a freeze.
pub const HOLDERS: usize = 6;
pub const DELETER: usize = 2;
pub const RESTORER: usize = 3;
/// Of two who settle what the dead have left, the first.
pub const SETTLER: usize = 4;

macro_rules! plain {
    ($($item:item)*) => { $(#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, PartialOrd)] $item)* };
}

plain! {
    pub enum Link {
        #[default] Absent, Fresh, Old,
    }

    pub enum Tag {
        #[default] Absent, Manifest, Other,
    }

    pub enum Tombstone {
        #[default] Absent, Restorable, Expired,
    }

    /// A replica's lease as it is in fact. `Gone`: others may treat it as gone. `GoneQ`: and Q has passed since.
    pub enum Lease {
        #[default] Valid, Lapsed, Gone, GoneQ,
    }

    pub enum Phase {
        /// Not started yet (the joiner).
        #[default] Absent,
        /// It has lost its lease and given its ulid up.
        Reborn,
        /// Its key is written; it has listed nothing.
        Registered,
        GcListed,
        /// Only in the mutant that lists first: listed, not registered.
        PendingListed,
        Serving,
        /// Leaving in order: it takes nothing new.
        Leaving,
        Left, Crashed,
    }

    /// A descriptor cache's fill: what it has read so far.
    pub enum Fill {
        #[default] Idle,
        /// The generation is noted.
        Started,
        /// The link was read, and it was there.
        Read,
    }

    pub struct Replica {
        pub phase: Phase,
        pub lease: Lease,
        /// `replicas/<ulid>` exists.
        pub key: bool,
        pub frozen: [Keys; HOLDERS],
        /// By collector: an open epoch's touched set has begun, and what is in it.
        pub began: [bool; 2],
        pub touched: [Keys; 2],
        pub cached: bool,
        pub fill: Fill,
        /// The generation has moved since the fill noted it.
        pub fill_stale: bool,
    }

    pub enum PushAt {
        #[default] Idle, HeadLink, HeadRefresh, HeadStat, HeadAnswer, CommitLink, CommitStat, CommitPublish,
        CommitAnswer,
        /// Between two requests: nothing is in flight.
        PutStart,
        PutIntent, PutBytes, PutLink, PutStat, PutLateIntent, PutRevision, PutTag, PutWaits, PutAnswer, PutIntentGoes, Done,
        Failed,
    }

    pub struct Client {
        pub at: PushAt,
        pub home: u8,
        /// What it has in flight in its replica's guard.
        pub entered: Keys,
        /// A 200 or 201 promised the blob to this client.
        pub promised: bool,
        pub acked: bool,
        /// Its PUT began after the delete had ended, or after the deleter had died.
        pub after_delete: bool,
        /// Links whose write was sent twice: the first attempt may still land.
        pub late: Keys,
        /// It began when the other client's PUT was answered; a delete began when its own was, or had failed.
        pub after_other: bool,
        pub before_delete: bool,
        /// In the mutant that stats first: 1 absent, 2 present.
        pub early_stat: u8,
    }

    pub enum CollectAt {
        #[default] Idle, ListReplicas, Begin, ListBlobs, ListIntents, ListLayers, ListRevisions, ListTrash,
        Seal, ListReplicasAgain, Freeze, LeftKeys, SweepLinks, SweepBlob, SweepManifest, CloseBatch,
        CloseEpoch, Halted,
    }

    pub struct Collector {
        pub at: CollectAt,
        pub home: u8,
        /// The replicas of this epoch, and the next one to call.
        pub members: u8,
        pub call: u8,
        /// Those that were gone when it began: they promise nothing any more, and what they did can be seen.
        pub gone: u8,
        /// Digests that the mark found reachable, and the batch.
        pub found: Keys,
        pub batch: Keys,
        pub epochs: u8,
    }

    /// Where a delete or a restore is.
    pub enum ChangeAt {
        #[default] Idle,
        /// What a policy's run does once for many deletes.
        WatchList, WatchBegin, WatchTags, WatchIndexes, WatchPending, WatchEpoch, WatchEnds,
        Again, List, Freeze, Wait, Check, Tombstone, Unlink, TagRead, TagUnlink, ListForClear, Clear,
        PendingGoes, UndoPending, Enter, Intent, Stat, LayerLink, Revision, Tag, TombstoneGoes, IntentGoes, Done,
        Failed,
        /// A settler found no tombstone.
        Drop,
        /// Its replica died or lost the lease: whoever settles it begins with `pending`.
        Abandoned,
    }

    pub struct Change {
        pub at: ChangeAt,
        pub home: u8,
        /// A restore's digests, in flight in its replica's guard.
        pub entered: Keys,
        /// The keys it freezes, the replicas it listed, the next one to call.
        pub keys: Keys,
        pub list: u8,
        pub call: u8,
        /// Of a policy's run: who began with it, who was gone by then, and what leads to M as far as it has read.
        pub members: u8,
        pub gone: u8,
        pub seen: Keys,
        /// Of the last freeze: who has answered, and whether nobody can have relied on M since the run began.
        pub heard: u8,
        pub unread: bool,
        /// Its own tombstone is written.
        pub tombstoned: bool,
        pub acked: bool,
    }

    /// A write of a dead delete or restore that is still on its way. Only mutants have one: see A4.
    pub enum Stray {
        #[default] None, Unlink, Revision, Tag,
    }

    pub struct State {
        // The store.
        pub data: Keys,
        pub layer_link: Link,
        pub revision: bool,
        /// The revision of an index that references M.
        pub index: bool,
        pub tag: Tag,
        pub tombstone: Tombstone,
        /// Bit 0 and 1: the clients; bit 2: the restorer.
        pub intents: u8,
        /// By the deleter, the restorer and the settlers: the keys in their `pending`; 0 where there is none.
        pub pending: [Keys; 4],
        pub open: [bool; 2],
        pub sealed: [Keys; 2],
        /// Digests in the `left-` keys of each open epoch.
        pub left: [Keys; 2],
        // Memory and processes.
        pub replicas: [Replica; REPLICAS],
        pub clients: [Client; 2],
        pub collectors: [Collector; 2],
        pub deleter: Change,
        pub restorer: Change,
        /// They finish a delete of the dead under a `pending` of their own, which names the one that they resume.
        pub settlers: [Change; 2],
        pub stray: Stray,
        pub crashes: u8,
        pub lapses: u8,
        // What went wrong in a single step.
        pub promise_broken: bool,
        pub restore_failed: bool,
        /// A delete of M unlinked T when T pointed elsewhere.
        pub other_tag_unlinked: bool,
        /// A link of an answered PUT came back after a later delete was answered.
        pub came_back: bool,
        /// Nothing moves any more, and somebody waits.
        pub stuck: bool,
    }
}

impl State {
    pub fn listed(&self) -> u8 {
        (0..REPLICAS).filter(|&r| self.replicas[r].key).fold(0, |set, r| set | 1 << r)
    }

    pub fn alive(&self, replica: u8) -> bool {
        !matches!(self.replicas[replica as usize].phase, Phase::Absent | Phase::Left | Phase::Crashed)
    }

    /// Keys that are in flight in a replica's guard.
    pub fn in_flight(&self, replica: usize) -> Keys {
        let clients = self.clients.iter().filter(|client| client.home as usize == replica);
        let pushed = clients.fold(0, |keys, client| keys | client.entered);
        let restoring = if self.restorer.home as usize == replica { self.restorer.entered } else { 0 };
        pushed | restoring
    }

    pub fn frozen(&self, replica: usize) -> Keys {
        self.replicas[replica].frozen.iter().fold(0, |keys, held| keys | held)
    }

    /// The guard's `enter`, where it does not have to wait. The caller keeps what it entered.
    pub fn touch(&mut self, replica: usize, keys: Keys) {
        let replica = &mut self.replicas[replica];
        for epoch in 0..2 {
            if replica.began[epoch] {
                replica.touched[epoch] |= keys & DIGESTS;
            }
        }
    }
}

impl Client {
    /// A push between its first promise and its end: ages that A2 bounds do not run out under it.
    pub fn busy(&self) -> bool {
        !matches!(self.at, PushAt::Idle | PushAt::Done | PushAt::Failed)
    }
}
