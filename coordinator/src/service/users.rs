//! Users: making them, seeing them, and taking them out of service.

use super::idempotency::{self, Key};
use super::suspension::{self, Begun};
use super::tokens::{fresh_key, key_hash};
use super::{Result, Services, as_seen, once};
use crate::access::{Administer, Permit, Read};
use crate::domain::job::{Ending, JobKind, JobState, Subject};
use crate::domain::page::Page;
use crate::domain::precondition::Precondition;
use crate::domain::quota::{Amounts, Changes, Limits};
use crate::domain::user::{SYSTEM, Scopes, Token, User, UserState};
use crate::domain::{Kind, Refusal, Timestamp};
use crate::queue::{self, Request};
use crate::store::{self, Conn};
use dockerforge_protocol::ids::{JobId, TokenId, UserId};
use dockerforge_protocol::spec::ResourceName;
use secrecy::{ExposeSecret, SecretString};

/// The name of the token that comes with a user.
const FIRST_TOKEN: &str = "default";

/// What is to change of a user.
#[derive(Clone, Default)]
pub struct UserChange {
    /// How much he may have.
    pub quota: Changes,
    /// Whether he is to be suspended.
    pub suspended: Option<bool>,
}

/// A user with how much he may have, and how much he has.
pub struct Measured {
    /// The user.
    pub user: User,
    /// His limits.
    pub limits: Limits,
    /// What counts against them.
    pub used: Amounts,
}

impl Services {
    /// A user that an administrator acts for.
    pub async fn user_acted_for(&self, id: UserId) -> Result<Option<User>> {
        let user = store::users::get(&mut self.store.read().await?, id).await?;
        // Nothing is made any more for somebody on his way out.
        Ok(user.filter(|user| user.state != UserState::Deleting))
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
    pub async fn user_get(&self, permit: &Permit<Read>, admin: bool, id: UserId) -> Result<Measured> {
        if !admin && id != permit.user() {
            return Err(Refusal::NotFound(Kind::User).into());
        }
        let mut conn = self.store.read().await?;
        let user = store::users::get(&mut conn, id).await?.ok_or(Refusal::NotFound(Kind::User))?;
        measured(&mut conn, user).await
    }

    /// Changes how much a user may have, and whether he is suspended; with the job that stops or starts his containers.
    pub async fn user_update(
        &self,
        permit: &Permit<Administer>,
        id: UserId,
        change: UserChange,
        seen: &Precondition,
    ) -> Result<(Measured, Option<JobId>)> {
        let (permit, seen) = (permit.clone(), seen.clone());
        let (measured, begun) = self
            .store
            .write(move |conn| Box::pin(async move { update(conn, &permit, id, &change, &seen).await }))
            .await?;
        for host in begun.iter().flat_map(|begun| &begun.hosts) {
            self.signals.wake_host(*host);
        }
        self.signals.wake_conductor();
        Ok((measured, begun.map(|begun| begun.job)))
    }

    /// A page of users.
    pub async fn user_list(&self, _permit: &Permit<Administer>, name: Option<&str>, page: Page) -> Result<Vec<User>> {
        Ok(store::users::list(&mut self.store.read().await?, name, page).await?)
    }

    /// Takes all that is a user's out of service. His keys are void at once.
    pub async fn user_delete(&self, permit: &Permit<Administer>, id: UserId, seen: &Precondition) -> Result<JobId> {
        let (permit, seen) = (permit.clone(), seen.clone());
        let (job, changed) =
            self.store.write(move |conn| Box::pin(async move { delete(conn, &permit, id, &seen).await })).await?;
        for (job, host) in changed {
            self.signals.job_changed(job);
            if let Some(host) = host {
                self.signals.wake_host(host);
            }
        }
        self.signals.wake_conductor();
        Ok(job)
    }
}

async fn bootstrap(conn: &mut Conn, hash: [u8; 32]) -> Result<bool> {
    if store::users::by_name(conn, SYSTEM).await?.is_some() {
        return Ok(false);
    }
    let now = crate::clock::now();
    let user = User {
        id: UserId::new(),
        name: fixed_name(SYSTEM)?,
        admin: true,
        state: UserState::Active,
        created_at: now,
        revision: 1,
    };
    store::users::insert(conn, &user).await?;
    store::users::insert_token(conn, &first_token(user.id, Scopes::ALL, now)?, &hash).await?;
    Ok(true)
}

fn first_token(user: UserId, scopes: Scopes, now: Timestamp) -> Result<Token> {
    let name = fixed_name(FIRST_TOKEN)?;
    Ok(Token { id: TokenId::new(), user, name, scopes, created_at: now, expires_at: None, last_used_at: None })
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
    let user = User { id: UserId::new(), name, admin, state: UserState::Active, created_at: now, revision: 1 };
    let shown = Some(secret.expose_secret());
    if let Some(replay) = idempotency::begin(conn, permit.user(), key, Kind::User, user.id.uuid(), shown, now).await? {
        let user = store::users::get(conn, UserId::from_uuid(replay.id)).await?.ok_or(Refusal::NotFound(Kind::User))?;
        return Ok((user, replay.secret.unwrap_or_default().into()));
    }
    store::users::insert(conn, &user).await?;
    // Nobody makes an administrator who may do more than he himself with the token at hand.
    let scopes = if admin { permit.scopes() } else { Scopes::USUAL };
    let token = first_token(user.id, scopes, now)?;
    store::users::insert_token(conn, &token, &key_hash(secret.expose_secret())).await?;
    store::records::audit(conn, permit.origin(), "user.create", Kind::User, user.id.uuid(), now).await?;
    Ok((user, secret))
}

async fn measured(conn: &mut Conn, user: User) -> Result<Measured> {
    let limits = store::quotas::limits(conn, user.id).await?;
    let used = store::quotas::usage(conn, user.id, |_| true).await?;
    Ok(Measured { user, limits, used })
}

async fn update(
    conn: &mut Conn,
    permit: &Permit<Administer>,
    id: UserId,
    change: &UserChange,
    seen: &Precondition,
) -> Result<(Measured, Option<Begun>)> {
    let user = store::users::hold(conn, id).await?.ok_or(Refusal::NotFound(Kind::User))?;
    seen.check(Kind::User, Some(user.revision))?;
    if user.state == UserState::Deleting {
        return Err(Refusal::BeingDeleted(Kind::User).into());
    }
    let now = crate::clock::now();
    if change.quota != Changes::default() {
        store::quotas::set_limits(conn, id, &change.quota).await?;
        store::records::audit(conn, permit.origin(), "user.update", Kind::User, id.uuid(), now).await?;
    }
    let begun = match change.suspended {
        Some(suspended) => suspension::set(conn, permit, &user, suspended, now).await?,
        None => None,
    };
    let user = store::users::get(conn, id).await?.ok_or(Refusal::NotFound(Kind::User))?;
    Ok((measured(conn, user).await?, begun))
}

type Changed = Vec<(JobId, Option<dockerforge_protocol::ids::HostId>)>;

async fn delete(
    conn: &mut Conn,
    permit: &Permit<Administer>,
    id: UserId,
    seen: &Precondition,
) -> Result<(JobId, Changed)> {
    let now = crate::clock::now();
    as_seen(conn, id, Kind::User, id.uuid(), seen).await?;
    let user = store::users::get(conn, id).await?.ok_or(Refusal::NotFound(Kind::User))?;
    if user.name.as_str() == SYSTEM {
        return Err(Refusal::SystemUser.into());
    }
    if store::placement::shares(conn, id).await? || store::templates::shares(conn, id).await? {
        return Err(Refusal::Shares.into());
    }
    let under_way = store::jobs::open_about(conn, Subject::User(id)).await?;
    if let Some(job) = under_way.iter().find(|job| job.kind == JobKind::UserDelete) {
        return Ok((job.id, Vec::new()));
    }
    store::users::mark_deleting(conn, id).await?;
    store::templates::hide_of_user(conn, id).await?;
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
    // Never refused: what an administrator takes out of service does not wait for his own queue to drain.
    let job = queue::enqueue_following(conn, request, now).await?;
    store::records::audit(conn, permit.origin(), "user.delete", Kind::User, id.uuid(), now).await?;
    Ok((job, changed))
}
