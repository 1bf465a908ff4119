//! Talks to a running registry's `/v2/_lagan/` routes.

use std::{
    fmt, fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use reqwest::{Certificate, Client, Method, RequestBuilder, StatusCode, Url};
use serde::{Serialize, de::DeserializeOwned};

use crate::api::wire::ErrorBody;

use super::exit::{InvalidUsage, Unreachable};
use super::local_socket::SocketPath;

/// Long enough for a loaded registry on the other side of the world to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A restore waits up to 15 s for a delete of the same image, and then writes links for every manifest of an index.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// What is done to a whole repository, or to all of a group, takes as long as it has images.
const LONG_REQUEST_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// A password is a line, not a file that was piped by mistake.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Where `lagan up` serves.
const DEFAULT_REGISTRY: &str = "http://127.0.0.1:5000";

/// Which registry, and who asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct RegistryArguments {
    /// Address of the registry.
    #[arg(long, value_name = "URL", env = "LAGAN_REGISTRY", default_value = DEFAULT_REGISTRY, global = true)]
    #[arg(value_parser = address)]
    registry: Url,
    /// User to log in as. The password comes from `LAGAN_PASSWORD`, or from standard input.
    #[arg(long, value_name = "NAME", env = "LAGAN_USERNAME", global = true)]
    username: Option<String>,
    /// Read the password from standard input.
    #[arg(long, global = true)]
    password_stdin: bool,
    /// PEM file with the authority that signed the registry's certificate.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
}

impl RegistryArguments {
    /// The same once more, for a command that a message shows; without a password.
    pub(super) fn as_flags(&self) -> String {
        let registry =
            (self.registry.as_str().trim_end_matches('/') != DEFAULT_REGISTRY).then(|| self.registry.to_string());
        let ca = self.ca.as_ref().map(|file| file.display().to_string());
        let flags = [("registry", registry), ("ca", ca), ("username", self.username.clone())];
        flags.into_iter().filter_map(|(name, value)| Some(format!(" --{name} {}", value?))).collect()
    }
}

/// A registry that can be asked.
#[derive(Debug)]
pub(super) struct RegistryClient {
    http: Client,
    base: Url,
    login: Option<Login>,
    /// On this machine: the way to it, and the folder that it is in.
    local: Option<(SocketPath, PathBuf)>,
}

/// Who asks.
struct Login {
    user: String,
    password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl RegistryClient {
    /// Prepares to ask; nothing is sent yet.
    ///
    /// # Errors
    /// If the address, the credentials or the authority's file cannot be used.
    pub(super) fn new(arguments: &RegistryArguments) -> anyhow::Result<Self> {
        let base = base_of("--registry", &arguments.registry)?;
        let mut builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
        if let Some(file) = &arguments.ca {
            builder = builder.tls_certs_only(authorities(file)?);
        }
        let http = builder.build().context("could not prepare the connection")?;
        Ok(Self { http, base, login: login(arguments)?, local: None })
    }

    /// Prepares to ask the process that holds a folder of this machine.
    ///
    /// # Errors
    /// If the connection cannot be prepared.
    pub(super) fn local(socket: SocketPath, directory: &Path) -> anyhow::Result<Self> {
        let http = Client::builder().no_proxy().unix_socket(socket.as_path().to_owned()).timeout(REQUEST_TIMEOUT);
        let http = http.build().context("could not prepare the connection")?;
        let base = "http://localhost/".parse().context("could not prepare the address")?;
        Ok(Self { http, base, login: None, local: Some((socket, directory.to_owned())) })
    }

    /// What the registry is called in messages.
    fn place(&self) -> String {
        match &self.local {
            Some((_, directory)) => directory.display().to_string(),
            None => self.base.to_string(),
        }
    }

    /// Asks for a thing.
    ///
    /// # Errors
    /// If the registry does not answer, or answers with an error.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<T> {
        self.send(self.request(Method::GET, path)?.query(query)).await
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// If the registry does not answer, or answers with an error.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<T> {
        self.send(self.request(Method::POST, path)?.json(body)).await
    }

    /// Asks for a change of many things.
    ///
    /// # Errors
    /// If the registry does not answer, or answers with an error.
    pub(super) async fn post_long<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let request = self.request(Method::POST, path)?.query(query).json(body);
        self.send(request.timeout(LONG_REQUEST_TIMEOUT)).await
    }

    /// Asks for something to be gone.
    ///
    /// # Errors
    /// If the registry does not answer, or answers with an error.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<T> {
        self.send(self.request(Method::DELETE, path)?.query(query).timeout(LONG_REQUEST_TIMEOUT)).await
    }

    fn request(&self, method: Method, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| InvalidUsage(format!("--registry {}: the address cannot have a path", self.base)))?
            .pop_if_empty()
            .extend(["v2", "_lagan"])
            .extend(path);
        let request = self.http.request(method, url);
        Ok(match &self.login {
            Some(Login { user, password }) => request.basic_auth(user, Some(password)),
            None => request,
        })
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(self.refusal(status, &body));
        }
        serde_json::from_slice(&body)
            .with_context(|| format!("{} does not answer as Lagan does: is it another registry?", self.place()))
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let cause = deepest_cause(error);
        let hint = if self.local.is_some() {
            "the process that holds the folder is starting or stopping, or takes no commands here: try again, or give its --registry URL".to_owned()
        } else if let Some(hint) = other_scheme(&self.base, &cause) {
            hint
        } else if cause.contains("certificate") {
            "give the authority that signed its certificate with --ca FILE".to_owned()
        } else {
            "is it running? `lagan up` starts one; another address goes into --registry URL".to_owned()
        };
        Unreachable(format!("{} does not answer ({cause}): {hint}", self.place())).into()
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> anyhow::Error {
        let said = ErrorBody::in_words(body).unwrap_or_else(|| format!("it answers {status}"));
        match status {
            StatusCode::UNAUTHORIZED if self.login.is_some() => {
                InvalidUsage(format!("{} knows no such user, or the password is another one", self.base)).into()
            }
            StatusCode::UNAUTHORIZED => InvalidUsage(format!(
                "{} wants to know who asks: give --username, and the password in LAGAN_PASSWORD or with --password-stdin",
                self.base
            ))
            .into(),
            StatusCode::FORBIDDEN => anyhow::anyhow!("{}: this user may not do that: {said}", self.place()),
            _ => anyhow::anyhow!("{}: {said}", self.place()),
        }
    }
}

/// What was in the way in the end: the errors above it only say that something was.
pub(super) fn deepest_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// What to write instead, where who listens speaks TLS and was spoken to in the clear, or the other way round. An
/// answer in TLS is no HTTP, and one in HTTP no TLS.
pub(super) fn other_scheme(url: &Url, cause: &str) -> Option<String> {
    let (scheme, does) = match url.scheme() {
        "http" if cause.contains("invalid HTTP") => ("https", "it speaks TLS"),
        "https" if cause.contains("InvalidContentType") => ("http", "it speaks no TLS"),
        _ => return None,
    };
    let rest = url.as_str().split_once(':')?.1;
    Some(format!("{does}: write {scheme}:{}", rest.trim_end_matches('/')))
}

fn address(text: &str) -> Result<Url, String> {
    text.parse().map_err(|_| "write a scheme, a host and a port, such as http://127.0.0.1:5000".to_owned())
}

/// The address of a registry, of a scheme, a host and a port only; `flag` is where it came from.
///
/// # Errors
/// If it is something else. A password in it is not repeated.
pub(super) fn base_of(flag: &str, address: &Url) -> Result<Url, InvalidUsage> {
    if !address.username().is_empty() || address.password().is_some() {
        return Err(InvalidUsage(format!(
            "{flag}: an address holds no user and no password: --help says where they are given, and nobody else sees them there"
        )));
    }
    let plain = address.path().trim_matches('/').is_empty() && address.query().is_none();
    if !matches!(address.scheme(), "http" | "https") || !address.has_host() || !plain {
        return Err(InvalidUsage(format!(
            "{flag} {address} is no registry's address: write a scheme, a host and a port, such as {DEFAULT_REGISTRY} or \
             https://registry.example.com"
        )));
    }
    Ok(address.clone())
}

fn authorities(file: &PathBuf) -> anyhow::Result<Vec<Certificate>> {
    let wrong = |reason: String| InvalidUsage(format!("--ca {}: {reason}", file.display()));
    let pem = fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("no PEM certificate is in it".to_owned()).into());
    }
    Ok(found)
}

fn login(arguments: &RegistryArguments) -> anyhow::Result<Option<Login>> {
    let password = if arguments.password_stdin {
        let mut text = String::new();
        std::io::stdin().take(MAX_PASSWORD_BYTES).read_to_string(&mut text).context("could not read the password")?;
        Some(text.trim_end_matches(['\r', '\n']).to_owned())
    } else {
        std::env::var("LAGAN_PASSWORD").ok()
    };
    match (&arguments.username, password) {
        (Some(user), Some(password)) => Ok(Some(Login { user: user.clone(), password })),
        (Some(user), None) => Err(InvalidUsage(format!(
            "--username {user} needs a password: put it into LAGAN_PASSWORD, or pipe it in with --password-stdin"
        ))
        .into()),
        (None, Some(_)) if arguments.password_stdin => {
            Err(InvalidUsage("--password-stdin needs --username".to_owned()).into())
        }
        (None, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_with_a_path_or_another_scheme_is_refused() {
        for (text, fine) in [
            ("http://127.0.0.1:5000", true),
            ("https://registry.example.com/", true),
            ("http://[::1]:5000", true),
            ("ftp://host", false),
            ("http://host/v2/", false),
            ("docker://host/app", false),
            ("http://user@host", false),
            ("http://user:topsecret@host", false),
            ("http://:topsecret@host/v2", false),
        ] {
            let base = base_of("--registry", &text.parse().unwrap());
            assert_eq!(base.is_ok(), fine, "{text}");
            assert!(base.map_err(|error| error.to_string()).err().is_none_or(|error| !error.contains("topsecret")));
        }
    }
}
