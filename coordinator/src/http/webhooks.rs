//! `/webhooks`: where events are sent, and what became of each.

use super::State;
use super::conditional::tagged;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, Query, page};
use super::respond::{Listing, listing, with_location};
use crate::access::{Administer, Read, Write};
use crate::domain::event::Kinds;
use crate::domain::webhook::{Delivery, DeliveryState, Target, Webhook, WebhookState};
use crate::service::webhooks::{NewWebhook, WebhookChange};
use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::{DeliveryId, WebhookId};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A webhook to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhookBody {
    /// Where events are POSTed: http or https. Unless an administrator's, it must have a public address.
    #[schema(value_type = s::ReceiverUrl, example = "https://panel.example/hooks/dockerforge")]
    url: String,
    /// Which kinds of events: `container.created`, or `container.*`; all where empty.
    #[serde(default)]
    #[schema(value_type = s::EventKinds, example = json!(["container.*", "job.failed"]))]
    kinds: Vec<String>,
    /// Everybody's events; for administrators.
    #[serde(default)]
    all: bool,
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChangeBody {
    /// Where events are POSTed.
    #[serde(default)]
    #[schema(value_type = Option<s::ReceiverUrl>)]
    url: Option<String>,
    /// Which kinds of events.
    #[serde(default)]
    #[schema(value_type = Option<s::EventKinds>)]
    kinds: Option<Vec<String>>,
    /// `active` or `disabled`. One that is made active again is sent what happened meanwhile and is still kept.
    #[serde(default)]
    #[schema(value_type = Option<s::WebhookState>, example = "active")]
    state: Option<String>,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
pub struct WebhookBody {
    /// Its id.
    #[schema(value_type = s::WebhookId)]
    pub id: String,
    /// Where events are POSTed.
    #[schema(value_type = s::ReceiverUrl)]
    pub url: String,
    /// Which kinds of events; all where empty.
    #[schema(value_type = s::EventKinds)]
    pub kinds: Vec<String>,
    /// Whether it gets everybody's events.
    pub all: bool,
    /// `active` or `disabled`.
    #[schema(value_type = s::WebhookState)]
    pub state: &'static str,
    /// When it was made.
    #[schema(value_type = s::Time)]
    pub created_at: String,
    /// Where its deliveries are shown.
    pub deliveries: String,
    /// The secret that requests are signed with; shown at the making alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: Option<String>,
}

/// One event on its way to a webhook.
#[derive(Serialize, ToSchema)]
pub struct DeliveryBody {
    /// Its id, the `webhook-id` of each attempt.
    #[schema(value_type = s::DeliveryId)]
    pub id: String,
    /// The event's id.
    #[schema(value_type = s::EventId)]
    pub event: String,
    /// The event's kind.
    #[schema(value_type = s::EventKind)]
    pub kind: String,
    /// `pending`, `delivered` or `failed`.
    #[schema(value_type = s::DeliveryState)]
    pub state: &'static str,
    /// How often it was tried.
    pub attempts: u32,
    /// The status that the receiver answered last.
    pub status: Option<u16>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was made.
    #[schema(value_type = s::Time)]
    pub created_at: String,
    /// When it is tried next.
    #[schema(value_type = Option<s::Time>)]
    pub next_at: Option<String>,
    /// When it was taken or given up.
    #[schema(value_type = Option<s::Time>)]
    pub ended_at: Option<String>,
}

impl WebhookBody {
    fn of(mount: &str, webhook: &Webhook) -> Self {
        Self {
            id: webhook.id.to_string(),
            url: webhook.target.to_string(),
            kinds: webhook.kinds.patterns().to_vec(),
            all: webhook.everybody,
            state: webhook.state.as_str(),
            created_at: webhook.created_at.to_string(),
            deliveries: format!("{mount}/webhooks/{}/deliveries", webhook.id),
            secret: None,
        }
    }
}

impl DeliveryBody {
    fn of(delivery: &Delivery) -> Self {
        Self {
            id: delivery.id.to_string(),
            event: delivery.event.to_string(),
            kind: delivery.kind.clone(),
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            status: delivery.status,
            error: delivery.error.clone(),
            created_at: delivery.created_at.to_string(),
            next_at: delivery.next_at.map(|t| t.to_string()),
            ended_at: delivery.ended_at.map(|t| t.to_string()),
        }
    }
}

fn kinds(check: &mut Check, patterns: Vec<String>) -> Option<Kinds> {
    check.take("/kinds", Kinds::try_from(patterns))
}

/// Makes a webhook, which is sent what happens from now on: a POST of `{type, timestamp, data}` for each event, signed as
/// Standard Webhooks 1.0 says, repeated for about three days until it is answered 2xx. The secret is shown here alone.
#[utoipa::path(post, operation_id = "webhook_create", path = "/webhooks", tag = "events", request_body = NewWebhookBody, responses(
    (status = 201, description = "The webhook, with its secret", body = WebhookBody)),
    extensions(("x-problems" = json!(["quota-exceeded"]))))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Body<NewWebhookBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let everybody = body.value.all;
    if everybody {
        caller.may(Administer)?;
    }
    let mut check = Check::default();
    let target = check.parse::<Target>("/url", &body.value.url);
    let kinds = kinds(&mut check, body.value.kinds);
    let (target, kinds) = check.finish(target.zip(kinds))?;
    let key = caller.key(body.digest);
    let new = NewWebhook { target, kinds, everybody };
    let (webhook, secret) = state.services.webhook_create(&permit, key.as_ref(), new).await?;
    let mount = caller.context.mount;
    let location = format!("{mount}/webhooks/{}", webhook.id);
    let body = WebhookBody { secret: Some(secret.expose_secret().to_owned()), ..WebhookBody::of(mount, &webhook) };
    Ok(with_location((StatusCode::CREATED, Json(body)).into_response(), &location))
}

/// Which webhooks.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WebhookQuery {
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The user's webhooks, newest first.
#[utoipa::path(get, operation_id = "webhook_list", path = "/webhooks", tag = "events", params(WebhookQuery), responses(
    (status = 200, description = "A page of webhooks", body = Listing<WebhookBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(query): Query<WebhookQuery>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let page = page(&mut check, query.limit, query.after.as_deref(), WebhookId::uuid);
    check.finish(Some(()))?;
    let webhooks = state.services.webhook_list(&caller.may(Read)?, page).await?;
    let items = webhooks.iter().map(|webhook| WebhookBody::of(caller.context.mount, webhook)).collect();
    Ok(listing(&caller.context, items, page.limit, |webhook: &WebhookBody| webhook.id.clone()))
}

/// One webhook.
#[utoipa::path(get, operation_id = "webhook_get", path = "/webhooks/{id}", tag = "events", params(("id" = String, Path, description = "The webhook's id")), responses(
    (status = 200, description = "The webhook", body = WebhookBody)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<WebhookId>,
) -> Result<Response, ApiError> {
    let webhook = state.services.webhook_get(&caller.may(Read)?, id).await?;
    Ok(tagged(webhook.revision, &WebhookBody::of(caller.context.mount, &webhook)))
}

/// Changes where events are sent, which are, and whether.
#[utoipa::path(patch, operation_id = "webhook_update", path = "/webhooks/{id}", tag = "events", params(("id" = String, Path, description = "The webhook's id")), request_body = WebhookChangeBody, responses(
    (status = 200, description = "The webhook as it is now", body = WebhookBody)))]
pub(super) async fn update(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    body: Body<WebhookChangeBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let mut check = Check::default();
    let target = body.value.url.as_deref().and_then(|text| check.parse("/url", text));
    let kinds = body.value.kinds.and_then(|patterns| kinds(&mut check, patterns));
    let to = body
        .value
        .state
        .as_deref()
        .and_then(|word| check.take("/state", WebhookState::parse(word).ok_or("expected active or disabled")));
    check.finish(Some(()))?;
    let change = WebhookChange { target, kinds, state: to };
    let webhook = state.services.webhook_update(&permit, id, change, &caller.seen).await?;
    Ok(tagged(webhook.revision, &WebhookBody::of(caller.context.mount, &webhook)))
}

/// Removes a webhook. What is still on its way to it is not sent.
#[utoipa::path(delete, operation_id = "webhook_delete", path = "/webhooks/{id}", tag = "events", params(("id" = String, Path, description = "The webhook's id")), responses(
    (status = 204, description = "It is gone")))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<WebhookId>,
) -> Result<StatusCode, ApiError> {
    state.services.webhook_delete(&caller.may(Write)?, id, &caller.seen).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which deliveries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryQuery {
    /// Only those in this state: `pending`, `delivered` or `failed`.
    state: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// What became of each event that was to be sent to a webhook, newest first. Kept for a week after the end.
#[utoipa::path(get, operation_id = "delivery_list", path = "/webhooks/{id}/deliveries", tag = "events", params(("id" = String, Path, description = "The webhook's id"), DeliveryQuery), responses(
    (status = 200, description = "A page of deliveries", body = Listing<DeliveryBody>)))]
pub(super) async fn deliveries(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    Query(query): Query<DeliveryQuery>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let page = page(&mut check, query.limit, query.after.as_deref(), DeliveryId::uuid);
    let of_state = query.state.as_deref().and_then(|word| {
        check.take("state", DeliveryState::parse(word).ok_or("expected pending, delivered or failed"))
    });
    check.finish(Some(()))?;
    let deliveries = state.services.webhook_deliveries(&caller.may(Read)?, id, of_state, page).await?;
    let items = deliveries.iter().map(DeliveryBody::of).collect();
    Ok(listing(&caller.context, items, page.limit, |delivery: &DeliveryBody| delivery.id.clone()))
}
