//! `/containers/{id}/logs` and `/stats`: what a container writes and uses, now. Read from its host as the reader takes it,
//! so that a log of any size costs the same memory, and a reader that stops stops nobody else.

use super::State;
use super::auth::while_signed_in;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Query};
use crate::access::Read;
use crate::domain::{Refusal, Timestamp, log_position};
use crate::service::streams::{Event as Coming, Live, Lost};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::ContainerId;
use dockerforge_protocol::stream::{Line, LogPosition, LogsRequest, Piece, Sample, Source, StatsRequest, StreamEnd};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Between two signs of life on a stream on which nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which part of a log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    /// Only what was written at this time (RFC 3339) or later.
    since: Option<String>,
    /// Only the last so many lines of what there is; counted over both streams, whichever is asked for.
    tail: Option<u32>,
    /// `stdout` or `stderr`; both where absent.
    stream: Option<String>,
    /// Whether each line begins with its time (text only; events have it anyway).
    #[serde(default)]
    timestamps: bool,
}

/// The data of a `log` event.
#[derive(Serialize, ToSchema)]
pub struct LogLineBody {
    /// `stdout` or `stderr`.
    #[schema(value_type = s::LogSource)]
    pub stream: &'static str,
    /// As it was written, with its line end. Docker cuts lines at 16 KiB: where none stands, the next of the same stream goes
    /// on. What is not UTF-8 is replaced.
    pub text: String,
    /// When, RFC 3339 with nanoseconds.
    #[schema(value_type = s::Time)]
    pub at: String,
}

/// The data of an `end` event.
#[derive(Serialize, ToSchema)]
pub struct StreamEndBody {
    /// The container's exit code, where it has ended.
    pub exit_code: Option<i64>,
}

/// A container's figures.
#[derive(Serialize, ToSchema)]
pub struct StatsBody {
    /// When.
    #[schema(value_type = s::Time)]
    pub at: String,
    /// Processor time since the sample before: 100 is one processor, fully used.
    pub cpu_percent: f64,
    /// Memory in use, without what the kernel can take back at once, bytes.
    pub memory_used: u64,
    /// The most memory it may use, bytes.
    pub memory_limit: u64,
    /// Received since it started, bytes.
    pub network_rx: u64,
    /// Sent since it started, bytes.
    pub network_tx: u64,
    /// Read from block devices since it started, bytes.
    pub block_read: u64,
    /// Written to block devices since it started, bytes.
    pub block_write: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl StatsBody {
    fn of(sample: &Sample) -> Self {
        Self {
            at: Timestamp::from_microsecond(sample.at).unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
            // Far below 2^53 thousandths.
            #[allow(clippy::cast_precision_loss)]
            cpu_percent: sample.cpu_milli_percent as f64 / 1000.0,
            memory_used: sample.memory_used,
            memory_limit: sample.memory_limit,
            network_rx: sample.network_rx,
            network_tx: sample.network_tx,
            block_read: sample.block_read,
            block_write: sample.block_write,
            pids: sample.pids,
        }
    }
}

fn wants_events(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/event-stream"))
}

/// What a container wrote: as text up to now, or, with `Accept: text/event-stream`, live. An SSE `log` event carries one
/// line as JSON (`LogLineBody`); its id, as `Last-Event-ID`, goes on behind it with the same parameters, without a gap
/// or a line twice, as long as Docker still has the lines (it keeps 30 MB of each container). `end` (`StreamEndBody`) closes
/// the stream when the container has ended; a stream that ends without it broke off.
#[utoipa::path(get, operation_id = "container_logs", path = "/containers/{id}/logs", tag = "containers", params(("id" = String, Path, description = "The container's id"), LogsQuery), responses(
    (status = 200, description = "The log", content((String = "text/plain"), (String = "text/event-stream")))),
    extensions(("x-problems" = json!(["host-policy", "not-on-host", "agent-too-old", "docker-refused", "too-many-streams", "host-offline", "docker-down"]))))]
pub(super) async fn logs(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(container): Id<ContainerId>,
    Query(query): Query<LogsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let follow = wants_events(&headers);
    let mut check = Check::default();
    let since = query.since.as_deref().and_then(|text| check.parse::<Timestamp>("since", text));
    let from = since.and_then(|since| {
        check.take("since", i64::try_from(since.as_nanosecond()).map_err(|_| "expected a time from 1678 to 2262"))
    });
    let (stdout, stderr) = match query.stream.as_deref() {
        None => (true, true),
        Some("stdout") => (true, false),
        Some("stderr") => (false, true),
        Some(_) => {
            check.refuse("stream", "expected stdout or stderr");
            (true, true)
        }
    };
    let last = headers
        .get("last-event-id")
        .and_then(|id| check.take("Last-Event-ID", log_position::parse(id.to_str().unwrap_or_default())))
        .filter(|_| follow);
    check.finish(Some(()))?;
    let from = last.unwrap_or(LogPosition::at(from.unwrap_or(0)));
    // What the reader has seen is where he goes on, however much he wanted at first.
    let tail = query.tail.filter(|_| last.is_none());
    let wanted = LogsRequest { container, stdout, stderr, from, tail, follow };
    let live = state.services.container_logs(&caller.may(Read)?, wanted).await?;
    if follow {
        return Ok(follow_log(state, &caller, live, from, tail.is_some()));
    }
    Ok(text(live, query.timestamps))
}

fn text(live: Live, timestamps: bool) -> Response {
    let body = stream::try_unfold(live, move |live| async move {
        loop {
            let lines = match live.next().await {
                Ok(Coming::Piece(Piece::Lines { lines })) => lines,
                Ok(Coming::Piece(_)) => continue,
                Ok(Coming::End(StreamEnd::Done { .. })) => return Ok(None),
                // The body is cut off, so that nobody takes it for all.
                Ok(Coming::End(_)) | Err(Lost) => return Err(Lost),
            };
            let mut bytes = Vec::new();
            for line in lines {
                if timestamps {
                    bytes.extend_from_slice(log_position::moment(line.at).as_bytes());
                    bytes.push(b' ');
                }
                bytes.extend_from_slice(&line.text);
            }
            return Ok(Some((Bytes::from(bytes), live)));
        }
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Where a live reader of a log is.
struct Follower {
    live: Live,
    lines: VecDeque<Line>,
    position: LogPosition,
    /// Only the end of what there was is shown, and nothing was yet.
    cut: bool,
}

impl Follower {
    fn line(&mut self, line: &Line) -> Event {
        if std::mem::take(&mut self.cut) {
            self.position = LogPosition::at(line.at);
        }
        self.position.read(line.source, line.at);
        let source: Source = line.source;
        let text = String::from_utf8_lossy(&line.text).into_owned();
        let body = LogLineBody { stream: source.as_str(), text, at: log_position::moment(line.at) };
        json("log", &body).id(log_position::print(&self.position))
    }
}

fn json<T: Serialize>(name: &str, body: &T) -> Event {
    Event::default().event(name).data(serde_json::to_string(body).unwrap_or_default())
}

fn ended(end: &StreamEnd) -> Option<Event> {
    match end {
        StreamEnd::Done { exit_code } => Some(json("end", &StreamEndBody { exit_code: *exit_code })),
        // The reader comes again, and learns why if it lasts.
        StreamEnd::Left | StreamEnd::Failed { .. } | StreamEnd::Protocol => None,
    }
}

fn follow_log(state: State, caller: &Caller, live: Live, position: LogPosition, cut: bool) -> Response {
    let follower = Follower { live, lines: VecDeque::new(), position, cut };
    let whole = state.clone();
    let events = stream::unfold(Some(follower), move |follower| {
        let stop = state.stop.clone();
        async move {
            let mut follower = follower?;
            loop {
                if let Some(line) = follower.lines.pop_front() {
                    let event = follower.line(&line);
                    return Some((Ok::<_, Infallible>(event), Some(follower)));
                }
                let coming = tokio::select! {
                    coming = follower.live.next() => coming,
                    () = stop.cancelled() => return None,
                };
                match coming {
                    Ok(Coming::Piece(Piece::Lines { lines })) => follower.lines = lines.into(),
                    Ok(Coming::Piece(_)) => {}
                    Ok(Coming::End(end)) => return ended(&end).map(|event| (Ok(event), None)),
                    Err(Lost) => return None,
                }
            }
        }
    });
    let events = while_signed_in(&whole, &caller.principal, events);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// How often.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatsQuery {
    /// Seconds between two samples of a stream, 1 to 60; 1 where absent.
    interval: Option<u32>,
}

/// What a container uses: one sample, taken over about a second, or, with `Accept: text/event-stream`, a `sample` event each
/// interval until the container ends (`end`).
#[utoipa::path(get, operation_id = "container_stats", path = "/containers/{id}/stats", tag = "containers", params(("id" = String, Path, description = "The container's id"), StatsQuery), responses(
    (status = 200, description = "A sample", content((StatsBody = "application/json"), (String = "text/event-stream")))),
    extensions(("x-problems" = json!(["host-policy", "container-not-running", "not-on-host", "agent-too-old", "docker-refused", "too-many-streams", "host-offline", "docker-down", "broke-off"]))))]
pub(super) async fn stats(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(container): Id<ContainerId>,
    Query(query): Query<StatsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    if query.interval.is_some_and(|seconds| !(1..=60).contains(&seconds)) {
        check.refuse("interval", "expected 1 to 60 seconds");
    }
    check.finish(Some(()))?;
    let follow = wants_events(&headers);
    let interval = follow.then(|| query.interval.unwrap_or(1));
    let live = state.services.container_stats(&caller.may(Read)?, StatsRequest { container, interval }).await?;
    if follow {
        return Ok(follow_stats(state, &caller, live));
    }
    loop {
        match live.next().await {
            Ok(Coming::Piece(Piece::Sample(sample))) => return Ok(Json(StatsBody::of(&sample)).into_response()),
            Ok(Coming::Piece(_)) => {}
            Ok(Coming::End(StreamEnd::Failed { detail })) => return Err(Refusal::DockerRefused(detail).into()),
            Ok(Coming::End(_)) | Err(Lost) => return Err(ApiError::broke_off()),
        }
    }
}

fn follow_stats(state: State, caller: &Caller, live: Live) -> Response {
    let whole = state.clone();
    let events = stream::unfold(Some(live), move |live| {
        let stop = state.stop.clone();
        async move {
            let live = live?;
            loop {
                let coming = tokio::select! {
                    coming = live.next() => coming,
                    () = stop.cancelled() => return None,
                };
                match coming {
                    Ok(Coming::Piece(Piece::Sample(sample))) => {
                        return Some((Ok::<_, Infallible>(json("sample", &StatsBody::of(&sample))), Some(live)));
                    }
                    Ok(Coming::Piece(_)) => {}
                    Ok(Coming::End(end)) => return ended(&end).map(|event| (Ok(event), None)),
                    Err(Lost) => return None,
                }
            }
        }
    });
    let events = while_signed_in(&whole, &caller.principal, events);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
