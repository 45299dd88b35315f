//! What the agent port serves beside the websocket: the agent itself to machines that have none yet, enrolment, and what a
//! host's own jobs need: build contexts, secrets, nodes, images of other hosts, and what is in volumes of containers that come from
//! there.

use super::State;
use crate::pki::{Conversation, Peer};
use crate::service::ServiceError;
use crate::service::installer::INSTALL_PATH;
use crate::service::moves::Withheld;
use crate::service::streams::{Event, Lost};
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Path, Query, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use dockerforge_protocol::enrolment::{
    CONTEXT_PATH, COPIES_PATH, ENROLL_PATH, EnrolRefusal, EnrolRefused, EnrolRequest, NODE_PATH, SECRETS_PATH,
    VOLUMES_PATH,
};
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::spec::VolumeName;
use dockerforge_protocol::stream::{Piece, StreamEnd};
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use tokio_util::io::ReaderStream;

/// An enrolment's body is a token and a signing request.
const MAX_ENROLMENT: usize = 64 * 1024;

/// The routes, to be merged with the hub's.
pub fn routes(state: State) -> Router {
    Router::new()
        .route(INSTALL_PATH, get(install))
        .route(ENROLL_PATH, post(enrol))
        .route(&format!("{CONTEXT_PATH}/{{job}}"), get(context))
        .route(&format!("{SECRETS_PATH}/{{job}}"), get(secrets))
        .route(&format!("{NODE_PATH}/{{job}}"), get(node))
        .route(&format!("{COPIES_PATH}/{{job}}"), get(image))
        .route(&format!("{COPIES_PATH}/{{job}}/{{digest}}"), get(blob))
        .route(&format!("{VOLUMES_PATH}/{{job}}/{{volume}}"), get(volume))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_ENROLMENT))
        .with_state(state)
}

/// The agent with what installs it. Anybody may have it: there is no secret in it.
async fn install(Shared(state): Shared<State>, Extension(conversation): Extension<Conversation>) -> Response {
    match &state.services.installer {
        Some(installer) if conversation == Conversation::Install => {
            ([(header::CONTENT_TYPE, "application/x-tar")], installer.archive()).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn enrol(
    Shared(state): Shared<State>,
    Extension(conversation): Extension<Conversation>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    request: Result<Json<EnrolRequest>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let refuse = |status, reason, detail: &str| {
        (status, Json(EnrolRefused { reason, detail: detail.to_owned() })).into_response()
    };
    if conversation != Conversation::Enrol {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Ok(Json(request)) = request else {
        return refuse(StatusCode::BAD_REQUEST, EnrolRefusal::Invalid, "this is not an enrolment");
    };
    match state.services.enrol(request, remote.ip()).await {
        Ok(Ok(enrolled)) => Json(enrolled).into_response(),
        Ok(Err(refused)) => {
            tracing::info!(reason = ?refused.reason, "an enrolment was refused");
            (StatusCode::FORBIDDEN, Json(refused)).into_response()
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "an enrolment failed");
            refuse(StatusCode::SERVICE_UNAVAILABLE, EnrolRefusal::Unavailable, "the coordinator cannot answer now")
        }
    }
}

/// Who asks about which job of his; nothing where either is not known.
fn of_peer(peer: Option<Extension<Peer>>, job: &str) -> Option<(Peer, JobId)> {
    Some((peer?.0, job.parse().ok()?))
}

/// What a host is given for a job that it has in work: 404 where it has none, or there is nothing for it.
fn given<T>(
    job: JobId,
    what: &str,
    found: Result<Option<T>, ServiceError>,
    give: impl FnOnce(T) -> Response,
) -> Response {
    match found {
        Ok(Some(found)) => give(found),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(%job, what, error = &error as &dyn std::error::Error, "a host cannot be given what its job needs");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// The context of a build that this very host has in work.
async fn context(Shared(state): Shared<State>, peer: Option<Extension<Peer>>, Path(job): Path<String>) -> Response {
    let Some((peer, job)) = of_peer(peer, &job) else { return StatusCode::NOT_FOUND.into_response() };
    let context = match state.services.job_context(&peer.serial, peer.host, job).await {
        Ok(Some(context)) => context,
        other => return given(job, "context", other, |_| StatusCode::NOT_FOUND.into_response()),
    };
    match state.services.contexts.open(&context).await {
        Ok(file) => {
            let mut response = Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024)).into_response();
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(context.size));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
            response
        }
        Err(error) => {
            tracing::error!(%job, error = &error as &dyn std::error::Error, "a build context cannot be served");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The secrets of a job that this very host has in work.
async fn secrets(Shared(state): Shared<State>, peer: Option<Extension<Peer>>, Path(job): Path<String>) -> Response {
    let Some((peer, job)) = of_peer(peer, &job) else { return StatusCode::NOT_FOUND.into_response() };
    given(job, "secrets", state.services.job_secrets(&peer.serial, peer.host, job).await, |values| {
        let values = values.iter().map(|secret| (secret.id, secret.value.expose_secret()));
        Json(values.collect::<BTreeMap<_, _>>()).into_response()
    })
}

/// The node that a job of this very host converges to.
async fn node(Shared(state): Shared<State>, peer: Option<Extension<Peer>>, Path(job): Path<String>) -> Response {
    let Some((peer, job)) = of_peer(peer, &job) else { return StatusCode::NOT_FOUND.into_response() };
    let node = state.services.job_node(&peer.serial, peer.host, job).await;
    given(job, "node", node, |node| Json(node).into_response())
}

/// What image a job of this very host is to bring there, or to the registry.
async fn image(Shared(state): Shared<State>, peer: Option<Extension<Peer>>, Path(job): Path<String>) -> Response {
    let Some((peer, job)) = of_peer(peer, &job) else { return StatusCode::NOT_FOUND.into_response() };
    let image = state.services.job_image(&peer.serial, peer.host, job).await;
    given(job, "image", image, |image| Json(image).into_response())
}

/// From which byte on.
#[derive(Deserialize)]
struct From {
    from: u64,
    #[serde(default)]
    turn: usize,
}

/// A part of that image, from another host that has it.
async fn blob(
    Shared(state): Shared<State>,
    peer: Option<Extension<Peer>>,
    Path((job, digest)): Path<(String, String)>,
    Query(From { from, turn }): Query<From>,
) -> Response {
    let Some((peer, job)) = of_peer(peer, &job) else { return StatusCode::NOT_FOUND.into_response() };
    let blob = match state.services.job_blob(&peer.serial, peer.host, job, digest, from, turn).await {
        Ok(None) => return (StatusCode::NOT_FOUND, "no host that has it can be reached now").into_response(),
        other => other,
    };
    given(job, "blob", blob, |blob| {
        let left = blob.size.saturating_sub(from);
        let pieces = futures_util::stream::try_unfold(blob, |blob| async move {
            blob.next().await.map(|piece| piece.map(|bytes| (bytes, blob))).inspect_err(|error| {
                tracing::info!(error = error as &dyn std::error::Error, "an image on its way between hosts broke off");
            })
        });
        let mut response = Body::from_stream(pieces).into_response();
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(left));
        response
    })
}

/// What is in a volume of a container that a job of this very host receives, as it comes from the host that it leaves. One that
/// breaks off there breaks off here too: it has no last chunk.
async fn volume(
    Shared(state): Shared<State>,
    peer: Option<Extension<Peer>>,
    Path((job, volume)): Path<(String, String)>,
) -> Response {
    let (Some((peer, job)), Ok(volume)) = (of_peer(peer, &job), volume.parse::<VolumeName>()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let reader = match state.services.job_volume(&peer.serial, peer.host, job, volume).await {
        Ok(Ok(reader)) => reader,
        Ok(Err(Withheld::Unknown)) => return StatusCode::NOT_FOUND.into_response(),
        Ok(Err(why)) => return (StatusCode::SERVICE_UNAVAILABLE, why.to_string()).into_response(),
        Err(error) => {
            tracing::error!(%job, error = &error as &dyn std::error::Error, "a volume cannot be given");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    let pieces = futures_util::stream::unfold(Some(reader), |reader| async move {
        let reader = reader?;
        let broken = match reader.next().await {
            Ok(Event::Piece(Piece::Bytes { bytes })) => return Some((Ok(Bytes::from(bytes)), Some(reader))),
            Ok(Event::End(StreamEnd::Done { .. })) => return None,
            Ok(Event::End(StreamEnd::Failed { detail })) => io::Error::other(detail),
            Ok(_) | Err(Lost) => io::ErrorKind::ConnectionAborted.into(),
        };
        tracing::info!(%broken, "a volume broke off on its way");
        Some((Err(broken), None))
    });
    Body::from_stream(pieces).into_response()
}
