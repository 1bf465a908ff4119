//! From a request to its answer.

use std::sync::Arc;

use hyper::{
    Request, Response,
    body::Incoming,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
    http::request::Parts,
};
use tracing::Instrument as _;

use crate::api::v1alpha1::AccessMode;

use super::{
    App, Authenticator, Error, Health,
    auth::{Caller, Identity, Verb},
    blob_uploads, blobs,
    body::{Body, RequestBody},
    call::{Call, allowed, finish, refuse_if_read_only, refuse_without_host},
    catalog, control, extension, manifests,
    observation::Observation,
    peer::Peer,
    query::Query,
    referrers,
    response::Answer,
    router::Route,
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
    let hosted = refuse_without_host(&parts).map_err(Error::from);
    let route = hosted.and_then(|()| Route::parse(&parts.method, parts.uri.path()));
    let mut observation = Observation::begin(app.metrics.clone(), "registry", &parts, route.as_ref().ok(), peer);
    let span = observation.span();
    let (route, result) = match route {
        Ok(route) => {
            let caller = Caller { headers: &parts.headers, peer };
            let asked = Asked { app, authenticator, parts: &parts, caller, route: &route };
            let result = asked.answer(&mut observation, &mut body).instrument(span).await;
            (Some(route), result)
        }
        Err(error) => (None, Err(error)),
    };
    finish(result, observation, body, || allowed(app, route.as_ref(), &parts.method)).await
}

/// A request of a client, for a route that there is.
struct Asked<'a> {
    app: &'a App,
    authenticator: &'a Authenticator,
    parts: &'a Parts,
    caller: Caller<'a>,
    route: &'a Route,
}

impl Asked<'_> {
    async fn answer(&self, observation: &mut Observation, body: &mut RequestBody) -> Result<Response<Body>, Error> {
        let Self { app, authenticator, parts, caller, route } = self;
        let identity = authenticator.authenticate(caller).await?;
        observation.identified(identity.actor());
        let verb = route.verb(&parts.method);
        if !authenticator.allows(&identity, verb) {
            return Err(authenticator.unauthorized(caller, route.repository().map(|name| (name, verb))));
        }
        refuse_if_read_only(app, route.writes(&parts.method))?;
        let query = Query::parse(parts.uri.query());
        let call = Call {
            app,
            headers: &parts.headers,
            method: &parts.method,
            query: &query,
            actor: identity.actor(),
            may_push: may_push(app, authenticator, &identity),
        };
        self.dispatch(&call, body).await
    }

    async fn dispatch(&self, call: &Call<'_>, body: &mut RequestBody) -> Result<Response<Body>, Error> {
        match self.route {
            Route::Base => base(self.authenticator, &self.caller),
            Route::Token => token::issue(call, self.authenticator, &self.caller, body).await,
            Route::Catalog => catalog::list(call).await,
            Route::Tags { name } => tags::list(call, name).await,
            Route::Referrers { name, subject } => referrers::list(call, name, subject).await,
            Route::Manifest { name, reference } => manifests::respond(call, name, reference, body).await,
            Route::Blob { name, digest } => blobs::respond(call, name, digest).await,
            Route::Uploads { name } => blob_uploads::begin(call, name, body).await,
            Route::Upload { name, id } => blob_uploads::go_on(call, name, id, body).await,
            Route::Extension(route) => extension::respond(call, route, body).await,
        }
    }
}

fn may_push(app: &App, authenticator: &Authenticator, identity: &Identity) -> bool {
    app.settings.access_mode == AccessMode::ReadWrite && authenticator.allows(identity, Verb::Push)
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
