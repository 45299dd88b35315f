//! What a delivery carries: `{type, timestamp, data}` as Standard Webhooks 1.0 asks; `data` is the event as `/events`
//! shows it.

use crate::domain::event::Happened;
use serde_json::json;

/// The body of an event's deliveries.
pub(super) fn of(event: &Happened) -> String {
    let at = event.at.to_string();
    let data = json!({
        "id": event.id.to_string(),
        "kind": event.kind,
        "at": at,
        "user": event.user.to_string(),
        "resource": {"kind": event.resource.as_str(), "id": event.resource_name()},
        "detail": event.detail,
    });
    json!({"type": event.kind, "timestamp": at, "data": data}).to_string()
}
