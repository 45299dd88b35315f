//! API tokens: signing in with their keys, making and revoking them.

use super::idempotency::{self, Key};
use super::{Result, Services, once, random};
use crate::access::{Permit, Read, Write};
use crate::domain::page::Page;
use crate::domain::precondition::Precondition;
use crate::domain::user::{Scopes, Token, USE_NOTED_AFTER, User, UserState, may_grant};
use crate::domain::{Kind, Refusal, Timestamp};
use crate::store::{self, Conn};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dockerforge_protocol::ids::{TokenId, UserId};
use dockerforge_protocol::spec::ResourceName;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// A token to be made.
#[derive(Clone)]
pub struct NewToken {
    /// What to call it.
    pub name: ResourceName,
    /// What it may do.
    pub scopes: Scopes,
    /// When it stops being good.
    pub expires_at: Option<Timestamp>,
}

/// A fresh API key: `dfk_` and 256 random bits in base64url.
pub fn fresh_key() -> Result<SecretString> {
    Ok(format!("dfk_{}", URL_SAFE_NO_PAD.encode(random()?)).into())
}

/// What is kept of a key. It is 256 random bits, which no guessing reaches, so one round of SHA-256 is enough.
#[must_use]
pub fn key_hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

impl Services {
    /// Who a key belongs to, and as what it signs him in; nobody where it is not good, or not of the user of this name.
    ///
    /// Refuses a key that has expired, or whose user is suspended.
    pub async fn sign_in(&self, name: Option<&str>, key: &str) -> Result<Option<(User, Token)>> {
        let found = store::users::by_key_hash(&mut self.store.read().await?, &key_hash(key)).await?;
        let named = |user: &User| name.is_none_or(|name| name == user.name.as_str());
        let Some((user, token)) = found.filter(|(user, _)| user.state != UserState::Deleting && named(user)) else {
            return Ok(None);
        };
        let now = crate::clock::now();
        token.good_at(now)?;
        user.state.in_service()?;
        if token.use_is_news(now) {
            self.note_use(token.id, now).await;
        }
        Ok(Some((user, token)))
    }

    /// Whoever may read may do so though nothing can be written, as on a full disk.
    async fn note_use(&self, id: TokenId, now: Timestamp) {
        let before = now.checked_sub(USE_NOTED_AFTER).unwrap_or(now);
        let noted = self
            .store
            .write(move |conn| Box::pin(async move { store::users::set_token_used(conn, id, now, before).await }));
        if let Err(error) = noted.await {
            tracing::warn!(token = %id, error = &error as &dyn std::error::Error, "a token's use could not be noted");
        }
    }

    /// Whether a token that was good when a request began still is: what goes on for long asks again.
    pub async fn still_signed_in(&self, user: UserId, token: TokenId) -> Result<bool> {
        let mut conn = self.store.read().await?;
        let Some(token) = store::users::get_token(&mut conn, user, token).await? else { return Ok(false) };
        let user = store::users::get(&mut conn, user).await?;
        Ok(token.good_at(crate::clock::now()).is_ok() && user.is_some_and(|user| user.state == UserState::Active))
    }

    /// Makes a token of a user, and its key.
    pub async fn token_create(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        new: NewToken,
    ) -> Result<(Token, SecretString)> {
        let secret = fresh_key()?;
        let taken = new.name.clone();
        let result = once!({
            let (permit, key, new, secret) = (permit.clone(), key.cloned(), new.clone(), secret.clone());
            self.store
                .write(move |conn| Box::pin(async move { create(conn, &permit, key.as_ref(), new, secret).await }))
                .await
        });
        result.map_err(|e| e.naming(&taken))
    }

    /// A page of the tokens of a user.
    pub async fn token_list(&self, permit: &Permit<Read>, page: Page) -> Result<Vec<Token>> {
        Ok(store::users::list_tokens(&mut self.store.read().await?, permit.user(), page).await?)
    }

    /// Revokes a token; its key is void at once.
    pub async fn token_delete(&self, permit: &Permit<Write>, id: TokenId, seen: &Precondition) -> Result<()> {
        let (permit, seen) = (permit.clone(), seen.clone());
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    if !store::users::remove_token(conn, permit.user(), id).await? {
                        return Err(Refusal::NotFound(Kind::Token).into());
                    }
                    // Nothing of it ever changes, and no tag of it is ever given.
                    seen.check(Kind::Token, None)?;
                    let now = crate::clock::now();
                    Ok(store::records::audit(conn, permit.origin(), "token.delete", Kind::Token, id.uuid(), now)
                        .await?)
                })
            })
            .await
    }
}

async fn create(
    conn: &mut Conn,
    permit: &Permit<Write>,
    key: Option<&Key>,
    new: NewToken,
    secret: SecretString,
) -> Result<(Token, SecretString)> {
    let now = crate::clock::now();
    let user = store::users::get(conn, permit.user()).await?.ok_or(Refusal::NotFound(Kind::User))?;
    let token = Token {
        id: TokenId::new(),
        user: user.id,
        name: new.name,
        scopes: new.scopes,
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
    };
    let shown = Some(secret.expose_secret());
    if let Some(replay) = idempotency::begin(conn, permit.user(), key, Kind::Token, token.id.uuid(), shown, now).await?
    {
        let id = TokenId::from_uuid(replay.id);
        let token = store::users::get_token(conn, permit.user(), id).await?.ok_or(Refusal::NotFound(Kind::Token))?;
        return Ok((token, replay.secret.unwrap_or_default().into()));
    }
    may_grant(permit.scopes(), token.scopes, user.admin)?;
    if token.good_at(now).is_err() {
        return Err(Refusal::invalid("/expires_at", "expected a time to come").into());
    }
    let own_end = permit.expires_at().filter(|_| permit.origin().actor == user.id);
    if let Some(end) = own_end.filter(|end| token.expires_at.is_none_or(|at| at > *end)) {
        let detail = format!("expected {end} at the latest, when the token that makes it expires");
        return Err(Refusal::invalid("/expires_at", detail).into());
    }
    store::users::insert_token(conn, &token, &key_hash(secret.expose_secret())).await?;
    store::records::audit(conn, permit.origin(), "token.create", Kind::Token, token.id.uuid(), now).await?;
    Ok((token, secret))
}
