//! What goes wrong in the layers below.

use hyper::{StatusCode as S, header::RETRY_AFTER};
use serde_json::{Value, json};

use crate::api::wire::{ErrorEntry, TrashDetail};
use crate::maintenance;
use crate::storage::{self, InvalidReference, Tombstone, driver};

use super::reply::{RETRY_SECONDS, Reply, entry};

const BLOB_UNKNOWN: &str = "blob unknown to registry";
pub(super) const MANIFEST_UNKNOWN: &str = "manifest unknown to registry";
pub(super) const UPLOAD_UNKNOWN: &str = "blob upload unknown to registry";
pub(super) const TOMBSTONE_UNKNOWN: &str = "the trash has no such entry";
pub(super) const RUN_UNKNOWN: &str = "the registry knows no such run";

pub(super) fn storage(error: &storage::Error) -> Reply {
    use storage::Error as E;
    let unknown = |code, message| Reply::new(S::NOT_FOUND, code, message);
    let conflict = |message| Reply::new(S::CONFLICT, "CONFLICT", message);
    match error {
        E::BlobUnknown { digest, trash, .. } => {
            unknown("BLOB_UNKNOWN", BLOB_UNKNOWN).detail(trash_or(trash.as_deref(), json!({ "digest": digest })))
        }
        E::ManifestUnknown { reference, trash, .. } => unknown("MANIFEST_UNKNOWN", MANIFEST_UNKNOWN)
            .detail(trash_or(trash.as_deref(), json!({ "reference": reference }))),
        E::RepositoryUnknown { repository } => {
            unknown("NAME_UNKNOWN", "repository name not known to registry").detail(json!({ "name": repository }))
        }
        E::UploadUnknown { .. } => unknown("BLOB_UPLOAD_UNKNOWN", UPLOAD_UNKNOWN),
        E::UploadBusy { .. } => {
            Reply::new(S::CONFLICT, "BLOB_UPLOAD_INVALID", "another request is writing to this upload")
                .header(RETRY_AFTER, RETRY_SECONDS)
        }
        E::DigestMismatch { expected, actual } => {
            Reply::new(S::BAD_REQUEST, "DIGEST_INVALID", "provided digest did not match uploaded content")
                .detail(json!({ "expected": expected, "actual": actual }))
        }
        // 400, as docker/distribution: the specification names the code, and no status for it.
        E::InvalidReferences(references) => {
            Reply::of(S::BAD_REQUEST, references.iter().map(invalid_reference).collect())
        }
        E::DeletionDisabled => {
            Reply::new(S::METHOD_NOT_ALLOWED, "UNSUPPORTED", "deletion is disabled in this registry")
        }
        E::TombstoneUnknown { .. } => unknown("NOT_FOUND", TOMBSTONE_UNKNOWN),
        E::GroupUnknown { group, .. } => {
            unknown("NOT_FOUND", "the trash of the repository holds nothing of this group")
                .detail(json!({ "group": group }))
        }
        E::NotInTrash { .. } => unknown("NOT_FOUND", "neither the repository nor its trash has what was asked for"),
        E::TagConflict { tag, digest } => {
            conflict("the tag points elsewhere by now: conflict Replace (`lagan trash restore --conflict replace`) moves it back")
                .detail(json!({ "tag": tag, "digest": digest }))
        }
        E::TagImmutable { tag, digest } => {
            Reply::new(S::CONFLICT, "DENIED", "the tag is immutable, and points to another manifest already")
                .detail(json!({ "tag": tag, "digest": digest }))
        }
        E::ContentGone { missing } => {
            conflict("content that the restore needs is gone").detail(json!({ "missing": missing }))
        }
        E::Frozen { .. } => {
            Reply::new(S::SERVICE_UNAVAILABLE, "UNAVAILABLE", "another operation is changing this: try again")
                .header(RETRY_AFTER, RETRY_SECONDS)
        }
        E::NoLease => no_lease(),
        E::Poisoned => poisoned(),
        E::Corrupt { .. } => internal(),
        E::Uncertain { .. } => {
            let message = "the registry's storage did not say whether this was written: try again";
            Reply::new(S::SERVICE_UNAVAILABLE, "UNAVAILABLE", message).header(RETRY_AFTER, RETRY_SECONDS)
        }
        E::Unlisted { path, .. } => {
            let message = "a folder of the registry cannot be read, and a list without it would be incomplete";
            Reply::new(S::INTERNAL_SERVER_ERROR, "UNKNOWN", message).detail(json!({ "folder": path }))
        }
        E::Driver { source, .. } => driver(source),
    }
}

pub(super) fn maintenance(error: &maintenance::Error) -> Reply {
    use maintenance::Error as E;
    match error {
        E::InvalidRequest { reason } => {
            Reply::new(S::BAD_REQUEST, "UNSUPPORTED", "the request makes no sense").reason(reason)
        }
        E::DeletionUnavailable { reason } => {
            Reply::new(S::METHOD_NOT_ALLOWED, "UNSUPPORTED", "policies cannot run in this registry").reason(reason)
        }
        E::RunUnknown { .. } => Reply::new(S::NOT_FOUND, "NOT_FOUND", RUN_UNKNOWN),
        E::PlanUnknown { .. } => Reply::new(S::NOT_FOUND, "NOT_FOUND", "the registry has stored no plan of this run"),
        E::Busy { active } => {
            Reply::new(S::CONFLICT, "CONFLICT", "another run is in progress").detail(json!({ "run": active.as_str() }))
        }
        E::Forecasting => Reply::new(S::CONFLICT, "CONFLICT", "another plan is being made"),
        E::PolicyUnknown { policy } => Reply::new(S::NOT_FOUND, "NOT_FOUND", "no such policy runs here by itself")
            .detail(json!({ "policy": policy })),
        E::NotReady { state, .. } => {
            Reply::new(S::CONFLICT, "CONFLICT", "the run is not that far yet").detail(json!({ "state": state }))
        }
        E::ListReplaced { .. } => Reply::new(
            S::CONFLICT,
            "CONFLICT",
            "the run was planned anew since its candidates were read: read them again",
        ),
        E::Scrubbing { id, since } => Reply::new(S::CONFLICT, "CONFLICT", "another scrub is in progress")
            .detail(json!({ "scrub": id, "since": since.to_string() })),
        E::Collecting { id, since } => Reply::new(S::CONFLICT, "CONFLICT", "another collection is in progress")
            .detail(json!({ "collection": id, "since": since.to_string() })),
        E::NeverScrubbed => Reply::new(S::NOT_FOUND, "NOT_FOUND", "no scrub of the registry is known"),
        E::Storage { source, .. } => storage(source),
        E::Corrupt { .. } => internal(),
    }
}

fn driver(error: &driver::Error) -> Reply {
    let unavailable = |message| Reply::new(S::SERVICE_UNAVAILABLE, "UNAVAILABLE", message);
    match error {
        driver::Error::NoSpace { .. } => {
            Reply::new(S::INSUFFICIENT_STORAGE, "UNAVAILABLE", "the registry's storage is full")
        }
        driver::Error::ReadOnly { .. } => unavailable("the registry's storage is read-only"),
        driver::Error::Poisoned => poisoned(),
        driver::Error::Fenced { .. } => no_lease(),
        driver::Error::Unavailable { .. } | driver::Error::Busy { .. } => {
            unavailable("the registry's storage does not answer").header(RETRY_AFTER, RETRY_SECONDS)
        }
        // The registry's own credentials: nothing that the client could do better.
        driver::Error::NotFound { .. }
        | driver::Error::Denied { .. }
        | driver::Error::Rejected { .. }
        | driver::Error::Io { .. } => internal(),
    }
}

fn no_lease() -> Reply {
    Reply::new(S::SERVICE_UNAVAILABLE, "UNAVAILABLE", "this replica lost its place among the others: try again")
        .header(RETRY_AFTER, RETRY_SECONDS)
}

fn poisoned() -> Reply {
    let message = "the registry's storage failed, and accepts no writes before a restart";
    Reply::new(S::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
}

pub(super) fn internal() -> Reply {
    Reply::new(S::INTERNAL_SERVER_ERROR, "UNKNOWN", "the registry failed; its log says more")
}

/// One entry for each reference, so that a client can push what is missing in one go.
fn invalid_reference(reference: &InvalidReference) -> ErrorEntry {
    const UNKNOWN: &str = "MANIFEST_BLOB_UNKNOWN";
    match reference {
        InvalidReference::BlobUnknown(descriptor) => {
            let detail = json!({ "digest": descriptor.digest });
            entry(UNKNOWN, "manifest references a blob unknown to registry", Some(detail))
        }
        InvalidReference::ManifestUnknown(descriptor) => {
            let detail = json!({ "digest": descriptor.digest });
            entry(UNKNOWN, "manifest references a manifest unknown to registry", Some(detail))
        }
        InvalidReference::SizeMismatch { descriptor, actual } => {
            let detail = json!({ "digest": descriptor.digest, "size": descriptor.size, "actualSize": actual });
            entry("MANIFEST_INVALID", "manifest gives a size that the content does not have", Some(detail))
        }
    }
}

/// Who deleted what was asked for, if somebody did.
fn trash_or(tombstone: Option<&Tombstone>, otherwise: Value) -> Value {
    let Some(tombstone) = tombstone else { return otherwise };
    let detail = TrashDetail {
        deleted_by: tombstone.actor.clone(),
        policy: tombstone.policy.clone(),
        reason: tombstone.reason.clone(),
        deleted_at: tombstone.deleted_at,
        restorable_until: tombstone.restorable_until,
        tombstone: tombstone.id.to_string(),
    };
    serde_json::to_value(detail).unwrap_or(otherwise)
}
