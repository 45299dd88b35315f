//! The only place that knows which status an error becomes. Every error is an RFC 9457 problem; a handler's error
//! carries its parts to the outermost layer, which knows the request and writes the document.

use crate::domain::{Refusal, Violation};
use crate::events::FeedError;
use crate::service::images::{ArchiveError, ContextError};
use crate::service::{Constraint, ServiceError, StoreError};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// An error answer (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Which kind of problem: `urn:dockerforge:problem:<name>`. Branch on this.
    #[serde(rename = "type")]
    #[schema(example = "urn:dockerforge:problem:not-found")]
    pub kind: String,
    /// What kind of problem it is, in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong with this very request.
    pub detail: String,
    /// The path that was asked.
    pub instance: String,
    /// Which request it was, for whoever looks into the log.
    pub request_id: String,
    /// All values that cannot be accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemItem>,
    /// What of the quota is exceeded, in a problem of type `quota-exceeded`.
    #[serde(flatten)]
    pub excess: Option<Box<Excess>>,
}

/// More was asked for than there may be; in the units of the quota.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Excess {
    /// Of what.
    #[schema(example = "containers")]
    pub quota: &'static str,
    /// How much there may be.
    #[schema(value_type = f64)]
    pub limit: serde_json::Number,
    /// How much there is.
    #[schema(value_type = f64)]
    pub used: serde_json::Number,
    /// How much more was asked for.
    #[schema(value_type = f64)]
    pub asked: serde_json::Number,
}

/// One value that cannot be accepted.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProblemItem {
    /// Where it is: a JSON pointer (RFC 6901) into the body, or the name of a query parameter.
    pub pointer: String,
    /// What was expected.
    pub detail: String,
}

/// A problem before it knows its request.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub(super) status: StatusCode,
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: String,
    pub(super) errors: Vec<ProblemItem>,
    pub(super) excess: Option<Box<Excess>>,
    pub(super) retry_after: Option<u32>,
}

impl ApiError {
    /// A problem of a kind.
    pub(super) fn new(status: StatusCode, name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, name, title, detail: detail.into(), errors: Vec::new(), excess: None, retry_after: None }
    }

    /// A problem that may be over after so many seconds.
    fn later(status: StatusCode, name: &'static str, title: &'static str, detail: String, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(status, name, title, detail) }
    }

    /// A websocket that is not one, or not from where it may be.
    pub(super) fn not_a_websocket(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "not-a-websocket", "This is for websockets", detail)
    }

    /// What was being read from a host is not there any more.
    pub(super) fn broke_off() -> Self {
        let detail = "the container or the session with its host ended meanwhile".to_owned();
        Self::later(StatusCode::SERVICE_UNAVAILABLE, "broke-off", "It broke off", detail, 1)
    }

    pub(super) fn other_origin(origin: &str) -> Self {
        let detail = format!("pages from {origin} may not open terminals here");
        Self::new(StatusCode::FORBIDDEN, "other-origin", "The page is from elsewhere", detail)
    }

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Authentication is needed", detail)
    }

    /// Somebody who failed to sign in again and again.
    pub(super) fn slowed(wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        let problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-failures",
            "Too many failed sign-ins",
            format!("wrong keys came from here again and again; try again in {seconds} s"),
        );
        Self { retry_after: Some(seconds), ..problem }
    }

    /// More requests than may be.
    pub(super) fn rate_limited(wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        let detail = format!("more requests came than may be; try again in {seconds} s");
        Self::later(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests", detail, seconds)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read", detail)
    }

    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    pub(super) fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The body is of a kind that is not read here",
            detail,
        )
    }

    pub(super) fn no_route(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-route",
            "There is no such route",
            format!("nothing is served at {path}"),
        )
    }

    pub(super) fn method(path: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "This method is not allowed here",
            format!("{path} does not take this method"),
        )
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The coordinator failed",
            "this is a defect of the coordinator; its log says more under this request's id",
        )
    }

    pub(super) fn invalid(violations: Vec<Violation>) -> Self {
        let errors: Vec<ProblemItem> =
            violations.into_iter().map(|v| ProblemItem { pointer: v.pointer, detail: v.detail }).collect();
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} values cannot be accepted; see errors", many.len()),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Values cannot be accepted", detail) }
    }

    pub(super) fn render(self, instance: &str, request_id: &str) -> Response {
        let problem = Problem {
            kind: format!("urn:dockerforge:problem:{}", self.name),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            instance: instance.to_owned(),
            request_id: request_id.to_owned(),
            errors: self.errors,
            excess: self.excess,
        };
        let mut response = (self.status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"dockerforge\", Bearer realm=\"dockerforge\""),
            );
        }
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body may still be on its way: nothing else is asked on this connection.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        use StatusCode as S;
        let detail = refusal.to_string();
        let (status, name, title) = match refusal {
            Refusal::Invalid(violations) => return Self::invalid(violations),
            Refusal::NotFound(_) => (S::NOT_FOUND, "not-found", "There is no such thing"),
            Refusal::NameTaken { .. } => (S::CONFLICT, "name-taken", "The name is taken"),
            Refusal::ImageNotReady { .. } => (S::CONFLICT, "image-not-ready", "The image is not there yet"),
            Refusal::ImageInUse { .. } => (S::CONFLICT, "image-in-use", "Containers use the image"),
            Refusal::PortTaken { .. } => (S::CONFLICT, "port-taken", "The port is taken"),
            Refusal::NotRunning(_) => (S::CONFLICT, "container-not-running", "The container does not run"),
            Refusal::BeingChanged(_) => (S::CONFLICT, "being-changed", "It is being changed"),
            Refusal::Changed(_) => (S::CONFLICT, "conflict", "It changed meanwhile"),
            Refusal::PreconditionFailed(_) => {
                (S::PRECONDITION_FAILED, "precondition-failed", "It is not as If-Match says")
            }
            Refusal::BeingDeleted(_) => (S::CONFLICT, "being-deleted", "It is being deleted"),
            Refusal::LogRemoved(_) => (S::GONE, "log-removed", "The log was removed"),
            Refusal::JobEnded(_) => (S::CONFLICT, "job-ended", "The job has ended"),
            Refusal::NotCancellable(_) => (S::CONFLICT, "not-cancellable", "The job cannot be cancelled"),
            Refusal::SystemUser => (S::CONFLICT, "system-user", "The system user stays"),
            Refusal::HostConnected(_) => (S::CONFLICT, "host-connected", "The host has its agent already"),
            Refusal::NothingFits(hosts) => {
                let errors = hosts.into_iter().map(|h| ProblemItem { pointer: h.pointer, detail: h.detail }).collect();
                return Self { errors, ..Self::new(S::CONFLICT, "nothing-fits", "No host has room for it", detail) };
            }
            Refusal::NotOwner(_) => (S::FORBIDDEN, "not-owner", "It is another user's"),
            Refusal::Shares => (S::CONFLICT, "shares", "Others use what is this user's"),
            Refusal::HostDraining(_) => (S::CONFLICT, "host-draining", "The host is draining"),
            Refusal::IdempotencyMismatch => {
                (S::UNPROCESSABLE_ENTITY, "idempotency-mismatch", "The Idempotency-Key was used for another request")
            }
            Refusal::QuotaExceeded { counted, limit, used, asked } => {
                let number = |amount| super::values::amount(counted, amount);
                let excess =
                    Excess { quota: counted.as_str(), limit: number(limit), used: number(used), asked: number(asked) };
                let Excess { quota, limit, used, asked } = &excess;
                let detail = format!("this needs {asked} more of {quota}, of which {used} of at most {limit} are used");
                let exceeded = Self::new(S::FORBIDDEN, "quota-exceeded", "The quota is used up", detail);
                return Self { excess: Some(Box::new(excess)), ..exceeded };
            }
            Refusal::TooMany { kind, limit } => {
                let excess = Excess { quota: kind.as_str(), limit: limit.into(), used: limit.into(), asked: 1.into() };
                let exceeded = Self::new(S::FORBIDDEN, "quota-exceeded", "There are too many already", detail);
                return Self { excess: Some(Box::new(excess)), ..exceeded };
            }
            Refusal::AdminOnly => (S::FORBIDDEN, "forbidden", "This is for administrators"),
            Refusal::ScopeMissing(_) => (S::FORBIDDEN, "scope-missing", "The token may not do that"),
            Refusal::Suspended => (S::FORBIDDEN, "suspended", "The user is suspended"),
            Refusal::TokenExpired { .. } => (S::UNAUTHORIZED, "token-expired", "The token has expired"),
            Refusal::HostOffline(_) => {
                return Self::later(S::SERVICE_UNAVAILABLE, "host-offline", "The host is offline", detail, 10);
            }
            Refusal::HostDockerDown(_) => {
                return Self::later(S::SERVICE_UNAVAILABLE, "docker-down", "Docker does not answer", detail, 10);
            }
            Refusal::HostStreamsFull(_) | Refusal::TooManyStreams { .. } => {
                return Self::later(S::TOO_MANY_REQUESTS, "too-many-streams", "Too many streams are open", detail, 5);
            }
            Refusal::TooManyTickets => {
                return Self::later(S::TOO_MANY_REQUESTS, "too-many-tickets", "Too many tickets are out", detail, 30);
            }
            Refusal::AgentTooOld(_) => (S::CONFLICT, "agent-too-old", "The agent is too old"),
            Refusal::HostPolicy(_) => (S::FORBIDDEN, "host-policy", "The host's owner does not allow it"),
            Refusal::NotOnHost(_) => (S::CONFLICT, "not-on-host", "The container is not on its host"),
            Refusal::DockerRefused(_) => (S::CONFLICT, "docker-refused", "Docker refused"),
        };
        Self::new(status, name, title, detail)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let unavailable = |detail: &str| {
            let problem =
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The coordinator cannot serve now", detail);
            Self { retry_after: Some(5), ..problem }
        };
        match &error {
            StoreError::Constraint(Constraint::Reference) => {
                return Self::new(
                    StatusCode::CONFLICT,
                    "conflict",
                    "It changed meanwhile",
                    "something that this names was changed at the same time; look again",
                );
            }
            StoreError::Constraint(Constraint::Name(kind)) => {
                return Self::new(
                    StatusCode::CONFLICT,
                    "name-taken",
                    "The name is taken",
                    format!("there is a {kind} of this name already"),
                );
            }
            StoreError::Constraint(Constraint::IdempotencyKey) => {
                return Self::new(
                    StatusCode::CONFLICT,
                    "conflict",
                    "It changed meanwhile",
                    "the same request is being carried out; ask again",
                );
            }
            StoreError::Full => {
                tracing::error!("the database's disk is full");
                return Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "disk-full",
                    "The coordinator's disk is full",
                    "nothing can be written now; reading works",
                );
            }
            StoreError::Stopped => return unavailable("the coordinator is shutting down"),
            StoreError::Corrupt { .. } | StoreError::Defect => {}
            StoreError::Database(_) | StoreError::Migrate(_) | StoreError::OldSqlite(_) | StoreError::Folder { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "the database failed");
                return unavailable("the database does not answer");
            }
        }
        tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
        Self::internal()
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(refusal) => refusal.into(),
            ServiceError::Store(error) => error.into(),
            ServiceError::Outrun => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "It changed meanwhile",
                "the host that was chosen changed at the same time; ask again",
            ),
            ServiceError::Pki(_) | ServiceError::Vault(_) | ServiceError::Random(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
                Self::internal()
            }
        }
    }
}

impl From<FeedError> for ApiError {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Forgotten(_) => Self::new(
                StatusCode::GONE,
                "events-forgotten",
                "These events are not kept any more",
                format!("{error}; look at the resources themselves, and watch from now on"),
            ),
            FeedError::Stopped => StoreError::Stopped.into(),
            FeedError::Store(error) => error.into(),
        }
    }
}

impl From<ContextError> for ApiError {
    fn from(error: ContextError) -> Self {
        context_problem(error)
    }
}

/// What is wrong with an uploaded context.
fn context_problem(error: ContextError) -> ApiError {
    match error {
        ContextError::Upload(_) => ApiError::bad_request("the upload broke off before it was complete"),
        ContextError::TooLarge(limit) => ApiError::too_large(format!("an archive may have {limit} bytes")),
        ContextError::Archive(error @ (ArchiveError::TooLarge(_) | ArchiveError::TooManyEntries(_))) => {
            ApiError::too_large(error.to_string())
        }
        ContextError::Archive(error) => {
            let errors = match &error {
                ArchiveError::Entry { name, problem } => {
                    vec![ProblemItem { pointer: name.clone(), detail: problem.to_string() }]
                }
                _ => Vec::new(),
            };
            let problem = ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-archive",
                "The archive cannot be accepted",
                error.to_string(),
            );
            ApiError { errors, ..problem }
        }
        ContextError::DiskFull(_) => ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk-full",
            "The coordinator's disk is full",
            "the archive cannot be kept",
        ),
        ContextError::NotFound(_)
        | ContextError::Damaged { .. }
        | ContextError::File { .. }
        | ContextError::Interrupted => {
            tracing::error!(error = &error as &dyn std::error::Error, "a build context could not be handled");
            ApiError::internal()
        }
    }
}
