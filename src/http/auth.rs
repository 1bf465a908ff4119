//! Who is asking, and whether they may.

use std::{path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, header::AUTHORIZATION, header::HeaderValue};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};

use crate::api::v1alpha1::Anonymous;

use super::{
    Error,
    htpasswd::Htpasswd,
    reloading::{LoadError, Reloading},
};

/// How long a password that was right is right without another look. bcrypt takes about 50 ms of a core, and a pull
/// of an image with 40 layers asks 42 times.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// How many right passwords are remembered; 32 bytes each.
const REMEMBERED: u64 = 10_000;

/// How many passwords are checked at once, so that guessing does not take every core from those who are in.
const CHECKS_AT_ONCE: usize = 2;

/// How long a check waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes the place of a hash where there are no users at all: cost 10, of a password that nobody has.
const NOBODY: &str = "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// What may be done. Without rules of access, who is authenticated may do all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Read.
    Pull,
    /// Upload, and tag.
    Push,
    /// Remove, so that it can be restored.
    Delete,
    /// See and use the trash.
    Restore,
    /// Run policies.
    Admin,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// Nobody said.
    Anonymous,
    /// A name that was proved.
    User(Arc<str>),
}

impl Identity {
    /// The name for records and the log.
    pub(super) fn actor(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User(name) => name,
        }
    }
}

/// Decides who may do what on the registry's listener.
#[derive(Debug)]
pub struct Authenticator {
    anonymous: Anonymous,
    users: Option<Reloading<Htpasswd>>,
    challenge: HeaderValue,
    remembered: Cache<[u8; 32], ()>,
    /// Makes what is remembered useless to whoever reads this process's memory only in part.
    salt: [u8; 32],
    turns: Semaphore,
}

impl Authenticator {
    /// Who names nobody may do what `anonymous` says; who has a password in the file `htpasswd` may do everything.
    ///
    /// # Errors
    /// Where the file cannot be read, or has a line that is no bcrypt hash.
    pub fn new(anonymous: Anonymous, htpasswd: Option<&Path>) -> Result<Self, LoadError> {
        let users = htpasswd.map(load_users).transpose()?;
        Ok(Self {
            anonymous,
            users,
            challenge: HeaderValue::from_static("Basic realm=\"lagan\", charset=\"UTF-8\""),
            remembered: Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build(),
            salt: rand::random(),
            turns: Semaphore::new(CHECKS_AT_ONCE),
        })
    }

    /// Reads a request's credentials and checks them.
    ///
    /// # Errors
    /// Credentials that are wrong or not understood are an error even where anonymous callers might go on: who
    /// sends a password wants to know that it is wrong.
    pub(super) async fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Error> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Ok(Identity::Anonymous) };
        let (user, password) = basic_credentials(header).ok_or_else(|| self.unauthorized())?;
        // Some clients send an empty pair when they have none.
        if user.is_empty() && password.is_empty() {
            return Ok(Identity::Anonymous);
        }
        let Some(users) = &self.users else { return Ok(Identity::Anonymous) };
        let users = users.current().await;
        if self.is_right(&users, &user, password).await? {
            Ok(Identity::User(user.into()))
        } else {
            Err(self.unauthorized())
        }
    }

    /// Whether the caller may do this.
    pub(super) fn allows(&self, identity: &Identity, verb: Verb) -> bool {
        match (identity, self.anonymous) {
            (Identity::User(_), _) | (Identity::Anonymous, Anonymous::All) => true,
            (Identity::Anonymous, Anonymous::Pull) => verb == Verb::Pull,
            (Identity::Anonymous, Anonymous::None) => false,
        }
    }

    /// What a caller without sufficient credentials is told.
    pub(super) fn unauthorized(&self) -> Error {
        Error::Unauthorized { challenge: self.challenge.clone() }
    }

    /// The challenge, where there are passwords to ask for. It is on answers of `/v2/` that succeed, too: a client
    /// that may pull without a name learns there how to give one for its pushes.
    pub(super) fn offered_challenge(&self) -> Option<&HeaderValue> {
        self.users.is_some().then_some(&self.challenge)
    }

    async fn is_right(&self, users: &Htpasswd, user: &str, password: String) -> Result<bool, Error> {
        // Unknown users take as long as known ones, so that time does not tell who exists.
        let known = users.hash(user);
        let hash = known.or_else(|| users.any_hash()).unwrap_or(NOBODY).to_owned();
        // The hash is part of the key: a password that was changed is forgotten with it.
        let key = self.key(user, &password, &hash);
        if known.is_some() && self.remembered.contains_key(&key) {
            return Ok(true);
        }
        let busy = || Error::AuthenticationBusy;
        let _turn = timeout(TURN_TIMEOUT, self.turns.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())?;
        if known.is_some() && self.remembered.contains_key(&key) {
            return Ok(true);
        }
        let check = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false));
        let right = check.await.map_err(|_| busy())? && known.is_some();
        if right {
            self.remembered.insert(key, ());
        }
        Ok(right)
    }

    fn key(&self, user: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut key = Sha256::new();
        key.update(self.salt);
        for part in [user, password, hash] {
            key.update((part.len() as u64).to_be_bytes());
            key.update(part);
        }
        key.finalize().into()
    }
}

fn load_users(path: &Path) -> Result<Reloading<Htpasswd>, LoadError> {
    let file = path.to_owned();
    Reloading::load(vec![path.to_owned()], move |contents| {
        let text = contents.first().map(|content| String::from_utf8_lossy(content)).unwrap_or_default();
        Htpasswd::parse(&text).map_err(|source| LoadError::Invalid { path: file.clone(), source: Box::new(source) })
    })
}

/// User and password of a `Basic` header (RFC 7617).
fn basic_credentials(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(user: &str, password: &str) -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    fn authenticator(anonymous: Anonymous) -> (Authenticator, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("skipper:{}\n", bcrypt::hash("p:w", 4).unwrap())).unwrap();
        (Authenticator::new(anonymous, Some(file.path())).unwrap(), file)
    }

    #[tokio::test]
    async fn the_right_password_proves_a_name() {
        let (authenticator, _file) = authenticator(Anonymous::None);
        for _ in 0..2 {
            let identity = authenticator.authenticate(&headers("skipper", "p:w")).await.unwrap();
            assert_eq!(identity.actor(), "skipper");
            assert!(authenticator.allows(&identity, Verb::Admin));
        }
    }

    #[tokio::test]
    async fn wrong_credentials_are_refused_even_where_anonymous_is_allowed() {
        let (authenticator, _file) = authenticator(Anonymous::All);
        for headers in [headers("skipper", "wrong"), headers("stowaway", "p:w"), headers("", "x")] {
            assert!(matches!(authenticator.authenticate(&headers).await, Err(Error::Unauthorized { .. })));
        }
        let bearer = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer abc"))]);
        assert!(authenticator.authenticate(&bearer).await.is_err());
    }

    #[tokio::test]
    async fn an_empty_pair_is_nobody() {
        let (authenticator, _file) = authenticator(Anonymous::Pull);
        let identity = authenticator.authenticate(&headers("", "")).await.unwrap();
        assert_eq!(identity, Identity::Anonymous);
        assert!(authenticator.allows(&identity, Verb::Pull));
        assert!(!authenticator.allows(&identity, Verb::Push));
    }

    #[test]
    fn the_stand_in_hash_is_one_that_can_be_checked() {
        assert!(!bcrypt::verify("", NOBODY).unwrap());
    }

    #[test]
    fn a_right_password_is_not_remembered_for_another_hash() {
        let authenticator = Authenticator::new(Anonymous::None, None).unwrap();
        let one = authenticator.key("a", "b", "c");
        assert_ne!(one, authenticator.key("a", "b", "d"));
        assert_ne!(authenticator.key("ab", "", "c"), authenticator.key("a", "b", "c"));
    }
}
