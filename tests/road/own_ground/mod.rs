//! What needs a node, its containerd or an API server to play with: the cluster of `tests/cluster`, no other.

mod collection;
mod crash;
mod drain;
mod killed_operator;
mod node;
mod node_pull;
mod object_storage;
mod running_pods;
mod unreachable_api_server;
mod volume;

use node::Node;
