//! Answers that many routes share: lists with cursors, and jobs that were started.

use super::error::ApiError;
use super::extract::Caller;
use super::jobs::JobBody;
use super::{Context, State};
use crate::access::{Permit, Read};
use crate::domain::job::Job;
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::JobId;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// One page of a list, newest first.
#[derive(Serialize, ToSchema)]
pub struct Listing<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What to send as `after` for the next page; `null` if this is the last.
    pub next: Option<String>,
}

/// Answers a page; a full one may have another after it.
pub(super) fn listing<T: Serialize>(
    context: &Context,
    items: Vec<T>,
    limit: u32,
    cursor: impl Fn(&T) -> String,
) -> Response {
    let next = (items.len() >= limit as usize).then(|| items.last().map(cursor)).flatten();
    let link = next.as_ref().and_then(|next| HeaderValue::from_str(&context.next_link(next)).ok());
    let mut response = Json(Listing { items, next }).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// A header's value; what cannot be one is left out.
pub(super) fn with_location(mut response: Response, location: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// Answers the job that was started: 202, or 200 if the caller waited and it has ended. `Location` is where to ask.
pub(super) async fn started(state: &State, caller: &Caller, job: JobId) -> Result<Response, ApiError> {
    fail::fail_point!("coordinator.api.committed");
    let wait = caller.wait.unwrap_or(Duration::ZERO);
    let permit = caller.may(Read)?;
    let job = ended_or_not(state, &permit, job, wait).await?;
    let status = if job.state.is_terminal() && caller.wait.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = format!("{}/queue/{}", caller.context.mount, job.id);
    let mut response = (status, Json(JobBody::of(&caller.context, &job))).into_response();
    if let Some(wait) = caller.wait {
        let applied = format!("wait={}", wait.as_secs());
        if let Ok(value) = HeaderValue::from_str(&applied) {
            response.headers_mut().insert(HeaderName::from_static("preference-applied"), value);
        }
    }
    Ok(with_location(response, &location))
}

/// A job once it has ended, or as it is when the time is over or the coordinator shuts down.
pub(super) async fn ended_or_not(
    state: &State,
    permit: &Permit<Read>,
    job: JobId,
    wait: Duration,
) -> Result<Job, ApiError> {
    tokio::select! {
        job = state.services.job_wait(permit, job, wait) => Ok(job?),
        () = state.stop.cancelled() => Ok(state.services.job_get(permit, job).await?),
    }
}
