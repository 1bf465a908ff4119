//! The listener for the operator and for other replicas: the administrative routes and the replicas' calls, for whoever
//! has a certificate of its authority.

use hyper::{Request, Response, body::Incoming};
use tracing::Instrument as _;

use super::{
    App, Error,
    body::{Body, RequestBody},
    call::{Call, finish, refuse_if_read_only, refuse_without_host},
    extension,
    observation::Observation,
    peer::Peer,
    query::Query,
    replica_calls,
    router::Route,
};

/// The actor where a certificate has no common name.
const NAMELESS: &str = "control";

/// Answers a request of a caller that mutual TLS has verified. There are no other credentials: the certificate is
/// the right to everything here.
pub(super) async fn respond(app: &App, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let (parts, incoming) = request.into_parts();
    let mut body = RequestBody::new(incoming, &parts.headers);
    let mut observation = Observation::begin(app.metrics.clone(), "control", &parts, peer);
    let span = observation.span();
    let actor = peer.name.as_deref().unwrap_or(NAMELESS);
    observation.identified(actor);
    let result = async {
        refuse_without_host(&parts)?;
        let query = Query::parse(parts.uri.query());
        let call = Call { app, headers: &parts.headers, method: &parts.method, query: &query, actor, may_push: false };
        if let Some(answer) = replica_calls::respond(&call, parts.uri.path(), &mut body).await {
            observation.routed("replica", None);
            return answer;
        }
        let route = Route::parse(&parts.method, parts.uri.path())?;
        observation.routed(route.class(), None);
        refuse_if_read_only(app, route.verb(&parts.method))?;
        match route {
            Route::Extension(route) => extension::respond(&call, route, &mut body).await,
            _ => Err(Error::RouteUnknown),
        }
    }
    .instrument(span)
    .await;
    finish(result, observation, body).await
}
