//! Version `v1alpha1` of the resources of group `lagan.dev`.

pub mod conditions;
#[expect(clippy::doc_markdown, reason = "these comments are the text of kubectl explain, which knows no markdown")]
#[allow(rustdoc::invalid_html_tags, reason = "the same text writes <name> for the object's name")]
mod registry;
#[expect(clippy::doc_markdown, reason = "these comments are the text of kubectl explain, which knows no markdown")]
mod retention_policy;
mod rules;

pub use registry::{
    AccessMode, Addressing, Anonymous, AuthSpec, AzureSpec, CaBundleReference, Checksum, ClaimTemplate,
    CollectionBrake, DeletionMode, DeletionSpec, DescriptorCacheSpec, DescriptorCacheType, EmptyDirSpec,
    EncryptionSpec, EncryptionType, ExposeSpec, GarbageCollectionMode, GarbageCollectionResult, GarbageCollectionSpec,
    GarbageCollectionStatus, GcsSpec, HtpasswdSpec, ImageSpec, ImmutableTagsSpec, InMemoryCacheSpec, LimitsSpec,
    LogFormat, LogLevel, LoggingSpec, ManagementState, PersistentVolumeClaimSpec, PodDisruptionBudgetMode,
    PodDisruptionBudgetSpec, PullPolicy, Redirect, RedisSpec, RedisTlsSpec, Registry, RegistryEndpoints, RegistrySpec,
    RegistryStatus, S3Spec, SecretKeyReference, SecretReference, ServiceSpec, ServiceType, StorageSpec, StorageStatus,
    StorageType, TlsMode, TlsSpec, TracingSpec, UploadsSpec, WhenDeleted, WorkloadSpec, compile_collection_schedule,
    compile_immutable_tags, default_cache_entries, default_collection_schedule, default_drain_timeout,
    default_max_manifest_size, default_restore_window, default_storage_size, default_upload_expiry, grace_period,
};
pub use retention_policy::{
    Always, Approval, CustomResourceImages, ExtraImages, FieldPath, FieldPathError, Granularity, Hold, HoldState,
    HoldStatus, ImageListReference, InUseProtection, InUseScope, InUseSpec, KeepRule, LastRun,
    LimitsSpec as PolicyLimitsSpec, Misfit, Mode, OrphanedReferrers, PlanDecision, PlanSample, PlanStatus,
    PreventedDeletions, ReferrersSpec, RegistryReference, RepositorySelector, RetentionPolicy, RetentionPolicySpec,
    RetentionPolicyStatus, RolloutHistory, RunOutcome, SemverCriterion, UnmatchedTags, UntaggedAction, UntaggedSpec,
};
