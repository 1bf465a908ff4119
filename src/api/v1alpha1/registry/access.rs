//! Who a registry answers, and with which certificate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::rules::rules;

/// The certificate that clients see.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "(self.mode == 'SecretRef') == has(self.secretRef)",
    "secretRef goes with mode SecretRef: name a Secret of type kubernetes.io/tls there, or remove it and use mode SelfSigned or Disabled"
)])))]
pub struct TlsSpec {
    /// SelfSigned: the operator makes an authority and a certificate for the addresses that `expose` gives;
    /// the authority's certificate is in the ConfigMap that the status names. SecretRef: your own certificate.
    /// Disabled: plain HTTP, for a registry behind something that terminates TLS.
    #[serde(default)]
    pub mode: TlsMode,
    /// For mode SecretRef: a Secret of type kubernetes.io/tls in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// Plain HTTP.
    Disabled,
    /// A Secret of yours.
    SecretRef,
    /// Made by the operator.
    #[default]
    SelfSigned,
}

/// Who may pull and push.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthSpec {
    /// What those may do who name nobody. None: nothing. Pull: pull. All: everything, deletes too.
    #[serde(default)]
    pub anonymous: Anonymous,
    /// Users and their passwords. Each of them may do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub htpasswd: Option<HtpasswdSpec>,
}

/// What those may do who name nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Anonymous {
    /// Nothing.
    #[default]
    None,
    /// Pull.
    Pull,
    /// Everything.
    All,
}

/// Users from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HtpasswdSpec {
    /// The Secret that holds lines of user:bcrypt-hash, as `htpasswd -B` makes them.
    pub secret_ref: SecretKeyReference,
}

/// A Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A key of a Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it: htpasswd where it is not given.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl SecretKeyReference {
    /// The key to read.
    #[must_use]
    pub fn key_or_default(&self) -> &str {
        self.key.as_deref().unwrap_or("htpasswd")
    }
}
