//! `/v2/<name>/referrers/<digest>`

use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, LINK},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::api::v1alpha1::AccessMode;
use crate::oci::{Descriptor, Digest, MediaType, RepositoryName};
use crate::storage::ReferrerFilter;

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
    // A plus sign that a client did not encode arrives as a space, which no media type has.
    let wanted = call.query.get("artifactType").map(|wanted| wanted.replace(' ', "+"));
    let filter = ReferrerFilter {
        artifact_type: wanted.as_deref(),
        after: call.query.get("last"),
        page_bytes: PAGE_BYTES,
        may_note: call.app.settings.access_mode == AccessMode::ReadWrite,
    };
    let page = call.app.catalog.repository(name).referrers(subject, filter).await?;
    let index = ReferrersIndex { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests: &page.entries };
    let mut answer = Answer::json(StatusCode::OK, &index).header(CONTENT_TYPE, MediaType::OCI_INDEX);
    if wanted.is_some() {
        answer = answer.header(OCI_FILTERS_APPLIED, "artifactType");
    }
    if let Some(last) = page.entries.last().filter(|_| page.more) {
        answer = answer.header(LINK, link(name, subject, wanted.as_deref(), &last.digest));
    }
    Ok(answer.build())
}

fn link(name: &RepositoryName, subject: &Digest, artifact_type: Option<&str>, last: &Digest) -> String {
    let filter = artifact_type
        .map(|wanted| format!("artifactType={}&", utf8_percent_encode(wanted, NON_ALPHANUMERIC)))
        .unwrap_or_default();
    format!("</v2/{name}/referrers/{subject}?{filter}last={last}>; rel=\"next\"")
}
