//! Conditions: their types, their reasons, and how they change.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// Everything is as the spec says. The summary of both kinds.
    Ready,
    /// A Registry answers.
    Available,
    /// A Registry's pods are being replaced. Abnormal when true.
    Progressing,
    /// Something is wrong that will not mend itself. Abnormal when true.
    Degraded,
    /// A Registry's volume is there.
    StorageReady,
    /// A Registry's certificate is there and valid.
    TlsReady,
    /// Nodes can pull from a Registry.
    NodePullReady,
    /// A policy's last run ended well.
    LastRunSucceeded,
}

impl ConditionType {
    /// The name in `status.conditions[].type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Available => "Available",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::StorageReady => "StorageReady",
            Self::TlsReady => "TLSReady",
            Self::NodePullReady => "NodePullReady",
            Self::LastRunSucceeded => "LastRunSucceeded",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a condition is as it is. The names are part of the interface: programs match them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Ready: every replica answers.
    AllReplicasReady,
    /// Ready: the volume is not there yet.
    WaitingForStorage,
    /// Ready: not all replicas answer yet.
    WaitingForReplicas,
    /// Ready: the spec cannot be acted on.
    ConfigInvalid,
    /// Ready: the operator was told to leave everything alone.
    Unmanaged,
    /// Ready, Available: no replica was asked for.
    ScaledToZero,
    /// Available: enough replicas answer.
    MinimumAvailability,
    /// Available: none does.
    NoReplicasAvailable,
    /// Progressing: nothing is being replaced.
    RolloutComplete,
    /// Progressing: pods are being replaced.
    RollingOut,
    /// Progressing: the volume grows.
    StorageResizing,
    /// Degraded: nothing is wrong.
    AsExpected,
    /// Degraded: the pods do not become ready.
    ProgressDeadlineExceeded,
    /// Degraded: the cluster refuses what the operator asks for.
    ReconcileError,
    /// Degraded: a collection of garbage stopped and waits for somebody.
    CollectionHalted,
    /// `StorageReady`: the claim is bound.
    Bound,
    /// `StorageReady`: the claim waits for a volume.
    ClaimPending,
    /// `StorageReady`: no volume could be made.
    ProvisioningFailed,
    /// `StorageReady`: a claim of the name is somebody else's.
    ClaimNotOwned,
    /// `StorageReady`: content lies in the pod.
    Ephemeral,
    /// `StorageReady`: the claim that the spec names is not there.
    ClaimNotFound,
    /// `StorageReady`: the object store does not answer, or has no such bucket.
    BucketUnreachable,
    /// `StorageReady`: the object store refuses the credentials, or there are none.
    CredentialsInvalid,
    /// `TLSReady`: the certificate is valid.
    Valid,
    /// `TLSReady`: there is no TLS.
    Disabled,
    /// `TLSReady`: the Secret that the spec names is not there.
    SecretNotFound,
    /// `TLSReady`: the Secret holds no certificate and key that belong together.
    InvalidKeyPair,
    /// `TLSReady`: the certificate ends soon.
    ExpiringSoon,
    /// `TLSReady`: the certificate has ended.
    Expired,
    /// `NodePullReady`: nodes reach the registry. `StorageReady`: the registry uses its bucket.
    Reachable,
    /// `NodePullReady`: the spec gives nodes no address.
    NoNodeReachableEndpoint,
    /// Ready: the next run is known.
    Scheduled,
    /// Ready: no run starts.
    Suspended,
    /// Ready: there is no such Registry.
    RegistryNotFound,
    /// Ready: the policy does not say anything that can be done.
    InvalidPolicy,
    /// Ready: another policy of the Registry is invalid, so nothing is deleted.
    BlockedByInvalidPolicy,
    /// Ready, `LastRunSucceeded`: a plan waits until somebody approves it.
    AwaitingApproval,
    /// `LastRunSucceeded`: it did all it should.
    Completed,
    /// `LastRunSucceeded`: what is in use could not be found out.
    InUseUnknown,
    /// `LastRunSucceeded`: what the Registry's policies keep could not be read.
    PoliciesUnknown,
    /// `LastRunSucceeded`: the plan was over a limit.
    LimitExceeded,
    /// `LastRunSucceeded`: the Registry deletes nothing.
    DeletionUnavailable,
    /// `LastRunSucceeded`: the registry did not answer.
    RegistryUnavailable,
    /// `LastRunSucceeded`: it was cut off.
    Interrupted,
    /// `LastRunSucceeded`: an error stopped it.
    Failed,
    /// `LastRunSucceeded`: it is going on.
    Running,
}

impl Reason {
    /// The name in `status.conditions[].reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllReplicasReady => "AllReplicasReady",
            Self::WaitingForStorage => "WaitingForStorage",
            Self::WaitingForReplicas => "WaitingForReplicas",
            Self::ConfigInvalid => "ConfigInvalid",
            Self::Unmanaged => "Unmanaged",
            Self::ScaledToZero => "ScaledToZero",
            Self::MinimumAvailability => "MinimumAvailability",
            Self::NoReplicasAvailable => "NoReplicasAvailable",
            Self::RolloutComplete => "RolloutComplete",
            Self::RollingOut => "RollingOut",
            Self::StorageResizing => "StorageResizing",
            Self::AsExpected => "AsExpected",
            Self::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Self::ReconcileError => "ReconcileError",
            Self::CollectionHalted => "CollectionHalted",
            Self::Bound => "Bound",
            Self::ClaimPending => "ClaimPending",
            Self::ProvisioningFailed => "ProvisioningFailed",
            Self::ClaimNotOwned => "ClaimNotOwned",
            Self::Ephemeral => "Ephemeral",
            Self::ClaimNotFound => "ClaimNotFound",
            Self::BucketUnreachable => "BucketUnreachable",
            Self::CredentialsInvalid => "CredentialsInvalid",
            Self::Valid => "Valid",
            Self::Disabled => "Disabled",
            Self::SecretNotFound => "SecretNotFound",
            Self::InvalidKeyPair => "InvalidKeyPair",
            Self::ExpiringSoon => "ExpiringSoon",
            Self::Expired => "Expired",
            Self::Reachable => "Reachable",
            Self::NoNodeReachableEndpoint => "NoNodeReachableEndpoint",
            Self::Scheduled => "Scheduled",
            Self::Suspended => "Suspended",
            Self::RegistryNotFound => "RegistryNotFound",
            Self::InvalidPolicy => "InvalidPolicy",
            Self::BlockedByInvalidPolicy => "BlockedByInvalidPolicy",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Completed => "Completed",
            Self::InUseUnknown => "InUseUnknown",
            Self::PoliciesUnknown => "PoliciesUnknown",
            Self::LimitExceeded => "LimitExceeded",
            Self::DeletionUnavailable => "DeletionUnavailable",
            Self::RegistryUnavailable => "RegistryUnavailable",
            Self::Interrupted => "Interrupted",
            Self::Failed => "Failed",
            Self::Running => "Running",
        }
    }
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl ConditionStatus {
    /// The text in `status.conditions[].status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What is found about one condition now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which condition.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people, and what to do about it.
    pub message: String,
}

/// The longest message: what the schema of `metav1.Condition` takes.
const MAX_MESSAGE_CHARS: usize = 32_768;

/// The conditions that follow from `findings`. A condition's transition time changes only with its status.
/// Conditions that nothing was found about are dropped.
#[must_use]
pub fn update(before: &[Condition], findings: Vec<Finding>, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let condition = |finding: Finding| {
        let status = finding.status.as_str();
        let unchanged = before.iter().find(|c| c.type_ == finding.type_.as_str() && c.status == status);
        Condition {
            last_transition_time: unchanged.map_or(Time(now), |c| c.last_transition_time.clone()),
            message: finding.message.chars().take(MAX_MESSAGE_CHARS).collect(),
            observed_generation: generation,
            reason: finding.reason.as_str().to_owned(),
            status: status.to_owned(),
            type_: finding.type_.as_str().to_owned(),
        }
    };
    findings.into_iter().map(condition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(status: ConditionStatus, reason: Reason) -> Finding {
        Finding { type_: ConditionType::Ready, status, reason, message: reason.as_str().to_owned() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_changes_with_the_status_only() {
        let first = update(&[], vec![finding(ConditionStatus::False, Reason::WaitingForStorage)], Some(1), at(1));
        let second = update(&first, vec![finding(ConditionStatus::False, Reason::WaitingForReplicas)], Some(2), at(2));
        assert_eq!(second[0].last_transition_time, Time(at(1)));
        assert_eq!(second[0].reason, "WaitingForReplicas");
        assert_eq!(second[0].observed_generation, Some(2));
        let third = update(&second, vec![finding(ConditionStatus::True, Reason::AllReplicasReady)], Some(2), at(3));
        assert_eq!(third[0].last_transition_time, Time(at(3)));
    }

    #[test]
    fn conditions_that_nothing_was_found_about_are_dropped() {
        let before = update(&[], vec![finding(ConditionStatus::True, Reason::Scheduled)], None, at(1));
        assert!(update(&before, Vec::new(), None, at(2)).is_empty());
    }
}
