//! `/events`: what happened, as a page or live. A live reader that falls behind is caught up from the store; nothing is
//! buffered for it.

use super::State;
use super::auth::while_signed_in;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Query, last_event_id};
use super::respond::Listing;
use crate::access::{Administer, Read};
use crate::domain::event::{Happened, Kinds};
use crate::domain::page::Page;
use crate::events::{FeedError, Watcher};
use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::UserId;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Something that happened.
#[derive(Serialize, ToSchema)]
pub struct EventBody {
    /// Its place in the order of all events.
    #[schema(value_type = s::EventId, example = "4711")]
    pub id: String,
    /// What: `<resource>.<what happened>`.
    #[schema(value_type = s::EventKind, example = "container.created")]
    pub kind: String,
    /// When, RFC 3339.
    #[schema(value_type = s::Time)]
    pub at: String,
    /// To whom it matters.
    #[schema(value_type = s::UserId)]
    pub user: String,
    /// To what it happened.
    pub resource: EventResourceBody,
    /// More about it, in words.
    pub detail: Option<String>,
}

/// To what something happened.
#[derive(Serialize, ToSchema)]
pub struct EventResourceBody {
    /// The kind of thing.
    #[schema(value_type = s::ThingKind, example = "container")]
    pub kind: &'static str,
    /// Its id. The thing may be gone by now.
    pub id: String,
}

impl EventBody {
    pub(super) fn of(event: &Happened) -> Self {
        Self {
            id: event.id.to_string(),
            kind: event.kind.clone(),
            at: event.at.to_string(),
            user: event.user.to_string(),
            resource: EventResourceBody { kind: event.resource.as_str(), id: event.resource_name() },
            detail: event.detail.clone(),
        }
    }
}

/// The id of an event: a number that is not negative.
struct EventId(i64);

impl FromStr for EventId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().filter(|id| *id >= 0).map(Self).ok_or("expected the id of an event: a number")
    }
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Only those after this one. A live stream begins with what happens from now on where nothing is said, a page with
    /// the oldest event that is kept.
    after: Option<String>,
    /// Only these kinds, separated by commas: `container.created`, or `container.*`.
    kind: Option<String>,
    /// Everybody's; for administrators.
    #[serde(default)]
    all: bool,
    /// Rows of a page: 1 to 200, 50 where absent. A page may hold fewer and have another after it, where kinds are named.
    limit: Option<u32>,
}

/// What happened, oldest first; or, with `Accept: text/event-stream`, live: each event under its kind's name with its id,
/// with which `Last-Event-ID` goes on. The first one, `ready`, says from where on the stream tells.
#[utoipa::path(get, operation_id = "event_list", path = "/events", tag = "events", params(EventQuery), responses(
    (status = 200, description = "A page of events; `next` is where to go on, also from the last page", content((Listing<EventBody> = "application/json"), (String = "text/event-stream")))),
    extensions(("x-problems" = json!(["events-forgotten"]))))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let user: Option<UserId> =
        if query.all { caller.may(Administer).map(|_| None)? } else { Some(caller.may(Read)?.user()) };
    let mut check = Check::default();
    let after = query.after.as_deref().map(|text| check.parse::<EventId>("after", text));
    let kinds = query.kind.as_deref().unwrap_or_default();
    let kinds = Kinds::try_from(kinds.split(',').filter(|k| !k.is_empty()).map(str::to_owned).collect::<Vec<_>>());
    let kinds = check.take("kind", kinds);
    let limit = query.limit.unwrap_or(Page::DEFAULT);
    if !(1..=Page::MAX).contains(&limit) {
        check.refuse("limit", format!("expected 1 to {}", Page::MAX));
    }
    let last = last_event_id::<EventId>(&mut check, &headers);
    let kinds = check.finish(kinds)?;
    let (after, last) = (after.flatten().map(|e| e.0), last.map(|e| e.0));
    let accepts = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        let watcher = state.feed.watch(user, last.or(after)).await?;
        return Ok(live(&state, &caller, watcher, kinds));
    }
    let events = state.feed.page(user, after.unwrap_or(0), limit).await?;
    let next = events.last().map_or_else(|| after.unwrap_or(0), |event| event.id).to_string();
    let items: Vec<EventBody> = events.iter().filter(|e| kinds.take(&e.kind)).map(EventBody::of).collect();
    Ok(Json(Listing { items, next: Some(next) }).into_response())
}

fn live(state: &State, caller: &Caller, watcher: Watcher, kinds: Kinds) -> Response {
    let ready = Event::default().event("ready").id(watcher.at().to_string()).data("{}");
    let stop = state.stop.clone();
    let rest = stream::unfold((watcher, kinds), move |(mut watcher, kinds)| {
        let stop = stop.clone();
        async move {
            loop {
                let event = tokio::select! {
                    // The reader resumes where it was, here or elsewhere.
                    () = stop.cancelled() => return None,
                    event = watcher.next() => event,
                };
                match event {
                    Ok(event) if !kinds.take(&event.kind) => {}
                    Ok(event) => {
                        let told = Event::default().event(&event.kind).id(event.id.to_string());
                        let told = told.json_data(EventBody::of(&event)).ok()?;
                        return Some((Ok::<_, Infallible>(told), (watcher, kinds)));
                    }
                    Err(error) => {
                        if let FeedError::Store(error) = &error {
                            tracing::warn!(error = error as &dyn std::error::Error, "a stream of events broke off");
                        }
                        return None;
                    }
                }
            }
        }
    });
    let events = while_signed_in(state, &caller.principal, stream::iter([Ok(ready)]).chain(rest));
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}
