//! From a method and a path to what is asked for.

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::api::v1alpha1::AccessMode;
use crate::maintenance::RunId;
use crate::oci::{Digest, Reference, ReferenceError, RepositoryName};
use crate::storage::{TombstoneId, UploadId};

use super::{Error, Malformed, auth::Verb};

/// A route under `/v2/`, with its parameters read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags { name: RepositoryName },
    /// `/v2/<name>/referrers/<digest>`
    Referrers { name: RepositoryName, subject: Digest },
    /// `/v2/<name>/manifests/<reference>`
    Manifest { name: RepositoryName, reference: Reference },
    /// `/v2/<name>/blobs/<digest>`
    Blob { name: RepositoryName, digest: Digest },
    /// `/v2/<name>/blobs/uploads/`
    Uploads { name: RepositoryName },
    /// `/v2/<name>/blobs/uploads/<uuid>`
    Upload { name: RepositoryName, id: UploadId },
    /// `/v2/_lagan/token`
    Token,
    /// `/v2/_lagan/…`
    Extension(ExtensionRoute),
}

/// A route under `/v2/_lagan/` that both listeners have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExtensionRoute {
    /// `/v2/_lagan/`
    Version,
    /// `…/trash`
    Trash,
    /// `…/trash/<id>`
    TrashEntry { id: TombstoneId },
    /// `…/trash/<id>/restore`
    TrashRestore { id: TombstoneId },
    /// `…/trash/restore`
    TrashGroupRestore,
    /// `…/restore`
    Restore,
    /// `…/history`
    History,
    /// `…/repositories/<name>`
    Repository { name: RepositoryName },
    /// `…/gc`
    Collection,
    /// `…/retention/runs`
    Runs,
    /// `…/retention/runs/<id>`
    Run { id: RunId },
    /// `…/retention/runs/<id>/candidates`
    Candidates { id: RunId },
    /// `…/retention/runs/<id>/apply`
    Apply { id: RunId },
    /// `…/retention/runs/<id>/interrupt`
    Interrupt { id: RunId },
    /// `…/retention/runs/<id>/plan`
    Plan { id: RunId },
    /// `…/retention/plan`
    Forecast,
    /// `…/retention/policies`
    Policies,
    /// `…/retention/policies/<namespace>/<name>/run`
    RunPolicy { namespace: String, name: String },
    /// `…/retention/why`
    Why,
    /// `…/scrub`
    Scrub,
    /// `…/scrub/findings`
    Findings,
}

impl Route {
    /// Reads a request's target. `path` is as it came, still percent-encoded.
    ///
    /// # Errors
    /// An unknown route, a method that the route does not have, or a parameter outside its grammar.
    pub(super) fn parse(method: &Method, path: &str) -> Result<Self, Error> {
        let rest = path.strip_prefix("/v2").ok_or(Error::RouteUnknown)?;
        let segments = match rest {
            "" | "/" => Vec::new(),
            _ => decoded_segments(rest.strip_prefix('/').ok_or(Error::RouteUnknown)?)?,
        };
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let route = match segments.as_slice() {
            [] => Self::Base,
            ["_catalog"] => Self::Catalog,
            ["_lagan", "token"] => Self::Token,
            ["_lagan", rest @ ..] => Self::Extension(ExtensionRoute::parse(rest)?),
            other => Self::in_repository(method, other)?,
        };
        let allowed = route.methods();
        if allowed.split(", ").any(|m| m == method.as_str()) {
            Ok(route)
        } else {
            Err(Error::MethodNotAllowed { allow: allowed })
        }
    }

    /// Repository names have slashes, so a path is read from its end.
    fn in_repository(method: &Method, segments: &[&str]) -> Result<Self, Error> {
        Ok(match segments {
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Self::Uploads { name: repository_name(name)? }
            }
            [name @ .., "blobs", "uploads", id] => {
                Self::Upload { name: repository_name(name)?, id: id.parse().map_err(|_| Malformed::UploadId)? }
            }
            [name @ .., "blobs", digest] => Self::Blob { name: repository_name(name)?, digest: parse_digest(digest)? },
            [name @ .., "manifests", text] => {
                Self::Manifest { name: repository_name(name)?, reference: parse_reference(method, text)? }
            }
            [name @ .., "referrers", digest] => {
                Self::Referrers { name: repository_name(name)?, subject: parse_digest(digest)? }
            }
            [name @ .., "tags", "list"] => Self::Tags { name: repository_name(name)? },
            _ => return Err(Error::RouteUnknown),
        })
    }

    /// The methods that the route has, as the `Allow` header lists them.
    fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Catalog | Self::Tags { .. } | Self::Referrers { .. } => "GET, HEAD",
            Self::Manifest { .. } => "GET, HEAD, PUT, DELETE",
            Self::Blob { .. } => "GET, HEAD, DELETE",
            Self::Uploads { .. } => "POST",
            Self::Upload { .. } => "GET, HEAD, PATCH, PUT, DELETE",
            Self::Token => "GET, POST",
            Self::Extension(route) => route.methods(),
        }
    }

    /// The methods that are left where `refused` is not to be had, as the `Allow` header lists them: in a registry that
    /// is read-only, those that change nothing.
    pub(super) fn allowed_beside(&self, refused: &Method, mode: AccessMode) -> String {
        let is_left = |text: &&str| {
            let method = Method::from_bytes(text.as_bytes()).unwrap_or_default();
            method != *refused && (mode == AccessMode::ReadWrite || !self.writes(&method))
        };
        self.methods().split(", ").filter(is_left).collect::<Vec<_>>().join(", ")
    }

    /// Whether a request changes what clients see. A restore does. Runs plan in a registry that is read-only, and apply
    /// nothing: theirs to say.
    pub(super) fn writes(&self, method: &Method) -> bool {
        let reads = [Method::GET, Method::HEAD].contains(method);
        !reads && matches!(self.verb(method), Verb::Push | Verb::Delete | Verb::Restore)
    }

    /// What a caller must be allowed to do.
    pub(super) fn verb(&self, method: &Method) -> Verb {
        match self {
            Self::Base | Self::Token | Self::Catalog | Self::Tags { .. } | Self::Referrers { .. } => Verb::Pull,
            Self::Uploads { .. } | Self::Upload { .. } => Verb::Push,
            Self::Manifest { .. } | Self::Blob { .. } => match *method {
                Method::DELETE => Verb::Delete,
                Method::PUT => Verb::Push,
                _ => Verb::Pull,
            },
            Self::Extension(route) => route.verb(method),
        }
    }

    /// A name of the kind of route, for metrics and the log: few, and never a client's choice.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Tags { .. } => "tags",
            Self::Referrers { .. } => "referrers",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Uploads { .. } | Self::Upload { .. } => "upload",
            Self::Token => "token",
            Self::Extension(route) => route.class(),
        }
    }

    /// The repository concerned.
    pub(super) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Tags { name }
            | Self::Referrers { name, .. }
            | Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. } => Some(name),
            Self::Extension(route) => route.repository(),
            Self::Base | Self::Token | Self::Catalog => None,
        }
    }
}

impl ExtensionRoute {
    fn parse(segments: &[&str]) -> Result<Self, Error> {
        let tombstone = |text: &str| text.parse().map_err(|_| Malformed::TombstoneId);
        let run = |text: &str| text.parse().map_err(|_| Malformed::RunId);
        Ok(match segments {
            [] | [""] => Self::Version,
            ["trash"] => Self::Trash,
            ["trash", "restore"] => Self::TrashGroupRestore,
            ["trash", id] => Self::TrashEntry { id: tombstone(id)? },
            ["trash", id, "restore"] => Self::TrashRestore { id: tombstone(id)? },
            ["restore"] => Self::Restore,
            ["history"] => Self::History,
            ["repositories", name @ ..] => Self::Repository { name: repository_name(name)? },
            ["gc"] => Self::Collection,
            ["retention", "runs"] => Self::Runs,
            ["retention", "runs", id] => Self::Run { id: run(id)? },
            ["retention", "runs", id, "candidates"] => Self::Candidates { id: run(id)? },
            ["retention", "runs", id, "apply"] => Self::Apply { id: run(id)? },
            ["retention", "runs", id, "interrupt"] => Self::Interrupt { id: run(id)? },
            ["retention", "runs", id, "plan"] => Self::Plan { id: run(id)? },
            ["retention", "plan"] => Self::Forecast,
            ["retention", "policies"] => Self::Policies,
            ["retention", "policies", namespace, name, "run"] => {
                Self::RunPolicy { namespace: (*namespace).to_owned(), name: (*name).to_owned() }
            }
            ["retention", "why"] => Self::Why,
            ["scrub"] => Self::Scrub,
            ["scrub", "findings"] => Self::Findings,
            _ => return Err(Error::RouteUnknown),
        })
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Version
            | Self::History
            | Self::Run { .. }
            | Self::Candidates { .. }
            | Self::Plan { .. }
            | Self::Policies
            | Self::Why
            | Self::Findings => "GET, HEAD",
            Self::Trash | Self::TrashEntry { .. } | Self::Repository { .. } => "GET, HEAD, DELETE",
            Self::Scrub | Self::Collection | Self::Runs => "GET, HEAD, POST",
            Self::TrashRestore { .. }
            | Self::TrashGroupRestore
            | Self::Restore
            | Self::Apply { .. }
            | Self::Interrupt { .. }
            | Self::Forecast
            | Self::RunPolicy { .. } => "POST",
        }
    }

    fn verb(&self, method: &Method) -> Verb {
        match self {
            // A purge cannot be taken back.
            Self::Trash | Self::TrashEntry { .. } if *method == Method::DELETE => Verb::Admin,
            Self::Trash
            | Self::TrashEntry { .. }
            | Self::TrashRestore { .. }
            | Self::TrashGroupRestore
            | Self::Restore => Verb::Restore,
            Self::Repository { .. } if *method == Method::DELETE => Verb::Delete,
            Self::Version | Self::History | Self::Why | Self::Repository { .. } => Verb::Pull,
            Self::Runs
            | Self::Run { .. }
            | Self::Candidates { .. }
            | Self::Apply { .. }
            | Self::Interrupt { .. }
            | Self::Plan { .. }
            | Self::Forecast
            | Self::Policies
            | Self::RunPolicy { .. }
            | Self::Scrub
            | Self::Findings
            | Self::Collection => Verb::Admin,
        }
    }

    fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Repository { name } => Some(name),
            _ => None,
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Version => "extension",
            Self::History => "history",
            Self::Trash | Self::TrashEntry { .. } => "trash",
            Self::TrashRestore { .. } | Self::TrashGroupRestore | Self::Restore => "restore",
            Self::Repository { .. } => "repository",
            Self::Collection => "gc",
            Self::Runs
            | Self::Run { .. }
            | Self::Candidates { .. }
            | Self::Apply { .. }
            | Self::Interrupt { .. }
            | Self::Plan { .. }
            | Self::Forecast
            | Self::Policies
            | Self::RunPolicy { .. }
            | Self::Why => "retention",
            Self::Scrub | Self::Findings => "scrub",
        }
    }
}

/// Decodes each segment by itself, so that an encoded slash stays inside its segment and makes it malformed,
/// instead of naming another repository than a proxy in front saw.
fn decoded_segments(path: &str) -> Result<Vec<Cow<'_, str>>, Error> {
    let decode = |segment| {
        let text = percent_decode_str(segment).decode_utf8().map_err(|_| Error::RouteUnknown)?;
        if text.contains('/') { Err(Error::RouteUnknown) } else { Ok(text) }
    };
    path.split('/').map(decode).collect()
}

fn repository_name(components: &[&str]) -> Result<RepositoryName, Malformed> {
    components.join("/").parse().map_err(|source| Malformed::Name { source })
}

pub(super) fn parse_digest(text: &str) -> Result<Digest, Malformed> {
    text.parse().map_err(|source| Malformed::Digest { source })
}

/// A malformed tag is an error of its own when it is written; to a reader it is a manifest that cannot exist.
fn parse_reference(method: &Method, text: &str) -> Result<Reference, Malformed> {
    text.parse().map_err(|error| match error {
        ReferenceError::Digest(source) => Malformed::Digest { source },
        ReferenceError::Tag(source) if *method == Method::PUT => Malformed::Tag { source },
        ReferenceError::Tag(_) => Malformed::TagToRead,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn malformed(method: &Method, path: &str) -> Malformed {
        match Route::parse(method, path) {
            Err(Error::Malformed { source }) => source,
            other => panic!("{path}: {other:?}"),
        }
    }

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn get(path: &str) -> Result<Route, Error> {
        Route::parse(&Method::GET, path)
    }

    #[test]
    fn the_base_is_found_with_and_without_slash() {
        assert_eq!(get("/v2").unwrap(), Route::Base);
        assert_eq!(get("/v2/").unwrap(), Route::Base);
        assert!(matches!(get("/v2x"), Err(Error::RouteUnknown)));
        assert!(matches!(get("/v2//"), Err(Error::RouteUnknown)));
        assert!(matches!(get("/"), Err(Error::RouteUnknown)));
    }

    #[test]
    fn names_may_contain_the_words_of_routes() {
        for name in ["a", "a/b/c", "blobs", "a/blobs/uploads", "tags/list", "manifests/x", "a/referrers"] {
            let expected: RepositoryName = name.parse().unwrap();
            let manifest = get(&format!("/v2/{name}/manifests/v1")).unwrap();
            assert!(matches!(&manifest, Route::Manifest { name, .. } if *name == expected), "{manifest:?}");
            let blob = get(&format!("/v2/{name}/blobs/{DIGEST}")).unwrap();
            assert!(matches!(&blob, Route::Blob { name, .. } if *name == expected), "{blob:?}");
            let tags = get(&format!("/v2/{name}/tags/list")).unwrap();
            assert!(matches!(&tags, Route::Tags { name } if *name == expected), "{tags:?}");
            let uploads = Route::parse(&Method::POST, &format!("/v2/{name}/blobs/uploads/")).unwrap();
            assert!(matches!(&uploads, Route::Uploads { name } if *name == expected), "{uploads:?}");
        }
    }

    #[test]
    fn an_encoded_colon_is_read_and_an_encoded_slash_is_not_a_separator() {
        let encoded = DIGEST.replace(':', "%3A");
        assert!(matches!(get(&format!("/v2/a/blobs/{encoded}")), Ok(Route::Blob { .. })));
        assert!(get("/v2/a%2Fb/tags/list").is_err());
        assert!(get("/v2/a/..%2f..%2fetc/tags/list").is_err());
        assert!(get("/v2/%ff/tags/list").is_err());
    }

    #[test]
    fn malformed_parameters_are_told_apart() {
        assert!(matches!(malformed(&Method::GET, "/v2/A/tags/list"), Malformed::Name { .. }));
        assert!(matches!(malformed(&Method::GET, "/v2//tags/list"), Malformed::Name { .. }));
        assert!(matches!(malformed(&Method::GET, "/v2/a/../b/tags/list"), Malformed::Name { .. }));
        assert!(matches!(malformed(&Method::GET, "/v2/a/blobs/sha256:00"), Malformed::Digest { .. }));
        assert!(matches!(malformed(&Method::GET, "/v2/a/manifests/sha256:00"), Malformed::Digest { .. }));
        assert!(matches!(malformed(&Method::GET, "/v2/a/manifests/.x"), Malformed::TagToRead));
        assert!(matches!(malformed(&Method::PUT, "/v2/a/manifests/.x"), Malformed::Tag { .. }));
        assert!(matches!(malformed(&Method::GET, "/v2/a/blobs/uploads/x"), Malformed::UploadId));
        assert!(matches!(malformed(&Method::GET, "/v2/_lagan/trash/x"), Malformed::TombstoneId));
    }

    #[test]
    fn repository_to_be_deleted_may_have_any_name() {
        for name in ["a", "a/b/c", "trash", "gc/restore"] {
            let route = Route::parse(&Method::DELETE, &format!("/v2/_lagan/repositories/{name}")).unwrap();
            assert_eq!(route.repository(), Some(&name.parse().unwrap()));
        }
        assert!(matches!(malformed(&Method::DELETE, "/v2/_lagan/repositories"), Malformed::Name { .. }));
        assert!(matches!(malformed(&Method::DELETE, "/v2/_lagan/repositories/A"), Malformed::Name { .. }));
    }

    #[test]
    fn methods_that_a_route_lacks_are_refused_with_those_it_has() {
        let refused = Route::parse(&Method::POST, "/v2/a/tags/list");
        assert!(matches!(refused, Err(Error::MethodNotAllowed { allow: "GET, HEAD" })));
        assert!(matches!(
            Route::parse(&Method::GET, "/v2/a/blobs/uploads/"),
            Err(Error::MethodNotAllowed { allow: "POST" })
        ));
    }

    #[test]
    fn what_is_left_of_a_refused_method_is_what_the_registry_does() {
        let left =
            |method: Method, path: &str, mode| Route::parse(&method, path).unwrap().allowed_beside(&method, mode);
        let (writable, read_only) = (AccessMode::ReadWrite, AccessMode::ReadOnly);
        let blob = format!("/v2/a/blobs/{DIGEST}");
        assert_eq!(left(Method::DELETE, "/v2/a/manifests/v1", writable), "GET, HEAD, PUT");
        assert_eq!(left(Method::DELETE, &blob, writable), "GET, HEAD");
        assert_eq!(left(Method::PUT, "/v2/a/manifests/v1", read_only), "GET, HEAD");
        assert_eq!(left(Method::POST, "/v2/a/blobs/uploads/", read_only), "");
        assert_eq!(left(Method::POST, "/v2/_lagan/restore", read_only), "");
    }

    #[test]
    fn the_verb_follows_route_and_method() {
        let verb = |method: Method, path: &str| Route::parse(&method, path).unwrap().verb(&method);
        assert_eq!(verb(Method::HEAD, "/v2/a/manifests/v1"), Verb::Pull);
        assert_eq!(verb(Method::PUT, "/v2/a/manifests/v1"), Verb::Push);
        assert_eq!(verb(Method::DELETE, "/v2/a/manifests/v1"), Verb::Delete);
        assert_eq!(verb(Method::POST, "/v2/a/blobs/uploads/"), Verb::Push);
        assert_eq!(verb(Method::POST, "/v2/_lagan/restore"), Verb::Restore);
        assert_eq!(verb(Method::POST, "/v2/_lagan/trash/restore"), Verb::Restore);
        let entry = "/v2/_lagan/trash/01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert_eq!(verb(Method::GET, entry), Verb::Restore);
        assert_eq!(verb(Method::DELETE, entry), Verb::Admin);
        assert_eq!(verb(Method::DELETE, "/v2/_lagan/trash"), Verb::Admin);
        assert_eq!(verb(Method::DELETE, "/v2/_lagan/repositories/a/b"), Verb::Delete);
        assert_eq!(verb(Method::GET, "/v2/_lagan/repositories/a/b"), Verb::Pull);
        assert_eq!(verb(Method::GET, "/v2/_lagan/gc"), Verb::Admin);
        assert_eq!(verb(Method::POST, "/v2/_lagan/retention/runs"), Verb::Admin);
    }
}
