//! `/queue`: the jobs, how they stand and what they made, and cancelling them.

use super::conditional::tagged;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Query, page};
use super::respond::{self, Listing, with_location};
use super::{Context, State};
use crate::access::{Permit, Read, Write};
use crate::domain::job::{Job, JobError, JobKind, JobState, Subject};
use crate::service::jobs::Filter;
use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::report::{Product, Progress, ResourceOutcome};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// One asynchronous operation.
#[derive(Serialize, ToSchema)]
pub struct JobBody {
    /// Its id.
    #[schema(value_type = s::JobId, example = "job_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: String,
    /// What it does.
    #[schema(value_type = s::JobKind, example = "container.create")]
    pub kind: &'static str,
    /// `queued`, `assigned`, `running`, `unknown`, `cancelling`, `succeeded`, `failed` or `cancelled`.
    #[schema(value_type = s::JobState, example = "running")]
    pub state: &'static str,
    /// The number of the attempt in work, or of the last; 0 before the first. One that the agent did not take (it was
    /// busy, or its Docker away) has a number too, but does not count against the five tries.
    pub attempt: u32,
    /// Whose it is.
    #[schema(value_type = s::UserId)]
    pub user: String,
    /// Where it is done, if on one host.
    #[schema(value_type = Option<s::HostId>)]
    pub host: Option<String>,
    /// The job that it is a part of.
    #[schema(value_type = Option<s::JobId>)]
    pub parent: Option<String>,
    /// What it is about.
    pub resource: ResourceBody,
    /// How far it is.
    pub progress: Option<ProgressBody>,
    /// When it was asked for, RFC 3339.
    #[schema(value_type = s::Time)]
    pub created_at: String,
    /// When a host first took it.
    #[schema(value_type = Option<s::Time>)]
    pub started_at: Option<String>,
    /// When it ended.
    #[schema(value_type = Option<s::Time>)]
    pub ended_at: Option<String>,
    /// When it ends by itself if no host could take it.
    #[schema(value_type = s::Time)]
    pub deadline_at: String,
    /// What it made.
    pub result: Option<ResultBody>,
    /// Why it failed.
    pub error: Option<JobErrorBody>,
    /// What it wrote.
    pub log: LogBody,
}

/// What a job is about.
#[derive(Serialize, ToSchema)]
pub struct ResourceBody {
    /// `container`, `image`, `host` or `user`.
    #[schema(value_type = s::ResourceKind)]
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Where it is served.
    pub href: String,
}

/// How far a job is.
#[derive(Serialize, ToSchema)]
pub struct ProgressBody {
    /// The step in work.
    pub step: String,
    /// How much is done, where that is known.
    pub percent: Option<u8>,
}

/// What a job made.
#[derive(Default, Serialize, ToSchema)]
pub struct ResultBody {
    /// Docker's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_id: Option<String>,
    /// The digest of its manifest in the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What a program that was run ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Its size, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What a converge changed: nothing where all was so already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<OutcomeBody>>,
}

/// What became of a resource in a converge.
#[derive(Serialize, ToSchema)]
pub struct OutcomeBody {
    /// Which: a task of a role, a resource of a recipe, what a script said.
    pub resource: String,
    /// `changed`.
    #[schema(value_type = s::OutcomeStatus)]
    pub status: &'static str,
    /// More about it, where there is more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl ProgressBody {
    /// The body of a progress.
    pub(super) fn of(progress: &Progress) -> Self {
        Self { step: progress.step.clone(), percent: progress.percent }
    }
}

impl JobErrorBody {
    /// The body of an error.
    pub(super) fn of(error: &JobError) -> Self {
        Self {
            kind: format!("urn:dockerforge:problem:{}", error.kind),
            title: error.kind.replace('-', " "),
            detail: error.detail.clone(),
        }
    }
}

impl OutcomeBody {
    fn of(outcome: &ResourceOutcome) -> Self {
        Self { resource: outcome.resource.clone(), status: outcome.status.as_str(), detail: outcome.detail.clone() }
    }
}

/// Why a job failed.
#[derive(Serialize, ToSchema)]
pub struct JobErrorBody {
    /// Which kind of failure: `urn:dockerforge:problem:<name>`. Branch on this.
    #[serde(rename = "type")]
    #[schema(value_type = s::FailureType)]
    pub kind: String,
    /// What failed, in words.
    pub title: String,
    /// What is known of it.
    pub detail: String,
}

/// Where a job's log is.
#[derive(Serialize, ToSchema)]
pub struct LogBody {
    /// Its size so far, bytes.
    pub size: u64,
    /// Where it is served.
    pub href: String,
}

fn resource(context: &Context, subject: Subject) -> ResourceBody {
    let (kind, folder, id) = match subject {
        Subject::Container(id) => ("container", "containers", id.to_string()),
        Subject::Image(id) => ("image", "images", id.to_string()),
        Subject::Host(id) => ("host", "hosts", id.to_string()),
        Subject::User(id) => ("user", "users", id.to_string()),
    };
    ResourceBody { kind, href: format!("{}/{folder}/{id}", context.mount), id }
}

impl JobBody {
    pub(super) fn of(context: &Context, job: &Job) -> Self {
        let time = |t: &crate::domain::Timestamp| t.to_string();
        Self {
            id: job.id.to_string(),
            kind: job.kind.as_str(),
            state: job.state.as_str(),
            attempt: job.attempt,
            user: job.user.to_string(),
            host: job.host.map(|h| h.to_string()),
            parent: job.parent.map(|p| p.to_string()),
            resource: resource(context, job.subject),
            progress: job.progress.as_ref().map(ProgressBody::of),
            created_at: time(&job.created_at),
            started_at: job.started_at.as_ref().map(time),
            ended_at: job.ended_at.as_ref().map(time),
            deadline_at: time(&job.deadline_at),
            result: job.product.as_ref().map(|product| match product {
                Product::Nothing => ResultBody::default(),
                Product::Converged { resources } => ResultBody {
                    resources: Some(resources.iter().map(OutcomeBody::of).collect()),
                    ..ResultBody::default()
                },
                Product::Exec { exit_code } => ResultBody { exit_code: Some(*exit_code), ..ResultBody::default() },
                Product::Pushed { digest } => ResultBody { digest: Some(digest.clone()), ..ResultBody::default() },
                Product::Container { docker_id } => {
                    ResultBody { docker_id: Some(docker_id.clone()), ..ResultBody::default() }
                }
                Product::Image { docker_id, size } => {
                    ResultBody { docker_id: Some(docker_id.clone()), size: Some(*size), ..ResultBody::default() }
                }
            }),
            error: job.error.as_ref().map(JobErrorBody::of),
            log: LogBody { size: job.log_size, href: format!("{}/queue/{}/log", context.mount, job.id) },
        }
    }
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

/// Which jobs.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JobQuery {
    /// Only those in this state.
    state: Option<String>,
    /// Only those of this kind.
    kind: Option<String>,
    /// Only those on this host.
    host: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The user's jobs, newest first.
#[utoipa::path(get, operation_id = "job_list", path = "/queue", tag = "queue", params(JobQuery), responses(
    (status = 200, description = "A page of jobs", body = Listing<JobBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(query): Query<JobQuery>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let page = page(&mut check, query.limit, query.after.as_deref(), JobId::uuid);
    let mut word = |pointer: &str, known: bool| {
        if !known {
            check.refuse(pointer, "there is no such word here");
        }
    };
    let of_state = query.state.as_deref().map(JobState::parse);
    word("state", of_state != Some(None));
    let of_kind = query.kind.as_deref().map(JobKind::parse);
    word("kind", of_kind != Some(None));
    let host = query.host.as_deref().and_then(|text| check.parse("host", text));
    check.finish(Some(()))?;
    let filter = Filter { state: of_state.flatten(), kind: of_kind.flatten(), host };
    let found = state.services.job_list(&caller.may(Read)?, &filter, page).await?.cursor(JobId::from_uuid);
    let bodies = found.items.iter().map(|job| JobBody::of(&caller.context, job)).collect();
    Ok(respond::page(&caller.context, found.with(bodies), page.limit, |job: &JobBody| job.id.clone()))
}

/// One job. Once it has made what it was to make: 303 with the `Location` of that.
#[utoipa::path(get, operation_id = "job_get", path = "/queue/{id}", tag = "queue", params(("id" = String, Path, description = "The job's id")), responses(
    (status = 200, description = "The job: unfinished (with `Retry-After`), or ended without having made a thing", body = JobBody),
    (status = 303, description = "It made the thing at `Location`", body = JobBody)))]
pub(super) async fn get(Shared(state): Shared<State>, caller: Caller, Id(id): Id<JobId>) -> Result<Response, ApiError> {
    let permit = caller.may(Read)?;
    let job = ended_or_not(&state, &permit, id, caller.wait.unwrap_or_default()).await?;
    let body = JobBody::of(&caller.context, &job);
    if job.state == JobState::Succeeded && job.kind.creates() {
        let location = body.resource.href.clone();
        return Ok(with_location((StatusCode::SEE_OTHER, Json(body)).into_response(), &location));
    }
    let mut response = tagged(job.revision(), &body);
    if !job.state.is_terminal() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// Cancels a job. What has been given to a host is stopped there.
#[utoipa::path(delete, operation_id = "job_cancel", path = "/queue/{id}", tag = "queue", params(("id" = String, Path, description = "The job's id")), responses(
    (status = 202, description = "It is being cancelled, or was waiting and is cancelled", body = JobBody)),
    extensions(("x-problems" = json!(["job-ended", "not-cancellable"]))))]
pub(super) async fn cancel(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Result<Response, ApiError> {
    state.services.job_cancel(&caller.may(Write)?, id, &caller.seen).await?;
    started(&state, &caller, id).await
}
