//! `/v2/<name>/referrers/<digest>`

use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, LINK},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::oci::{Descriptor, Digest, MediaType, RepositoryName};

use super::{Error, body::Body, call::Call, response::Answer};

/// Says which filters an answer went through.
const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// The descriptors of one page have at most so many bytes: an index should be one that a registry would take.
const PAGE_BYTES: usize = 3 << 20;

/// An index whose entries are the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferrersIndex<'a> {
    schema_version: u64,
    media_type: &'static str,
    manifests: &'a [Descriptor],
}

/// Always an index: a subject that does not exist, or not yet, has no referrers.
pub(super) async fn list(call: &Call<'_>, name: &RepositoryName, subject: &Digest) -> Result<Response<Body>, Error> {
    let mut found = call.app.catalog.repository(name).referrers(subject).await?;
    // A plus sign that a client did not encode arrives as a space, which no media type has.
    let wanted = call.query.get("artifactType").map(|wanted| wanted.replace(' ', "+"));
    if let Some(wanted) = &wanted {
        found.retain(|descriptor| descriptor.artifact_type.as_deref() == Some(wanted));
    }
    found.sort_by_cached_key(|descriptor| descriptor.digest.to_string());
    if let Some(last) = call.query.get("last") {
        found.retain(|descriptor| descriptor.digest.to_string().as_str() > last);
    }
    let page = found.get(..page_length(&found)).unwrap_or_default();
    let index = ReferrersIndex { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests: page };
    let mut answer = Answer::json(StatusCode::OK, &index).header(CONTENT_TYPE, MediaType::OCI_INDEX);
    if wanted.is_some() {
        answer = answer.header(OCI_FILTERS_APPLIED, "artifactType");
    }
    if let Some(last) = page.last().filter(|_| page.len() < found.len()) {
        answer = answer.header(LINK, link(name, subject, wanted.as_deref(), &last.digest));
    }
    Ok(answer.build())
}

/// How many of the descriptors fit into one page; one at least, so that every page gets further.
fn page_length(descriptors: &[Descriptor]) -> usize {
    let mut bytes = 0;
    let fitting = descriptors.iter().take_while(|descriptor| {
        bytes += serde_json::to_vec(descriptor).map_or(0, |json| json.len());
        bytes <= PAGE_BYTES
    });
    fitting.count().max(1).min(descriptors.len())
}

fn link(name: &RepositoryName, subject: &Digest, artifact_type: Option<&str>, last: &Digest) -> String {
    let filter = artifact_type
        .map(|wanted| format!("artifactType={}&", utf8_percent_encode(wanted, NON_ALPHANUMERIC)))
        .unwrap_or_default();
    format!("</v2/{name}/referrers/{subject}?{filter}last={last}>; rel=\"next\"")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::oci::Algorithm;

    fn descriptor(annotation_bytes: usize) -> Descriptor {
        Descriptor {
            media_type: MediaType::OCI_MANIFEST.parse().unwrap(),
            digest: Digest::of(Algorithm::Sha256, b""),
            size: 1,
            artifact_type: None,
            urls: Vec::new(),
            annotations: BTreeMap::from([("a".to_owned(), "x".repeat(annotation_bytes))]),
        }
    }

    #[test]
    fn a_page_ends_before_it_is_too_large_and_never_empty() {
        assert_eq!(page_length(&[]), 0);
        assert_eq!(page_length(&vec![descriptor(10); 100]), 100);
        assert_eq!(page_length(&vec![descriptor(1 << 20); 5]), 2);
        assert_eq!(page_length(&vec![descriptor(4 << 20); 2]), 1);
    }
}
