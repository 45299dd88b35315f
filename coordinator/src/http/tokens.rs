//! `/users/{id}/tokens`: the API tokens of a user, what each may do and how long.

use super::State;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, Query, page};
use super::respond::{Listing, listing};
use crate::access::{Read, Write};
use crate::domain::user::{Scope, Scopes, Token};
use crate::domain::{Kind, Refusal, Timestamp};
use crate::service::tokens::NewToken;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::{TokenId, UserId};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenBody {
    /// What to call it.
    #[schema(value_type = s::Name)]
    name: String,
    /// What it may do: `read`, `write`, `host:root`, `admin`; `read` and `write` where absent. Each includes `read`. None that
    /// the token at hand does not have itself, and `admin` for administrators alone.
    #[schema(value_type = Option<s::Scopes>, example = json!(["read"]))]
    scopes: Option<Vec<String>>,
    /// When it stops being good (RFC 3339); never where absent. Not after the token at hand, where both are of one user.
    #[schema(value_type = Option<s::Time>, example = "2030-01-01T00:00:00Z")]
    expires_at: Option<String>,
}

/// An API token.
#[derive(Serialize, ToSchema)]
pub struct TokenBody {
    /// Its id.
    #[schema(value_type = s::TokenId)]
    pub id: String,
    /// What it is called.
    #[schema(value_type = s::Name)]
    pub name: String,
    /// What it may do.
    #[schema(value_type = s::Scopes)]
    pub scopes: Vec<&'static str>,
    /// When it was made.
    #[schema(value_type = s::Time)]
    pub created_at: String,
    /// When it stops being good; `null` for never.
    #[schema(value_type = Option<s::Time>)]
    pub expires_at: Option<String>,
    /// When it was last used, to the minute; `null` if it never was.
    #[schema(value_type = Option<s::Time>)]
    pub last_used_at: Option<String>,
    /// The key; shown at the making alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl TokenBody {
    fn of(token: &Token) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            scopes: token.scopes.iter().map(Scope::as_str).collect(),
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.map(|at| at.to_string()),
            last_used_at: token.last_used_at.map(|at| at.to_string()),
            key: None,
        }
    }
}

impl NewTokenBody {
    fn checked(self) -> Result<NewToken, ApiError> {
        let mut check = Check::default();
        let name = check.parse("/name", &self.name);
        let mut scopes = Vec::new();
        for (i, word) in self.scopes.iter().flatten().enumerate() {
            let scope = Scope::parse(word).ok_or("expected read, write, host:root or admin");
            scopes.extend(check.take(&format!("/scopes/{i}"), scope));
        }
        if self.scopes.as_ref().is_some_and(Vec::is_empty) {
            check.refuse("/scopes", "expected one at least");
        }
        let scopes = if self.scopes.is_some() { scopes.into_iter().collect() } else { Scopes::USUAL };
        let expires_at = self.expires_at.and_then(|text| check.parse::<Timestamp>("/expires_at", &text));
        check.finish(name.map(|name| NewToken { name, scopes, expires_at }))
    }
}

/// Whose tokens: one's own, or for administrators anybody's.
async fn owner(state: &State, caller: &mut Caller, id: UserId) -> Result<(), ApiError> {
    if id != caller.principal.user {
        if !caller.principal.administers() {
            return Err(Refusal::NotFound(Kind::User).into());
        }
        state.services.user_acted_for(id).await?.ok_or(Refusal::NotFound(Kind::User))?;
        // The keys of somebody who is suspended can be revoked.
        caller.principal.user = id;
    }
    Ok(())
}

/// Makes an API token. The key is shown here alone.
#[utoipa::path(post, operation_id = "token_create", path = "/users/{id}/tokens", tag = "users", params(("id" = String, Path, description = "The user's id")), request_body = NewTokenBody, responses(
    (status = 201, description = "The token, with its key", body = TokenBody)),
    extensions(("x-problems" = json!(["name-taken"]))))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    mut caller: Caller,
    Id(id): Id<UserId>,
    body: Body<NewTokenBody>,
) -> Result<Response, ApiError> {
    owner(&state, &mut caller, id).await?;
    let permit = caller.may(Write)?;
    let key = caller.key(body.digest);
    let (token, secret) = state.services.token_create(&permit, key.as_ref(), body.value.checked()?).await?;
    let body = TokenBody { key: Some(secret.expose_secret().to_owned()), ..TokenBody::of(&token) };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Which tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenQuery {
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The tokens of a user, newest first, without their keys.
#[utoipa::path(get, operation_id = "token_list", path = "/users/{id}/tokens", tag = "users", params(("id" = String, Path, description = "The user's id"), TokenQuery), responses(
    (status = 200, description = "A page of tokens", body = Listing<TokenBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    mut caller: Caller,
    Id(id): Id<UserId>,
    Query(query): Query<TokenQuery>,
) -> Result<Response, ApiError> {
    owner(&state, &mut caller, id).await?;
    let mut check = Check::default();
    let page = page(&mut check, query.limit, query.after.as_deref(), TokenId::uuid);
    check.finish(Some(()))?;
    let tokens = state.services.token_list(&caller.may(Read)?, page).await?;
    let items: Vec<TokenBody> = tokens.iter().map(TokenBody::of).collect();
    Ok(listing(&caller.context, items, page.limit, |token| token.id.clone()))
}

/// Revokes a token: its key is void at once.
#[utoipa::path(delete, operation_id = "token_delete", path = "/users/{id}/tokens/{token}", tag = "users",
    params(("id" = String, Path, description = "The user's id"), ("token" = String, Path, description = "The token's id")), responses(
    (status = 204, description = "It is void")))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    mut caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path((id, token)) = path.map_err(|_| ApiError::nothing(""))?;
    let id: UserId = id.parse().map_err(|_| ApiError::nothing(&id))?;
    let token: TokenId = token.parse().map_err(|_| ApiError::nothing(&token))?;
    owner(&state, &mut caller, id).await?;
    state.services.token_delete(&caller.may(Write)?, token, &caller.seen).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
