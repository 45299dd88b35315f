//! Whether the coordinator lives and can serve, and what the API is. Without authentication.

use super::State;
use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// How the coordinator is.
#[derive(Serialize, ToSchema)]
pub struct HealthBody {
    /// `ok`, or what is wrong.
    pub status: &'static str,
    /// The coordinator's version.
    pub version: &'static str,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "ops", security(()), responses((status = 200, description = "It lives", body = HealthBody)))]
pub(super) async fn healthz() -> Json<HealthBody> {
    Json(HealthBody { status: "ok", version: VERSION })
}

/// The coordinator can serve: its database answers, and it is not shutting down.
#[utoipa::path(get, path = "/readyz", tag = "ops", security(()), responses(
    (status = 200, description = "It can serve", body = HealthBody), (status = 503, description = "It cannot", body = HealthBody)))]
pub(super) async fn readyz(Shared(state): Shared<State>) -> Response {
    let status = if state.stop.is_cancelled() {
        "shutting down"
    } else if state.services.store.ping().await.is_err() {
        "the database does not answer"
    } else {
        return Json(HealthBody { status: "ok", version: VERSION }).into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(HealthBody { status, version: VERSION })).into_response()
}
