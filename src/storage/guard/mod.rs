//! Who relies on what, and who removes what, in this process.

pub(super) mod changes;
pub(super) mod held;
pub(super) mod keys;
pub(super) mod pending;
