//! When and how the bytes go that nothing needs any more.

use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::{GarbageCollectionMode, compile_collection_schedule, grace_period};
use crate::api::{Duration, FieldError};

/// When and how the bytes go that nothing needs any more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GarbageCollectionConfig {
    /// Whether anything is collected at all.
    #[serde(default)]
    pub mode: GarbageCollectionMode,
    /// When this process begins a collection by itself, as cron writes it, in UTC; absent, never: somebody asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// How old a blob must be before it can be garbage; absent, 24h, or the restore window where that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Duration>,
}

impl GarbageCollectionConfig {
    /// Looks whether all of it makes sense beside the restore window.
    ///
    /// # Errors
    /// Names the field, without what it lies below, and what would be right.
    pub fn check(&self, restore_window: &Duration) -> Result<(), FieldError> {
        self.schedule.as_deref().map_or(Ok(()), |cron| compile_collection_schedule(cron).map(drop))?;
        grace_period(self.grace_period.as_ref(), restore_window).map(drop)
    }

    /// The grace period that counts.
    #[must_use]
    pub fn grace(&self, restore_window: &Duration) -> std::time::Duration {
        // What is out of bounds was refused when the configuration was read.
        let period = grace_period(self.grace_period.as_ref(), restore_window);
        period.or_else(|_| grace_period(None, restore_window)).map_or(std::time::Duration::MAX, |p| p.as_std())
    }
}
