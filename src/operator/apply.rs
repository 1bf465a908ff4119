//! Server-side apply of one object, without a request when nothing differs.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::reflector::{ObjectRef, Store},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::api::v1alpha1::Registry;

use super::{
    difference::{differs, fingerprint},
    labels::{self, Ownership},
};

/// The annotation with the fingerprint of what was last asked for.
const APPLIED: &str = "lagan.dev/applied";

/// An object could not be brought into its state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is somebody else's object's.
    #[error("{kind} {name} exists and was not made by this operator: rename it or delete it, it is not overwritten")]
    NotOwned {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
    },
    /// The object goes with a deleted Registry of the same name.
    #[error("{kind} {name} still belongs to a deleted Registry of the same name")]
    StillDeleted {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
    },
    /// The object cannot be written down.
    #[error("could not serialize {kind} {name}")]
    Serialize {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The API server refused, or did not answer.
    #[error("could not {verb} {kind} {name}")]
    Api {
        /// What was asked for.
        verb: &'static str,
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

impl Error {
    /// An answer of the API server about an object of kind `K`.
    #[must_use]
    pub fn api<K: Resource<DynamicType = ()>>(verb: &'static str, name: &str, source: kube::Error) -> Self {
        Self::Api { verb, kind: K::kind(&()).into_owned(), name: name.to_owned(), source: Box::new(source) }
    }

    /// Refuses an object that is not `registry`'s.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check_ownership<K: Resource<DynamicType = ()>>(live: &K, registry: &Registry) -> Result<(), Self> {
        let (kind, name) = (K::kind(&()).into_owned(), live.name_any());
        match labels::ownership(live.meta(), registry) {
            Ownership::Ours => Ok(()),
            Ownership::Former => Err(Self::StillDeleted { kind, name }),
            Ownership::Foreign => Err(Self::NotOwned { kind, name }),
        }
    }
}

/// The live object of a name: the cache's, or what the API server has. An object without the operator's label is
/// not in the cache.
///
/// # Errors
///
/// When the API server does not answer.
pub async fn live<K>(client: &Client, cache: &Store<K>, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    if let Some(cached) = cache.get(&ObjectRef::new(name).within(namespace)) {
        return Ok(Some((*cached).clone()));
    }
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|source| Error::api::<K>("read", name, source))
}

/// Brings an object into the state that `desired` describes, and returns it as it is then.
///
/// # Guarantees
///
/// Nothing is written when `live` is that way already, or is not `registry`'s.
///
/// # Errors
///
/// When the object is somebody else's, or the API server refuses.
pub async fn apply<K>(client: &Client, registry: &Registry, live: Option<K>, desired: K) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = desired.name_any();
    let serialize = |object: &K| to_value(object, &name);
    let mut desired = desired;
    let asked_for = fingerprint(&serialize(&desired)?);
    desired.annotations_mut().insert(APPLIED.to_owned(), asked_for);
    if let Some(live) = live {
        Error::check_ownership(&live, registry)?;
        if !differs(&serialize(&desired)?, &serialize(&live)?) {
            return Ok(live);
        }
    }
    let namespace = registry.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let params = PatchParams::apply(labels::OPERATOR).force();
    tracing::info!(kind = %K::kind(&()), name, namespace, "applying");
    api.patch(&name, &params, &Patch::Apply(&desired)).await.map_err(|source| Error::api::<K>("apply", &name, source))
}

fn to_value<K: Resource<DynamicType = ()> + Serialize>(object: &K, name: &str) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|source| Error::Serialize {
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source,
    })
}
