//! The one route of the hub on the agent port: the websocket. `app` merges it with the other routes of the port.
//!
//! What must hold: no websocket without the certificate of an agent; all four limits of the websocket library are set,
//! because its own are made for other uses (128 KiB a buffer, no bound on what waits to be written).

use super::registry::NotAdmitted;
use super::{Hub, Peer, session};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use dockerforge_protocol::codec::MAX_FRAME;
use dockerforge_protocol::enrolment::SESSION_PATH;
use std::net::SocketAddr;

/// Bytes set aside to read into. A longer message takes what it needs while it is read.
const READ_BUFFER: usize = 4 * 1024;
/// Bytes that are gathered before they are written, unless flushed sooner.
const WRITE_BUFFER: usize = 8 * 1024;

/// The websocket of the hub, at [`SESSION_PATH`].
pub fn routes(hub: Hub) -> Router {
    Router::new().route(SESSION_PATH, get(open_session)).with_state(hub)
}

/// Opens a session.
async fn open_session(
    State(hub): State<Hub>,
    peer: Option<Extension<Peer>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Some(Extension(peer)) = peer else {
        return problem(StatusCode::FORBIDDEN, "a session needs the certificate of an agent");
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    let config = &hub.inner.config;
    let (place, outbound) = match hub.inner.registry.admit(peer.host, config.per_host, config.outbound) {
        Ok(admitted) => admitted,
        Err(NotAdmitted::Stopped) => {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the coordinator shuts down; dial again");
        }
        Err(NotAdmitted::TooMany) => {
            tracing::warn!(host = %peer.host, %remote, limit = config.per_host, "the host has too many connections");
            return problem(StatusCode::TOO_MANY_REQUESTS, "this host has too many connections open");
        }
    };
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER + 2 * MAX_FRAME)
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .on_upgrade(move |socket| {
            let tasks = hub.inner.tasks.clone();
            tasks.track("agent session", session::run(hub, socket, peer, remote, place, outbound))
        })
}

/// A refusal as a problem document (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(body)).into_response()
}
