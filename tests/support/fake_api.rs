//! An API server of a few dozen lines, for what a real one does not do on cue.
//!
//! It stores objects by path, knows how an apply, a merge and a create end, counts what changes something, and
//! refuses or breaks what a test tells it to. It validates nothing and defaults nothing: those are tested on a real
//! cluster.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// What it stores and what it was asked.
#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    refused: Vec<(String, StatusCode)>,
    mutations: Vec<String>,
    /// The fields of each object's status that were applied last.
    applied: BTreeMap<String, Vec<String>>,
    version: u64,
}

/// A handle on the server.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.serve(request).await) }
        });
        Client::new(service, "default")
    }

    /// Stores an object, as somebody else than the client would.
    pub(crate) fn put(&self, path: &str, object: Value) {
        let mut state = self.0.lock().unwrap();
        let object = state.stamped(path, object);
        state.objects.insert(path.to_owned(), object);
    }

    /// The object at a path.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Changes the object at a path, as a controller of the cluster would.
    pub(crate) fn change(&self, path: &str, change: &Value) {
        let mut state = self.0.lock().unwrap();
        let object = state.objects.get_mut(path).unwrap_or_else(|| panic!("{path} is not there"));
        merge(object, change);
    }

    /// Forgets the object at a path.
    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    /// Answers every request whose method and path begin with `prefix`, such as `GET /api/v1/pods`, with `status`.
    pub(crate) fn refuse(&self, prefix: &str, status: StatusCode) {
        self.0.lock().unwrap().refused.push((prefix.to_owned(), status));
    }

    /// Refuses nothing any more.
    pub(crate) fn allow_everything(&self) {
        self.0.lock().unwrap().refused.clear();
    }

    /// The requests since the last call that would have changed something: method and path.
    pub(crate) fn take_mutations(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().mutations)
    }

    async fn serve(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let content_type = parts.headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
        let (status, answer) = self.0.lock().unwrap().answer(&parts.method, parts.uri.path(), &content_type, body);
        let answer = Body::from(serde_json::to_vec(&answer).unwrap());
        Response::builder().status(status).header("content-type", "application/json").body(answer).unwrap()
    }
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, content_type: &str, body: Value) -> (StatusCode, Value) {
        let line = format!("{method} {path}");
        let refused = self.refused.iter().find(|(prefix, _)| line.starts_with(prefix.as_str()));
        if let Some((_, status)) = refused {
            return failure(*status, "refused by the test");
        }
        if method != Method::GET {
            self.mutations.push(line);
        }
        match *method {
            Method::GET => self.read(path),
            Method::POST => self.create(path, body),
            Method::PATCH if content_type.contains("apply-patch") => self.patch(path, &body, Missing::Created),
            Method::PATCH => self.patch(path, &body, Missing::Refused),
            Method::DELETE => match self.objects.remove(path) {
                Some(object) => (StatusCode::OK, object),
                None => failure(StatusCode::NOT_FOUND, path),
            },
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, path),
        }
    }

    fn read(&self, path: &str) -> (StatusCode, Value) {
        if let Some(object) = self.objects.get(path) {
            return (StatusCode::OK, object.clone());
        }
        // A collection's path has one part less than an object's.
        let is_list = path.rsplit('/').next().is_some_and(|kind| kind.ends_with('s') && !kind.contains('-'));
        if !is_list {
            return failure(StatusCode::NOT_FOUND, path);
        }
        let kind = path.rsplit('/').next().unwrap_or_default();
        let base = path.strip_suffix(kind).unwrap_or_default();
        let of_kind = |at: &&String| at.starts_with(base) && at.split('/').rev().nth(1) == Some(kind);
        let items: Vec<Value> = self.objects.keys().filter(of_kind).map(|at| self.objects[at].clone()).collect();
        (
            StatusCode::OK,
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}),
        )
    }

    fn create(&mut self, path: &str, object: Value) -> (StatusCode, Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            return failure(StatusCode::CONFLICT, &path);
        }
        let object = self.stamped(&path, object);
        self.objects.insert(path, object.clone());
        (StatusCode::CREATED, object)
    }

    fn patch(&mut self, path: &str, change: &Value, missing: Missing) -> (StatusCode, Value) {
        let (at, change) = match path.strip_suffix("/status") {
            Some(at) => (at, json!({"status": change["status"]})),
            None => (path, change.clone()),
        };
        if path != at {
            // What its writer wrote before and does not write any more is gone; what others wrote is theirs.
            let fields = change["status"].as_object().into_iter().flat_map(|status| status.keys().cloned()).collect();
            let before = self.applied.insert(at.to_owned(), fields).unwrap_or_default();
            let status = self.objects.get_mut(at).and_then(|object| object.get_mut("status"));
            if let Some(Value::Object(status)) = status {
                status.retain(|field, _| !before.contains(field));
            }
        }
        match (self.objects.contains_key(at), missing) {
            (false, Missing::Refused) => return failure(StatusCode::NOT_FOUND, at),
            (false, Missing::Created) => self.objects.insert(at.to_owned(), json!({})),
            (true, _) => None,
        };
        let mut object = self.objects[at].clone();
        merge(&mut object, &change);
        let object = self.stamped(at, object);
        self.objects.insert(at.to_owned(), object.clone());
        (StatusCode::OK, object)
    }

    /// Gives an object what a server gives it.
    fn stamped(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        let metadata = object["metadata"].as_object_mut();
        let mut metadata = metadata.cloned().unwrap_or_default();
        metadata.entry("uid").or_insert_with(|| json!(format!("uid of {path}")));
        metadata.entry("creationTimestamp").or_insert_with(|| json!("2026-01-01T00:00:00Z"));
        metadata.insert("resourceVersion".to_owned(), json!(self.version.to_string()));
        object["metadata"] = Value::Object(metadata);
        object
    }
}

/// What a patch of an object that is not there becomes.
#[derive(Clone, Copy)]
enum Missing {
    Created,
    Refused,
}

fn failure(status: StatusCode, about: &str) -> (StatusCode, Value) {
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::CONFLICT => "AlreadyExists",
        _ => "InternalError",
    };
    let message = format!("{reason}: {about}");
    let body = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason,
        "message": message, "code": status.as_u16()});
    (status, body)
}

/// A JSON merge patch (RFC 7396).
fn merge(into: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *into = change.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in change {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}
