//! What the files hold that a configuration names.

use std::sync::Arc;

use crate::api::serve_config::ServeConfig;
use crate::http::{Authenticator, LoadError, ReplicaClient, TlsIdentity};
use crate::storage::{RedisTarget, ReplicaSetup};

use super::config::advertised;
use super::exit::InvalidUsage;
use super::registry::Medium;
use super::{object_storage, redis};

/// What the files hold that a configuration names: who is let in, what is shown to whom, and with what others are
/// asked.
pub(super) struct Credentials {
    /// Who may do what.
    pub(super) authenticator: Authenticator,
    /// What clients see.
    pub(super) tls: Option<TlsIdentity>,
    /// What the operator and other replicas see.
    pub(super) control: Option<TlsIdentity>,
    /// Where content lies, and how other replicas on it are reached.
    pub(super) medium: Medium,
    /// The cache that replicas share.
    pub(super) redis: Option<RedisTarget>,
}

impl Credentials {
    /// Reads the files; asks nobody.
    ///
    /// # Errors
    /// Names the field and what is wrong with its file; never a secret.
    pub(super) fn load(config: &ServeConfig) -> Result<Self, InvalidUsage> {
        let htpasswd = config.auth.htpasswd.as_ref().map(|htpasswd| htpasswd.file.as_path());
        let redis = config.descriptor_cache.redis.as_ref();
        let tls = config.tls.as_ref().map(|tls| TlsIdentity::load(&tls.certificate, &tls.key));
        let control = config.control.as_ref().map(|control| &control.tls);
        let control = control.map(|tls| TlsIdentity::load_mutual(&tls.certificate, &tls.key, &tls.client_authority));
        Ok(Self {
            authenticator: Authenticator::new(config.auth.anonymous, htpasswd).map_err(unusable("auth.htpasswd"))?,
            tls: tls.transpose().map_err(unusable("tls"))?,
            control: control.transpose().map_err(unusable("control.tls"))?,
            medium: match object_storage::options(&config.storage)? {
                None => Medium::Folder,
                Some(options) => Medium::Bucket { options: Box::new(options), replica: replica(config)? },
            },
            redis: redis.map(|redis| redis::target(redis, &config.storage)).transpose()?,
        })
    }
}

/// How this process and other ones on its bucket reach each other, if they do.
fn replica(config: &ServeConfig) -> Result<Option<ReplicaSetup>, InvalidUsage> {
    let Some(control) = &config.control else { return Ok(None) };
    let address = control.advertise.as_deref().and_then(|text| advertised(text, control.listen.port()));
    let Some(address) = address else { return Ok(None) };
    let tls = &control.tls;
    let calls = ReplicaClient::load(&tls.certificate, &tls.key, &tls.client_authority, tls.server_name.as_deref());
    Ok(Some(ReplicaSetup { address, calls: Arc::new(calls.map_err(unusable("control.tls"))?) }))
}

fn unusable(field: &'static str) -> impl FnOnce(LoadError) -> InvalidUsage {
    // `#` prints the causes, too.
    move |error| InvalidUsage(format!("{field}: {:#}", anyhow::Error::new(error)))
}
