//! `/users`: who uses the API.

use super::State;
use super::amounts::amount;
use super::conditional::tagged;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, Patched, Query, objects_only, page};
use super::jobs::{JobBody, started};
use super::respond::{Listing, listing, with_location};
use crate::access::{Administer, Read};
use crate::domain::quota::{Change, Changes, Counted, MAX_LIMIT, thousandths};
use crate::domain::user::User;
use crate::service::users::{Measured, UserChange};
use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::UserId;
use dockerforge_protocol::spec::ResourceName;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUserBody {
    /// 1 to 63 characters of a-z, 0-9, '-', '_' or '.'.
    #[schema(value_type = s::Name, example = "alice")]
    name: String,
    /// Whether it may administer.
    #[serde(default)]
    admin: bool,
}

/// A user.
#[derive(Serialize, ToSchema)]
pub struct UserBody {
    /// Its id.
    #[schema(value_type = s::UserId)]
    pub id: String,
    /// Its name.
    #[schema(value_type = s::Name)]
    pub name: String,
    /// Whether it may administer.
    pub admin: bool,
    /// `active`, `suspended` or `deleting`.
    #[schema(value_type = s::UserState)]
    pub state: &'static str,
    /// When it was made.
    #[schema(value_type = s::Time)]
    pub created_at: String,
    /// A key; shown at the making alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl UserBody {
    fn of(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name.to_string(),
            admin: user.admin,
            state: user.state.as_str(),
            created_at: user.created_at.to_string(),
            key: None,
        }
    }
}

/// A user with how much he may have, and how much he has.
#[derive(Serialize, ToSchema)]
pub struct MeasuredUserBody {
    #[serde(flatten)]
    user: UserBody,
    /// How much he may have; `null` is without limit. His own limits where an administrator has set them, else the defaults.
    quota: AmountsBody,
    /// How much he has.
    usage: AmountsBody,
}

/// A value for each thing that is counted.
#[derive(Serialize, ToSchema)]
pub struct AmountsBody {
    /// Containers that are not on their way out.
    pub containers: Option<u64>,
    /// Those of them that are meant to run.
    pub running_containers: Option<u64>,
    /// The processors that they may use together.
    #[schema(value_type = Option<s::Amount>)]
    pub cpus: Option<serde_json::Number>,
    /// The memory that they may use together, bytes.
    pub memory: Option<u64>,
    /// Images.
    pub images: Option<u64>,
    /// Hosts.
    pub hosts: Option<u64>,
    /// Jobs that have not ended.
    pub queued_jobs: Option<u64>,
}

/// What is to change of a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// How much he may have.
    #[serde(default)]
    quota: QuotaPatch,
    /// `true`: his tokens open nothing and his containers are stopped. `false`: those that are meant to run are started.
    suspended: Option<bool>,
}

/// New limits. What is absent stays; `null` is the default again. A limit below what he has takes nothing away.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct QuotaPatch {
    /// Containers.
    #[serde(default)]
    #[schema(value_type = Option<s::Limit>)]
    containers: Patched<u64>,
    /// Containers that are meant to run.
    #[serde(default)]
    #[schema(value_type = Option<s::Limit>)]
    running_containers: Patched<u64>,
    /// Processors, with a fraction of three digits.
    #[serde(default)]
    #[schema(value_type = Option<s::CpuLimit>, example = 1.5)]
    cpus: Patched<f64>,
    /// Memory, bytes.
    #[serde(default)]
    #[schema(value_type = Option<s::Limit>)]
    memory: Patched<u64>,
    /// Images.
    #[serde(default)]
    #[schema(value_type = Option<s::Limit>)]
    images: Patched<u64>,
    /// Hosts.
    #[serde(default)]
    #[schema(value_type = Option<s::Limit>)]
    hosts: Patched<u64>,
    /// Jobs that have not ended.
    #[serde(default)]
    #[schema(value_type = Option<s::Limit>)]
    queued_jobs: Patched<u64>,
}

objects_only!(read QuotaPatch);

impl AmountsBody {
    fn of(value: impl Fn(Counted) -> Option<u64>) -> Self {
        Self {
            containers: value(Counted::Containers),
            running_containers: value(Counted::RunningContainers),
            cpus: value(Counted::Cpus).map(|milli| amount(Counted::Cpus, milli)),
            memory: value(Counted::Memory),
            images: value(Counted::Images),
            hosts: value(Counted::Hosts),
            queued_jobs: value(Counted::QueuedJobs),
        }
    }
}

impl MeasuredUserBody {
    fn of(measured: &Measured) -> Self {
        Self {
            user: UserBody::of(&measured.user),
            quota: AmountsBody::of(|counted| measured.limits.get(counted)),
            usage: AmountsBody::of(|counted| Some(measured.used.get(counted))),
        }
    }
}

impl QuotaPatch {
    fn changes(&self, check: &mut Check) -> Changes {
        let cpus = match self.cpus {
            // What is out of range becomes a limit that is out of range.
            Patched::Value(cpus) => Patched::Value(thousandths(cpus).unwrap_or(u64::MAX)),
            Patched::Null => Patched::Null,
            Patched::Absent => Patched::Absent,
        };
        let mut changes = Changes::default();
        for (counted, limit) in [
            (Counted::Containers, self.containers),
            (Counted::RunningContainers, self.running_containers),
            (Counted::Cpus, cpus),
            (Counted::Memory, self.memory),
            (Counted::Images, self.images),
            (Counted::Hosts, self.hosts),
            (Counted::QueuedJobs, self.queued_jobs),
        ] {
            let change = match limit {
                Patched::Absent => Change::Keep,
                Patched::Null => Change::Default,
                Patched::Value(limit) => Change::Limit(limit),
            };
            if matches!(change, Change::Limit(limit) if limit > MAX_LIMIT) {
                let most = if counted == Counted::Cpus { 1_000_000_000 } else { MAX_LIMIT };
                check.refuse(&format!("/quota/{}", counted.as_str()), format!("expected 0 to {most}"));
            }
            changes.set(counted, change);
        }
        changes
    }
}

/// Which users.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UserQuery {
    /// Only the one of this name.
    name: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Makes a user. For administrators. The key is shown here alone.
#[utoipa::path(post, operation_id = "user_create", path = "/users", tag = "users", request_body = NewUserBody, responses(
    (status = 201, description = "The user, with its key", body = UserBody)),
    extensions(("x-problems" = json!(["name-taken"]))))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Body<NewUserBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Administer)?;
    let mut check = Check::default();
    let name = check.parse("/name", &body.value.name);
    let name = check.finish(name)?;
    let key = caller.key(body.digest);
    let (user, secret) = state.services.user_create(&permit, key.as_ref(), name, body.value.admin).await?;
    let location = format!("{}/users/{}", caller.context.mount, user.id);
    let body = UserBody { key: Some(secret.expose_secret().to_owned()), ..UserBody::of(&user) };
    Ok(with_location((StatusCode::CREATED, Json(body)).into_response(), &location))
}

/// All users, newest first. For administrators.
#[utoipa::path(get, operation_id = "user_list", path = "/users", tag = "users", params(UserQuery), responses(
    (status = 200, description = "A page of users", body = Listing<UserBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(query): Query<UserQuery>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let page = page(&mut check, query.limit, query.after.as_deref(), UserId::uuid);
    let name = query.name.as_deref().and_then(|text| check.parse::<ResourceName>("name", text));
    check.finish(Some(()))?;
    let users =
        state.services.user_list(&caller.may(Administer)?, name.as_ref().map(ResourceName::as_str), page).await?;
    Ok(listing(&caller.context, users.iter().map(UserBody::of).collect(), page.limit, |user| user.id.clone()))
}

/// One user: oneself, or for administrators anybody.
#[utoipa::path(get, operation_id = "user_get", path = "/users/{id}", tag = "users", params(("id" = String, Path, description = "The user's id")), responses(
    (status = 200, description = "The user", body = MeasuredUserBody)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<UserId>,
) -> Result<Response, ApiError> {
    let user = state.services.user_get(&caller.may(Read)?, caller.principal.administers(), id).await?;
    Ok(tagged(user.user.revision, &MeasuredUserBody::of(&user)))
}

/// Changes how much a user may have, and suspends or resumes him. For administrators.
#[utoipa::path(patch, operation_id = "user_update", path = "/users/{id}", tag = "users", params(("id" = String, Path, description = "The user's id")), request_body = UserPatch, responses(
    (status = 200, description = "The user as he is now", body = MeasuredUserBody),
    (status = 202, description = "The job that stops his containers, or starts them again", body = JobBody)),
    extensions(("x-problems" = json!(["being-deleted", "system-user"]))))]
pub(super) async fn update(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<UserId>,
    body: Body<UserPatch>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Administer)?;
    let mut check = Check::default();
    let quota = body.value.quota.changes(&mut check);
    let change = check.finish(Some(UserChange { quota, suspended: body.value.suspended }))?;
    let (user, job) = state.services.user_update(&permit, id, change, &caller.seen).await?;
    match job {
        Some(job) => started(&state, &caller.on_own_behalf(), job).await,
        None => Ok(tagged(user.user.revision, &MeasuredUserBody::of(&user))),
    }
}

/// Takes all that is a user's out of service: his keys at once, then his containers, images and hosts. For administrators.
#[utoipa::path(delete, operation_id = "user_delete", path = "/users/{id}", tag = "users", params(("id" = String, Path, description = "The user's id")), responses(
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["system-user", "shares"]))))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<UserId>,
) -> Result<Response, ApiError> {
    let job = state.services.user_delete(&caller.may(Administer)?, id, &caller.seen).await?;
    started(&state, &caller.on_own_behalf(), job).await
}
