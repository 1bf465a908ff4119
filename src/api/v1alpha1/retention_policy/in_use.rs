//! What counts as in use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::FieldError;

use super::field_path::FieldPath;

/// Whether images that the cluster uses are kept, and where to look for them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InUseSpec {
    /// Enabled: nothing is deleted that a pod runs or that a workload would run, scaled to zero or not; and
    /// nothing at all, when that cannot be found out. Disabled: the cluster is not asked.
    pub protection: InUseProtection,
    /// Which namespaces are asked. Cluster: all of them. WatchedNamespaces: those that the operator watches, for one
    /// without rights in the others; what only those use is not protected.
    pub scope: InUseScope,
    /// Protect: what a rollback would run is in use, too. Ignore: it is not, once no replica runs it; these are old
    /// ReplicaSets of Deployments and old ControllerRevisions of StatefulSets and DaemonSets.
    pub rollout_history: RolloutHistory,
    /// Further images that are in use, from ConfigMaps of this namespace. Nothing is deleted while one cannot be read.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_images_from: Vec<ExtraImages>,
    /// Other kinds of objects that name images, such as those of another operator. The operator must be allowed to
    /// list them. Nothing is deleted while one of the kinds does not exist or cannot be listed.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub custom_resources: Vec<CustomResourceImages>,
}

/// Whether images that the cluster runs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum InUseProtection {
    /// They are.
    #[default]
    Enabled,
    /// Nobody asks.
    Disabled,
}

/// Which namespaces are asked what they use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum InUseScope {
    /// All of them.
    #[default]
    Cluster,
    /// Those that the operator watches.
    WatchedNamespaces,
}

/// Whether what a rollback would run is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum RolloutHistory {
    /// It is.
    #[default]
    Protect,
    /// It is not, once nothing runs it any more.
    Ignore,
}

/// Where further images are listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtraImages {
    /// A ConfigMap whose values list images, one a line, as a pod would name them. Empty lines, and what follows a #
    /// at the beginning of a line or after a space, do not count.
    pub config_map_ref: ImageListReference,
}

/// A ConfigMap of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageListReference {
    /// The ConfigMap's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key to read. All of them where it is not given.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A kind of objects that name images, and where they do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomResourceImages {
    /// The group and the version, such as serving.knative.dev/v1.
    #[schemars(length(min = 2, max = 253), regex(pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9][a-z0-9]*$"))]
    pub api_version: String,
    /// The kind, such as Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub kind: String,
    /// Where an object of that kind names images: fields, and `[*]` for each element of a list or of a map, such as
    /// `.spec.template.spec.containers[*].image`. A field whose name has other characters than letters and digits stands
    /// in brackets and single quotes. What is there is a text, a list of texts, or an object with registry, repository,
    /// tag and digest. A field that an object does not have names nothing.
    #[schemars(length(min = 1, max = 32), inner(length(min = 2, max = 256), regex(pattern = FieldPath::PATTERN)))]
    pub paths: Vec<String>,
}

impl InUseSpec {
    /// Everything that is wrong with it, as the schema would say it too.
    pub(super) fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (at, resource) in self.custom_resources.iter().enumerate() {
            let path = format!("spec.inUse.customResources[{at}]");
            if resource.kind.is_empty() || resource.api_version.is_empty() {
                errors.push(FieldError::new(&path, "needs an apiVersion and a kind"));
            }
            if resource.paths.is_empty() {
                errors.push(FieldError::new(format!("{path}.paths"), "is empty: write where the images are named"));
            }
            errors.extend(resource.paths.iter().enumerate().filter_map(|(number, text)| {
                let wrong = text.parse::<FieldPath>().err()?;
                Some(FieldError::new(format!("{path}.paths[{number}]"), wrong))
            }));
        }
        for (at, extra) in self.extra_images_from.iter().enumerate() {
            if extra.config_map_ref.name.is_empty() {
                let path = format!("spec.inUse.extraImagesFrom[{at}].configMapRef.name");
                errors.push(FieldError::new(path, "is empty"));
            }
        }
        errors
    }
}
