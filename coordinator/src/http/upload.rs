//! A request's body that is taken as it comes, for handlers of what is too large to hold. A connection that is closed
//! with unread bytes is reset, and the answer that says why is lost with it; so what is not wanted is still taken for a
//! while, beside the answer.

use crate::tasks::Tasks;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How much of an unwanted body is taken.
const MAX_DISCARDED: usize = 256 * 1024 * 1024;
/// For how long.
const DISCARDING: Duration = Duration::from_secs(5);

/// Whether a media type is that of an archive.
pub(super) fn is_archive(kind: Option<&str>) -> bool {
    matches!(kind, Some("application/x-tar" | "application/gzip" | "application/x-gzip" | "application/tar+gzip"))
}

/// A body that is being taken.
pub(super) struct Upload {
    body: BodyDataStream,
    size: Option<u64>,
    /// Whether the sender waits to be told that it is wanted (RFC 9110, 10.1.1), and has not been told yet.
    held_back: bool,
    ended: bool,
}

impl Upload {
    /// A request's body.
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Self {
        let size = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let held_back = headers.contains_key(header::EXPECT);
        Self { body: body.into_data_stream(), size, held_back, ended: false }
    }

    /// How many bytes it has, where the sender says so.
    pub(super) const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Takes what is left and drops it, within bounds, while the request is answered.
    pub(super) fn discard(mut self, tasks: &Tasks) {
        if self.ended || self.held_back {
            return;
        }
        let stop = tasks.token();
        tasks.spawn("discard", async move {
            let mut left = MAX_DISCARDED;
            let rest = async {
                while let Some(Ok(piece)) = self.next().await {
                    left = left.saturating_sub(piece.len());
                    if left == 0 {
                        return;
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tokio::time::timeout(DISCARDING, rest) => {}
            }
        });
    }
}

impl Stream for Upload {
    type Item = Result<Bytes, axum::Error>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Whoever looks at the body is who tells the sender to go on.
        self.held_back = false;
        let polled = self.body.poll_next_unpin(context);
        self.ended |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }
}
