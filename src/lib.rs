//! Lagan: container registries for Kubernetes, with undelete, retention policies and online garbage collection.

pub mod oci;
pub mod storage;
