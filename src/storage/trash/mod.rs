//! Soft deletes: what is deleted, what can be restored, and what is given up.

pub(super) mod delete;
pub(super) mod group;
pub(super) mod index;
pub(super) mod listing;
pub(super) mod moved_tags;
pub(super) mod planned;
pub(super) mod purge;
pub(super) mod repository_delete;
pub(super) mod restore;
pub(super) mod tombstone;
