//! Who a request is from: `Authorization: Basic name:key`, or `Bearer key`. Both carry one of our own random keys, which
//! is looked up by its hash; nothing about a wrong one says whether its name exists. Who is wrong again and again is slowed
//! down (see `slow_down`).

use super::error::ApiError;
use super::{Context, State};
use crate::access::Principal;
use crate::domain::Kind;
use crate::domain::Refusal;
use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use dockerforge_protocol::ids::UserId;
use std::time::Instant;

/// Acts for a user; for administrators.
const ACTING_FOR: &str = "dockerforge-user";

/// Signs a request in.
pub(super) async fn principal(state: &State, headers: &HeaderMap, context: &Context) -> Result<Principal, ApiError> {
    let (name, key) = credentials(headers)?;
    let (name, failures, now) = (name.as_deref(), &state.failures, Instant::now());
    if let Some(wait) = failures.wait_of_name(name, context.remote, now) {
        return Err(ApiError::slowed(wait));
    }
    let user = state.services.sign_in(&key).await?;
    let Some(user) = user.filter(|user| name.is_none_or(|name| name == user.name.as_str())) else {
        let wait = failures.wait_of_address(context.remote, now);
        failures.failed(name, context.remote, now);
        let wrong = || ApiError::unauthorized("this name and key do not sign anybody in");
        return Err(wait.map_or_else(wrong, ApiError::slowed));
    };
    failures.succeeded(name, context.remote);
    let acting_for = match headers.get(ACTING_FOR) {
        None => user.id,
        Some(_) if !user.admin => return Err(Refusal::AdminOnly.into()),
        Some(value) => {
            let id = value.to_str().ok().and_then(|text| text.parse::<UserId>().ok());
            let named = match id {
                Some(id) => state.services.user_acted_for(id).await?,
                None => None,
            };
            named.ok_or(Refusal::NotFound(Kind::User))?.id
        }
    };
    Ok(Principal {
        actor: user.id,
        admin: user.admin,
        user: acting_for,
        request: context.request,
        remote: context.remote,
    })
}

fn credentials(headers: &HeaderMap) -> Result<(Option<String>, String), ApiError> {
    let value = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| ApiError::unauthorized("send Authorization: Bearer <key>, or Basic <name:key>"))?;
    let unreadable = || ApiError::unauthorized("the Authorization header cannot be read");
    let (scheme, rest) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(unreadable)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok((None, rest.to_owned()));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded =
            STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(unreadable)?;
        let (name, key) = decoded.split_once(':').ok_or_else(unreadable)?;
        return Ok((Some(name.to_owned()), key.to_owned()));
    }
    Err(ApiError::unauthorized("only Bearer and Basic are taken"))
}
