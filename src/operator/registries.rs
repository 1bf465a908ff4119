//! How registries are reached.

use kube::Client;

use super::registry_client::{Error, RegistryClient};

/// How registries are reached.
#[derive(Debug, Clone)]
pub enum Registries {
    /// By the names of their control Services.
    ByName,
    /// All of them are this one.
    #[cfg(test)]
    Always(RegistryClient),
}

impl Registries {
    /// Prepares to talk to the Registry of this name; it is not spoken to yet.
    ///
    /// # Errors
    /// Where its certificates cannot be read.
    pub async fn connect(&self, client: &Client, namespace: &str, name: &str) -> Result<RegistryClient, Error> {
        match self {
            Self::ByName => RegistryClient::connect(client, namespace, name).await,
            #[cfg(test)]
            Self::Always(registry) => Ok(registry.clone()),
        }
    }
}
