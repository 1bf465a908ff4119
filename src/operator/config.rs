//! What an operator is told when it starts.

use std::{net::SocketAddr, sync::Arc};

use jiff::Timestamp;

/// How the operator reads the clock: it never does so itself.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Which namespaces' objects an operator acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchScope {
    /// All of them.
    Cluster,
    /// These, for an operator without rights in the others. It sees no nodes and no other workloads.
    Namespaces(Vec<String>),
}

impl WatchScope {
    /// Reads a list with commas between the names; an empty one is the whole cluster.
    #[must_use]
    pub fn from_list(list: &str) -> Self {
        let names: Vec<String> =
            list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if names.is_empty() { Self::Cluster } else { Self::Namespaces(names) }
    }

    /// The namespaces to list one after the other; `None` is all of them in one list.
    #[must_use]
    pub fn parts(&self) -> Vec<Option<String>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// What an operator is told when it starts.
#[derive(Debug, Clone)]
pub struct OperatorConfig {
    /// The image that registries run, unless they say otherwise: the operator's own, from `LAGAN_IMAGE`.
    pub image: String,
    /// The version of Lagan in that image.
    pub version: String,
    /// Which objects it acts on.
    pub scope: WatchScope,
    /// Where the Lease is that elects the leader.
    pub lease_namespace: String,
    /// Who this replica is: the pod's name.
    pub identity: String,
    /// Where probes and metrics are answered.
    pub listen: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_namespace_is_every_namespace() {
        assert_eq!(WatchScope::from_list(" , "), WatchScope::Cluster);
        let some = WatchScope::from_list("a, b");
        assert_eq!(some.parts(), vec![Some("a".to_owned()), Some("b".to_owned())]);
        assert_eq!(WatchScope::Cluster.parts(), vec![None]);
    }
}
