//! The only place that knows which type of problem, and so which status, an error becomes. Every error is an RFC 9457 problem of
//! a type in `problems`; a handler's error carries its parts to the outermost layer, which knows the request and writes the document.

use super::problems::{self, Kind};
use crate::domain::{Refusal, Violation};
use crate::events::FeedError;
use crate::service::images::{ArchiveError, ContextError};
use crate::service::{Constraint, ServiceError, StoreError};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;

/// An error answer (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize)]
pub struct Problem {
    /// Which kind of problem: `urn:dockerforge:problem:<name>`. Branch on this.
    #[serde(rename = "type")]
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
#[derive(Debug, Clone, Serialize)]
pub struct Excess {
    /// Of what.
    pub quota: &'static str,
    /// How much there may be.
    pub limit: serde_json::Number,
    /// How much there is.
    pub used: serde_json::Number,
    /// How much more was asked for.
    pub asked: serde_json::Number,
}

/// One value that cannot be accepted.
#[derive(Debug, Clone, Serialize)]
pub struct ProblemItem {
    /// Where it is: a JSON pointer (RFC 6901) into the body, or the name of a query parameter.
    pub pointer: String,
    /// What was expected.
    pub detail: String,
}

/// A problem before it knows its request.
#[derive(Debug, Clone)]
pub struct ApiError {
    kind: &'static Kind,
    detail: String,
    pub(super) errors: Vec<ProblemItem>,
    excess: Option<Box<Excess>>,
    pub(super) retry_after: Option<u32>,
}

impl ApiError {
    /// A problem of a kind.
    pub(super) fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), excess: None, retry_after: None }
    }

    /// A problem that may be over after so many seconds.
    fn later(kind: &'static Kind, detail: impl Into<String>, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(kind, detail) }
    }

    /// A websocket that is not one, or not from where it may be.
    pub(super) fn not_a_websocket(detail: impl Into<String>) -> Self {
        Self::new(problems::NOT_A_WEBSOCKET, detail)
    }

    /// What was being read from a host is not there any more.
    pub(super) fn broke_off() -> Self {
        Self::later(problems::BROKE_OFF, "the container or the session with its host ended meanwhile", 1)
    }

    pub(super) fn other_origin(origin: &str) -> Self {
        Self::new(problems::OTHER_ORIGIN, format!("pages from {origin} may not open terminals here"))
    }

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(problems::UNAUTHORIZED, detail)
    }

    /// Somebody who failed to sign in again and again.
    pub(super) fn slowed(wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        let detail = format!("wrong keys came from here again and again; try again in {seconds} s");
        Self::later(problems::TOO_MANY_FAILURES, detail, seconds)
    }

    /// More requests than may be.
    pub(super) fn rate_limited(wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        let detail = format!("more requests came than may be; try again in {seconds} s");
        Self::later(problems::RATE_LIMITED, detail, seconds)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(problems::BAD_REQUEST, detail)
    }

    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(problems::TOO_LARGE, detail)
    }

    pub(super) fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(problems::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// What an unknown id is answered, before anything is looked up.
    pub(super) fn nothing(text: &str) -> Self {
        Self::new(problems::NOT_FOUND, format!("{text:?} names nothing here"))
    }

    pub(super) fn no_route(path: &str) -> Self {
        Self::new(problems::NO_SUCH_ROUTE, format!("nothing is served at {path}"))
    }

    pub(super) fn method(path: &str) -> Self {
        Self::new(problems::METHOD_NOT_ALLOWED, format!("{path} does not take this method"))
    }

    pub(super) fn internal() -> Self {
        let detail = "this is a defect of the coordinator; its log says more under this request's id";
        Self::new(problems::INTERNAL, detail)
    }

    pub(super) fn invalid(violations: Vec<Violation>) -> Self {
        let errors: Vec<ProblemItem> =
            violations.into_iter().map(|v| ProblemItem { pointer: v.pointer, detail: v.detail }).collect();
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} values cannot be accepted; see errors", many.len()),
        };
        Self { errors, ..Self::new(problems::INVALID, detail) }
    }

    pub(super) fn render(self, instance: &str, request_id: &str) -> Response {
        let problem = Problem {
            kind: self.kind.urn(),
            title: self.kind.title.to_owned(),
            status: self.kind.status.as_u16(),
            detail: self.detail,
            instance: instance.to_owned(),
            request_id: request_id.to_owned(),
            errors: self.errors,
            excess: self.excess,
        };
        let status = self.kind.status;
        let mut response = (status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"dockerforge\", Bearer realm=\"dockerforge\""),
            );
        }
        if status == StatusCode::PAYLOAD_TOO_LARGE {
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
        let mut response = self.kind.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        use problems as p;
        let detail = refusal.to_string();
        let kind = match refusal {
            Refusal::Invalid(violations) => return Self::invalid(violations),
            Refusal::NotFound(_) => p::NOT_FOUND,
            Refusal::NameTaken { .. } => p::NAME_TAKEN,
            Refusal::ImageNotReady { .. } => p::IMAGE_NOT_READY,
            Refusal::ImageInUse { .. } => p::IMAGE_IN_USE,
            Refusal::TemplateInUse { .. } => p::TEMPLATE_IN_USE,
            Refusal::ConfigurationInUse { .. } => p::CONFIGURATION_IN_USE,
            Refusal::PortTaken { .. } => p::PORT_TAKEN,
            Refusal::NotConfigured(_) => p::NOT_CONFIGURED,
            Refusal::NotRunning(_) => p::CONTAINER_NOT_RUNNING,
            Refusal::BeingChanged(_) => p::BEING_CHANGED,
            Refusal::Moving(_) | Refusal::LinkedMoves(_) => p::CONTAINER_MOVING,
            Refusal::Linked(_) => p::LINKED,
            Refusal::VolumeInUse { .. } => p::VOLUME_IN_USE,
            Refusal::BoundToHost(_) => p::BOUND_TO_HOST,
            Refusal::Changed(_) => p::CONFLICT,
            Refusal::PreconditionFailed(_) => p::PRECONDITION_FAILED,
            Refusal::BeingDeleted(_) => p::BEING_DELETED,
            Refusal::LogRemoved(_) => p::LOG_REMOVED,
            Refusal::JobEnded(_) => p::JOB_ENDED,
            Refusal::NotCancellable(_) => p::NOT_CANCELLABLE,
            Refusal::SystemUser => p::SYSTEM_USER,
            Refusal::HostConnected(_) => p::HOST_CONNECTED,
            Refusal::NothingFits(hosts) => {
                let errors = hosts.into_iter().map(|h| ProblemItem { pointer: h.pointer, detail: h.detail }).collect();
                return Self { errors, ..Self::new(p::NOTHING_FITS, detail) };
            }
            Refusal::NotOwner(_) => p::NOT_OWNER,
            Refusal::Shares => p::SHARES,
            Refusal::HostDraining(_) => p::HOST_DRAINING,
            Refusal::IdempotencyMismatch => p::IDEMPOTENCY_MISMATCH,
            Refusal::QuotaExceeded { counted, limit, used, asked } => {
                let number = |amount| super::amounts::amount(counted, amount);
                let excess =
                    Excess { quota: counted.as_str(), limit: number(limit), used: number(used), asked: number(asked) };
                let Excess { quota, limit, used, asked } = &excess;
                let detail = format!("this needs {asked} more of {quota}, of which {used} of at most {limit} are used");
                let exceeded = Self::new(p::QUOTA_EXCEEDED, detail);
                return Self { excess: Some(Box::new(excess)), ..exceeded };
            }
            Refusal::TooMany { kind, limit } => {
                let excess = Excess { quota: kind.as_str(), limit: limit.into(), used: limit.into(), asked: 1.into() };
                let exceeded = Self::new(p::QUOTA_EXCEEDED, detail);
                return Self { excess: Some(Box::new(excess)), ..exceeded };
            }
            Refusal::ArchivesFull { limit, used, asked } => {
                let excess = Excess { quota: "archives", limit: limit.into(), used: used.into(), asked: asked.into() };
                let exceeded = Self::new(p::QUOTA_EXCEEDED, detail);
                return Self { excess: Some(Box::new(excess)), ..exceeded };
            }
            Refusal::AdminOnly => p::FORBIDDEN,
            Refusal::ScopeMissing(_) => p::SCOPE_MISSING,
            Refusal::Suspended => p::SUSPENDED,
            Refusal::TokenExpired { .. } => p::TOKEN_EXPIRED,
            Refusal::HostOffline(_) => {
                return Self::later(p::HOST_OFFLINE, detail, 10);
            }
            Refusal::HostDockerDown(_) => {
                return Self::later(p::DOCKER_DOWN, detail, 10);
            }
            Refusal::HostStreamsFull(_) | Refusal::TooManyStreams { .. } => {
                return Self::later(p::TOO_MANY_STREAMS, detail, 5);
            }
            Refusal::TooManyTickets => {
                return Self::later(p::TOO_MANY_TICKETS, detail, 30);
            }
            Refusal::AgentTooOld(_) => p::AGENT_TOO_OLD,
            Refusal::HostPolicy(_) => p::HOST_POLICY,
            Refusal::NotOnHost(_) => p::NOT_ON_HOST,
            Refusal::DockerRefused(_) => p::DOCKER_REFUSED,
        };
        Self::new(kind, detail)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let unavailable = |detail: &str| Self::later(problems::UNAVAILABLE, detail, 5);
        match &error {
            StoreError::Constraint(Constraint::Reference) => {
                return Self::new(
                    problems::CONFLICT,
                    "something that this names was changed at the same time; look again",
                );
            }
            StoreError::Constraint(Constraint::Name(kind)) => {
                return Self::new(problems::NAME_TAKEN, format!("there is a {kind} of this name already"));
            }
            StoreError::Constraint(Constraint::IdempotencyKey) => {
                return Self::new(problems::CONFLICT, "the same request is being carried out; ask again");
            }
            StoreError::Full => {
                tracing::error!("the database's disk is full");
                return Self::new(problems::DISK_FULL, "nothing can be written now; reading works");
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
            ServiceError::Outrun => {
                Self::new(problems::CONFLICT, "the host that was chosen changed at the same time; ask again")
            }
            ServiceError::Context(error) => error.into(),
            ServiceError::Riyic(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the configuration service cannot be asked");
                Self::later(problems::RIYIC_UNAVAILABLE, error.to_string(), 10)
            }
            ServiceError::Pki(_) | ServiceError::Vault(_) | ServiceError::Random(_) | ServiceError::Render(_) => {
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
                problems::EVENTS_FORGOTTEN,
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
            let problem = ApiError::new(problems::INVALID_ARCHIVE, error.to_string());
            ApiError { errors, ..problem }
        }
        ContextError::DiskFull(_) => ApiError::new(problems::DISK_FULL, "the archive cannot be kept"),
        ContextError::NotFound(_)
        | ContextError::Damaged { .. }
        | ContextError::File { .. }
        | ContextError::Interrupted => {
            tracing::error!(error = &error as &dyn std::error::Error, "a build context could not be handled");
            ApiError::internal()
        }
    }
}
