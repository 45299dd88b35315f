//! Users and their API tokens.

use super::idempotency::{self, Key};
use super::{Result, Services, once, random};
use crate::access::{Administer, Permit, Read, Write};
use crate::domain::job::{Ending, JobKind, JobState, Subject};
use crate::domain::page::Page;
use crate::domain::user::{SYSTEM, Token, User, UserState};
use crate::domain::{Kind, Refusal};
use crate::queue::{self, Request};
use crate::store::{self, Conn};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dockerforge_protocol::ids::{JobId, TokenId, UserId};
use dockerforge_protocol::spec::ResourceName;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The name of the token that comes with a user.
const FIRST_TOKEN: &str = "default";

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
    /// Who a key belongs to, if it is good.
    pub async fn sign_in(&self, key: &str) -> Result<Option<User>> {
        let user = store::users::by_key_hash(&mut self.store.read().await?, &key_hash(key)).await?;
        Ok(user.filter(|user| user.state == UserState::Active))
    }

    /// A user that an administrator acts for.
    pub async fn user_acted_for(&self, id: UserId) -> Result<Option<User>> {
        let user = store::users::get(&mut self.store.read().await?, id).await?;
        // Nothing is made any more for somebody on his way out.
        Ok(user.filter(|user| user.state == UserState::Active))
    }

    /// Makes the system user with this key if there is no system user yet; whether it was made.
    pub async fn user_bootstrap(&self, key: &SecretString) -> Result<bool> {
        let hash = key_hash(key.expose_secret());
        self.store.write(move |conn| Box::pin(async move { bootstrap(conn, hash).await })).await
    }

    /// Makes a user, with a first key.
    pub async fn user_create(
        &self,
        permit: &Permit<Administer>,
        key: Option<&Key>,
        name: ResourceName,
        admin: bool,
    ) -> Result<(User, SecretString)> {
        let secret = fresh_key()?;
        let taken = name.clone();
        let result = once!({
            let (permit, key, name, secret) = (permit.clone(), key.cloned(), name.clone(), secret.clone());
            self.store
                .write(move |conn| {
                    Box::pin(async move { create(conn, &permit, key.as_ref(), name, admin, secret).await })
                })
                .await
        });
        result.map_err(|e| e.naming(&taken))
    }

    /// One user: anybody for an administrator, oneself for everybody.
    pub async fn user_get(&self, permit: &Permit<Read>, admin: bool, id: UserId) -> Result<User> {
        if !admin && id != permit.user() {
            return Err(Refusal::NotFound(Kind::User).into());
        }
        store::users::get(&mut self.store.read().await?, id).await?.ok_or_else(|| Refusal::NotFound(Kind::User).into())
    }

    /// A page of users.
    pub async fn user_list(&self, _permit: &Permit<Administer>, name: Option<&str>, page: Page) -> Result<Vec<User>> {
        Ok(store::users::list(&mut self.store.read().await?, name, page).await?)
    }

    /// Takes all that is a user's out of service. His keys are void at once.
    pub async fn user_delete(&self, permit: &Permit<Administer>, id: UserId) -> Result<JobId> {
        let permit = permit.clone();
        let (job, changed) =
            self.store.write(move |conn| Box::pin(async move { delete(conn, &permit, id).await })).await?;
        for (job, host) in changed {
            self.signals.job_changed(job);
            if let Some(host) = host {
                self.signals.wake_host(host);
            }
        }
        self.signals.wake_conductor();
        Ok(job)
    }

    /// Makes a token of a user, and its key.
    pub async fn token_create(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        name: ResourceName,
    ) -> Result<(Token, SecretString)> {
        let secret = fresh_key()?;
        let taken = name.clone();
        let result = once!({
            let (permit, key, name, secret) = (permit.clone(), key.cloned(), name.clone(), secret.clone());
            self.store
                .write(move |conn| {
                    Box::pin(async move { create_token(conn, &permit, key.as_ref(), name, secret).await })
                })
                .await
        });
        result.map_err(|e| e.naming(&taken))
    }

    /// The tokens of a user.
    pub async fn token_list(&self, permit: &Permit<Read>) -> Result<Vec<Token>> {
        Ok(store::users::list_tokens(&mut self.store.read().await?, permit.user()).await?)
    }

    /// Revokes a token; its key is void at once.
    pub async fn token_delete(&self, permit: &Permit<Write>, id: TokenId) -> Result<()> {
        let permit = permit.clone();
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    if !store::users::remove_token(conn, permit.user(), id).await? {
                        return Err(Refusal::NotFound(Kind::Token).into());
                    }
                    let now = crate::clock::now();
                    Ok(store::records::audit(conn, permit.origin(), "token.delete", Kind::Token, id.uuid(), now)
                        .await?)
                })
            })
            .await
    }
}

async fn bootstrap(conn: &mut Conn, hash: [u8; 32]) -> Result<bool> {
    if store::users::by_name(conn, SYSTEM).await?.is_some() {
        return Ok(false);
    }
    let now = crate::clock::now();
    let user =
        User { id: UserId::new(), name: fixed_name(SYSTEM)?, admin: true, state: UserState::Active, created_at: now };
    store::users::insert(conn, &user).await?;
    let token = Token { id: TokenId::new(), user: user.id, name: fixed_name(FIRST_TOKEN)?, created_at: now };
    store::users::insert_token(conn, &token, &hash).await?;
    Ok(true)
}

fn fixed_name(name: &str) -> Result<ResourceName> {
    name.parse().map_err(|_| Refusal::invalid("/name", "not a name").into())
}

async fn create(
    conn: &mut Conn,
    permit: &Permit<Administer>,
    key: Option<&Key>,
    name: ResourceName,
    admin: bool,
    secret: SecretString,
) -> Result<(User, SecretString)> {
    let now = crate::clock::now();
    let user = User { id: UserId::new(), name, admin, state: UserState::Active, created_at: now };
    let shown = Some(secret.expose_secret());
    if let Some(replay) = idempotency::begin(conn, permit.user(), key, Kind::User, user.id.uuid(), shown, now).await? {
        let user = store::users::get(conn, UserId::from_uuid(replay.id)).await?.ok_or(Refusal::NotFound(Kind::User))?;
        return Ok((user, replay.secret.unwrap_or_default().into()));
    }
    store::users::insert(conn, &user).await?;
    let token = Token { id: TokenId::new(), user: user.id, name: fixed_name(FIRST_TOKEN)?, created_at: now };
    store::users::insert_token(conn, &token, &key_hash(secret.expose_secret())).await?;
    store::records::audit(conn, permit.origin(), "user.create", Kind::User, user.id.uuid(), now).await?;
    Ok((user, secret))
}

async fn create_token(
    conn: &mut Conn,
    permit: &Permit<Write>,
    key: Option<&Key>,
    name: ResourceName,
    secret: SecretString,
) -> Result<(Token, SecretString)> {
    let now = crate::clock::now();
    let token = Token { id: TokenId::new(), user: permit.user(), name, created_at: now };
    let shown = Some(secret.expose_secret());
    if let Some(replay) = idempotency::begin(conn, permit.user(), key, Kind::Token, token.id.uuid(), shown, now).await?
    {
        let id = TokenId::from_uuid(replay.id);
        let token = store::users::get_token(conn, permit.user(), id).await?.ok_or(Refusal::NotFound(Kind::Token))?;
        return Ok((token, replay.secret.unwrap_or_default().into()));
    }
    store::users::insert_token(conn, &token, &key_hash(secret.expose_secret())).await?;
    store::records::audit(conn, permit.origin(), "token.create", Kind::Token, token.id.uuid(), now).await?;
    Ok((token, secret))
}

type Changed = Vec<(JobId, Option<dockerforge_protocol::ids::HostId>)>;

async fn delete(conn: &mut Conn, permit: &Permit<Administer>, id: UserId) -> Result<(JobId, Changed)> {
    let now = crate::clock::now();
    let user = store::users::get(conn, id).await?.ok_or(Refusal::NotFound(Kind::User))?;
    if user.name.as_str() == SYSTEM {
        return Err(Refusal::SystemUser.into());
    }
    if store::placement::shares(conn, id).await? {
        return Err(Refusal::Shares.into());
    }
    let under_way = store::jobs::open_about(conn, Subject::User(id)).await?;
    if let Some(job) = under_way.iter().find(|job| job.kind == JobKind::UserDelete) {
        return Ok((job.id, Vec::new()));
    }
    store::users::mark_deleting(conn, id).await?;
    store::users::remove_tokens(conn, id).await?;
    let mut changed = Vec::new();
    for job in store::jobs::open_of_user(conn, id).await?.iter().filter(|job| job.kind.creates()) {
        if job.state == JobState::Queued {
            queue::settle(conn, job, &Ending::Cancelled { confirmed: job.is_untouched() }, now).await?;
        } else {
            store::jobs::set_cancelling(conn, job.id, now).await?;
        }
        changed.push((job.id, job.host));
    }
    let request = Request {
        id: JobId::new(),
        // Who asked for it sees it to its end; the user himself will be gone.
        user: permit.origin().actor,
        work: None,
        parent: None,
        kind: JobKind::UserDelete,
        subject: Subject::User(id),
        wait: None,
    };
    let job = queue::enqueue(conn, request, now).await?;
    store::records::audit(conn, permit.origin(), "user.delete", Kind::User, id.uuid(), now).await?;
    Ok((job, changed))
}
