//! Who does what at the same time: each configuration is explored from end to end, and holds.

use crate::protocol::{
    Config, Delete,
    Push::{Blob, Index, Other, Tagged},
    QUIET, Start,
};

const ANY: u8 = 0b11;
const BLOBS: &[Start] = &[Start::Empty, Start::Bytes, Start::OldBlob];
const NOBODY: (crate::protocol::Push, u8) = (crate::protocol::Push::None, 0);
const ONE: [Option<u8>; 2] = [Some(0), None];

/// A deleter dies, and who finishes its delete does, while a replica joins that finishes it too.
pub const RESUME: Config = Config {
    name: "resume",
    starts: &[Start::Image],
    clients: [(Tagged, 0b110), NOBODY],
    delete: api(0),
    joins: true,
    crashes: 2,
    timeouts: false,
    ..QUIET
};

/// A policy that has read once, while a tag is pushed, and a replica leaves.
pub const WATCH: Config = Config {
    name: "watch",
    starts: &[Start::Untagged],
    clients: [(Tagged, ANY), NOBODY],
    delete: (Delete::Watched, 0),
    leaves: Some(1),
    lapses: 1,
    crashes: 1,
    ..QUIET
};

/// The same while an index is pushed that references the manifest, and a replica joins.
pub const WATCH_INDEX: Config = Config {
    name: "watch_index",
    starts: &[Start::Untagged],
    clients: [(Index, 0b111), NOBODY],
    delete: (Delete::Watched, 0),
    joins: true,
    leaves: Some(1),
    crashes: 1,
    ..QUIET
};

/// The same with a tag at a replica that joins, and may leave or die.
pub const WATCH_JOIN: Config = Config {
    name: "watch_join",
    starts: &[Start::Untagged],
    clients: [(Tagged, 0b100), NOBODY],
    delete: (Delete::Watched, 0),
    joins: true,
    leaves: Some(2),
    crashes: 1,
    ..QUIET
};

/// The same, of which any may lapse.
pub const WATCH_LAPSE: Config =
    Config { name: "watch_lapse", clients: [(Tagged, 0b101), NOBODY], leaves: None, lapses: 1, ..WATCH_JOIN };

/// A delete and a restore while a replica joins, which freezes what both have begun with.
pub const WAITS_JOIN: Config = Config {
    name: "waits_join",
    starts: &[Start::PushedAgain],
    delete: api(0),
    restore: Some(1),
    joins: true,
    crashes: 1,
    ..QUIET
};

/// Links that are written twice, and land the first time last: two PUTs.
pub const LATE: Config = Config {
    name: "late",
    starts: &[Start::Image],
    clients: [(Tagged, ANY), (Other, ANY)],
    lapses: 1,
    crashes: 1,
    late: true,
    ..QUIET
};

/// The same: a PUT and a delete.
pub const LATE_DELETE: Config =
    Config { name: "late_delete", clients: [(Tagged, ANY), NOBODY], delete: api(0), timeouts: false, ..LATE };

/// The same: a PUT, a delete and a collection.
pub const LATE_SWEEP: Config =
    Config { name: "late_sweep", collectors: ONE, lapses: 0, ages_freely: true, ..LATE_DELETE };

/// A delete while a process that remembers loses its lease and registers anew.
pub const REBORN: Config = Config {
    name: "reborn",
    starts: &[Start::Image],
    clients: [(Tagged, 0b100), NOBODY],
    delete: api(0),
    caches: 0b110,
    joins: true,
    reborn: true,
    lapses: 1,
    ..QUIET
};

macro_rules! explored {
    ($list:ident in $module:ident: $($config:ident $test:ident,)*) => {
        explored! { @list $list $($config)* }
        #[cfg(test)]
        mod $module { $(
            #[test]
            fn $test() {
                super::holds(super::$config);
            }
        )* }
    };
    ($list:ident in $module:ident, only because $why:literal: $($config:ident $test:ident,)*) => {
        explored! { @list $list $($config)* }
        #[cfg(test)]
        mod $module { $(
            #[test]
            #[ignore = $why]
            fn $test() {
                super::holds(super::$config);
            }
        )* }
    };
    (@list $list:ident $($config:ident)*) => {
        /// Explored together.
        pub const $list: &[Config] = &[$($config),*];
    };
}

const fn api(home: u8) -> (Delete, u8) {
    (Delete::Api, home)
}

const fn policy(home: u8) -> (Delete, u8) {
    (Delete::Policy, home)
}

/// A push while everything is collected, twice.
pub const PUSH: Config = Config {
    name: "push",
    starts: BLOBS,
    clients: [(Blob, ANY), NOBODY],
    collectors: ONE,
    epochs: 2,
    lapses: 1,
    crashes: 1,
    timeouts: false,
    ..QUIET
};

/// Two pushes of one blob.
pub const TWO_PUSHES: Config = Config {
    name: "two_pushes",
    starts: BLOBS,
    clients: [(Blob, ANY), (Blob, ANY)],
    collectors: ONE,
    lapses: 1,
    timeouts: false,
    ..QUIET
};

/// Pushes that take longer than ages do.
pub const ANY_AGE: Config = Config {
    name: "any_age",
    starts: BLOBS,
    clients: [(Blob, ANY), (Tagged, 2)],
    collectors: ONE,
    lapses: 1,
    ages_freely: true,
    timeouts: false,
    ..QUIET
};

/// Two collectors at once.
pub const TWO_COLLECTORS: Config = Config {
    name: "two_collectors",
    starts: BLOBS,
    clients: [(Blob, ANY), NOBODY],
    collectors: [Some(0), Some(1)],
    lapses: 1,
    timeouts: false,
    ..QUIET
};

/// A delete, a restore, a push and a collection of one image.
pub const TRASH: Config = Config {
    name: "trash",
    starts: &[Start::Image, Start::Trashed],
    clients: [(Tagged, 2), NOBODY],
    collectors: ONE,
    delete: api(1),
    restore: Some(1),
    lapses: 1,
    ages_freely: true,
    ..QUIET
};

/// A delete while two replicas remember.
pub const CACHE: Config = Config {
    name: "cache",
    starts: &[Start::Image],
    clients: [(Tagged, ANY), NOBODY],
    delete: api(0),
    caches: 0b11,
    lapses: 1,
    crashes: 1,
    ..QUIET
};

/// A delete while its tag is pushed, and moved.
pub const TAGS: Config = Config {
    name: "tags",
    starts: &[Start::Image, Start::Untagged],
    clients: [(Tagged, ANY), (Other, ANY)],
    delete: api(0),
    lapses: 1,
    crashes: 1,
    ..QUIET
};

/// A policy's decision while the tag is pushed, and moved.
pub const POLICY: Config = Config {
    name: "policy",
    starts: &[Start::Untagged],
    clients: [(Tagged, ANY), (Other, ANY)],
    delete: policy(0),
    lapses: 1,
    crashes: 1,
    ..QUIET
};

/// The same with one push, and replicas that lapse.
pub const POLICY_ONE: Config = Config {
    name: "policy_one",
    starts: &[Start::Untagged],
    clients: [(Tagged, ANY), NOBODY],
    delete: policy(0),
    lapses: 2,
    crashes: 1,
    ..QUIET
};

/// A policy's decision while an index is pushed that references the manifest.
pub const INDEX: Config = Config {
    name: "index",
    starts: &[Start::Untagged],
    clients: [(Index, ANY), NOBODY],
    delete: policy(0),
    lapses: 2,
    crashes: 1,
    ..QUIET
};

/// A restore while its tag is taken.
pub const RESTORE: Config = Config {
    name: "restore",
    starts: &[Start::Trashed],
    clients: [(Other, ANY), NOBODY],
    restore: Some(1),
    lapses: 2,
    crashes: 1,
    ..QUIET
};

/// A delete, a restore and a push that all wait for each other.
pub const WAITS: Config = Config {
    name: "waits",
    starts: &[Start::PushedAgain],
    clients: [(Tagged, ANY), NOBODY],
    delete: api(0),
    restore: Some(1),
    collectors: ONE,
    crashes: 1,
    timeouts: false,
    ages_freely: true,
    ..QUIET
};

/// A replica joins, another leaves.
pub const JOIN: Config = Config {
    name: "join",
    starts: BLOBS,
    clients: [(Blob, 0b111), NOBODY],
    collectors: ONE,
    joins: true,
    leaves: Some(1),
    crashes: 1,
    timeouts: false,
    ..QUIET
};

/// A replica joins while another lapses.
pub const JOIN_LAPSE: Config = Config {
    name: "join_lapse",
    starts: BLOBS,
    clients: [(Blob, 0b101), NOBODY],
    collectors: ONE,
    joins: true,
    lapses: 1,
    timeouts: false,
    ..QUIET
};

/// A replica joins during a delete, and remembers.
pub const JOIN_DELETE: Config = Config {
    name: "join_delete",
    starts: &[Start::Image],
    clients: [(Tagged, 0b101), NOBODY],
    delete: api(0),
    caches: 0b100,
    joins: true,
    crashes: 1,
    ..QUIET
};

/// A replica joins during a delete, and is waited for.
pub const JOIN_WAITS: Config = Config {
    name: "join_waits",
    starts: &[Start::Image],
    clients: [(Tagged, 0b101), NOBODY],
    delete: api(0),
    joins: true,
    crashes: 1,
    timeouts: false,
    ..QUIET
};

explored! { EVERYDAY in everyday:
    WATCH watch, WATCH_INDEX watch_index, WATCH_JOIN watch_join,
    RESUME resume,
    REBORN reborn,
    WAITS_JOIN waits_join,
    LATE late,
    LATE_DELETE late_delete,
    LATE_SWEEP late_sweep,
    PUSH push,
    TWO_PUSHES two_pushes,
    ANY_AGE any_age,
    TWO_COLLECTORS two_collectors,
    TRASH trash,
    CACHE cache,
    TAGS tags,
    POLICY policy,
    POLICY_ONE policy_one,
    INDEX index,
    RESTORE restore,
    WAITS waits,
    JOIN join,
    JOIN_LAPSE join_lapse,
    JOIN_DELETE join_delete,
    JOIN_WAITS join_waits,
}

explored! { LARGE in large, only because "takes minutes and gigabytes":
    WATCH_LAPSE watch_lapse,
}

#[cfg(test)]
fn holds(config: Config) {
    use crate::{explore::explore, protocol::Protocol, weakened::Mutant};

    let outcome = explore(Protocol { config, mutant: Mutant::None });
    println!("{}", outcome.line(config.name));
    assert!(outcome.violations.is_empty(), "{}", outcome.traces());
}
