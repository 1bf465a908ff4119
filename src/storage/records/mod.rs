//! Records under `lagan/v1/` of work that nobody waits for.

pub(super) mod collections;
pub(super) mod record;
pub(super) mod runs;
pub(super) mod scrubs;
