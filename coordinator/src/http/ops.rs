//! How the coordinator is. `/healthz` and `/readyz` are part of the API; with `/metrics` (Prometheus' text format) they
//! are also served on the ops address, which has no authentication and is for those who run the coordinator.

use super::State;
use crate::domain::Timestamp;
use crate::domain::host::Host;
use crate::metrics::{self, Recorder, Text};
use crate::service::ops::{Ops, Snapshot};
use axum::extract::{MatchedPath, State as Shared};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use jiff::SignedDuration;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
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

/// What the ops address works with.
#[derive(Clone)]
pub struct Watched {
    /// What the API works with.
    pub state: State,
    /// What was measured as it happened.
    pub recorder: Recorder,
    /// What there is.
    pub ops: Ops,
    /// How many agents' sessions are open in this process.
    pub sessions: Arc<dyn Fn() -> usize + Send + Sync>,
}

/// What the ops address serves.
pub fn router(watched: Watched) -> Router {
    let health = Router::new()
        .route("/healthz", routing::get(healthz))
        .route("/readyz", routing::get(readyz))
        .with_state(watched.state.clone());
    Router::new().route("/metrics", routing::get(render)).with_state(watched).merge(health)
}

async fn render(Shared(watched): Shared<Watched>) -> Response {
    let snapshot = watched.ops.snapshot().await;
    let mut text = Text::default();
    process(&mut text);
    text.gauge("dockerforge_sessions_open", "Agents' sessions that are open here")
        .sample(&[], count((watched.sessions)()));
    text.gauge(
        "dockerforge_database_up",
        "1 if the database answered this scrape, else 0; what is read from it is then absent",
    )
    .sample(&[], if snapshot.is_ok() { 1.0 } else { 0.0 });
    match snapshot {
        Ok(snapshot) => {
            let now = Timestamp::now();
            jobs(&mut text, &snapshot, now);
            hosts(&mut text, &snapshot, now);
        }
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "no figures for /metrics"),
    }
    let page = watched.recorder.render() + &text.finish();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

fn process(text: &mut Text) {
    text.gauge("dockerforge_build_info", "1, with the version of this program").sample(&[("version", VERSION)], 1.0);
    if let Some(bytes) = metrics::resident_bytes() {
        text.gauge("dockerforge_process_resident_memory_bytes", "Memory of this process that is resident")
            .sample(&[], figure(bytes));
    }
    if let Some(open) = metrics::open_files() {
        text.gauge("dockerforge_process_open_fds", "Files and sockets that this process has open")
            .sample(&[], figure(open));
    }
}

fn jobs(text: &mut Text, snapshot: &Snapshot, now: Timestamp) {
    let mut gauge = text.gauge("dockerforge_jobs", "Unfinished jobs, by kind and state");
    for (kind, state, jobs) in &snapshot.jobs {
        gauge.sample(&[("kind", kind.as_str()), ("state", state.as_str())], figure(*jobs));
    }
    let mut gauge =
        text.gauge("dockerforge_job_oldest_queued_age_seconds", "Age of the oldest job that waits, by kind");
    for (kind, since) in &snapshot.oldest_queued {
        gauge.sample(&[("kind", kind.as_str())], seconds(now.duration_since(*since)));
    }
}

type Figure = fn(&Host, Timestamp) -> Option<f64>;

/// What is shown of each host: the metric, its help, and how it is had.
const OF_A_HOST: [(&str, &str, Figure); 7] = [
    ("dockerforge_host_heartbeat_age_seconds", "Seconds since the host's agent was last heard of", |host, now| {
        host.silence(now).map(seconds)
    }),
    (
        "dockerforge_host_docker_ping_age_seconds",
        "Seconds since the host's Docker last answered its agent",
        |host, now| host.docker_silence(now).map(seconds),
    ),
    ("dockerforge_host_certificate_days_left", "Days until the certificate of the host's agent ends", |host, now| {
        host.certificate_ends_at.map(|ends| ends.duration_since(now).as_secs_f64() / 86_400.0)
    }),
    ("dockerforge_host_disk_free_ratio", "Part of the disk with Docker's data that is free, 0 to 1", |host, _| {
        host.disk_free_ratio()
    }),
    ("dockerforge_host_disk_free_bytes", "What is free on the disk with Docker's data", |host, _| {
        host.usage?.disk_free.map(figure)
    }),
    ("dockerforge_host_memory_used_bytes", "Memory that the host uses", |host, _| {
        host.usage.map(|usage| figure(usage.memory_used))
    }),
    ("dockerforge_host_containers_running", "Our containers that run on the host", |host, _| {
        host.usage?.containers_running.map(f64::from)
    }),
];

fn hosts(text: &mut Text, snapshot: &Snapshot, now: Timestamp) {
    let mut gauge = text.gauge("dockerforge_hosts", "Hosts, by state");
    for (state, hosts) in &snapshot.hosts_by_state {
        gauge.sample(&[("state", state.as_str())], figure(*hosts));
    }
    let names: Vec<(String, &str)> = snapshot.hosts.iter().map(|h| (h.id.to_string(), h.name.as_str())).collect();
    let mut gauge = text.gauge("dockerforge_host_state", "1 for the state that the host is in");
    for (host, (id, name)) in snapshot.hosts.iter().zip(&names) {
        gauge.sample(&[("host", id), ("name", name), ("state", host.state.as_str())], 1.0);
    }
    for (metric, help, of) in OF_A_HOST {
        let mut gauge = text.gauge(metric, help);
        for (host, (id, name)) in snapshot.hosts.iter().zip(&names) {
            if let Some(value) = of(host, now) {
                gauge.sample(&[("host", id), ("name", name)], value);
            }
        }
    }
}

fn seconds(duration: SignedDuration) -> f64 {
    duration.as_secs_f64()
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, and then a figure for a graph")]
fn figure(value: u64) -> f64 {
    value as f64
}

fn count(value: usize) -> f64 {
    u64::try_from(value).map_or(f64::MAX, figure)
}

/// Notes an answer, under few words: the route's template without its mount, never what was asked.
pub(super) fn measure(route: Option<&MatchedPath>, method: &Method, status: StatusCode, took: Duration) {
    let route = route.map_or("none", |route| route.as_str().strip_prefix("/v1").unwrap_or(route.as_str()));
    let method = match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    };
    let class = match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    metrics::http_answered(route, method, class, took);
}
