//! The live listing of the cluster.

use std::time::Duration;

use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{DynamicObject, ObjectList},
};
use tokio::time::Instant;

use super::{
    images::each_image,
    protection::{Protection, User},
    source::{SOURCES, Source},
};

/// Objects that are asked for at once: a pod is some ten kilobytes and several times that in memory, and more than
/// one policy may be listing.
const PAGE: u32 = 200;

/// A list that runs out before it was read to its end is begun again, so many times. One runs out after five
/// minutes, or when the API server forgets it early; a cluster where that happens every time needs its owner.
const MAX_BEGINNINGS: usize = 3;

/// A listing may take so long. Nothing is deleted later than five minutes after a listing began, and the
/// application needs its share of them.
const TIME_LIMIT: Duration = Duration::from_secs(150);

/// What is in use could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refuses.
    #[error("could not list {resource}: {message}")]
    Refused {
        /// What was listed, such as `cronjobs.batch`.
        resource: String,
        /// What the API server says.
        message: String,
    },
    /// The API server did not answer, or not in words that can be read.
    #[error("could not list {resource}")]
    Unanswered {
        /// What was listed.
        resource: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The list ran out each time before it was read to its end.
    #[error("the list of {resource} ran out {MAX_BEGINNINGS} times before it was read to its end")]
    Expired {
        /// What was listed.
        resource: String,
    },
    /// It took too long.
    #[error("listing the cluster took more than {} seconds", TIME_LIMIT.as_secs())]
    TooSlow,
}

/// Lists every source, live, to its end, and adds what it finds to `protection`. Returns how long that took.
///
/// The lists are not the API server's cached ones: without a resource version they are as new as its store. A list
/// of several pages is one snapshot.
///
/// # Errors
/// When one source cannot be read to its end. Then nothing is known about what is in use.
pub async fn list(client: &Client, protection: &mut Protection<'_>) -> Result<Duration, Error> {
    let began = Instant::now();
    let all = async {
        for source in SOURCES {
            list_source(client, source, protection).await?;
        }
        Ok(())
    };
    tokio::time::timeout(TIME_LIMIT, all).await.unwrap_or(Err(Error::TooSlow))?;
    Ok(began.elapsed())
}

/// Lists one source. What was found before a list ran out stays: it was in use a moment ago.
async fn list_source(client: &Client, source: Source, protection: &mut Protection<'_>) -> Result<(), Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &source.api_resource());
    for _ in 0..MAX_BEGINNINGS {
        match read_to_the_end(&api, source, protection).await {
            Ok(()) => return Ok(()),
            Err(error) if has_expired(&error) => {
                tracing::warn!(resource = source.resource(), "a list of the cluster ran out, and begins again");
            }
            Err(error) => return Err(failure(source, error)),
        }
    }
    Err(Error::Expired { resource: source.resource() })
}

async fn read_to_the_end(
    api: &Api<DynamicObject>,
    source: Source,
    protection: &mut Protection<'_>,
) -> Result<(), kube::Error> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        add_page(page, source, protection);
        let Some(token) = next else { return Ok(()) };
        params = params.continue_token(&token);
    }
}

fn add_page(page: ObjectList<DynamicObject>, source: Source, protection: &mut Protection<'_>) {
    for object in page.items {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let user = User { kind: source.kind, namespace: &namespace, name: &name };
        each_image(&object.data, &mut |image| protection.add(user, image));
    }
}

/// 410 Gone: what the continue token stands for is no longer there.
fn has_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

fn failure(source: Source, error: kube::Error) -> Error {
    let resource = source.resource();
    match error {
        kube::Error::Api(status) => Error::Refused { resource, message: status.message },
        error => Error::Unanswered { resource, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::wire::Candidate;
    use crate::operator::fixtures::{Answer, Cluster};

    use super::*;
    use crate::operator::in_use::CandidateIndex;

    fn index() -> CandidateIndex {
        let mut index = CandidateIndex::default();
        for (number, tag) in (0..).zip(["v0", "v1", "v2"]) {
            let digest: crate::oci::Digest = format!("sha256:{}", tag.repeat(32).replace('v', "a")).parse().unwrap();
            index.add(Candidate {
                index: number,
                repository: "app".parse().unwrap(),
                tag: Some(tag.parse().unwrap()),
                digest: digest.clone(),
                closure: vec![digest],
            });
        }
        index
    }

    fn object(image: &str) -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": [{"image": image}]}})
    }

    fn page(items: &[Value], next: &str) -> Answer {
        let body = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "7", "continue": next}, "items": items});
        Answer::ok(body)
    }

    async fn listed(cluster: &Cluster) -> Result<Vec<u32>, Error> {
        let index = index();
        let mut protection = Protection::new(&index, "shop");
        list(&cluster.client(), &mut protection).await?;
        Ok(protection.in_use().into_iter().map(|in_use| in_use.candidate).collect())
    }

    #[tokio::test]
    async fn every_source_is_listed_uncached_and_to_its_end() {
        let cluster = Cluster::answering(|request| match (request.path(), request.query("continue")) {
            ("/api/v1/pods", None) => page(&[object("app:v0")], "more"),
            ("/api/v1/pods", Some("more")) => page(&[object("app:v2")], ""),
            _ => page(&[], ""),
        });
        assert_eq!(listed(&cluster).await.unwrap(), [0, 2]);
        let asked: Vec<String> = cluster.requests().iter().map(|request| request.path().to_owned()).collect();
        let expected = [
            "/apis/batch/v1/cronjobs",
            "/apis/apps/v1/deployments",
            "/apis/apps/v1/statefulsets",
            "/apis/apps/v1/daemonsets",
            "/api/v1/podtemplates",
            "/apis/apps/v1/controllerrevisions",
            "/apis/apps/v1/replicasets",
            "/api/v1/replicationcontrollers",
            "/apis/batch/v1/jobs",
            "/api/v1/pods",
            "/api/v1/pods",
        ];
        assert_eq!(asked, expected);
        for request in cluster.requests() {
            assert_eq!((request.query("resourceVersion"), request.query("limit")), (None, Some("200")));
        }
    }

    #[tokio::test]
    async fn list_that_is_forbidden_is_named() {
        let cluster = Cluster::answering(|request| match request.path() {
            "/apis/batch/v1/cronjobs" => Answer::failure(403, "cronjobs.batch is forbidden: User \"x\" cannot list"),
            _ => page(&[], ""),
        });
        let error = listed(&cluster).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not list cronjobs.batch: cronjobs.batch is forbidden: User \"x\" cannot list"
        );
    }

    #[tokio::test]
    async fn list_that_breaks_off_in_its_second_page_is_an_error() {
        let cluster = Cluster::answering(|request| match (request.path(), request.query("continue")) {
            ("/apis/apps/v1/deployments", None) => page(&[object("app:v0")], "more"),
            ("/apis/apps/v1/deployments", Some(_)) => Answer::broken(),
            _ => page(&[], ""),
        });
        let error = listed(&cluster).await.unwrap_err();
        assert!(matches!(&error, Error::Unanswered { resource, .. } if resource == "deployments.apps"), "{error:?}");
    }

    #[tokio::test]
    async fn list_that_ran_out_begins_again_and_not_for_ever() {
        let cluster = Cluster::answering(|request| match (request.path(), request.query("continue")) {
            ("/apis/batch/v1/jobs", None) if request.earlier() == 0 => page(&[object("app:v0")], "old"),
            ("/apis/batch/v1/jobs", None) => page(&[object("app:v1")], "new"),
            ("/apis/batch/v1/jobs", Some("new")) => page(&[object("app:v2")], ""),
            ("/apis/batch/v1/jobs", Some("old")) => Answer::failure(410, "the continue token is too old"),
            _ => page(&[], ""),
        });
        assert_eq!(listed(&cluster).await.unwrap(), [0, 1, 2]);

        let cluster = Cluster::answering(|request| match request.query("continue") {
            None => page(&[], "old"),
            Some(_) => Answer::failure(410, "the continue token is too old"),
        });
        assert!(matches!(listed(&cluster).await, Err(Error::Expired { resource }) if resource == "cronjobs.batch"));
        assert_eq!(cluster.requests().len(), 2 * MAX_BEGINNINGS);
    }
}
