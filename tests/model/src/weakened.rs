//! The protocol with one protective step dropped or moved: each violates an invariant, but for those that are known to be
//! harmless.

use crate::{
    check::{BACK, BYTES, CACHES, CHILD, LAST, LATER, OTHER, PROMISE, RESTORABLE, STUCK, TAGGED, WHOLE},
    configurations::{
        ANY_AGE, CACHE, INDEX, JOIN, JOIN_DELETE, JOIN_LAPSE, JOIN_WAITS, LATE, LATE_DELETE, LATE_SWEEP, POLICY_ONE,
        PUSH, REBORN, RESTORE, RESUME, TAGS, TRASH, WAITS, WAITS_JOIN, WATCH, WATCH_INDEX, WATCH_JOIN,
    },
    protocol::Config,
};

macro_rules! weakened {
    ($($(#[$doc:meta])* $name:ident $test:ident in $config:ident: $expected:expr,)*) => {
        /// One protective step dropped or moved.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutant {
            /// The protocol as it is.
            None,
            $($(#[$doc])* $name,)*
        }

        /// Each, a configuration that shows it, and what it violates: nothing, where it is harmless.
        pub const ALL: &[(Mutant, Config, Option<&str>)] = &[$((Mutant::$name, $config, $expected),)*];

        #[cfg(test)]
        mod tests {
            $(
                #[test]
                fn $test() {
                    super::shows(super::Mutant::$name);
                }
            )*
        }
    };
}

weakened! {
    // Leases and replicas.
    LateRenewalRevives late_renewal_revives in CACHE: Some(CACHES),
    EvictionNotWaitedFor eviction_not_waited_for in RESTORE: Some(OTHER),
    SuccessorAnswers successor_answers in JOIN: Some(BYTES),
    CacheAnsweredWithoutLease cache_answered_without_lease in CACHE: Some(CACHES),
    JoinerListsBeforeItRegisters joiner_lists_before_it_registers in JOIN_LAPSE: Some(PROMISE),
    JoinerIgnoresSealed joiner_ignores_sealed in JOIN_LAPSE: Some(PROMISE),
    JoinerIgnoresPending joiner_ignores_pending in JOIN_WAITS: Some(WHOLE),
    LeaverForgetsTouched leaver_forgets_touched in JOIN: Some(PROMISE),
    FreezeEndsOnlyByThaw freeze_ends_only_by_thaw in JOIN_WAITS: Some(STUCK),
    DeadCollectorsFreezeStays dead_collectors_freeze_stays in PUSH: Some(STUCK),
    MemoryOutlivesLease memory_outlives_lease in REBORN: Some(CACHES),
    FillOutlivesLease fill_outlives_lease in REBORN: Some(CACHES),
    ForgetsBeforeItRegisters forgets_before_it_registers in REBORN: Some(CACHES),
    WaitsForEver waits_for_ever in WAITS_JOIN: Some(STUCK),
    // Promises.
    NoLeaseBeforePromise no_lease_before_promise in PUSH: Some(PROMISE),
    NoLeaseBeforeRevision no_lease_before_revision in ANY_AGE: Some(BYTES),
    NoLeaseBeforeTag no_lease_before_tag in TAGS: None,
    NoLeaseBefore201 no_lease_before201 in POLICY_ONE: Some(TAGGED),
    NoIntent no_intent in PUSH: Some(BYTES),
    IntentAfterChecks intent_after_checks in PUSH: None,
    IntentAfterLease intent_after_lease in PUSH: Some(BYTES),
    StatBeforeEnter stat_before_enter in PUSH: Some(PROMISE),
    LinkNotRewritten link_not_rewritten in PUSH: Some(PROMISE),
    HeadKeepsOldLink head_keeps_old_link in PUSH: Some(PROMISE),
    HeadNotTouched head_not_touched in PUSH: Some(PROMISE),
    IndexIgnoresChildRevision index_ignores_child_revision in INDEX: Some(CHILD),
    LateIgnored late_ignored in LATE_DELETE: Some(BACK),
    LateAnswered late_answered in LATE: Some(LAST),
    LateLeaves late_leaves in LATE_DELETE: Some(BACK),
    LateOutlivesIntent late_outlives_intent in LATE_SWEEP: Some(BYTES),
    // Collection.
    BeginWithoutInFlight begin_without_in_flight in PUSH: Some(PROMISE),
    ReplicasNotListedAgain replicas_not_listed_again in JOIN_LAPSE: Some(PROMISE),
    EpochSurvivesLoss epoch_survives_loss in PUSH: Some(PROMISE),
    EpochSurvivesNewcomers epoch_survives_newcomers in JOIN_LAPSE: Some(PROMISE),
    KeyRemovedDuringEpoch key_removed_during_epoch in JOIN_LAPSE: Some(PROMISE),
    SweepWithoutLease sweep_without_lease in PUSH: Some(PROMISE),
    ThawedBeforeQ thawed_before_q in PUSH: Some(PROMISE),
    LinksBeforeIntents links_before_intents in PUSH: Some(BYTES),
    TrashBeforeLinks trash_before_links in TRASH: Some(RESTORABLE),
    TouchedIgnored touched_ignored in PUSH: Some(PROMISE),
    // A policy that reads once.
    WatchReadsFirst watch_reads_first in WATCH: Some(TAGGED),
    WatchWithoutInFlight watch_without_in_flight in WATCH: Some(TAGGED),
    WatchIgnoresTouched watch_ignores_touched in WATCH_INDEX: Some(CHILD),
    WatchIgnoresLoss watch_ignores_loss in WATCH: Some(TAGGED),
    WatchIgnoresNewcomers watch_ignores_newcomers in WATCH_JOIN: Some(TAGGED),
    WatchIgnoresLeft watch_ignores_left in WATCH_JOIN: Some(TAGGED),
    WatchLetsKeysGo watch_lets_keys_go in WATCH_JOIN: Some(TAGGED),
    WatchListsLeftFirst watch_lists_left_first in WATCH_JOIN: Some(TAGGED),
    // Deletes and restores.
    DeleteWithoutFreeze delete_without_freeze in TAGS: Some(OTHER),
    DeleteWithoutLease delete_without_lease in CACHE: Some(LATER),
    ClearAsksTheOldList clear_asks_the_old_list in JOIN_DELETE: Some(CACHES),
    TagsListedOnce tags_listed_once in TAGS: Some(OTHER),
    PolicyNotRechecked policy_not_rechecked in POLICY_ONE: Some(TAGGED),
    UnlinkBeforeTombstone unlink_before_tombstone in TRASH: Some(RESTORABLE),
    ClearBeforeUnlink clear_before_unlink in CACHE: Some(CACHES),
    ClearKeepsGeneration clear_keeps_generation in CACHE: Some(CACHES),
    TombstoneResumed tombstone_resumed in JOIN_DELETE: Some(LATER),
    ResumedWithoutTombstone resumed_without_tombstone in CACHE: Some(LATER),
    ResumptionNotNamed resumption_not_named in RESUME: Some(STUCK),
    ResumptionNotFrozen resumption_not_frozen in RESUME: Some(LATER),
    ResumedUnseen resumed_unseen in RESUME: Some(LATER),
    ResumedBeforeQ resumed_before_q in CACHE: Some(LATER),
    PendingThawedAtQ pending_thawed_at_q in CACHE: Some(LATER),
    RestoreWithoutFreeze restore_without_freeze in RESTORE: Some(OTHER),
    RestoreEntersFirst restore_enters_first in WAITS: Some(STUCK),
    RestoreWithoutEnter restore_without_enter in TRASH: Some(BYTES),
    RestoreWithoutIntent restore_without_intent in TRASH: Some(BYTES),
    RestoreLandsLate restore_lands_late in RESTORE: Some(OTHER),
    FreezeInAnyOrder freeze_in_any_order in WAITS: Some(STUCK),
}

#[cfg(test)]
fn shows(mutant: Mutant) {
    use crate::{explore::explore, protocol::Protocol};

    let (_, config, expected) = ALL.iter().find(|(each, _, _)| *each == mutant).expect("the table has all of them");
    let outcome = explore(Protocol { config: *config, mutant });
    println!("{}", outcome.line(&format!("{} with {mutant:?}", config.name)));
    match expected {
        Some(property) => {
            assert!(outcome.violations.contains_key(property), "not so: {property}\n{}", outcome.traces());
        }
        None => assert!(outcome.violations.is_empty(), "{}", outcome.traces()),
    }
}
