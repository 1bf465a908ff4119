//! The Services: one for clients, one for the operator.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::owned;
use crate::api::v1alpha1::ServiceType;
use crate::operator::labels;
use crate::operator::registry::{
    endpoints::{CONTROL_PORT, REGISTRY_PORT},
    validate::{Tls, ValidRegistry},
};

/// The name of the container's port for clients.
pub(super) const REGISTRY: &str = "registry";
/// The name of the container's port for the operator.
pub(super) const CONTROL: &str = "control";

pub(super) fn registry(registry: &ValidRegistry) -> Service {
    let expose = &registry.spec.expose.service;
    let type_ = match expose.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let protocol = if registry.tls == Tls::Disabled { "http" } else { "https" };
    let port = ServicePort { node_port: expose.node_port, ..port(REGISTRY, REGISTRY_PORT, protocol) };
    let mut metadata = owned(registry, registry.name.clone());
    if !expose.annotations.is_empty() {
        metadata.annotations = Some(expose.annotations.clone());
    }
    let spec = ServiceSpec { type_: Some(type_.to_owned()), ..spec(registry, port) };
    Service { metadata, spec: Some(spec), ..Service::default() }
}

/// Headless: the operator speaks to each pod, and only to those that are ready.
pub(super) fn control(registry: &ValidRegistry) -> Service {
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        cluster_ip: Some("None".to_owned()),
        ..spec(registry, port(CONTROL, CONTROL_PORT, "https"))
    };
    Service { metadata: owned(registry, registry.child("control")), spec: Some(spec), ..Service::default() }
}

fn spec(registry: &ValidRegistry, port: ServicePort) -> ServiceSpec {
    ServiceSpec { selector: Some(labels::selector(&registry.name)), ports: Some(vec![port]), ..ServiceSpec::default() }
}

fn port(name: &str, number: i32, protocol: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some(protocol.to_owned()),
        ..ServicePort::default()
    }
}
