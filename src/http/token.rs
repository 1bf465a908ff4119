//! Tokens, for clients that tell "anonymous" and "who I am" apart by them.
//!
//! Where anonymous callers may pull and users may push, a client has to learn on its first request, `GET /v2/`, how to
//! give a name, and still be able to go on without one. Docker's clients can do that with a token service only: told of
//! Basic authentication, they refuse to pull without a password; told of nothing, they never send one. So, as other
//! public registries do, the answer there is 401 with a Bearer challenge, and the token service gives a token to
//! everybody: to who sends a password one that stands for it, to others one that stands for nobody.
//!
//! A token is the password in another form: it needs no key that replicas would have to share, is worth as much as the
//! password, and ends when that changes.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{Method, Response, StatusCode, header::CACHE_CONTROL};
use serde::Serialize;

use crate::oci::RepositoryName;

use super::{
    Error,
    auth::{Authenticator, Caller, Verb},
    body::{Body, RequestBody},
    call::Call,
    password_checks::Credentials,
    query::Query,
    response::Answer,
};

/// What a token begins with; `1` is its form.
const PREFIX: &str = "lagan1.";

/// For how many seconds clients may keep a token. They come again after that; the token itself does not end.
const EXPIRES_IN: u32 = 300;

/// The largest form that asks for a token.
const MAX_FORM: u64 = 64 << 10;

/// As Docker's clients (`token`) and those of OAuth 2 (`access_token`) read it.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the specification's")]
struct Token {
    token: String,
    access_token: String,
    expires_in: u32,
}

/// `GET` with Basic credentials or none, and `POST` of a form with `username` and `password`, `/v2/_lagan/token`.
pub(super) async fn issue(
    call: &Call<'_>,
    authenticator: &Authenticator,
    caller: &Caller<'_>,
    body: &mut RequestBody,
) -> Result<Response<Body>, Error> {
    let credentials = if *call.method == Method::POST {
        let whole = body.collect(MAX_FORM, &call.app.bodies).await?.ok_or(Error::BodyTooLarge { limit: MAX_FORM })?;
        let form = Query::parse(std::str::from_utf8(whole.bytes()).ok());
        let field = |name: &str| form.get(name).unwrap_or_default().to_owned();
        let sent = Credentials { user: field("username"), password: field("password") };
        if sent.user.is_empty() {
            None
        } else {
            authenticator
                .check(caller, Credentials { user: sent.user.clone(), password: sent.password.clone() })
                .await?;
            Some(sent)
        }
    } else {
        // They were checked already.
        authenticator.credentials(caller.headers).flatten()
    };
    let token = encode(credentials.as_ref());
    let token = Token { access_token: token.clone(), token, expires_in: EXPIRES_IN };
    Ok(Answer::json(StatusCode::OK, &token).header(CACHE_CONTROL, "no-store").build())
}

/// A token that stands for somebody, or for nobody.
fn encode(credentials: Option<&Credentials>) -> String {
    let pair = credentials.map(|sent| format!("{}:{}", sent.user, sent.password)).unwrap_or_default();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(pair))
}

/// Whom a token stands for; `None` where it is none of ours.
#[expect(clippy::option_option, reason = "a token of nobody is not the same as none")]
pub(super) fn decode(token: &str) -> Option<Option<Credentials>> {
    let encoded = token.strip_prefix(PREFIX)?;
    if encoded.is_empty() {
        return Some(None);
    }
    let pair = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some(Some(Credentials { user: user.to_owned(), password: password.to_owned() }))
}

/// The challenge that leads to the token service of `origin`.
pub(super) fn challenge(origin: &str, scope: Option<&str>) -> String {
    let scope = scope.map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
    format!("Bearer realm=\"{origin}/v2/_lagan/token\",service=\"lagan\"{scope}")
}

/// What is asked for, in the words of Docker's token specification.
pub(super) fn scope(repository: Option<&RepositoryName>, verb: Verb) -> Option<String> {
    let actions = match verb {
        Verb::Pull => "pull",
        Verb::Push => "pull,push",
        Verb::Delete => "delete",
        Verb::Restore | Verb::Admin => return None,
    };
    repository.map(|name| format!("repository:{name}:{actions}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_for_who_asked_for_it() {
        let pair = Credentials { user: "skipper".into(), password: "p:ä".into() };
        let decoded = decode(&encode(Some(&pair))).unwrap().unwrap();
        assert_eq!((decoded.user, decoded.password), (pair.user, pair.password));
        assert!(decode(&encode(None)).unwrap().is_none());
        for other in ["", "abc", "lagan1.%", "lagan1.YQ", "lagan2."] {
            assert!(decode(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_challenge_names_what_is_needed() {
        let name: RepositoryName = "team/app".parse().unwrap();
        let scope = scope(Some(&name), Verb::Push);
        assert_eq!(
            challenge("https://a:5000", scope.as_deref()),
            "Bearer realm=\"https://a:5000/v2/_lagan/token\",service=\"lagan\",scope=\"repository:team/app:pull,push\""
        );
        assert_eq!(challenge("http://a", None), "Bearer realm=\"http://a/v2/_lagan/token\",service=\"lagan\"");
    }
}
