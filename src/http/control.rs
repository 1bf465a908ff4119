//! The listener for the operator and for other replicas: the administrative routes and the replicas' calls, for whoever
//! has a certificate of its authority.

use hyper::{Request, Response, body::Incoming};
use tracing::Instrument as _;

use super::{
    App, Error,
    body::{Body, RequestBody},
    call::{Call, allowed, finish, refuse_if_read_only, refuse_without_host},
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
    let route = Route::parse(&parts.method, parts.uri.path());
    let mut observation = Observation::begin(app.metrics.clone(), "control", &parts, route.as_ref().ok(), peer);
    let span = observation.span();
    let actor = peer.name.as_deref().unwrap_or(NAMELESS);
    observation.identified(actor);
    let query = Query::parse(parts.uri.query());
    let call = Call { app, headers: &parts.headers, method: &parts.method, query: &query, actor, may_push: false };
    let (route, result) = match (refuse_without_host(&parts), route) {
        (Err(malformed), _) => (None, Err(malformed.into())),
        (Ok(()), Ok(route)) => {
            let result = administer(&call, &route, &mut body).instrument(span).await;
            (Some(route), result)
        }
        // The replicas' calls are no routes: no other listener has them.
        (Ok(()), Err(error)) => match replica_calls::respond(&call, parts.uri.path(), &mut body).instrument(span).await
        {
            Some(result) => {
                observation.is_replicas();
                (None, result)
            }
            None => (None, Err(error)),
        },
    };
    finish(result, observation, body, || allowed(app, route.as_ref(), &parts.method)).await
}

async fn administer(call: &Call<'_>, route: &Route, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    refuse_if_read_only(call.app, route.writes(call.method))?;
    match route {
        Route::Extension(route) => extension::respond(call, route, body).await,
        _ => Err(Error::RouteUnknown),
    }
}
