//! The claim, which outlives its Registry: made once, then only grown.

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::{api::resource::Quantity as K8sQuantity, apis::meta::v1::OwnerReference},
};
use serde_json::{Value, json};

use super::kept;
use crate::api::Quantity;
use crate::api::v1alpha1::WhenDeleted;
use crate::operator::registry::validate::{Storage, ValidRegistry};

/// The claim to make, if the operator is to make one.
#[must_use]
pub fn claim(registry: &ValidRegistry) -> Option<PersistentVolumeClaim> {
    let Storage::MadeClaim { name, when_deleted } = &registry.storage else { return None };
    let template = registry.spec.storage.claim_template();
    let mut metadata = kept(registry, name.clone());
    metadata.owner_references = (*when_deleted == WhenDeleted::Delete).then(|| vec![owner(registry)]);
    let size = K8sQuantity(template.size_or_default().as_str().to_owned());
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(template.access_modes_or_default()),
        storage_class_name: template.storage_class_name,
        resources: Some(VolumeResourceRequirements {
            requests: Some([("storage".to_owned(), size)].into()),
            ..VolumeResourceRequirements::default()
        }),
        ..PersistentVolumeClaimSpec::default()
    };
    Some(PersistentVolumeClaim { metadata, spec: Some(spec), status: None })
}

/// What has to change about a claim that exists: its size, if it is to grow, and whether it goes with the
/// Registry. The rest of a claim cannot change. A claim never shrinks: one that was grown by hand stays as it is.
#[must_use]
pub fn claim_patch(registry: &ValidRegistry, live: &PersistentVolumeClaim) -> Option<Value> {
    let Storage::MadeClaim { when_deleted, .. } = &registry.storage else { return None };
    let mut patch = serde_json::Map::new();
    let wanted = registry.spec.storage.claim_template().size_or_default();
    if requested(live).is_some_and(|requested| requested.as_bytes() < wanted.as_bytes()) {
        patch.insert("spec".to_owned(), json!({"resources": {"requests": {"storage": wanted.as_str()}}}));
    }
    let owned = live.metadata.owner_references.iter().flatten().any(|owner| owner.uid == registry.owner.uid);
    if owned != (*when_deleted == WhenDeleted::Delete) {
        let owners = live.metadata.owner_references.iter().flatten();
        let mut owners: Vec<OwnerReference> =
            owners.filter(|owner| owner.kind != registry.owner.kind).cloned().collect();
        if *when_deleted == WhenDeleted::Delete {
            owners.push(owner(registry));
        }
        // The version makes sure that nobody else's owner is lost.
        let metadata = json!({"ownerReferences": owners, "resourceVersion": live.metadata.resource_version});
        patch.insert("metadata".to_owned(), metadata);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// A claim is not controlled by its Registry: another Registry of the same name may take it over.
fn owner(registry: &ValidRegistry) -> OwnerReference {
    OwnerReference { controller: None, block_owner_deletion: None, ..registry.owner.clone() }
}

fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?.0.parse().ok()
}
