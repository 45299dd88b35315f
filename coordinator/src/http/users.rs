//! `/users`: the users and their API tokens.

use super::State;
use super::error::{ApiError, Problem};
use super::extract::{Caller, Check, Id, Json as Body, Query, nothing, page};
use super::jobs::{JobBody, started};
use super::respond::{Listing, listing, with_location};
use crate::access::{Administer, Read, Write};
use crate::domain::user::{Token, User};
use crate::domain::{Kind, Refusal};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::{TokenId, UserId};
use dockerforge_protocol::spec::ResourceName;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUserBody {
    /// 1 to 63 characters of a-z, 0-9, '-', '_' or '.'.
    #[schema(example = "alice")]
    name: String,
    /// Whether it may administer.
    #[serde(default)]
    admin: bool,
}

/// A user.
#[derive(Serialize, ToSchema)]
pub struct UserBody {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it may administer.
    pub admin: bool,
    /// `active` or `deleting`.
    pub state: &'static str,
    /// When it was made.
    pub created_at: String,
    /// A key; shown at the making alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenBody {
    /// What to call it.
    name: String,
}

/// An API token.
#[derive(Serialize, ToSchema)]
pub struct TokenBody {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// When it was made.
    pub created_at: String,
    /// The key; shown at the making alone.
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

impl TokenBody {
    fn of(token: &Token) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            created_at: token.created_at.to_string(),
            key: None,
        }
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
    (status = 201, description = "The user, with its key", body = UserBody), (status = 400, description = "Not JSON", body = Problem),
    (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "Not an administrator", body = Problem),
    (status = 409, description = "The name is taken", body = Problem), (status = 413, description = "Too large", body = Problem),
    (status = 415, description = "Not JSON by its type", body = Problem), (status = 422, description = "A value cannot be", body = Problem)))]
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
    (status = 200, description = "A page of users", body = Listing<UserBody>), (status = 401, description = "Not signed in", body = Problem),
    (status = 403, description = "Not an administrator", body = Problem), (status = 422, description = "A parameter cannot be", body = Problem)))]
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
    (status = 200, description = "The user", body = UserBody), (status = 401, description = "Not signed in", body = Problem),
    (status = 404, description = "No such user", body = Problem)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<UserId>,
) -> Result<Json<UserBody>, ApiError> {
    let user = state.services.user_get(&caller.may(Read)?, caller.principal.admin, id).await?;
    Ok(Json(UserBody::of(&user)))
}

/// Takes all that is a user's out of service: his keys at once, then his containers, images and hosts. For administrators.
#[utoipa::path(delete, operation_id = "user_delete", path = "/users/{id}", tag = "users", params(("id" = String, Path, description = "The user's id")), responses(
    (status = 202, description = "The job that does it", body = JobBody), (status = 200, description = "The job, ended within the time to wait", body = JobBody), (status = 401, description = "Not signed in", body = Problem),
    (status = 403, description = "Not an administrator", body = Problem), (status = 404, description = "No such user", body = Problem),
    (status = 409, description = "The system user stays", body = Problem)))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<UserId>,
) -> Result<Response, ApiError> {
    let job = state.services.user_delete(&caller.may(Administer)?, id).await?;
    // The job is of who asked, also where he acts for somebody else.
    let mut caller = caller;
    caller.principal.user = caller.principal.actor;
    started(&state, &caller, job).await
}

/// Whose tokens: one's own, or for administrators anybody's.
async fn owner(state: &State, caller: &mut Caller, id: UserId) -> Result<(), ApiError> {
    if id != caller.principal.user {
        if !caller.principal.admin {
            return Err(Refusal::NotFound(Kind::User).into());
        }
        state.services.user_acted_for(id).await?.ok_or(Refusal::NotFound(Kind::User))?;
        caller.principal.user = id;
    }
    Ok(())
}

/// Makes an API token. The key is shown here alone.
#[utoipa::path(post, operation_id = "token_create", path = "/users/{id}/tokens", tag = "users", params(("id" = String, Path, description = "The user's id")), request_body = NewTokenBody, responses(
    (status = 201, description = "The token, with its key", body = TokenBody), (status = 400, description = "Not JSON", body = Problem),
    (status = 401, description = "Not signed in", body = Problem), (status = 404, description = "No such user", body = Problem),
    (status = 409, description = "The name is taken", body = Problem), (status = 415, description = "Not JSON by its type", body = Problem),
    (status = 422, description = "A value cannot be", body = Problem)))]
pub(super) async fn create_token(
    Shared(state): Shared<State>,
    mut caller: Caller,
    Id(id): Id<UserId>,
    body: Body<NewTokenBody>,
) -> Result<Response, ApiError> {
    owner(&state, &mut caller, id).await?;
    let mut check = Check::default();
    let name = check.parse("/name", &body.value.name);
    let name = check.finish(name)?;
    let key = caller.key(body.digest);
    let (token, secret) = state.services.token_create(&caller.may(Write)?, key.as_ref(), name).await?;
    let body = TokenBody { key: Some(secret.expose_secret().to_owned()), ..TokenBody::of(&token) };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// The tokens of a user, without their keys.
#[utoipa::path(get, operation_id = "token_list", path = "/users/{id}/tokens", tag = "users", params(("id" = String, Path, description = "The user's id")), responses(
    (status = 200, description = "All of them", body = Listing<TokenBody>), (status = 401, description = "Not signed in", body = Problem),
    (status = 404, description = "No such user", body = Problem)))]
pub(super) async fn list_tokens(
    Shared(state): Shared<State>,
    mut caller: Caller,
    Id(id): Id<UserId>,
) -> Result<Response, ApiError> {
    owner(&state, &mut caller, id).await?;
    let tokens = state.services.token_list(&caller.may(Read)?).await?;
    let items: Vec<TokenBody> = tokens.iter().map(TokenBody::of).collect();
    Ok(listing(&caller.context, items, u32::MAX, |token| token.id.clone()))
}

/// Revokes a token: its key is void at once.
#[utoipa::path(delete, operation_id = "token_delete", path = "/users/{id}/tokens/{token}", tag = "users",
    params(("id" = String, Path, description = "The user's id"), ("token" = String, Path, description = "The token's id")), responses(
    (status = 204, description = "It is void"), (status = 401, description = "Not signed in", body = Problem),
    (status = 404, description = "No such user or token", body = Problem)))]
pub(super) async fn delete_token(
    Shared(state): Shared<State>,
    mut caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path((id, token)) = path.map_err(|_| nothing(""))?;
    let id: UserId = id.parse().map_err(|_| nothing(&id))?;
    let token: TokenId = token.parse().map_err(|_| nothing(&token))?;
    owner(&state, &mut caller, id).await?;
    state.services.token_delete(&caller.may(Write)?, token).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
