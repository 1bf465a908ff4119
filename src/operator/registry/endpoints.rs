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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::operator::registry::validate::tests::valid;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn service(value: Value) -> Service {
        serde_json::from_value(value).unwrap()
    }

    fn on_node_port(port: i32) -> Service {
        service(json!({"spec": {"ports": [{"port": 5000, "nodePort": port}]}}))
    }

    #[test]
    fn cluster_address_is_not_for_nodes() {
        let found = endpoints(&valid(json!({})), Some(&service(json!({}))), &addresses(&["10.0.0.1"]), None);
        assert_eq!(found.published.internal.as_deref(), Some("main.apps.svc:5000"));
        assert_eq!((found.published.external, found.published.nodes, found.node_hosts), (None, None, Vec::new()));
    }

    #[test]
    fn node_port_is_reached_at_every_node_and_named_by_one_that_stays() {
        let registry = valid(json!({"expose": {"service": {"type": "NodePort"}}}));
        let nodes = addresses(&["10.0.0.1", "10.0.0.2", "fd00::1"]);
        let first = endpoints(&registry, Some(&on_node_port(30500)), &nodes, None);
        assert_eq!(first.node_hosts, ["10.0.0.1:30500", "10.0.0.2:30500", "[fd00::1]:30500"]);

        let reordered = addresses(&["10.0.0.9", "10.0.0.2", "10.0.0.1"]);
        let second = endpoints(&registry, Some(&on_node_port(30500)), &reordered, Some(&first.published));
        assert_eq!(second.published.nodes.as_deref(), Some("10.0.0.1:30500"), "images are named by it");

        let gone = endpoints(&registry, Some(&on_node_port(30500)), &addresses(&["10.0.0.2"]), Some(&first.published));
        assert_eq!(gone.published.nodes.as_deref(), Some("10.0.0.2:30500"));
    }

    #[test]
    fn external_url_is_what_nodes_use() {
        let spec = json!({"expose": {"externalURL": "https://registry.example.com", "service": {"type": "NodePort"}}});
        let found = endpoints(&valid(spec), Some(&on_node_port(30500)), &addresses(&["10.0.0.1"]), None);
        assert_eq!(found.published.external.as_deref(), Some("https://registry.example.com"));
        assert_eq!(found.node_hosts, ["registry.example.com"]);
    }

    #[test]
    fn certificate_carries_every_name_that_clients_use() {
        let nodes = addresses(&["10.0.0.1", "fd00::1"]);
        let inside = certificate_names(&valid(json!({})), None, &nodes);
        assert_eq!(inside, ["localhost", "main", "main.apps", "main.apps.svc", "main.apps.svc.cluster.local"]);

        let spec =
            json!({"expose": {"externalURL": "https://r.example.com:8443", "service": {"type": "LoadBalancer"}}});
        let balanced = service(json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}));
        let names = certificate_names(&valid(spec), Some(&balanced), &nodes);
        for name in ["10.0.0.1", "fd00::1", "192.0.2.1", "r.example.com"] {
            assert!(names.contains(&name.to_owned()), "{name} is not in {names:?}");
        }
    }

    #[test]
    fn oldest_node_comes_first() {
        let node = |name: &str, year: i32, address: &str| {
            let addresses = json!([{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]);
            let metadata = json!({"name": name, "creationTimestamp": format!("{year}-01-01T00:00:00Z")});
            std::sync::Arc::new(
                serde_json::from_value::<Node>(json!({"metadata": metadata, "status": {"addresses": addresses}}))
                    .unwrap(),
            )
        };
        let nodes = [node("a", 2026, "10.0.0.1"), node("b", 2024, "10.0.0.2"), node("c", 2025, "no address")];
        assert_eq!(node_addresses(&nodes), addresses(&["10.0.0.2", "10.0.0.1"]));
    }
}
