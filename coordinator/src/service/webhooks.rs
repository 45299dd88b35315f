//! Webhooks: where a user wants his events sent.

use super::idempotency::{self, Key};
use super::{Result, Services, as_seen, once, random};
use crate::access::{Permit, Read, Write};
use crate::domain::event::Kinds;
use crate::domain::page::Page;
use crate::domain::precondition::Precondition;
use crate::domain::webhook::{Delivery, DeliveryState, LIMIT, SECRET, Target, Webhook, WebhookState};
use crate::domain::{Kind, Refusal};
use crate::store::{self, Conn};
use crate::vault::Vault;
use base64::{Engine, engine::general_purpose::STANDARD};
use dockerforge_protocol::ids::WebhookId;
use secrecy::{ExposeSecret, SecretString};

/// What the printed form of a secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// A webhook to be made.
#[derive(Clone)]
pub struct NewWebhook {
    /// Where events are sent.
    pub target: Target,
    /// Which kinds are.
    pub kinds: Kinds,
    /// Whether everybody's are; the caller has checked that he may.
    pub everybody: bool,
}

/// What is to change; what is absent stays.
#[derive(Clone, Default)]
pub struct WebhookChange {
    /// Where events are sent.
    pub target: Option<Target>,
    /// Which kinds are.
    pub kinds: Option<Kinds>,
    /// Whether they are.
    pub state: Option<WebhookState>,
}

impl Services {
    /// Makes a webhook, which is sent what happens from now on. Its secret is shown here alone.
    pub async fn webhook_create(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        new: NewWebhook,
    ) -> Result<(Webhook, SecretString)> {
        let secret: SecretString = format!("{SECRET_PREFIX}{}", STANDARD.encode(random()?)).into();
        once!({
            let (vault, permit, key) = (self.vault.clone(), permit.clone(), key.cloned());
            let (new, secret) = (new.clone(), secret.clone());
            self.store
                .write(move |conn| {
                    Box::pin(async move { create(conn, &vault, &permit, key.as_ref(), new, secret).await })
                })
                .await
        })
    }

    /// One webhook.
    pub async fn webhook_get(&self, permit: &Permit<Read>, id: WebhookId) -> Result<Webhook> {
        let mut conn = self.store.read().await?;
        Ok(store::webhooks::get(&mut conn, permit.user(), id).await?.ok_or(Refusal::NotFound(Kind::Webhook))?)
    }

    /// A page of webhooks.
    pub async fn webhook_list(&self, permit: &Permit<Read>, page: Page) -> Result<Vec<Webhook>> {
        Ok(store::webhooks::list(&mut self.store.read().await?, permit.user(), page).await?)
    }

    /// Changes a webhook.
    pub async fn webhook_update(
        &self,
        permit: &Permit<Write>,
        id: WebhookId,
        change: WebhookChange,
        seen: &Precondition,
    ) -> Result<Webhook> {
        let (permit, seen) = (permit.clone(), seen.clone());
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    // Of two changes at once neither undoes the other's.
                    store::revisions::held(conn, permit.user(), Kind::Webhook, id.uuid()).await?;
                    let found = store::webhooks::get(conn, permit.user(), id).await?;
                    let mut webhook = found.ok_or(Refusal::NotFound(Kind::Webhook))?;
                    seen.check(Kind::Webhook, Some(webhook.revision))?;
                    webhook.target = change.target.unwrap_or(webhook.target);
                    webhook.kinds = change.kinds.unwrap_or(webhook.kinds);
                    webhook.state = change.state.unwrap_or(webhook.state);
                    store::webhooks::update(conn, &webhook).await?;
                    webhook.revision += 1;
                    let now = crate::clock::now();
                    store::records::audit(conn, permit.origin(), "webhook.update", Kind::Webhook, id.uuid(), now)
                        .await?;
                    Ok(webhook)
                })
            })
            .await
    }

    /// Removes a webhook; what is still on its way to it is not sent.
    pub async fn webhook_delete(&self, permit: &Permit<Write>, id: WebhookId, seen: &Precondition) -> Result<()> {
        let (permit, seen) = (permit.clone(), seen.clone());
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    as_seen(conn, permit.user(), Kind::Webhook, id.uuid(), &seen).await?;
                    let found = store::webhooks::get(conn, permit.user(), id).await?;
                    found.ok_or(Refusal::NotFound(Kind::Webhook))?;
                    store::webhooks::remove(conn, id).await?;
                    let now = crate::clock::now();
                    store::records::audit(conn, permit.origin(), "webhook.delete", Kind::Webhook, id.uuid(), now)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// A page of the deliveries to a webhook.
    pub async fn webhook_deliveries(
        &self,
        permit: &Permit<Read>,
        id: WebhookId,
        state: Option<DeliveryState>,
        page: Page,
    ) -> Result<Vec<Delivery>> {
        self.webhook_get(permit, id).await?;
        Ok(store::webhooks::deliveries(&mut self.store.read().await?, id, state, page).await?)
    }
}

async fn create(
    conn: &mut Conn,
    vault: &Vault,
    permit: &Permit<Write>,
    key: Option<&Key>,
    new: NewWebhook,
    secret: SecretString,
) -> Result<(Webhook, SecretString)> {
    let now = crate::clock::now();
    let (user, id) = (permit.user(), WebhookId::new());
    let shown = secret.expose_secret();
    if let Some(replay) = idempotency::begin(conn, user, key, Kind::Webhook, id.uuid(), Some(shown), now).await? {
        let found = store::webhooks::get(conn, user, WebhookId::from_uuid(replay.id)).await?;
        return Ok((found.ok_or(Refusal::NotFound(Kind::Webhook))?, replay.secret.unwrap_or_default().into()));
    }
    if store::webhooks::count(conn, user).await? >= i64::from(LIMIT) {
        return Err(Refusal::TooMany { kind: Kind::Webhook, limit: LIMIT }.into());
    }
    let NewWebhook { target, kinds, everybody } = new;
    let webhook =
        Webhook { id, user, target, kinds, everybody, state: WebhookState::Active, created_at: now, revision: 1 };
    // The receiver's key is what stands after the prefix, decoded.
    let raw = shown.strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let sealed = vault.seal(conn, user, SECRET, &raw).await?;
    let position = store::events::newest(conn).await?;
    store::webhooks::insert(conn, &webhook, &sealed, position).await?;
    store::records::audit(conn, permit.origin(), "webhook.create", Kind::Webhook, id.uuid(), now).await?;
    Ok((webhook, secret))
}
