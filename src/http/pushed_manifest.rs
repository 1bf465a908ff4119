//! What is asked of a manifest that somebody pushes, before it is looked at what it references.
//!
//! The bounds are for pushes only: what another registry took, and left in an adopted store, is served all the same.

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::oci::{Manifest, MediaType};

use super::{Error, Malformed};

/// How deep objects and arrays may be nested. The specification's own take six levels.
const MAX_DEPTH: usize = 64;

/// How many descriptors a manifest may have. Each is looked up before the answer; the largest images have 127 layers.
pub(super) const MAX_REFERENCES: usize = 10_000;

/// Up to which length a manifest is parsed where it was received; a longer one would keep other requests waiting.
const PARSE_IN_PLACE: usize = 64 << 10;

/// Reads a manifest that was sent with a content type.
///
/// # Errors
/// [`Malformed`], one case for each bound.
pub(super) async fn parse(media_type: Option<MediaType>, bytes: &Bytes) -> Result<Manifest, Error> {
    if bytes.len() <= PARSE_IN_PLACE {
        return Ok(checked(media_type.as_ref(), bytes)?);
    }
    let bytes = bytes.clone();
    let parsed = spawn_blocking(move || checked(media_type.as_ref(), &bytes)).await;
    Ok(parsed.map_err(|source| Error::Interrupted { source })??)
}

pub(super) fn checked(media_type: Option<&MediaType>, bytes: &[u8]) -> Result<Manifest, Malformed> {
    if depth(bytes) > MAX_DEPTH {
        return Err(Malformed::ManifestDepth { limit: MAX_DEPTH });
    }
    let manifest = Manifest::parse(media_type, bytes).map_err(|source| Malformed::Manifest { source })?;
    let references = manifest.blobs().count() + manifest.children().count();
    if references > MAX_REFERENCES {
        return Err(Malformed::ManifestReferences { references, limit: MAX_REFERENCES });
    }
    Ok(manifest)
}

/// How deep brackets are nested in JSON; something not less for what is no JSON.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        for (text, expected) in [
            ("", 0),
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[{}],"b":[]}"#, 3),
            (r#"{"a":"[[[[\"[[[["}"#, 1),
            (r#"{"\\":[]}"#, 2),
            ("]]]]{", 1),
        ] {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn the_bounds_are_exact() {
        let nested = |levels: usize| {
            let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
            format!(r#"{{"schemaVersion":2,"manifests":[],"x":{open}{close}}}"#)
        };
        assert!(checked(None, nested(MAX_DEPTH).as_bytes()).is_ok());
        let error = checked(None, nested(MAX_DEPTH + 1).as_bytes()).unwrap_err();
        assert!(matches!(error, Malformed::ManifestDepth { .. }));

        let hex = "0".repeat(64);
        let entry = format!(r#"{{"mediaType":"a/b","digest":"sha256:{hex}","size":1}}"#);
        let list = |count: usize| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![&*entry; count].join(","));
        assert!(checked(None, list(MAX_REFERENCES).as_bytes()).is_ok());
        let error = checked(None, list(MAX_REFERENCES + 1).as_bytes()).unwrap_err();
        assert!(matches!(error, Malformed::ManifestReferences { references: 10_001, .. }));
    }
}
