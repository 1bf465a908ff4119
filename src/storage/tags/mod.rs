//! Tags of a repository: what they point to, and what they have pointed to.

pub(super) mod history;
pub(super) mod immutable_pushes;
pub(super) mod names;
pub(super) mod pushes;
pub(super) mod store;
pub(super) mod unfinished;
