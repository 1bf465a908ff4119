//! Conditions under which a client wants content.

use hyper::{
    HeaderMap,
    header::{IF_NONE_MATCH, IF_RANGE, RANGE},
};

use crate::oci::Digest;

use super::response::etag;

/// Whether the client has the content already (RFC 9110, section 13.1.2: the comparison is weak).
pub(super) fn is_held(headers: &HeaderMap, digest: &Digest) -> bool {
    let tag = etag(digest);
    let lists = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|held| held == "*" || held.trim_start_matches("W/") == tag)
}

/// The `Range` header, if the client has a part of this very content or does not say of which (section 13.1.5: the
/// comparison is strong, and a date is never newer than what has none).
pub(super) fn range<'a>(headers: &'a HeaderMap, digest: &Digest) -> Option<&'a str> {
    let applies = headers.get(IF_RANGE).is_none_or(|held| held.as_bytes() == etag(digest).as_bytes());
    headers.get(RANGE).filter(|_| applies)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn headers(pairs: &[(hyper::header::HeaderName, String)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn held_content_is_found_in_a_list() {
        let digest = Digest::of(Algorithm::Sha256, b"cargo");
        for value in [format!("\"{digest}\""), format!("\"x\", W/\"{digest}\""), "*".to_owned()] {
            assert!(is_held(&headers(&[(IF_NONE_MATCH, value.clone())]), &digest), "{value}");
        }
        for value in ["\"x\"".to_owned(), digest.to_string()] {
            assert!(!is_held(&headers(&[(IF_NONE_MATCH, value.clone())]), &digest), "{value}");
        }
    }

    #[test]
    fn a_range_of_other_content_is_ignored() {
        let digest = Digest::of(Algorithm::Sha256, b"cargo");
        let with = |held: Option<String>| {
            let mut pairs = vec![(RANGE, "bytes=1-2".to_owned())];
            pairs.extend(held.map(|held| (IF_RANGE, held)));
            range(&headers(&pairs), &digest).is_some()
        };
        assert!(with(None));
        assert!(with(Some(format!("\"{digest}\""))));
        assert!(!with(Some(format!("W/\"{digest}\""))));
        assert!(!with(Some("Sat, 21 Nov 2026 10:00:00 GMT".to_owned())));
    }
}
