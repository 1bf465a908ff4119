//! Manifests of a repository: their bytes, what is known of them, what they refer to and what refers to them.

pub(super) mod closure;
pub(super) mod facts;
pub(super) mod image_configs;
pub(super) mod inventory;
pub(super) mod push;
pub(super) mod reach;
pub(super) mod referrer_lists;
pub(super) mod referrers;
pub(super) mod store;
