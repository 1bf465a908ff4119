//! What the files hold that a configuration names.

use crate::api::serve_config::ServeConfig;
use crate::http::{Authenticator, LoadError, TlsIdentity};
use crate::storage::RedisTarget;

use super::exit::InvalidUsage;
use super::redis;

/// What the files hold that a configuration names: who is let in, what is shown to whom, and with what others are
/// asked.
pub(super) struct Credentials {
    /// Who may do what.
    pub(super) authenticator: Authenticator,
    /// What clients see.
    pub(super) tls: Option<TlsIdentity>,
    /// What the operator and other replicas see.
    pub(super) control: Option<TlsIdentity>,
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
        let tls = config.tls.as_ref().map(|tls| TlsIdentity::load(&tls.certificate, &tls.key));
        let control = config.control.as_ref().map(|control| &control.tls);
        let control = control.map(|tls| TlsIdentity::load_mutual(&tls.certificate, &tls.key, &tls.client_authority));
        Ok(Self {
            authenticator: Authenticator::new(config.auth.anonymous, htpasswd).map_err(unusable("auth.htpasswd"))?,
            tls: tls.transpose().map_err(unusable("tls"))?,
            control: control.transpose().map_err(unusable("control.tls"))?,
            redis: config.descriptor_cache.redis.as_ref().map(redis::target).transpose()?,
        })
    }
}

fn unusable(field: &'static str) -> impl FnOnce(LoadError) -> InvalidUsage {
    // `#` prints the causes, too.
    move |error| InvalidUsage(format!("{field}: {:#}", anyhow::Error::new(error)))
}
