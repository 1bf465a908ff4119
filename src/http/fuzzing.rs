//! The parsers of this layer, as `fuzz/` calls them: whatever the bytes, no panic, and what was accepted is what it says.

use std::net::Ipv4Addr;

use hyper::{
    HeaderMap, Method,
    header::{HOST, RANGE},
};

use crate::oci::{Algorithm, Digest};

use super::{
    auth, conditional,
    htpasswd::Htpasswd,
    page::PageRequest,
    peer::Peer,
    pushed_manifest,
    query::Query,
    range::{Chunk, Requested},
    router::Route,
    token,
};

/// Each target by its name.
pub const TARGETS: &[crate::oci::fuzzing::Target] = &[
    ("route", route),
    ("query", query),
    ("range", range),
    ("content_range", content_range),
    ("headers", headers),
    ("pushed_manifest", pushed),
    ("token", parse_token),
    ("htpasswd", htpasswd),
    ("basic", basic),
    ("origin", origin),
];

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The first line is the method. A repository that a route names is one that the path names, too.
fn route(bytes: &[u8]) {
    let Some((method, path)) = text(bytes).split_once('\n') else { return };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let Ok(route) = Route::parse(&method, path) else { return };
    let _ = (route.verb(&method), route.class());
    if let Some(name) = route.repository() {
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        assert!(decoded.contains(name.as_str()), "{path} is not in {name}");
    }
}

fn query(bytes: &[u8]) {
    let query = Query::parse(Some(text(bytes)));
    let _ = (query.get("digest"), query.all("tag").count());
    if let Ok(page) = PageRequest::parse(&query) {
        assert!(page.limit <= 10_000);
    }
}

/// The first eight bytes are the content's size. A part lies within the content, and is not empty.
fn range(bytes: &[u8]) {
    let Some((size, header)) = bytes.split_first_chunk::<8>() else { return };
    let size = u64::from_be_bytes(*size);
    if let Requested::Part(part) = Requested::parse(Some(text(header)), size) {
        assert!(part.start < part.end && part.end <= size);
    }
}

fn content_range(bytes: &[u8]) {
    if let Some(chunk) = Chunk::parse(text(bytes)) {
        assert!(chunk.len > 0 && chunk.start.checked_add(chunk.len - 1).is_some());
    }
}

/// Conditions: one header a line.
fn headers(bytes: &[u8]) {
    let digest = Digest::of(Algorithm::Sha256, b"");
    let pairs = text(bytes).lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.parse::<hyper::header::HeaderName>().ok()?, value.trim().parse().ok()?))
    });
    let headers: HeaderMap = pairs.collect();
    let _ = conditional::is_held(&headers, &digest);
    assert!(conditional::range(&headers, &digest).is_none() || headers.contains_key(RANGE));
}

fn pushed(bytes: &[u8]) {
    if let Ok(manifest) = pushed_manifest::checked(None, bytes) {
        assert!(manifest.blobs().count() + manifest.children().count() <= pushed_manifest::MAX_REFERENCES);
    }
}

fn parse_token(bytes: &[u8]) {
    if let Some(Some(credentials)) = token::decode(text(bytes)) {
        assert!(!credentials.user.contains(':'));
    }
}

fn htpasswd(bytes: &[u8]) {
    let _ = Htpasswd::parse(text(bytes)).map(|users| users.costliest_hash().is_some());
}

fn basic(bytes: &[u8]) {
    if let Some(credentials) = auth::basic_credentials(text(bytes)) {
        assert!(!credentials.user.contains(':'));
    }
}

/// A `Host`. What comes of it is no more than a scheme and an authority.
fn origin(bytes: &[u8]) {
    let Ok(host) = text(bytes).parse() else { return };
    let peer = Peer { address: Ipv4Addr::LOCALHOST.into(), name: None, is_tls: false };
    if let Some(origin) = peer.origin(&HeaderMap::from_iter([(HOST, host)])) {
        let authority = origin.strip_prefix("http://");
        assert!(authority.is_some_and(|rest| !rest.contains(['/', '@', '?', '#', ' '])), "{origin}");
    }
}
