//! Pages of other origins (Fetch Standard, CORS): those that the operator names may call the API with a key that they have.
//! Where none are named there is nothing of this: no header, and OPTIONS is a method like any other.

use axum::http::{HeaderName, Method, header};
use std::sync::Arc;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may keep what it was told.
const KEPT: Duration = Duration::from_secs(600);

/// Answers preflights and says who may read; nothing where no origin is named. No cookies are ever sent here, so no
/// credentials are allowed: a page brings its own key.
pub(super) fn layer(origins: &Arc<[String]>) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = Arc::clone(origins);
    let is_allowed = move |origin: &axum::http::HeaderValue, _: &axum::http::request::Parts| {
        origin.to_str().is_ok_and(|origin| allowed.iter().any(|one| one.eq_ignore_ascii_case(origin)))
    };
    let own = |names: &[&'static str]| names.iter().copied().map(HeaderName::from_static).collect::<Vec<_>>();
    let mut sent = own(&["dockerforge-user", "idempotency-key", "last-event-id", "prefer"]);
    sent.extend([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH, header::IF_NONE_MATCH]);
    let mut read =
        own(&["dockerforge-log-next", "preference-applied", "ratelimit", "ratelimit-policy", "x-request-id"]);
    read.extend([header::ETAG, header::LINK, header::LOCATION, header::RETRY_AFTER]);
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(sent)
        .expose_headers(read)
        .max_age(KEPT);
    Some(layer)
}
