//! A job's log on its way to the person: as plain text from an offset, and live as a stream of events that resumes
//! after a disconnect. Used by `follow` and by `job log`.
//!
//! What must hold: [`Position`] moves only after its bytes were shown, and what is shown begins at it; so a log that was
//! interrupted anywhere goes on without a byte lost or doubled.

use super::{client::Client, error::CliError, sse};
use futures_util::StreamExt;

/// How far a log was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The offset of the first byte that was not shown.
    pub offset: u64,
}

impl Position {
    /// A log of which the bytes before this one are not wanted.
    pub(super) const fn at(offset: u64) -> Self {
        Self { offset }
    }
}

/// How a stream of a log ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The job is over and its log is complete.
    Over,
    /// The stream broke off; the log goes on.
    BrokeOff,
}

/// Where a log's bytes go.
pub(super) type Show<'a> = dyn FnMut(&[u8]) -> Result<(), CliError> + Send + 'a;

/// Shows what there is of a log now, from the position on, as plain text: exact even where it is not UTF-8.
pub(super) async fn read(
    client: &Client,
    job: &str,
    position: &mut Position,
    show: &mut Show<'_>,
) -> Result<(), CliError> {
    loop {
        let from = position.offset;
        let query = [("offset", from.to_string())];
        let response = client.open(&path(job), &query, "text/plain", None).await?;
        let next = response.headers().get("dockerforge-log-next").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let mut body = response.bytes_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|e| client.lost(e))?;
            show(&piece)?;
            position.offset += piece.len() as u64;
        }
        // The server gives as much as it likes at a time, and says where it stopped.
        if position.offset == from || next.is_none_or(|next| next <= from) {
            return Ok(());
        }
    }
}

/// Shows a log live, from the position on, until it ends or breaks off.
pub(super) async fn stream(
    client: &Client,
    job: &str,
    position: &mut Position,
    show: &mut Show<'_>,
) -> Result<Ended, CliError> {
    let seen = (position.offset > 0).then(|| position.offset.to_string());
    let response = client.open(&path(job), &[], "text/event-stream", seen.as_deref()).await?;
    let mut body = response.bytes_stream();
    let mut parser = sse::Parser::default();
    while let Some(piece) = body.next().await {
        let Ok(piece) = piece else { return Ok(Ended::BrokeOff) };
        let events = parser.feed(&piece).map_err(|sse::TooLarge| CliError::NotUnderstood {
            url: path(job),
            reason: "an event of the log is too large".to_owned(),
        })?;
        for event in events {
            match event.name.as_str() {
                "log" => {
                    let text: String = serde_json::from_slice(&event.data).map_err(|_| CliError::NotUnderstood {
                        url: path(job),
                        reason: "an event of the log is not a JSON string".to_owned(),
                    })?;
                    let end = event.id.and_then(|id| id.parse().ok());
                    let end = end.unwrap_or(position.offset + text.len() as u64);
                    // What was shown before a disconnect may come once more.
                    if end > position.offset {
                        show(text.as_bytes())?;
                        position.offset = end;
                    }
                }
                "end" => return Ok(Ended::Over),
                _ => {}
            }
        }
    }
    Ok(Ended::BrokeOff)
}

fn path(job: &str) -> String {
    format!("/queue/{job}/log")
}
