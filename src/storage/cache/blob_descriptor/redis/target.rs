//! Where the shared cache is.

use std::{fmt, path::PathBuf, time::Duration};

use redis::{Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, TlsCertificates};

/// How a Redis is reached, as it was configured.
#[derive(Clone)]
pub struct RedisOptions {
    /// `host:port`, or `unix:` and the path of a socket.
    pub address: String,
    /// TLS; absent, the connection is plain.
    pub tls: Option<RedisTls>,
    /// The user of its access control list; absent, `default`.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// The number of its database.
    pub database: u32,
    /// What all keys begin with. Stores that share a Redis are told apart without it.
    pub key_prefix: String,
    /// Where the store lies whose content is remembered, so that a copy of it is told from it. Processes that write the
    /// same store under another name work together, but empty the cache for each other when they start.
    pub place: String,
    /// How long it may take over things.
    pub timeouts: RedisTimeouts,
}

/// How a Redis proves who it is.
#[derive(Debug, Clone, Default)]
pub struct RedisTls {
    /// The authorities that are trusted, in PEM; absent, the system's.
    pub authorities: Option<Vec<u8>>,
}

/// How long a Redis may take before the registry goes on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisTimeouts {
    /// A look-up or a fill. 200 ms: what an object store takes for a few requests, so that a slow cache costs little more
    /// than none.
    pub lookup: Duration,
    /// A clear. 1 s: who waits is a delete, and going on without it costs everybody a warm cache.
    pub clear: Duration,
    /// A connection, its authentication included. 1 s: nobody waits but the start.
    pub connect: Duration,
    /// Between attempts to connect, at most. 5 s: a Redis that is back is soon of use, and one that accepts connections
    /// and then says nothing holds up a few look-ups at most that often.
    pub retry: Duration,
}

impl Default for RedisTimeouts {
    fn default() -> Self {
        Self {
            lookup: Duration::from_millis(200),
            clear: Duration::from_secs(1),
            connect: Duration::from_secs(1),
            retry: Duration::from_secs(5),
        }
    }
}

impl RedisOptions {
    /// A Redis at an address, with nothing else configured.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            tls: None,
            username: None,
            password: None,
            database: 0,
            key_prefix: "lagan".into(),
            place: String::new(),
            timeouts: RedisTimeouts::default(),
        }
    }

    fn connection_address(&self) -> Result<ConnectionAddr, RedisTargetError> {
        let wrong = |reason| RedisTargetError::Address { address: self.address.clone(), reason };
        if let Some(path) = self.address.strip_prefix("unix:") {
            return match self.tls {
                Some(_) => Err(wrong("a socket of this machine speaks no TLS")),
                None => Ok(ConnectionAddr::Unix(PathBuf::from(path))),
            };
        }
        let (host, port) = self.address.rsplit_once(':').ok_or(wrong("write host:port"))?;
        let port: u16 = port.parse().map_err(|_| wrong("its port is no number between 0 and 65535"))?;
        // An IPv6 address is written in brackets before a port, and without them in a socket's address.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        Ok(match self.tls {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        })
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, tls, username, password, database, key_prefix, place, timeouts } = self;
        f.debug_struct("RedisOptions")
            .field("address", address)
            .field("tls", &tls.is_some())
            .field("username", username)
            .field("password", &password.as_ref().map(|_| "…"))
            .field("database", database)
            .field("key_prefix", key_prefix)
            .field("place", place)
            .field("timeouts", timeouts)
            .finish()
    }
}

/// Options that no connection can be made with.
#[derive(Debug, thiserror::Error)]
pub enum RedisTargetError {
    /// The address is none.
    #[error("{address} is no address of a Redis: {reason}")]
    Address {
        /// What was written.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The authorities cannot be used.
    #[error("the authorities for the connection to Redis cannot be used")]
    Tls {
        /// Why.
        source: redis::RedisError,
    },
}

/// A Redis that can be connected to: the options fit each other.
#[derive(Clone)]
pub struct RedisTarget {
    pub(super) client: Client,
    pub(super) address: String,
    pub(super) key_prefix: String,
    pub(super) place: String,
    pub(super) timeouts: RedisTimeouts,
}

impl RedisTarget {
    /// Checks options; connects nowhere.
    ///
    /// # Errors
    /// [`RedisTargetError`] where no connection could be made with them.
    pub fn new(options: RedisOptions) -> Result<Self, RedisTargetError> {
        let mut login = RedisConnectionInfo::default().set_db(options.database.into());
        if let Some(username) = &options.username {
            login = login.set_username(username);
        }
        if let Some(password) = &options.password {
            login = login.set_password(password);
        }
        let unusable = |source| RedisTargetError::Tls { source };
        let info = options.connection_address()?.into_connection_info().map_err(unusable)?.set_redis_settings(login);
        let client = match &options.tls {
            Some(tls) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: tls.authorities.clone() };
                Client::build_with_tls(info, certificates)
            }
            None => Client::open(info),
        };
        Ok(Self {
            client: client.map_err(unusable)?,
            address: options.address,
            key_prefix: options.key_prefix,
            place: options.place,
            timeouts: options.timeouts,
        })
    }
}

impl fmt::Debug for RedisTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client knows the password.
        f.debug_struct("RedisTarget").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(options: RedisOptions) -> String {
        RedisTarget::new(options).unwrap_err().to_string()
    }

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_socket() {
        for good in ["redis:6379", "10.0.0.1:1", "[::1]:6379", "unix:/run/redis.sock"] {
            assert!(RedisTarget::new(RedisOptions::at(good)).is_ok(), "{good}");
        }
        for bad in ["redis", ":6379", "redis:port", "redis:70000", ""] {
            assert!(reason(RedisOptions::at(bad)).contains("is no address of a Redis"), "{bad}");
        }
        let tls = RedisOptions { tls: Some(RedisTls::default()), ..RedisOptions::at("unix:/run/redis.sock") };
        assert!(reason(tls).contains("speaks no TLS"));
    }

    #[test]
    fn a_password_is_not_printed() {
        let options = RedisOptions { password: Some("flotsam".into()), ..RedisOptions::at("redis:6379") };
        let target = RedisTarget::new(options.clone()).unwrap();
        assert!(!format!("{options:?} {target:?}").contains("flotsam"));
    }

    #[test]
    fn authorities_that_are_no_certificates_are_refused() {
        let tls =
            Some(RedisTls { authorities: Some(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----".into()) });
        assert!(reason(RedisOptions { tls, ..RedisOptions::at("redis:6379") }).contains("authorities"));
    }
}
