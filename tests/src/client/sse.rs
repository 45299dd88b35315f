//! A live stream as its reader sees it (server-sent events, WHATWG HTML, 9.2).

use super::Api;
use futures_util::StreamExt;
use reqwest::Method;
use std::{pin::Pin, time::Duration};

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub event: String,
    /// Its id.
    pub id: String,
    /// Its text; of an event `log` what its JSON string stands for.
    pub data: String,
}

type Pieces = Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>;

/// An open stream.
pub struct Events {
    pieces: Pieces,
    unread: Vec<u8>,
}

impl Events {
    /// Opens a stream, from after an event if one is named.
    ///
    /// # Panics
    /// If the answer is no stream.
    pub async fn open(api: &Api, path: &str, last_event_id: Option<&str>) -> Self {
        let mut call = api.call(Method::GET, path).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            call = call.header("last-event-id", id);
        }
        let response = call.stream().await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream", "{path}");
        Self { pieces: Box::pin(response.bytes_stream()), unread: Vec::new() }
    }

    /// The next event; nothing when the stream has ended or broken off.
    ///
    /// # Panics
    /// If neither comes within a minute.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.take_event() {
                return Some(event);
            }
            let piece = tokio::time::timeout(Duration::from_secs(60), self.pieces.next()).await;
            match piece.expect("an event within a minute") {
                Some(Ok(piece)) => self.unread.extend_from_slice(&piece),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Takes one event off what was read, if it is whole. Comments, which keep the connection alive, are skipped.
    fn take_event(&mut self) -> Option<Event> {
        let end = self.unread.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.unread.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&block).into_owned();
        let mut event = Event::default();
        let mut data: Vec<&str> = Vec::new();
        for line in text.trim_end_matches('\n').split(['\n', '\r']) {
            match line.split_once(':').map(|(field, value)| (field, value.strip_prefix(' ').unwrap_or(value))) {
                Some(("event", value)) => value.clone_into(&mut event.event),
                Some(("id", value)) => value.clone_into(&mut event.id),
                Some(("data", value)) => data.push(value),
                _ => {}
            }
        }
        event.data = data.join("\n");
        if event.event == "log" {
            // A job's is a JSON string; a container's is an object, which is read where it is looked at.
            match serde_json::from_str(&event.data).expect("JSON") {
                serde_json::Value::String(text) => event.data = text,
                other => assert!(other.is_object(), "{other}"),
            }
        }
        if event.event.is_empty() { self.take_event() } else { Some(event) }
    }
}
