//! Who is asking, and whether they may.

use std::{path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, header::AUTHORIZATION, header::HeaderValue};

use crate::api::v1alpha1::Anonymous;
use crate::oci::RepositoryName;

use super::{
    Error,
    htpasswd::Htpasswd,
    password_checks::{Credentials, PasswordChecks},
    peer::Peer,
    reloading::{LoadError, Reloading},
    token,
};

/// Asks for a name and a password with each request.
const BASIC: &str = "Basic realm=\"lagan\", charset=\"UTF-8\"";

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

/// A request, as far as it says who sends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: &'a Peer,
}

/// Decides who may do what on the registry's listener.
#[derive(Debug)]
pub struct Authenticator {
    anonymous: Anonymous,
    users: Option<Reloading<Htpasswd>>,
    passwords: PasswordChecks,
}

impl Authenticator {
    /// Who names nobody may do what `anonymous` says; who has a password in the file `htpasswd` may do everything.
    ///
    /// # Errors
    /// Where the file cannot be read, or has a line that is no bcrypt hash.
    pub fn new(anonymous: Anonymous, htpasswd: Option<&Path>) -> Result<Self, LoadError> {
        let users = htpasswd.map(load_users).transpose()?;
        Ok(Self { anonymous, users, passwords: PasswordChecks::new() })
    }

    /// Reads a request's credentials and checks them.
    ///
    /// # Errors
    /// Credentials that are wrong or not understood are an error even where anonymous callers might go on: who
    /// sends a password wants to know that it is wrong.
    pub(super) async fn authenticate(&self, caller: &Caller<'_>) -> Result<Identity, Error> {
        match self.credentials(caller.headers) {
            Some(Some(credentials)) => self.check(caller, credentials).await,
            Some(None) => Ok(Identity::Anonymous),
            None => Err(self.unauthorized(caller, None)),
        }
    }

    /// Who has this password.
    ///
    /// # Errors
    /// Where nobody does.
    pub(super) async fn check(&self, caller: &Caller<'_>, credentials: Credentials) -> Result<Identity, Error> {
        let Some(users) = &self.users else { return Ok(Identity::Anonymous) };
        let users = users.current().await;
        let name: Arc<str> = credentials.user.as_str().into();
        if self.passwords.is_right(&users, credentials, caller.peer.address).await? {
            Ok(Identity::User(name))
        } else {
            Err(self.unauthorized(caller, None))
        }
    }

    /// The credentials of a request: nobody's where there are none, and `None` where they are not understood.
    #[expect(clippy::option_option, reason = "not understood and nobody are two things")]
    pub(super) fn credentials(&self, headers: &HeaderMap) -> Option<Option<Credentials>> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Some(None) };
        let (scheme, value) = header.to_str().ok()?.split_once(' ')?;
        let sent = if scheme.eq_ignore_ascii_case("basic") {
            Some(basic_credentials(value)?)
        } else if scheme.eq_ignore_ascii_case("bearer") && self.offers_tokens() {
            token::decode(value.trim())?
        } else {
            return None;
        };
        // Some clients send an empty pair when they have none.
        Some(sent.filter(|sent| !sent.user.is_empty() || !sent.password.is_empty()))
    }

    /// Whether the caller may do this.
    pub(super) fn allows(&self, identity: &Identity, verb: Verb) -> bool {
        match (identity, self.anonymous) {
            (Identity::User(_), _) | (Identity::Anonymous, Anonymous::All) => true,
            (Identity::Anonymous, Anonymous::Pull) => verb == Verb::Pull,
            (Identity::Anonymous, Anonymous::None) => false,
        }
    }

    /// Whether a client that may go on without a name has to be told how to give one.
    pub(super) fn offers_tokens(&self) -> bool {
        self.anonymous == Anonymous::Pull && self.users.is_some()
    }

    /// What a caller without sufficient credentials is told.
    pub(super) fn unauthorized(&self, caller: &Caller<'_>, needed: Option<(&RepositoryName, Verb)>) -> Error {
        let scope = needed.and_then(|(name, verb)| token::scope(Some(name), verb));
        let origin = if self.offers_tokens() { caller.peer.origin(caller.headers) } else { None };
        let bearer = origin.and_then(|origin| token::challenge(&origin, scope.as_deref()).try_into().ok());
        Error::Unauthorized { challenge: bearer.unwrap_or(HeaderValue::from_static(BASIC)) }
    }

    /// The challenge on answers of `/v2/` that succeed, where there are passwords to ask for.
    pub(super) fn offered_challenge(&self) -> Option<HeaderValue> {
        self.users.is_some().then_some(HeaderValue::from_static(BASIC))
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
pub(super) fn basic_credentials(encoded: &str) -> Option<Credentials> {
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials { user: user.to_owned(), password: password.to_owned() })
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

    async fn authenticate(authenticator: &Authenticator, headers: &HeaderMap) -> Result<Identity, Error> {
        let peer = Peer { address: [127, 0, 0, 1].into(), name: None, is_tls: false };
        authenticator.authenticate(&Caller { headers, peer: &peer }).await
    }

    #[tokio::test]
    async fn the_right_password_proves_a_name() {
        let (authenticator, _file) = authenticator(Anonymous::None);
        for _ in 0..2 {
            let identity = authenticate(&authenticator, &headers("skipper", "p:w")).await.unwrap();
            assert_eq!(identity.actor(), "skipper");
            assert!(authenticator.allows(&identity, Verb::Admin));
        }
    }

    #[tokio::test]
    async fn wrong_credentials_are_refused_even_where_anonymous_is_allowed() {
        let (authenticator, _file) = authenticator(Anonymous::All);
        for headers in [headers("skipper", "wrong"), headers("stowaway", "p:w"), headers("", "x")] {
            assert!(matches!(authenticate(&authenticator, &headers).await, Err(Error::Unauthorized { .. })));
        }
        for value in ["Bearer abc", "Bearer lagan1.", "Basic", "Basic %", "Digest x"] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            assert!(authenticate(&authenticator, &headers).await.is_err(), "{value}");
        }
    }

    #[tokio::test]
    async fn an_empty_pair_is_nobody() {
        let (authenticator, _file) = authenticator(Anonymous::Pull);
        let identity = authenticate(&authenticator, &headers("", "")).await.unwrap();
        assert_eq!(identity, Identity::Anonymous);
        assert!(authenticator.allows(&identity, Verb::Pull));
        assert!(!authenticator.allows(&identity, Verb::Push));
    }
}
