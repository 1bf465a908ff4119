//! The condition `StorageReady` of a Registry on a bucket.

use crate::api::v1alpha1::conditions::{ConditionStatus, ConditionType, Finding, Reason};

use super::{
    endings::EndingCause,
    status::{Picture, deployed, finding},
};

/// Whether the registry can use its bucket, as far as its pods have said. The operator does not look itself: what it
/// may reach, and with whose identity, says nothing of the pods.
pub(super) fn bucket(picture: &Picture<'_>) -> Finding {
    let type_ = ConditionType::StorageReady;
    let say = |holds, reason, message: &str| finding(type_, holds, reason, message);
    if let Some(problem) = picture.observed.referred.credentials_problem(&picture.valid.spec) {
        return say(false, Reason::CredentialsInvalid, &problem);
    }
    // The pods that cannot open it matter more than those that can: they are the ones with the newest credentials.
    let refused = picture.observed.endings.iter().find(|ending| ending.cause == EndingCause::Refused);
    if let Some(ending) = refused.or(picture.observed.endings.first()) {
        let reason = match ending.cause {
            EndingCause::Refused => Reason::CredentialsInvalid,
            EndingCause::Unavailable => Reason::BucketUnreachable,
        };
        return say(false, reason, &ending.message);
    }
    if deployed(picture).ready_replicas.unwrap_or(0) > 0 {
        return say(true, Reason::Reachable, "the registry reads and writes its bucket");
    }
    let (reason, message) = match picture.valid.spec.replicas {
        0 => (Reason::ScaledToZero, "no replica looks at the bucket"),
        _ => (Reason::WaitingForReplicas, "no replica has opened the bucket yet"),
    };
    Finding { type_, status: ConditionStatus::Unknown, reason, message: message.to_owned() }
}
