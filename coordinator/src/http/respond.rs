//! Answers that many routes share: lists with cursors, and where something is.

use super::Context;
use crate::domain::page::Found;
use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// One page of a list, newest first.
#[derive(Serialize, ToSchema)]
pub struct Listing<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What to send as `after` for the next page; `null` if this is the last. With several filters a page may have fewer rows
    /// than its `limit`, or none, and a next one all the same.
    pub next: Option<String>,
}

/// Answers a page; a full one may have another after it.
pub(super) fn listing<T: Serialize>(
    context: &Context,
    items: Vec<T>,
    limit: u32,
    cursor: impl Fn(&T) -> String,
) -> Response {
    page(context, Found { items, stopped: None::<String> }, limit, cursor)
}

/// Answers a page of a list that is looked through in pieces: one that is not full may have another after it, too.
pub(super) fn page<T: Serialize, C: ToString>(
    context: &Context,
    found: Found<T, C>,
    limit: u32,
    cursor: impl Fn(&T) -> String,
) -> Response {
    let Found { items, stopped } = found;
    let full = (items.len() >= limit as usize).then(|| items.last().map(cursor)).flatten();
    let next = full.or_else(|| stopped.map(|stopped| stopped.to_string()));
    let link = next.as_ref().and_then(|next| HeaderValue::from_str(&context.next_link(next)).ok());
    let mut response = Json(Listing { items, next }).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// A header's value; what cannot be one is left out.
pub(super) fn with_location(mut response: Response, location: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}
