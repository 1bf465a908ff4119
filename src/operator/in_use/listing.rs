//! The live listing of the cluster.

use std::time::Duration;

use kube::{Client, ResourceExt};
use tokio::time::Instant;

use crate::api::v1alpha1::InUseScope;
use crate::operator::config::WatchScope;

use super::{
    custom_resource::CustomResource,
    demand::{Demand, Named},
    error::Error,
    image_list,
    images::each_image,
    pages::each_object,
    protection::{Protection, User},
    rollout_history::RolloutHistory,
    source::{SOURCES, Source},
};

/// A listing may take so long. Nothing is deleted later than five minutes after a listing began, and the
/// application needs its share of them.
const TIME_LIMIT: Duration = Duration::from_secs(150);

/// Who is asked what is in use.
#[derive(Clone, Copy)]
pub struct Inquiry<'a> {
    /// The API server.
    pub client: &'a Client,
    /// Where the operator has rights.
    pub watched: &'a WatchScope,
    /// The policy's namespace, which is that of the others of its Registry.
    pub namespace: &'a str,
    /// The policy's name.
    pub policy: &'a str,
    /// What it and the others count as in use.
    pub demand: &'a Demand,
}

impl Inquiry<'_> {
    /// Lists every source, live, to its end, and adds what it finds to `protection`. Returns when that began.
    ///
    /// # Errors
    /// When one source cannot be read to its end. Then nothing is known about what is in use.
    pub async fn list(&self, protection: &mut Protection<'_>) -> Result<Instant, Error> {
        let began = Instant::now();
        let all = tokio::time::timeout(TIME_LIMIT, self.list_all(protection));
        all.await.unwrap_or(Err(Error::TooSlow { seconds: TIME_LIMIT.as_secs() }))?;
        Ok(began)
    }

    /// What the reader of a status should know of how much was asked, if it is not everything.
    #[must_use]
    pub fn narrowness(&self) -> Option<String> {
        match (self.demand.scope(), self.watched) {
            (InUseScope::WatchedNamespaces, WatchScope::Namespaces(names)) => Some(format!(
                "inUse.scope is WatchedNamespaces: only what the namespaces {} use is protected",
                names.join(", ")
            )),
            _ => None,
        }
    }

    /// What the reader of a status should know besides an error: what may help where a list was refused, and who asks
    /// where this policy does not.
    #[must_use]
    pub fn hint(&self, error: &Error) -> Option<String> {
        if error.is_refusal() && self.demand.scope() == InUseScope::Cluster && *self.watched != WatchScope::Cluster {
            return Some(format!(
                "the operator has rights in the namespaces that it watches only: give it more, or say \
                 inUse.scope: WatchedNamespaces in RetentionPolicy {}",
                self.demand.of_the_whole_cluster()
            ));
        }
        let is_named = matches!(error, Error::OfPolicy { .. }) || self.demand.is_of(self.policy);
        (!is_named)
            .then(|| format!("RetentionPolicy {} of the same Registry keeps what is in use", self.demand.policies()))
    }

    /// What others make workloads from comes before the workloads (see [`SOURCES`]).
    async fn list_all(&self, protection: &mut Protection<'_>) -> Result<(), Error> {
        for Named { policy, what } in self.demand.extra_images() {
            let added = image_list::add(self.client, self.namespace, what, protection).await;
            added.map_err(Error::of_policy(policy))?;
        }
        for Named { policy, what } in self.demand.custom_resources() {
            let found = CustomResource::find(self.client, what).await;
            let custom = found.map_err(Error::of_policy(policy))?;
            let everywhere = vec![None];
            let parts = if custom.is_namespaced { self.parts() } else { everywhere };
            for part in parts {
                let mut add = |object: &_| custom.add(object, protection);
                let listed = each_object(self.client, &custom.resource, part.as_deref(), &mut add).await;
                listed.map_err(Error::of_policy(policy))?;
            }
        }
        let mut history = (!self.demand.protects_history()).then(RolloutHistory::default);
        for source in SOURCES {
            for part in self.parts() {
                self.list_source(source, part.as_deref(), history.as_mut(), protection).await?;
            }
        }
        Ok(())
    }

    /// The namespaces to list one after the other; `None` is all of them in one list.
    fn parts(&self) -> Vec<Option<String>> {
        match self.demand.scope() {
            InUseScope::Cluster => vec![None],
            InUseScope::WatchedNamespaces => self.watched.parts(),
        }
    }

    async fn list_source(
        &self,
        source: Source,
        namespace: Option<&str>,
        mut history: Option<&mut RolloutHistory>,
        protection: &mut Protection<'_>,
    ) -> Result<(), Error> {
        let mut add = |object: &_| {
            if !history.as_mut().is_some_and(|history| history.is_only(source.kind, object)) {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                let user = User { kind: source.kind, namespace: &namespace, name: &name };
                each_image(&object.data, &mut |image| protection.add(user, image));
            }
            Ok(())
        };
        each_object(self.client, &source.api_resource(), namespace, &mut add).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::{v1alpha1::InUseSpec, wire::Candidate};
    use crate::operator::fixtures::{Answer, Cluster};

    use super::*;
    use crate::operator::in_use::{CandidateIndex, pages::MAX_BEGINNINGS};

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
        listed_as(cluster, &json!({}), &WatchScope::Cluster).await
    }

    /// The candidates in use by a policy's `inUse`, for an operator that watches `watched`.
    async fn listed_as(cluster: &Cluster, spec: &Value, watched: &WatchScope) -> Result<Vec<u32>, Error> {
        let index = index();
        let mut protection = Protection::new(&index, "shop");
        let (client, demand) = (cluster.client(), demand(&[("cleanup", spec)]));
        let inquiry = Inquiry { client: &client, watched, namespace: "shop", policy: "cleanup", demand: &demand };
        inquiry.list(&mut protection).await.map_err(|error| match error {
            Error::OfPolicy { policy, source } => {
                assert_eq!(policy, "cleanup");
                *source
            }
            error => error,
        })?;
        Ok(protection.in_use().into_iter().map(|in_use| in_use.candidate).collect())
    }

    fn demand(policies: &[(&str, &Value)]) -> Demand {
        let specs: Vec<(&str, InUseSpec)> =
            policies.iter().map(|(name, spec)| (*name, serde_json::from_value((*spec).clone()).unwrap())).collect();
        Demand::of(specs.iter().map(|(name, spec)| ((*name).to_owned(), spec)))
    }

    fn paths(cluster: &Cluster) -> Vec<String> {
        cluster.requests().iter().map(|request| request.path().to_owned()).collect()
    }

    #[tokio::test]
    async fn every_source_is_listed_uncached_and_to_its_end() {
        let cluster = Cluster::answering(|request| match (request.path(), request.query("continue")) {
            ("/api/v1/pods", None) => page(&[object("app:v0")], "more"),
            ("/api/v1/pods", Some("more")) => page(&[object("app:v2")], ""),
            _ => page(&[], ""),
        });
        assert_eq!(listed(&cluster).await.unwrap(), [0, 2]);
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
        assert_eq!(paths(&cluster), expected);
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

    #[tokio::test]
    async fn each_source_that_cannot_be_listed_is_named() {
        for source in SOURCES {
            let resource = source.api_resource();
            let group = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
            let path = format!("{group}/v1/{}", resource.plural);
            let failing = path.clone();
            let cluster = Cluster::answering(move |request| {
                if request.path() == failing { Answer::failure(403, "not for you") } else { page(&[], "") }
            });
            let error = listed(&cluster).await.unwrap_err();
            assert!(
                matches!(&error, Error::Refused { resource, .. } if resource.starts_with(&source.api_resource().plural)),
                "{path}: {error:?}"
            );
        }
    }

    #[tokio::test]
    async fn watched_namespaces_are_listed_one_after_the_other_and_nothing_else() {
        let watched = WatchScope::Namespaces(vec!["shop".to_owned(), "lab".to_owned()]);
        let narrow = json!({"scope": "WatchedNamespaces"});
        let cluster = Cluster::answering(|request| match request.path() {
            "/api/v1/namespaces/lab/pods" => page(&[object("app:v1")], ""),
            path if path.contains("/namespaces/") => page(&[], ""),
            path => panic!("{path} is of the whole cluster"),
        });
        assert_eq!(listed_as(&cluster, &narrow, &watched).await.unwrap(), [1]);
        assert_eq!(cluster.requests().len(), 2 * SOURCES.len());

        let (client, demand) = (cluster.client(), demand(&[("cleanup", &narrow)]));
        let mut inquiry =
            Inquiry { client: &client, watched: &watched, namespace: "shop", policy: "cleanup", demand: &demand };
        assert!(inquiry.narrowness().unwrap().contains("shop, lab"));
        inquiry.watched = &WatchScope::Cluster;
        assert_eq!(inquiry.narrowness(), None, "all of it is watched");
    }

    #[tokio::test]
    async fn operator_of_some_namespaces_says_what_may_help() {
        let watched = WatchScope::Namespaces(vec!["shop".to_owned()]);
        let cluster = Cluster::answering(|_| Answer::failure(403, "not for you"));
        let error = listed_as(&cluster, &json!({}), &watched).await.unwrap_err();
        let narrow = json!({"scope": "WatchedNamespaces"});
        let (client, demand) = (cluster.client(), demand(&[("cleanup", &narrow), ("other", &json!({}))]));
        let mut inquiry =
            Inquiry { client: &client, watched: &watched, namespace: "shop", policy: "cleanup", demand: &demand };
        let hint = inquiry.hint(&error).unwrap();
        assert!(hint.ends_with("inUse.scope: WatchedNamespaces in RetentionPolicy other"), "{hint}");
        inquiry.watched = &WatchScope::Cluster;
        assert_eq!(inquiry.hint(&error), None);
        inquiry.policy = "third";
        assert!(inquiry.hint(&error).unwrap().contains("RetentionPolicy cleanup, other"), "it does not ask itself");
    }

    #[tokio::test]
    async fn rollout_history_is_in_use_unless_the_policy_ignores_it() {
        let old = json!({
            "metadata": {"name": "web-1", "namespace": "shop", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": true}]},
            "spec": {"replicas": 0, "template": {"spec": {"containers": [{"image": "app:v0"}]}}},
        });
        let cluster = Cluster::answering(move |request| match request.path() {
            "/apis/apps/v1/replicasets" => page(std::slice::from_ref(&old), ""),
            "/apis/apps/v1/deployments" => page(&[object("app:v1")], ""),
            _ => page(&[], ""),
        });
        assert_eq!(listed(&cluster).await.unwrap(), [0, 1]);
        let ignoring = json!({"rolloutHistory": "Ignore"});
        assert_eq!(listed_as(&cluster, &ignoring, &WatchScope::Cluster).await.unwrap(), [1]);
    }

    fn extra_images() -> Value {
        json!({"extraImagesFrom": [{"configMapRef": {"name": "edge"}}]})
    }

    #[tokio::test]
    async fn further_images_are_read_from_config_maps_of_the_policys_namespace() {
        let cluster = Cluster::answering(|request| match request.path() {
            "/api/v1/namespaces/shop/configmaps/edge" => {
                Answer::ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"images": "app:v2\n"}}))
            }
            _ => page(&[], ""),
        });
        assert_eq!(listed_as(&cluster, &extra_images(), &WatchScope::Cluster).await.unwrap(), [2]);
    }

    #[tokio::test]
    async fn config_map_that_cannot_be_read_is_named() {
        type Failure = fn() -> Answer;
        let cases: [(Failure, &str); 4] = [
            (|| Answer::failure(404, "not found"), "there is no ConfigMap edge"),
            (|| Answer::failure(403, "not for you"), "ConfigMap edge"),
            (Answer::broken, "ConfigMap edge"),
            (|| Answer::ok(json!({"data": {"images": "app:v1 app:v2"}})), "\"app:v1 app:v2\" names no image"),
        ];
        for (failure, words) in cases {
            let cluster = Cluster::answering(move |request| match request.path() {
                "/api/v1/namespaces/shop/configmaps/edge" => failure(),
                _ => page(&[], ""),
            });
            let error = listed_as(&cluster, &extra_images(), &WatchScope::Cluster).await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    fn custom() -> Value {
        json!({"customResources": [{"apiVersion": "serving.example.com/v1", "kind": "Service",
            "paths": [".spec.image", ".spec.containers[*].image", ".metadata.annotations['example.com/image']"]}]})
    }

    fn kinds() -> Answer {
        Answer::ok(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "serving.example.com/v1",
        "resources": [
            {"name": "services/status", "singularName": "", "namespaced": true, "kind": "Service", "verbs": ["get"]},
            {"name": "services", "singularName": "service", "namespaced": true, "kind": "Service", "verbs": ["list"]},
            {"name": "hosts", "singularName": "host", "namespaced": false, "kind": "Host", "verbs": ["list"]},
        ]}))
    }

    fn service(spec: &Value) -> Value {
        json!({"apiVersion": "serving.example.com/v1", "kind": "Service", "spec": spec,
            "metadata": {"name": "web", "namespace": "shop", "annotations": {"example.com/image": "app:v2"}}})
    }

    #[tokio::test]
    async fn kinds_that_a_policy_names_are_listed_before_the_others_and_to_their_end() {
        let cluster = Cluster::answering(|request| match (request.path(), request.query("continue")) {
            ("/apis/serving.example.com/v1", _) => kinds(),
            ("/apis/serving.example.com/v1/services", None) => page(&[service(&json!({"image": "app:v0"}))], "more"),
            ("/apis/serving.example.com/v1/services", Some(_)) => {
                page(&[service(&json!({"containers": [{"image": {"repository": "app", "tag": "v1"}}]}))], "")
            }
            _ => page(&[], ""),
        });
        assert_eq!(listed_as(&cluster, &custom(), &WatchScope::Cluster).await.unwrap(), [0, 1, 2]);
        assert_eq!(
            paths(&cluster)[..3],
            [
                "/apis/serving.example.com/v1",
                "/apis/serving.example.com/v1/services",
                "/apis/serving.example.com/v1/services"
            ]
        );
    }

    #[tokio::test]
    async fn kinds_outside_namespaces_are_listed_whatever_the_scope() {
        let cluster = Cluster::answering(|request| match request.path() {
            "/apis/serving.example.com/v1" => kinds(),
            "/apis/serving.example.com/v1/hosts" => {
                page(&[json!({"metadata": {"name": "h"}, "spec": {"image": "app:v1"}})], "")
            }
            path if path.contains("/namespaces/shop/") => page(&[], ""),
            path => panic!("{path} was not expected"),
        });
        let spec = json!({"scope": "WatchedNamespaces", "customResources": [
            {"apiVersion": "serving.example.com/v1", "kind": "Host", "paths": [".spec.image"]}]});
        let watched = WatchScope::Namespaces(vec!["shop".to_owned()]);
        assert_eq!(listed_as(&cluster, &spec, &watched).await.unwrap(), [1]);
    }

    #[tokio::test]
    async fn kind_that_cannot_be_read_is_named() {
        type Script = fn(&str) -> Answer;
        let cases: [(Script, &str); 5] = [
            (|_| Answer::failure(404, "page not found"), "no kind Service of serving.example.com/v1"),
            (
                |path| match path {
                    "/apis/serving.example.com/v1" => {
                        Answer::ok(json!({"groupVersion": "serving.example.com/v1", "resources": []}))
                    }
                    _ => page(&[], ""),
                },
                "no kind Service of serving.example.com/v1",
            ),
            (|_| Answer::broken(), "the kinds of serving.example.com/v1"),
            (
                |path| match path {
                    "/apis/serving.example.com/v1" => kinds(),
                    _ => Answer::failure(403, "not for you"),
                },
                "could not list services.serving.example.com: not for you",
            ),
            (
                |path| match path {
                    "/apis/serving.example.com/v1" => kinds(),
                    "/apis/serving.example.com/v1/services" => page(&[service(&json!({"image": 7}))], ""),
                    _ => page(&[], ""),
                },
                "services.serving.example.com does not have an image at .spec.image",
            ),
        ];
        for (script, words) in cases {
            let cluster = Cluster::answering(move |request| script(request.path()));
            let error = listed_as(&cluster, &custom(), &WatchScope::Cluster).await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
