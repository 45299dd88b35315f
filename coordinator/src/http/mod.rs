//! The REST API: bodies in, types out, no rules. All routes are on this screen; `document` describes them. Mounted under `/v1` and at the root; the
//! outermost layer gives each request its id and each error its document.

pub mod agent_port;
mod amounts;
mod audit;
mod auth;
mod conditional;
mod configurations;
mod containers;
mod converge;
mod cors;
mod document;
mod documents;
mod error;
mod events;
mod extract;
mod host_access;
mod hosts;
mod image_uploads;
mod images;
mod job_log;
mod jobs;
pub mod listener;
mod moves;
mod operations;
pub mod ops;
mod problems;
mod provisions;
mod rates;
mod respond;
mod secrets;
mod slow_down;
mod specs;
mod streams;
mod templates;
mod terminal;
mod tokens;
mod updates;
mod upload;
mod users;
mod values;
mod webhooks;

use crate::events::Feed;
use crate::service::Services;
use crate::tasks::Tasks;
use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::RequestId;
use error::ApiError;
pub use rates::Rates;
pub use slow_down::SignInFailures;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::{CompressionLayer, CompressionLevel};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What every handler works with.
#[derive(Clone)]
pub struct State {
    /// The use cases.
    pub services: Services,
    /// What happened.
    pub feed: Feed,
    /// Cancelled when the coordinator shuts down: live streams end, and their readers resume elsewhere.
    pub stop: CancellationToken,
    /// For what goes on after an answer: terminals, what is left of an unwanted body.
    pub tasks: Tasks,
    /// Who failed to sign in lately.
    pub failures: Arc<SignInFailures>,
    /// How many requests may be made.
    pub rates: Arc<Rates>,
    /// Origins beside our own whose pages may call the API and open terminals.
    pub origins: Arc<[String]>,
}

/// What is known of a request beside its parts.
#[derive(Clone)]
struct Context {
    /// Its id, in the answer's `x-request-id` and in the log.
    request: RequestId,
    /// Where it comes from.
    remote: IpAddr,
    /// `/v1`, or nothing: a `Location` keeps the form of the request.
    mount: &'static str,
    /// Path and query as they were asked.
    target: String,
    /// What its user has left, once it is known who he is.
    standing: Arc<OnceLock<rates::Standing>>,
}

impl Context {
    fn of(request: &Request) -> Self {
        let target = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let remote = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        Self {
            request: RequestId::new(),
            remote: remote.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            mount: if target.starts_with("/v1/") || target == "/v1" { "/v1" } else { "" },
            target,
            standing: Arc::default(),
        }
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or(&self.target)
    }

    /// Path and query without the mount.
    fn unmounted(&self) -> &str {
        self.target.strip_prefix(self.mount).unwrap_or(&self.target)
    }

    /// RFC 8288: the same list from another cursor on.
    fn next_link(&self, cursor: &str) -> String {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("after="));
        let query: Vec<String> = kept.map(str::to_owned).chain([format!("after={cursor}")]).collect();
        format!("<{path}?{}>; rel=\"next\"", query.join("&"))
    }
}

fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(users::create, users::list))
        .routes(routes!(users::get, users::update, users::delete))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::delete))
        .routes(routes!(hosts::create, hosts::list))
        .routes(routes!(hosts::get, hosts::update, hosts::delete))
        .routes(routes!(hosts::token))
        .routes(routes!(templates::create, templates::list))
        .routes(routes!(templates::get, templates::replace, templates::delete))
        .routes(routes!(templates::archive))
        .routes(routes!(configurations::create, configurations::list))
        .routes(routes!(configurations::get, configurations::update, configurations::delete))
        .routes(routes!(configurations::node))
        .routes(routes!(images::create, images::list))
        .routes(routes!(images::get, images::delete))
        .routes(routes!(containers::create, containers::list))
        .routes(routes!(containers::get, containers::delete, updates::update))
        .routes(routes!(operations::start))
        .routes(routes!(operations::stop))
        .routes(routes!(operations::restart))
        .routes(routes!(operations::exec))
        .routes(routes!(converge::converge))
        .routes(routes!(moves::relocate))
        .routes(routes!(streams::logs))
        .routes(routes!(streams::stats))
        .routes(routes!(terminal::open))
        .routes(routes!(terminal::ticket))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get, jobs::cancel))
        .routes(routes!(job_log::get))
        .routes(routes!(events::list))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::get, webhooks::update, webhooks::delete))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(audit::list))
        .routes(routes!(ops::healthz))
        .routes(routes!(ops::readyz))
}

/// The document of the API, made of what its handlers say.
#[must_use]
pub fn openapi() -> serde_json::Value {
    document::openapi(routes().split_for_parts().1)
}

/// The API, ready to be served.
pub fn router(state: State) -> Router {
    let document = axum::Json(openapi());
    let (api, _) = routes().split_for_parts();
    let api = api.route("/openapi.json", axum::routing::get(move || async move { document.clone() }));
    let compression =
        CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(conditional::Compressible);
    let cors = cors::layer(&state.origins);
    let router = Router::new()
        .nest("/v1", api.clone())
        .merge(api)
        .merge(document::pages::router())
        .fallback(|request: Request| async move { ApiError::no_route(request.uri().path()) })
        .method_not_allowed_fallback(|request: Request| async move { ApiError::method(request.uri().path()) })
        .layer(CatchPanicLayer::custom(|_| ApiError::internal().into_response()))
        .layer(compression)
        .layer(axum::middleware::from_fn(conditional::answer))
        .layer(axum::middleware::from_fn(frame))
        .with_state(state);
    // Outermost, so that pages read what errors say.
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// The outermost layer: what is known of a request goes in, an error's document, the request's id and a line of log
/// come out.
async fn frame(mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let context = Context::of(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(context.clone());
    let id = context.request.to_string();
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let headers = std::mem::take(response.headers_mut());
        response = error.render(context.path(), &id);
        // What an inner layer said of the answer, as Allow of a 405, still holds.
        for (name, value) in headers {
            if let Some(name) = name.filter(|name| *name == axum::http::header::ALLOW) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
    if let Some(standing) = context.standing.get() {
        rates::describe(*standing, response.headers_mut());
    }
    ops::measure(route.as_ref(), &method, response.status(), begun.elapsed());
    tracing::debug!(
        request_id = id,
        %method,
        path = context.path(),
        status = response.status().as_u16(),
        elapsed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}
