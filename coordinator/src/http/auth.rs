//! Who a request is from: `Authorization: Basic name:key`, or `Bearer key`. Both carry one of our own random keys, which
//! is looked up by its hash; nothing about a wrong one says whether its name exists. Who is wrong again and again is slowed
//! down (see `slow_down`).

use super::error::ApiError;
use super::slow_down::network;
use super::{Context, State, rates};
use crate::access::{Administer, Principal, authorize};
use crate::domain::{Kind, Refusal};
use crate::service::Services;
use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use dockerforge_protocol::ids::{TokenId, UserId};
use futures_util::{Stream, StreamExt};
use std::time::{Duration, Instant};

/// Acts for a user; for administrators.
const ACTING_FOR: &str = "dockerforge-user";

/// How soon a stream ends once its token is not good any more.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Signs a request in.
pub(super) async fn principal(state: &State, headers: &HeaderMap, context: &Context) -> Result<Principal, ApiError> {
    let (name, key) = match credentials(headers) {
        Ok(credentials) => credentials,
        Err(error) => return Err(rates::nobody(state, context.remote).err().unwrap_or(error)),
    };
    let (name, failures, now) = (name.as_deref(), &state.failures, Instant::now());
    let (known, network) = (rates::known_by(name, &key), network(context.remote));
    state.rates.may_try(&known, network, now)?;
    if let Some(wait) = failures.wait_of_name(name, context.remote, now) {
        return Err(ApiError::slowed(wait));
    }
    let Some((user, token)) = state.services.sign_in(name, &key).await? else {
        let wait = failures.wait_of_address(context.remote, now);
        failures.failed(name, context.remote, now);
        state.rates.wrong(Some(&known), network, now)?;
        let wrong = || ApiError::unauthorized("this name and key do not sign anybody in");
        return Err(wait.map_or_else(wrong, ApiError::slowed));
    };
    failures.succeeded(name, context.remote);
    state.rates.right(known);
    let principal = Principal {
        actor: user.id,
        admin: user.admin,
        token: token.id,
        scopes: token.scopes,
        expires_at: token.expires_at,
        user: user.id,
        state: user.state,
        request: context.request,
        remote: context.remote,
    };
    let Some(value) = headers.get(ACTING_FOR) else {
        // Who runs the installation is not held up: what he does for a user counts as that user's, below.
        if !principal.administers() {
            count(state, context, principal.user)?;
        }
        return Ok(principal);
    };
    authorize(&principal, Administer)?;
    let id = value.to_str().ok().and_then(|text| text.parse::<UserId>().ok());
    let named = match id {
        Some(id) => state.services.user_acted_for(id).await?,
        None => None,
    };
    let named = named.ok_or(Refusal::NotFound(Kind::User))?;
    count(state, context, named.id)?;
    Ok(Principal { user: named.id, state: named.state, ..principal })
}

/// Counts a request as a user's; what he has left is told with the answer.
fn count(state: &State, context: &Context, user: UserId) -> Result<(), ApiError> {
    if let Some(standing) = state.rates.of_user(user, Instant::now())? {
        let _ = context.standing.set(standing);
    }
    Ok(())
}

/// A stream that ends when its reader's token is revoked or expires, or its user is suspended or deleted.
pub(super) fn while_signed_in<S: Stream>(
    state: &State,
    principal: &Principal,
    stream: S,
) -> impl Stream<Item = S::Item> + use<S> {
    stream.take_until(signed_out(state.services.clone(), principal.actor, principal.token))
}

/// Waits until a token is revoked or expires, or its user is suspended or deleted.
pub(super) async fn signed_out(services: Services, user: UserId, token: TokenId) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        // A database that does not answer says nothing of the token; the stream has nothing to show then either.
        if matches!(services.still_signed_in(user, token).await, Ok(false)) {
            return;
        }
    }
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
