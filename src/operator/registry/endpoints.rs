//! Under which addresses a registry is reached, and which of them nodes can use.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Service};

use crate::api::v1alpha1::{RegistryEndpoints, ServiceType};

use super::validate::ValidRegistry;

/// The port of the registry's Service.
pub const REGISTRY_PORT: i32 = 5000;
/// The port of the control Service.
pub const CONTROL_PORT: i32 = 5001;
/// The port of probes and metrics.
pub const HEALTH_PORT: i32 = 5002;

/// Certificates carry the addresses of so many nodes. A certificate of all nodes of the largest clusters would
/// not fit a handshake; those give an `externalURL`.
const MAX_NODE_ADDRESSES: usize = 500;

/// Nodes try so many addresses, one after the other.
const MAX_NODE_HOSTS: usize = 4;

/// Where a registry is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// What the status says.
    pub published: RegistryEndpoints,
    /// Host and port of everything that nodes may try, the published one first.
    pub node_hosts: Vec<String>,
}

/// The `InternalIP` of each node, the oldest node first: it is the one that stays.
#[must_use]
pub fn node_addresses(nodes: &[impl AsRef<Node>]) -> Vec<IpAddr> {
    let mut by_age: Vec<&Node> = nodes.iter().map(AsRef::as_ref).collect();
    by_age.sort_by_key(|node| (node.metadata.creation_timestamp.as_ref().map(|t| t.0), node.metadata.name.clone()));
    let internal = by_age.into_iter().filter_map(internal_address);
    internal.take(MAX_NODE_ADDRESSES).collect()
}

/// A node's `InternalIP`.
#[must_use]
pub fn internal_address(node: &Node) -> Option<IpAddr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|address| address.type_ == "InternalIP")?.address.parse().ok()
}

/// The names and addresses that the registry's certificate must carry.
#[must_use]
pub fn certificate_names(registry: &ValidRegistry, service: Option<&Service>, nodes: &[IpAddr]) -> Vec<String> {
    let (name, namespace) = (&registry.name, &registry.namespace);
    let mut names = vec![
        name.clone(),
        format!("{name}.{namespace}"),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}.svc.cluster.local"),
        // What `kubectl port-forward` makes of it.
        "localhost".to_owned(),
    ];
    if let Some(external) = &registry.external {
        names.push(external.host.clone());
    }
    if registry.spec.expose.service.type_ != ServiceType::ClusterIP {
        names.extend(nodes.iter().map(IpAddr::to_string));
        names.extend(load_balancer_host(service));
    }
    names.sort();
    names.dedup();
    names
}

/// Where the registry is reached, given its Service as it is. `before` is what was published last: it stays while
/// it is true, because images are named by it.
#[must_use]
pub fn endpoints(
    registry: &ValidRegistry,
    service: Option<&Service>,
    nodes: &[IpAddr],
    before: Option<&RegistryEndpoints>,
) -> Endpoints {
    let internal = format!("{}.{}.svc:{REGISTRY_PORT}", registry.name, registry.namespace);
    let balanced = load_balancer_host(service).map(|host| host_port(&host, REGISTRY_PORT));
    let external = registry.external.as_ref().map(|external| external.url.clone());
    let mut node_hosts = match (&registry.external, node_port(service)) {
        (Some(external), _) => vec![external.authority.clone()],
        (None, Some(port)) => nodes.iter().map(|address| host_port(&address.to_string(), port)).collect(),
        (None, None) => Vec::new(),
    };
    let before = before.and_then(|before| before.nodes.as_deref());
    if let Some(at) = node_hosts.iter().position(|host| Some(host.as_str()) == before) {
        let stays = node_hosts.remove(at);
        node_hosts.insert(0, stays);
    }
    node_hosts.truncate(MAX_NODE_HOSTS);
    let published = RegistryEndpoints {
        internal: Some(internal),
        external: external.or(balanced),
        nodes: node_hosts.first().cloned(),
    };
    Endpoints { published, node_hosts }
}

fn node_port(service: Option<&Service>) -> Option<i32> {
    let ports = service?.spec.as_ref()?.ports.as_ref()?;
    ports.iter().find(|port| port.port == REGISTRY_PORT)?.node_port
}

fn load_balancer_host(service: Option<&Service>) -> Option<String> {
    let ingress = service?.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    ingress.hostname.clone().or_else(|| ingress.ip.clone())
}

fn host_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
