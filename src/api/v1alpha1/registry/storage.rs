//! Where a registry's content lies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::Quantity;
use crate::api::v1alpha1::rules::rules;

use super::{AzureSpec, CaBundleReference, GcsSpec, S3Spec, SecretReference};

/// Where content lies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = storage_rules()))]
pub struct StorageSpec {
    /// The kind of storage. Cannot change.
    #[serde(rename = "type", default)]
    pub type_: StorageType,
    /// For type PersistentVolumeClaim: which claim. Where it is not given, the operator makes `<name>-data` with
    /// 20Gi of the default storage class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaimSpec>,
    /// For type S3: which bucket of Amazon S3, or of a store that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Spec>,
    /// For type GCS: which bucket of Google Cloud Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsSpec>,
    /// For type Azure: which container of Azure Blob Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureSpec>,
    /// For type EmptyDir: how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirSpec>,
}

/// Said where somebody changes them.
const BUCKET_STAYS: &str = "bucket and prefix cannot change: make a new Registry and copy the images";

/// The rules of the union, and of what cannot change.
///
/// Rules about changes stand here, and not at the fields that they are about: a rule at a field is not asked when the
/// field appears or goes. They spell out what is absent with `has`, for the evaluator that works without an API
/// server knows no optional values.
fn storage_rules() -> Value {
    let buckets = bucket_rules();
    let claims = claim_rules();
    let all = buckets.iter().chain(&claims).map(|(rule, message)| (rule.as_str(), *message));
    rules(&all.collect::<Vec<_>>())
}

type Rule = (String, &'static str);

/// What belongs to the types of object storage.
fn bucket_rules() -> Vec<Rule> {
    let stays = |member: &str, fields: &[&str]| {
        let same = fields.iter().map(|field| {
            let value = |object| {
                let given = format!("has({object}.{member}) && has({object}.{member}.{field})");
                format!("({given} ? {object}.{member}.{field} : '')")
            };
            format!("{} == {}", value("self"), value("oldSelf"))
        });
        same.collect::<Vec<_>>().join(" && ")
    };
    vec![
        (
            "(self.type == 'S3') == has(self.s3)".to_owned(),
            "s3 goes with type S3: write the bucket there, or remove it and use another type",
        ),
        (
            "(self.type == 'GCS') == has(self.gcs)".to_owned(),
            "gcs goes with type GCS: write the bucket there, or remove it and use another type",
        ),
        (
            "(self.type == 'Azure') == has(self.azure)".to_owned(),
            "azure goes with type Azure: write account and container there, or remove it and use another type",
        ),
        (stays("s3", &["bucket", "prefix"]), BUCKET_STAYS),
        (stays("gcs", &["bucket", "prefix"]), BUCKET_STAYS),
        (
            stays("azure", &["account", "container", "prefix"]),
            "account, container and prefix cannot change: make a new Registry and copy the images",
        ),
    ]
}

/// What belongs to the types that are volumes, and that the type stays.
fn claim_rules() -> Vec<Rule> {
    let claim_name =
        |object| format!("(has({object}.persistentVolumeClaim) && has({object}.persistentVolumeClaim.claimName))");
    let template = |object, field, value: &str, default| {
        let claim = format!("{object}.persistentVolumeClaim");
        let given = format!("has({claim}) && has({claim}.template) && has({claim}.template.{field})");
        format!("({given} ? {} : {default})", value.replace('$', &format!("{claim}.template.{field}")))
    };
    let named = claim_name("self");
    let same = |field, default| {
        format!("{named} || {} == {}", template("self", field, "$", default), template("oldSelf", field, "$", default))
    };
    let size = |object| template(object, "size", "string($)", "'20Gi'");
    vec![
        (
            "self.type == 'EmptyDir' || !has(self.emptyDir)".to_owned(),
            "emptyDir is for type EmptyDir: remove it, or set storage.type to EmptyDir when the Registry is created",
        ),
        (
            "self.type == 'PersistentVolumeClaim' || !has(self.persistentVolumeClaim)".to_owned(),
            "persistentVolumeClaim is for type PersistentVolumeClaim: remove it, or set storage.type to PersistentVolumeClaim when the Registry is created",
        ),
        ("self.type == oldSelf.type".to_owned(), "storage.type cannot change: make a new Registry and copy the images"),
        (
            format!("{named} || !{}", claim_name("oldSelf")),
            "claimName cannot be removed: the registry's content lies on that claim",
        ),
        (
            same("storageClassName", "''"),
            "template.storageClassName cannot change: restore a snapshot into a claim of the other class and name it in claimName",
        ),
        (
            same("accessModes", "['ReadWriteOnce']"),
            "template.accessModes cannot change: restore a snapshot into a claim with other modes and name it in claimName",
        ),
        (
            format!("{named} || quantity({}).compareTo(quantity({})) >= 0", size("self"), size("oldSelf")),
            "template.size can only grow, and is 20Gi where it is not given: a volume never shrinks",
        ),
    ]
}

/// The kind of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum StorageType {
    /// A claim, which outlives the Registry.
    #[default]
    PersistentVolumeClaim,
    /// A bucket of Amazon S3, or of a store that speaks its protocol.
    S3,
    /// A bucket of Google Cloud Storage.
    #[serde(rename = "GCS")]
    Gcs,
    /// A container of Azure Blob Storage.
    Azure,
    /// A folder of the pod that is gone with it: for trying things out.
    EmptyDir,
}

/// Which claim a registry's content lies on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!(has(self.claimName) && has(self.template))",
        "give claimName for a claim that exists, or template for one that the operator makes, not both"
    ),
    (
        "!(has(self.claimName) && has(self.whenDeleted) && self.whenDeleted == 'Delete')",
        "whenDeleted: Delete is only for a claim that the operator made: remove it, or use template instead of claimName"
    ),
])))]
pub struct PersistentVolumeClaimSpec {
    /// A claim of this namespace that exists. It stays yours: the operator never changes or deletes it.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_name: Option<String>,
    /// The claim that the operator makes, `<name>-data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<ClaimTemplate>,
    /// What becomes of the claim that the operator made when the Registry is deleted. Retain where it is not
    /// given: the claim stays, and a Registry of the same name finds its content again. Delete: it goes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<WhenDeleted>,
}

/// A claim to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimTemplate {
    /// ReadWriteOnce where it is not given. Cannot change.
    #[schemars(length(min = 1, max = 3), inner(length(max = 32)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_modes: Option<Vec<String>>,
    /// The cluster's default class where it is not given. Cannot change.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// How large: 20Gi where it is not given. It can grow, where the class allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
}

/// What becomes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum WhenDeleted {
    /// It stays.
    #[default]
    Retain,
    /// It goes with the Registry.
    Delete,
}

/// A folder of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDirSpec {
    /// The pod is evicted when it holds more. No limit where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Quantity>,
}

/// The size of a claim that does not say: enough for some dozens of images, little enough for most quotas.
#[must_use]
pub fn default_storage_size() -> Quantity {
    Quantity::from_gibibytes(20)
}

impl StorageType {
    /// Whether several processes can serve the same content.
    #[must_use]
    pub fn is_shared(self) -> bool {
        match self {
            Self::S3 | Self::Gcs | Self::Azure => true,
            Self::PersistentVolumeClaim | Self::EmptyDir => false,
        }
    }
}

impl StorageSpec {
    /// The Secret with the object store's credentials, if one was given.
    #[must_use]
    pub fn credentials_secret(&self) -> Option<&SecretReference> {
        let (s3, gcs, azure) = (self.s3.as_ref(), self.gcs.as_ref(), self.azure.as_ref());
        s3.and_then(|s3| s3.credentials_secret_ref.as_ref())
            .or_else(|| gcs.and_then(|gcs| gcs.credentials_secret_ref.as_ref()))
            .or_else(|| azure.and_then(|azure| azure.credentials_secret_ref.as_ref()))
    }

    /// The ConfigMap with authorities that the object store's certificate is verified with, if one was given.
    #[must_use]
    pub fn ca_bundle(&self) -> Option<&CaBundleReference> {
        let (s3, gcs, azure) = (self.s3.as_ref(), self.gcs.as_ref(), self.azure.as_ref());
        s3.and_then(|s3| s3.ca_bundle_ref.as_ref())
            .or_else(|| gcs.and_then(|gcs| gcs.ca_bundle_ref.as_ref()))
            .or_else(|| azure.and_then(|azure| azure.ca_bundle_ref.as_ref()))
    }

    /// The claim's name that was given, if one was.
    #[must_use]
    pub fn existing_claim(&self) -> Option<&str> {
        self.persistent_volume_claim.as_ref()?.claim_name.as_deref()
    }

    /// The template of the claim to make, with what was not given empty.
    #[must_use]
    pub fn claim_template(&self) -> ClaimTemplate {
        self.persistent_volume_claim.as_ref().and_then(|c| c.template.clone()).unwrap_or_default()
    }

    /// What becomes of the claim when the Registry is deleted.
    #[must_use]
    pub fn when_deleted(&self) -> WhenDeleted {
        self.persistent_volume_claim.as_ref().and_then(|c| c.when_deleted).unwrap_or_default()
    }
}

impl ClaimTemplate {
    /// The size to ask for.
    #[must_use]
    pub fn size_or_default(&self) -> Quantity {
        self.size.clone().unwrap_or_else(default_storage_size)
    }

    /// The access modes to ask for.
    #[must_use]
    pub fn access_modes_or_default(&self) -> Vec<String> {
        self.access_modes.clone().unwrap_or_else(|| vec!["ReadWriteOnce".to_owned()])
    }
}
