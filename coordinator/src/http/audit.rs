//! `/audit`: who did what, for administrators.

use super::State;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Query, limit};
use super::respond::{self, Listing};
use crate::access::Administer;
use crate::domain::Kind;
use crate::domain::event::AuditLine;
use crate::service::audit::AuditFilter;
use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A line of the audit.
#[derive(Serialize, ToSchema)]
pub struct AuditBody {
    /// Where it stands: later lines have larger numbers.
    pub id: i64,
    /// When.
    #[schema(value_type = s::Time)]
    pub at: String,
    /// Who did it.
    #[schema(value_type = s::UserId)]
    pub actor: String,
    /// On whose behalf.
    #[schema(value_type = s::UserId)]
    pub user: String,
    /// What.
    #[schema(value_type = s::AuditAction, example = "container.create")]
    pub action: String,
    /// To what.
    pub resource: AuditedBody,
    /// With which request: the `x-request-id` of its answer.
    #[schema(value_type = s::RequestId)]
    pub request_id: String,
    /// From which address.
    pub remote: String,
    /// What more there is to say: what a container is given of its host.
    #[schema(example = "host access: privileged")]
    pub detail: Option<String>,
}

/// What was changed; it may be gone.
#[derive(Serialize, ToSchema)]
pub struct AuditedBody {
    /// `user`, `token`, `host`, `image`, `container` or `job`.
    #[schema(value_type = s::ThingKind)]
    pub kind: &'static str,
    /// Its id.
    pub id: String,
}

impl AuditBody {
    fn of(line: &AuditLine) -> Self {
        Self {
            id: line.id,
            at: line.at.to_string(),
            actor: line.origin.actor.to_string(),
            user: line.origin.user.to_string(),
            action: line.action.clone(),
            resource: AuditedBody { kind: line.resource.as_str(), id: line.resource.print_id(line.resource_id) },
            request_id: line.origin.request.to_string(),
            remote: line.origin.remote.to_string(),
            detail: line.detail.clone(),
        }
    }
}

/// Whether a text may be what the audit calls an action. Any other text is in no line, and some (a NUL) in no database.
fn is_action(text: &str) -> bool {
    let word = |w: &str| (1..=32).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    text.split_once('.').is_some_and(|(of, what)| word(of) && word(what))
}

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Only what was done on behalf of this user; he may be gone.
    user: Option<String>,
    /// Only this, as `container.create`.
    action: Option<String>,
    /// Only what was done to this: its id.
    resource: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Every change that was asked for, newest first: who, what, from where. For administrators.
#[utoipa::path(get, operation_id = "audit_list", path = "/audit", tag = "users", params(AuditQuery), responses(
    (status = 200, description = "A page of the audit", body = Listing<AuditBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Administer)?;
    let mut check = Check::default();
    let limit = limit(&mut check, query.limit);
    let resource = query.resource.as_deref().map(|text| Kind::parse_id(text).ok_or("expected the id of a thing"));
    let filter = AuditFilter {
        user: query.user.and_then(|text| check.parse("user", &text)),
        action: query.action.filter(|action| {
            let fits = is_action(action);
            if !fits {
                check.refuse("action", "expected an action, as container.create");
            }
            fits
        }),
        resource: resource.and_then(|parsed| check.take("resource", parsed)),
        after: query.after.and_then(|text| check.parse("after", &text)),
    };
    check.finish(Some(()))?;
    let found = state.services.audit_list(&permit, &filter, limit).await?;
    let bodies = found.items.iter().map(AuditBody::of).collect();
    Ok(respond::page(&caller.context, found.with(bodies), limit, |line| line.id.to_string()))
}
