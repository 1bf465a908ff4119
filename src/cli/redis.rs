//! The Redis of a configuration.

use crate::api::serve_config::RedisConfig;
use crate::storage::{RedisOptions, RedisTarget, RedisTls};

use super::exit::InvalidUsage;
use super::secret_file;

/// Reads what the configuration names; connects nowhere.
///
/// # Errors
/// Names the field and what is wrong; never a password.
pub(super) fn target(config: &RedisConfig) -> Result<RedisTarget, InvalidUsage> {
    let field = |InvalidUsage(reason)| InvalidUsage(format!("descriptorCache.redis: {reason}"));
    let (username, password) = match &config.credentials_directory {
        Some(folder) => (
            secret_file::in_folder(folder, "username").map_err(field)?,
            Some(secret_file::needed_in_folder(folder, "password").map_err(field)?),
        ),
        None => (secret_file::variable("REDIS_USERNAME"), secret_file::variable("REDIS_PASSWORD")),
    };
    let authorities = config.tls.as_ref().and_then(|tls| tls.ca_file.as_ref());
    let authorities = authorities.map(|file| secret_file::file(file).map_err(field)).transpose()?;
    // The client takes a file without certificates for no authorities at all, and then trusts nobody.
    if authorities.as_ref().is_some_and(|pem| !pem.contains("-----BEGIN CERTIFICATE-----")) {
        return Err(field(InvalidUsage("the file of authorities holds no certificate in PEM".to_owned())));
    }
    let tls = config.tls.as_ref().map(|_| RedisTls { authorities: authorities.map(String::into_bytes) });
    let options = RedisOptions { tls, username, password, ..RedisOptions::at(config.address.as_str()) };
    // `#` prints the causes, too.
    RedisTarget::new(options).map_err(|error| field(InvalidUsage(format!("{:#}", anyhow::Error::new(error)))))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use crate::api::serve_config::RedisTlsConfig;

    use super::*;

    fn with(folder: &Path) -> RedisConfig {
        RedisConfig { address: "localhost:6379".to_owned(), tls: None, credentials_directory: Some(folder.to_owned()) }
    }

    #[test]
    fn folder_of_credentials_needs_a_password() {
        let folder = tempfile::tempdir().unwrap();
        let InvalidUsage(message) = target(&with(folder.path())).unwrap_err();
        assert!(message.starts_with("descriptorCache.redis: ") && message.contains("password"), "{message}");
        fs::write(folder.path().join("password"), "hush\n").unwrap();
        let target = target(&with(folder.path())).unwrap();
        assert!(!format!("{target:?}").contains("hush"));
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("password"), "hush").unwrap();
        let ca_file = folder.path().join("ca.crt");
        fs::write(&ca_file, "no PEM").unwrap();
        let config = RedisConfig { tls: Some(RedisTlsConfig { ca_file: Some(ca_file) }), ..with(folder.path()) };
        let InvalidUsage(message) = target(&config).unwrap_err();
        assert!(
            message.starts_with("descriptorCache.redis: the file of authorities") && !message.contains("hush"),
            "{message}"
        );
    }
}
