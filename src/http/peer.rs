//! The other end of a connection.

use std::{net::IpAddr, sync::Arc};

use hyper::{
    HeaderMap,
    header::{HOST, HeaderName},
    http::uri::Authority,
};

/// How proxies in front say what the client speaks.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who connected, and how.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// From where; a proxy's address where there is one in front.
    pub(super) address: IpAddr,
    /// The name in its certificate.
    pub(super) name: Option<Arc<str>>,
    /// Whether the connection is encrypted.
    pub(super) is_tls: bool,
}

impl Peer {
    /// What a URL that leads back here begins with, such as `https://registry.example.com`, as far as the request tells:
    /// its `Host`, and what a proxy says of the scheme.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Option<String> {
        let host: Authority = headers.get(HOST)?.to_str().ok()?.parse().ok()?;
        if host.as_str().contains('@') {
            return None;
        }
        let forwarded = headers.get(FORWARDED_PROTO).and_then(|value| value.to_str().ok());
        let forwarded = forwarded.and_then(|list| list.split(',').next()).map(str::trim);
        let is_https = self.is_tls || forwarded.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        Some(format!("{}://{host}", if is_https { "https" } else { "http" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_what_the_client_connected_to() {
        let origin = |is_tls: bool, pairs: &[(HeaderName, &str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            Peer { address: [127, 0, 0, 1].into(), name: None, is_tls }.origin(&headers)
        };
        assert_eq!(origin(false, &[(HOST, "a:5000")]).unwrap(), "http://a:5000");
        assert_eq!(origin(true, &[(HOST, "[::1]:5000")]).unwrap(), "https://[::1]:5000");
        assert_eq!(origin(false, &[(HOST, "a"), (FORWARDED_PROTO, "https, http")]).unwrap(), "https://a");
        for host in ["", "a b", "a/b", "a\"b", "user@a"] {
            assert_eq!(origin(false, &[(HOST, host)]), None, "{host}");
        }
        assert_eq!(origin(false, &[]), None);
    }
}
