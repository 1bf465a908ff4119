//! What is remembered about blobs, and where.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::api::FieldError;
use crate::api::v1alpha1::{DescriptorCacheType, default_cache_entries};

/// What is remembered about blobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescriptorCacheConfig {
    /// `InMemory`: in the process alone. `Redis`: in the process, and behind it in a Redis that replicas share.
    #[serde(rename = "type", default)]
    pub type_: DescriptorCacheType,
    /// The cache in the process, which every type has.
    #[serde(default)]
    pub in_memory: InMemoryCacheConfig,
    /// For `Redis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisConfig>,
}

/// A cache in the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InMemoryCacheConfig {
    /// How many descriptors, at most.
    #[serde(default = "default_cache_entries")]
    pub max_entries: u32,
}

impl Default for InMemoryCacheConfig {
    fn default() -> Self {
        Self { max_entries: default_cache_entries() }
    }
}

/// A Redis, or a server that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisConfig {
    /// Host and port, such as `redis.example.com:6379`.
    pub address: String,
    /// TLS; absent, the connection is plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTlsConfig>,
    /// A folder with the file `password` and perhaps `username`. Where it is not given, the environment variables
    /// `REDIS_PASSWORD` and `REDIS_USERNAME`; without those, nobody logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_directory: Option<PathBuf>,
}

/// How the connection to Redis is protected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisTlsConfig {
    /// PEM file: the authorities to trust; absent, the well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl DescriptorCacheConfig {
    /// Looks at whether type and members belong together, and at their texts.
    ///
    /// # Errors
    /// Names the field, below `descriptorCache`, and what would be right.
    pub fn check(&self) -> Result<(), FieldError> {
        if self.in_memory.max_entries == 0 {
            return Err(FieldError::new("inMemory.maxEntries", "0 is too few: at least 1"));
        }
        match (self.type_, &self.redis) {
            (DescriptorCacheType::InMemory, None) => Ok(()),
            (DescriptorCacheType::InMemory, Some(_)) => {
                Err(FieldError::new("redis", "it does not go with type InMemory: remove it, or write type Redis"))
            }
            (DescriptorCacheType::Redis, None) => {
                Err(FieldError::new("redis", "type Redis needs its settings: write them below redis"))
            }
            (DescriptorCacheType::Redis, Some(redis)) => check_address(&redis.address),
        }
    }
}

fn check_address(address: &str) -> Result<(), FieldError> {
    let right = address.rsplit_once(':').is_some_and(|(host, port)| {
        let host_is_right = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
        };
        host_is_right && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    // The text is not repeated: it may be an address with a password in it.
    let message = "it is no host and port: write them such as redis.example.com:6379, without a scheme or a password";
    if right { Ok(()) } else { Err(FieldError::new("redis.address", message)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> String {
        let config: DescriptorCacheConfig = serde_yaml::from_str(text).unwrap();
        config.check().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn type_and_members_belong_together() {
        assert_eq!(found("{}"), "");
        assert_eq!(found("{type: Redis, redis: {address: 'redis:6379'}, inMemory: {maxEntries: 5}}"), "");
        assert_eq!(found("{type: Redis, redis: {address: '[fd00::1]:6379', tls: {}}}"), "");
        assert!(found("{type: Redis}").starts_with("redis: type Redis needs"));
        assert!(found("{redis: {address: 'redis:6379'}}").starts_with("redis: it does not go with type InMemory"));
        assert!(found("{inMemory: {maxEntries: 0}}").starts_with("inMemory.maxEntries"));
    }

    #[test]
    fn address_with_a_password_is_refused_and_not_repeated() {
        for address in ["redis", "redis:", "redis:0", ":6379", "redis://:hush@redis:6379", "user:hush@redis:6379"] {
            let found = found(&format!("{{type: Redis, redis: {{address: '{address}'}}}}"));
            assert!(found.starts_with("redis.address: ") && !found.contains("hush"), "{found:?} for {address}");
        }
    }
}
