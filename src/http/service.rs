//! From a request to its answer.

use std::sync::Arc;

use hyper::{
    Request, Response,
    body::Incoming,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use tracing::Instrument as _;

use crate::api::v1alpha1::AccessMode;

use super::{
    App, Authenticator, Error, Health,
    auth::{Caller, Identity, Verb},
    blob_uploads, blobs,
    body::{Body, RequestBody},
    call::{Call, finish, refuse_if_read_only, refuse_without_host},
    catalog, control, extension, manifests,
    observation::Observation,
    peer::Peer,
    query::Query,
    referrers,
    response::Answer,
    router::{ExtensionRoute, Route},
    tags, token,
};

/// What a listener serves.
#[derive(Debug, Clone)]
pub enum Service {
    /// The registry, for clients.
    Registry {
        /// The registry.
        app: Arc<App>,
        /// Who may do what.
        authenticator: Arc<Authenticator>,
    },
    /// The administrative routes, for callers that mutual TLS has verified.
    Control {
        /// The registry.
        app: Arc<App>,
    },
    /// Probes and metrics.
    Health(Arc<Health>),
}

impl Service {
    /// Answers a request.
    pub(super) async fn respond(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        match self {
            Self::Registry { app, authenticator } => registry(app, authenticator, request, peer).await,
            Self::Control { app } => control::respond(app, peer, request).await,
            Self::Health(health) => health.respond(&request),
        }
    }
}

async fn registry(app: &App, authenticator: &Authenticator, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
    let (parts, incoming) = request.into_parts();
    let mut body = RequestBody::new(incoming, &parts.headers);
    let mut observation = Observation::begin(app.metrics.clone(), "registry", &parts, peer);
    let span = observation.span();
    let result = async {
        refuse_without_host(&parts)?;
        let route = Route::parse(&parts.method, parts.uri.path())?;
        observation.routed(route.class(), route.repository().map(ToString::to_string));
        let caller = Caller { headers: &parts.headers, peer };
        let identity = authenticator.authenticate(&caller).await?;
        observation.identified(identity.actor());
        let verb = route.verb(&parts.method);
        if !authenticator.allows(&identity, verb) {
            return Err(authenticator.unauthorized(&caller, route.repository().map(|name| (name, verb))));
        }
        let query = Query::parse(parts.uri.query());
        let call = Call {
            app,
            headers: &parts.headers,
            method: &parts.method,
            query: &query,
            actor: identity.actor(),
            may_push: may_push(app, authenticator, &identity),
        };
        refuse_if_read_only(app, verb)?;
        match route {
            Route::Base => base(authenticator, &caller),
            Route::Extension(ExtensionRoute::Token) => token::issue(&call, authenticator, &caller, &mut body).await,
            other => dispatch(&call, other, &mut body).await,
        }
    }
    .instrument(span)
    .await;
    finish(result, observation, body).await
}

fn may_push(app: &App, authenticator: &Authenticator, identity: &Identity) -> bool {
    app.settings.access_mode == AccessMode::ReadWrite && authenticator.allows(identity, Verb::Push)
}

async fn dispatch(call: &Call<'_>, route: Route, body: &mut RequestBody) -> Result<Response<Body>, Error> {
    match route {
        // Answered before.
        Route::Base => Err(Error::RouteUnknown),
        Route::Catalog => catalog::list(call).await,
        Route::Tags { name } => tags::list(call, &name).await,
        Route::Referrers { name, subject } => referrers::list(call, &name, &subject).await,
        Route::Manifest { name, reference } => manifests::respond(call, &name, reference, body).await,
        Route::Blob { name, digest } => blobs::respond(call, &name, &digest).await,
        Route::Uploads { name } => blob_uploads::begin(call, &name, body).await,
        Route::Upload { name, id } => blob_uploads::go_on(call, &name, &id, body).await,
        Route::Extension(route) => extension::respond(call, route, body).await,
    }
}

/// Where clients find out what this is, how to give a name, and whether their credentials are right.
fn base(authenticator: &Authenticator, caller: &Caller<'_>) -> Result<Response<Body>, Error> {
    if authenticator.offers_tokens() && !caller.headers.contains_key(AUTHORIZATION) {
        return Err(authenticator.unauthorized(caller, None));
    }
    let answer = Answer::json(hyper::StatusCode::OK, &serde_json::json!({}));
    Ok(match authenticator.offered_challenge() {
        Some(challenge) => answer.header(WWW_AUTHENTICATE, challenge).build(),
        None => answer.build(),
    })
}
