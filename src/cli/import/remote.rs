//! A registry at the other end of a connection.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use reqwest::{
    Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Deserialize;

use crate::api::wire::ErrorBody;
use crate::cli::exit::{InvalidUsage, Unreachable};
use crate::cli::registry_client::base_of;
use crate::oci::RepositoryName;

use super::{challenge::Challenge, failure::Failure, retry::with_retries};

/// Long enough for a loaded registry on the other side of the world to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which nothing comes for this long is dead. A registry may take its time to verify a large blob.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// How much of an error is read.
const MAX_ERROR_BYTES: usize = 16 * 1024;

/// Who asks.
#[derive(Clone)]
pub(super) struct Login {
    user: String,
    password: String,
}

impl Login {
    /// The password is in a file, or in `LAGAN_<side>_PASSWORD`.
    ///
    /// # Errors
    /// Where a user has no password.
    pub(super) fn new(side: &str, user: Option<&String>, file: Option<&PathBuf>) -> Result<Option<Self>, InvalidUsage> {
        let Some(user) = user else { return Ok(None) };
        let flag = side.to_lowercase();
        let password = match file {
            Some(file) => fs::read_to_string(file)
                .map_err(|error| InvalidUsage(format!("--{flag}-password-file {}: {error}", file.display())))?,
            None => std::env::var(format!("LAGAN_{side}_PASSWORD")).map_err(|_| {
                InvalidUsage(format!(
                    "--{flag}-username {user} needs a password: put it into LAGAN_{side}_PASSWORD, or a file into --{flag}-password-file"
                ))
            })?,
        };
        Ok(Some(Self { user: user.clone(), password: password.trim_end_matches(['\r', '\n']).to_owned() }))
    }
}

/// A registry that can be asked.
pub(super) struct Remote {
    http: Client,
    flag: &'static str,
    base: Url,
    login: Option<Login>,
    /// What goes into `Authorization`, by what it is for.
    granted: Mutex<HashMap<String, HeaderValue>>,
}

impl Remote {
    /// Prepares to ask; nothing is sent yet. `flag` is where the address came from.
    ///
    /// # Errors
    /// If the address or the authority's file cannot be used.
    pub(super) fn new(
        flag: &'static str,
        base: &Url,
        login: Option<Login>,
        authority: Option<&PathBuf>,
    ) -> anyhow::Result<Self> {
        let base = base_of(flag, base)?;
        let mut builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT);
        if let Some(file) = authority {
            let wrong = |reason: String| InvalidUsage(format!("{flag}-ca {}: {reason}", file.display()));
            let pem = fs::read(file).map_err(|error| wrong(error.to_string()))?;
            let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            if found.is_empty() {
                return Err(wrong("no PEM certificate is in it".to_owned()).into());
            }
            builder = builder.tls_certs_only(found);
        }
        let http = builder.build().context("could not prepare the connection")?;
        Ok(Self { http, flag, base, login, granted: Mutex::default() })
    }

    /// Whether it answers, as a registry, and takes the user.
    ///
    /// # Errors
    /// [`Unreachable`] or [`InvalidUsage`], with what to do.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        let (flag, base) = (self.flag, &self.base);
        // Once: somebody who made a mistake wants to know it now.
        match self.send("", "/v2/", |url| self.http.get(url)).await {
            Ok(_) => Ok(()),
            // With anonymous access nothing is granted before a repository is named.
            Err(Failure::Answer { status: StatusCode::UNAUTHORIZED, .. }) if self.login.is_none() => {
                Err(InvalidUsage(format!("{flag} {base} wants to know who asks: give {flag}-username")).into())
            }
            Err(Failure::Answer { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }) => {
                let reason = "knows no such user, or the password is another one";
                Err(InvalidUsage(format!("{flag} {base} {reason}")).into())
            }
            Err(Failure::Answer { status: StatusCode::NOT_FOUND, .. }) => {
                Err(InvalidUsage(format!("{flag} {base} is no registry: it has no /v2/")).into())
            }
            Err(failure) => Err(Unreachable(format!("{flag} {base} does not answer: {failure}")).into()),
        }
    }

    /// Asks for something, again where that may help.
    pub(super) async fn get(&self, key: &str, path: &str) -> Result<Response, Failure> {
        with_retries(|| async { self.send(key, path, |url| self.http.get(url)).await }).await
    }

    /// As [`Self::get`], for what may be absent.
    pub(super) async fn find(
        &self,
        method: Method,
        name: &RepositoryName,
        path: &str,
    ) -> Result<Option<Response>, Failure> {
        let found = with_retries(|| async {
            let request = |url| self.http.request(method.clone(), url).header("Accept", super::source::ACCEPT);
            self.send(name.as_str(), &format!("/v2/{name}/{path}"), request).await
        });
        match found.await {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Sends a request once; after a challenge once more, with what was asked for.
    pub(super) async fn send(
        &self,
        key: &str,
        path: &str,
        request: impl Fn(Url) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let answer = self.send_once(key, path, &request).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.judged(path, answer).await;
        }
        let mut asked = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = asked.find_map(|value| Challenge::parse(value.to_str().ok()?));
        let granted = match challenge {
            Some(challenge) => self.answer_to(&challenge).await?,
            None => None,
        };
        let Some(granted) = granted else { return self.judged(path, answer).await };
        self.granted().insert(key.to_owned(), granted);
        let answer = self.send_once(key, path, &request).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.granted().remove(key);
        }
        self.judged(path, answer).await
    }

    /// Sends a request that cannot be sent twice, because its body is a stream. What it needs was granted before.
    pub(super) async fn send_stream(
        &self,
        key: &str,
        request: RequestBuilder,
        what: &str,
    ) -> Result<Response, Failure> {
        let granted = self.granted().get(key).cloned();
        let request = match granted {
            Some(granted) => request.header(AUTHORIZATION, granted),
            None => request,
        };
        let answer = request.send().await.map_err(|error| Failure::connection(what, &error))?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // It ran out: the next attempt asks anew.
            self.granted().remove(key);
        }
        self.judged(what, answer).await
    }

    async fn send_once(
        &self,
        key: &str,
        path: &str,
        request: impl Fn(Url) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let url = self.url(path)?;
        let granted = self.granted().get(key).cloned();
        let request = match granted {
            Some(granted) => request(url).header(AUTHORIZATION, granted),
            None => request(url),
        };
        request.send().await.map_err(|error| Failure::connection(&self.what(path), &error))
    }

    /// An address on this registry: a path, or what a `Location` said.
    pub(super) fn url(&self, path: &str) -> Result<Url, Failure> {
        let wrong = |_| Failure::Content { what: self.what(path), reason: "this is no address".to_owned() };
        self.base.join(path).map_err(wrong)
    }

    /// A request without what was granted, for [`Self::send_stream`].
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    fn granted(&self) -> MutexGuard<'_, HashMap<String, HeaderValue>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn what(&self, path: &str) -> String {
        if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base.as_str().trim_end_matches('/'))
        }
    }

    async fn answer_to(&self, challenge: &Challenge) -> Result<Option<HeaderValue>, Failure> {
        match challenge {
            Challenge::Basic => Ok(self.login.as_ref().and_then(basic)),
            Challenge::Bearer { realm, service, scope } => {
                let token = self.token(realm, service.as_deref(), scope.as_deref()).await?;
                Ok(HeaderValue::from_str(&format!("Bearer {token}")).ok())
            }
        }
    }

    /// Asks a token service. A password goes over a connection that is as safe as the registry's own, or not at all.
    async fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String, Failure> {
        let content = |reason: &str| Failure::Content { what: realm.to_owned(), reason: reason.to_owned() };
        let url: Url = realm.parse().map_err(|_| content("the token service has no valid address"))?;
        if self.base.scheme() == "https" && url.scheme() != "https" && self.login.is_some() {
            return Err(content("the token service is asked without encryption: no password is sent there"));
        }
        let query: Vec<(&str, &str)> =
            [("service", service), ("scope", scope)].into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
        let mut request = self.http.get(url).query(&query);
        if let Some(login) = &self.login {
            request = request.basic_auth(&login.user, Some(&login.password));
        }
        let answer = request.send().await.map_err(|error| Failure::connection(realm, &error))?;
        let answer = self.judged(realm, answer).await?;
        let token: Token = answer.json().await.map_err(|_| content("the token service's answer is not understood"))?;
        token.token.or(token.access_token).ok_or_else(|| content("the token service's answer has no token"))
    }

    /// An answer that says yes; otherwise what it says.
    async fn judged(&self, path: &str, mut answer: Response) -> Result<Response, Failure> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let header = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ERROR_BYTES {
                break;
            }
        }
        Err(Failure::Answer {
            what: self.what(path),
            status,
            said: ErrorBody::in_words(&body),
            retry_after: header.map(Duration::from_secs),
        })
    }
}

fn basic(login: &Login) -> Option<HeaderValue> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let text = BASE64_STANDARD.encode(format!("{}:{}", login.user, login.password));
    let mut value = HeaderValue::from_str(&format!("Basic {text}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}
