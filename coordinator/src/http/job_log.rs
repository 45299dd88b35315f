//! `/queue/{id}/log`: what a job wrote, exact and live. Read piece by piece as the reader takes them, so that a log of any
//! size costs the same memory, and a reader that stops stops nobody else.

use super::State;
use super::auth::while_signed_in;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Query, last_event_id};
use crate::access::{Permit, Read};
use crate::domain::job::Job;
use crate::service::ServiceError;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::JobId;
use futures_util::stream;
use serde::Deserialize;
use std::convert::Infallible;
use std::time::Duration;
use utoipa::IntoParams;

/// Bytes read from the database at a time.
const PIECE: usize = 64 * 1024;
/// How long to wait at most for a wake-up before looking again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// From where.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// The byte to begin at; 0 where absent.
    offset: Option<u64>,
}

/// What a job wrote: as text from a byte offset to where it ends now, or, with `Accept: text/event-stream`, live. An SSE
/// `log` event carries text as a JSON string (so that each of its characters comes through, a carriage return like any
/// other) and, as id, the offset after it, with which `Last-Event-ID` goes on; `end` closes the stream with the job's last
/// state.
#[utoipa::path(get, operation_id = "job_log", path = "/queue/{id}/log", tag = "queue", params(("id" = String, Path, description = "The job's id"), LogQuery), responses(
    (status = 200, description = "The log; `Dockerforge-Log-Next` is the offset after it", content((String = "text/plain"), (String = "text/event-stream")))),
    extensions(("x-problems" = json!(["log-removed"]))))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<JobId>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let permit = caller.may(Read)?;
    let (job, _) = state.services.job_log(&permit, id, u64::MAX, 0).await?;
    let mut check = Check::default();
    let last = last_event_id::<u64>(&mut check, &headers);
    check.finish(Some(()))?;
    let accepts = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        return Ok(follow(state, &caller, permit, id, last.or(query.offset).unwrap_or(0)));
    }
    Ok(text(state, permit, &job, query.offset.unwrap_or(0)))
}

fn text(state: State, permit: Permit<Read>, job: &Job, offset: u64) -> Response {
    let (id, end) = (job.id, job.log_size);
    let body = stream::try_unfold(offset, move |at| {
        let (state, permit) = (state.clone(), permit.clone());
        async move {
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            if left == 0 {
                return Ok(None);
            }
            let (_, mut bytes) = state.services.job_log(&permit, id, at, PIECE).await?;
            bytes.truncate(left);
            let next = at + bytes.len() as u64;
            Ok::<_, ServiceError>((!bytes.is_empty()).then(|| (Bytes::from(bytes), next)))
        }
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("dockerforge-log-next"), HeaderValue::from(end.max(offset)));
    response
}

/// Where a live reader is.
enum Reader {
    /// The log from here on.
    At(u64),
    /// All was said.
    Done,
}

fn follow(state: State, caller: &Caller, permit: Permit<Read>, id: JobId, offset: u64) -> Response {
    let watch = state.services.signals.watch_job(id);
    let stop = state.stop.clone();
    let whole = state.clone();
    let events = stream::unfold((Reader::At(offset), watch), move |(reader, mut watch)| {
        let (state, permit, stop) = (state.clone(), permit.clone(), stop.clone());
        async move {
            let Reader::At(at) = reader else { return None };
            loop {
                // The reader's own connection is what fails when the coordinator stops: it resumes where it was.
                if stop.is_cancelled() {
                    return None;
                }
                let Ok((job, bytes)) = state.services.job_log(&permit, id, at, PIECE).await else { return None };
                let over = job.state.is_terminal() && at + bytes.len() as u64 >= job.log_size;
                let whole = if over { bytes.len() } else { whole_characters(&bytes) };
                if whole > 0 {
                    let next = at + whole as u64;
                    // As JSON: a line end in an event's data is none to its reader, or another than it was.
                    let text = serde_json::Value::from(String::from_utf8_lossy(&bytes[..whole])).to_string();
                    let event = Event::default().event("log").id(next.to_string()).data(text);
                    return Some((Ok::<_, Infallible>(event), (Reader::At(next), watch)));
                }
                if over {
                    let event = Event::default().event("end").data(job.state.as_str());
                    return Some((Ok(event), (Reader::Done, watch)));
                }
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = tokio::time::timeout(LOOK_AGAIN, watch.changed()) => {}
                }
            }
        }
    });
    let events = while_signed_in(&whole, &caller.principal, events);
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}

/// How many of the bytes are whole characters: a character that is cut at the end waits for the rest of it.
fn whole_characters(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    for at in (from..bytes.len()).rev() {
        let needs = match bytes[at] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => 1,
        };
        return if at + needs > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::whole_characters;

    #[test]
    fn a_character_that_is_cut_at_the_end_waits() {
        let text = "aé€😀".as_bytes();
        for end in 0..=text.len() {
            let whole = whole_characters(&text[..end]);
            assert!(std::str::from_utf8(&text[..whole]).is_ok(), "cut at {end}");
            assert!(end - whole < 4);
        }
        // Bytes that are no text at all do not wait for ever.
        assert_eq!(whole_characters(&[0x80, 0x80, 0x80, 0x80]), 4);
    }
}
