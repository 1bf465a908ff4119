//! The `ConfigMap`s: the file of `lagan serve`, the authorities, what nodes need.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, path::PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::{Error, Inputs, owned};
use crate::api::FieldError;
use crate::api::serve_config::{
    ControlConfig, ControlTlsConfig, HealthConfig, HtpasswdConfig, ServeConfig, Surroundings, TlsConfig,
};
use crate::operator::difference::fingerprint;
use crate::operator::registry::{
    endpoints::{CONTROL_PORT, HEALTH_PORT, REGISTRY_PORT},
    validate::{Storage, Tls, ValidRegistry},
};

/// The key of the configuration, and the file's name in the pod.
pub(super) const CONFIG_FILE: &str = "config.yaml";
/// Where the configuration is mounted.
pub(super) const CONFIG_DIRECTORY: &str = "/etc/lagan";
/// Where content is mounted.
pub(super) const DATA_DIRECTORY: &str = "/var/lib/lagan";
/// Where the certificate that clients see is mounted.
pub(super) const TLS_DIRECTORY: &str = "/run/lagan/tls";
/// Where the certificate that the operator sees is mounted.
pub(super) const CONTROL_DIRECTORY: &str = "/run/lagan/control";
/// Where the users are mounted.
pub(super) const USERS_DIRECTORY: &str = "/run/lagan/users";
/// The users' file in it.
pub(super) const USERS_FILE: &str = "htpasswd";

/// Where the object store's credentials are mounted.
pub(super) const STORAGE_CREDENTIALS_DIRECTORY: &str = "/run/lagan/storage-credentials";
/// Where the authorities are mounted that the object store's certificate is verified with.
pub(super) const STORAGE_AUTHORITIES_DIRECTORY: &str = "/run/lagan/storage-authorities";
/// Where the Redis' credentials are mounted.
pub(super) const REDIS_CREDENTIALS_DIRECTORY: &str = "/run/lagan/redis-credentials";
/// Where the authorities are mounted that the Redis' certificate is verified with.
pub(super) const REDIS_AUTHORITIES_DIRECTORY: &str = "/run/lagan/redis-authorities";

/// The key, and the file's name, of certificates to trust.
pub(super) const CA: &str = "ca.crt";

/// The file of `lagan serve` for a registry's pods.
pub(super) fn file(registry: &ValidRegistry) -> Result<String, Error> {
    Ok(serde_yaml::to_string(&serve_config(registry)?)?)
}

/// A hash of a file that pods read when they start only.
pub(super) fn config_hash(file: &str) -> String {
    fingerprint(&Value::String(file.to_owned()))
}

pub(super) fn config(registry: &ValidRegistry, file: String) -> ConfigMap {
    config_map(registry, "config", [(CONFIG_FILE.to_owned(), file)].into())
}

/// What clients must trust, if the operator made the certificate.
pub(super) fn authorities(registry: &ValidRegistry, inputs: &Inputs<'_>) -> Option<ConfigMap> {
    let bundle = (registry.tls == Tls::SelfSigned).then_some(inputs.ca_bundle)??;
    Some(config_map(registry, "ca", [(CA.to_owned(), bundle.to_owned())].into()))
}

/// What a node needs to pull: the files of a folder named `endpoints.nodes` in containerd's `certs.d`.
pub(super) fn node_trust(registry: &ValidRegistry, inputs: &Inputs<'_>) -> Option<ConfigMap> {
    let published = inputs.endpoints.node_hosts.first()?;
    let ca = (registry.tls != Tls::Disabled).then_some(inputs.ca_bundle).flatten();
    let scheme = scheme(registry);
    let mut hosts = format!("server = \"{scheme}://{published}\"\n");
    for host in &inputs.endpoints.node_hosts {
        // Writing to a text does not fail.
        let _ = write!(hosts, "\n[host.\"{scheme}://{host}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        if ca.is_some() {
            let _ = writeln!(hosts, "  ca = \"{CA}\"");
        }
    }
    let mut data = BTreeMap::from([("hosts.toml".to_owned(), hosts)]);
    if let Some(ca) = ca {
        data.insert(CA.to_owned(), ca.to_owned());
    }
    Some(config_map(registry, "node-trust", data))
}

/// How nodes speak to the registry: with an `externalURL` as it says, because something in between may end TLS.
fn scheme(registry: &ValidRegistry) -> &'static str {
    match &registry.external {
        Some(external) if external.url.starts_with("https://") => "https",
        Some(_) => "http",
        None if registry.tls == Tls::Disabled => "http",
        None => "https",
    }
}

fn config_map(registry: &ValidRegistry, suffix: &str, data: BTreeMap<String, String>) -> ConfigMap {
    ConfigMap { metadata: owned(registry, registry.child(suffix)), data: Some(data), ..ConfigMap::default() }
}

fn serve_config(registry: &ValidRegistry) -> Result<ServeConfig, FieldError> {
    let file = |directory: &str, name: &str| PathBuf::from(directory).join(name);
    let tls = ControlTlsConfig {
        certificate: file(CONTROL_DIRECTORY, "tls.crt"),
        key: file(CONTROL_DIRECTORY, "tls.key"),
        client_authority: file(CONTROL_DIRECTORY, CA),
        // Replicas reach each other by the pods' addresses, which no certificate carries.
        server_name: (registry.storage == Storage::Bucket).then(|| registry.control_host()),
    };
    let around = Surroundings {
        listen: everywhere(REGISTRY_PORT),
        health: HealthConfig { listen: everywhere(HEALTH_PORT) },
        control: Some(ControlConfig { listen: everywhere(CONTROL_PORT), advertise: None, tls }),
        tls: registry
            .tls_secret()
            .map(|_| TlsConfig { certificate: file(TLS_DIRECTORY, "tls.crt"), key: file(TLS_DIRECTORY, "tls.key") }),
        htpasswd: registry.users_secret().map(|_| HtpasswdConfig { file: file(USERS_DIRECTORY, USERS_FILE) }),
        data: DATA_DIRECTORY.into(),
        storage_credentials: STORAGE_CREDENTIALS_DIRECTORY.into(),
        storage_authorities: file(STORAGE_AUTHORITIES_DIRECTORY, CA),
        redis_credentials: REDIS_CREDENTIALS_DIRECTORY.into(),
        redis_authorities: file(REDIS_AUTHORITIES_DIRECTORY, CA),
    };
    ServeConfig::of_registry(&registry.spec, around)
}

/// The same port on every address of the pod.
fn everywhere(port: i32) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], u16::try_from(port).unwrap_or_default()))
}
