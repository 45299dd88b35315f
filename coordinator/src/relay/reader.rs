//! Whoever wanted a stream: takes its pieces, types into its terminal, and ends it by being dropped.

use super::streams::{NotOpened, Over, Slot, Streams};
use dockerforge_protocol::stream::{MAX_PIECE, Piece, StreamEnd, StreamId, TerminalSize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long an agent may take to open a stream: it asks Docker first.
const ANSWER: Duration = Duration::from_secs(30);
/// Pieces that may wait to be sent to the agent.
const WAITING: usize = 4;
/// Bytes that are sent in one piece: what holds them has to fit, too.
const PIECE: usize = (MAX_PIECE / 2) as usize;

/// See the module.
pub struct Reader {
    streams: Streams,
    id: StreamId,
    changed: Arc<Notify>,
}

/// What a stream brings.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece.
    Piece(Piece),
    /// Its end, as the agent told it.
    End(StreamEnd),
}

/// The session ended, or the reader was too slow. What was not read is to be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream broke off")]
pub struct Lost;

impl Reader {
    pub(super) fn new(streams: Streams, id: StreamId, changed: Arc<Notify>) -> Self {
        Self { streams, id, changed }
    }

    /// Looks until there is an answer; looked at again whenever the stream has changed.
    async fn until<T>(&self, mut look: impl FnMut(&mut Slot) -> Option<T>) -> Option<T> {
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            // Registered before the look.
            notified.as_mut().enable();
            if let Some(found) = look(self.streams.table().slot(self.id)?) {
                return Some(found);
            }
            notified.await;
        }
    }

    /// Waits until the stream is open.
    ///
    /// # Errors
    /// It is not opened.
    pub async fn opened(&self) -> Result<(), NotOpened> {
        let answer = self.until(|slot| match (&slot.answer, &slot.over) {
            (Some(answer), _) => Some(answer.clone()),
            (None, Some(_)) => Some(Err(NotOpened::Offline)),
            (None, None) => None,
        });
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(answer) => answer.unwrap_or(Err(NotOpened::Offline)),
            Err(_) => Err(NotOpened::Unanswered),
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// The stream broke off.
    pub async fn next(&self) -> Result<Event, Lost> {
        let mut give = false;
        let event = self
            .until(|slot| {
                if let Some((piece, more)) = slot.take() {
                    give = more;
                    return Some(Ok(Event::Piece(piece)));
                }
                slot.over.clone().map(|over| match over {
                    Over::Said(end) => Ok(Event::End(end)),
                    Over::Lost => Err(Lost),
                })
            })
            .await;
        if give {
            self.streams.wake();
        }
        event.unwrap_or(Err(Lost))
    }

    /// Sends bytes to the program behind the stream, once there is room for them.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), Lost> {
        for piece in bytes.chunks(PIECE) {
            let mut piece = Some(Piece::Bytes { bytes: piece.to_vec() });
            let sent = self.until(|slot| {
                if slot.over.is_some() {
                    return Some(Err(Lost));
                }
                if slot.input.len() >= WAITING {
                    return None;
                }
                slot.input.extend(piece.take());
                Some(Ok(()))
            });
            sent.await.unwrap_or(Err(Lost))?;
            self.streams.wake();
        }
        Ok(())
    }

    /// Gives the terminal behind the stream another size. Of several that are not sent yet, the last counts.
    pub fn resize(&self, size: TerminalSize) {
        if let Some(slot) = self.streams.table().slot(self.id) {
            slot.size = Some(size);
        }
        self.streams.wake();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut table = self.streams.table();
        if let Some(slot) = table.slot(self.id) {
            slot.left = true;
            slot.received.clear();
            slot.input.clear();
        }
        table.forget(self.id);
        drop(table);
        self.streams.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockerforge_protocol::ids::ContainerId;
    use dockerforge_protocol::message::{FromAgent, ToAgent};
    use dockerforge_protocol::stream::{FEATURE, StatsRequest, StreamRequest, WINDOW};

    fn request() -> StreamRequest {
        StreamRequest::Stats(StatsRequest { container: ContainerId::new(), interval: None })
    }

    fn streams() -> Streams {
        let streams = Streams::default();
        streams.allow(&[FEATURE.to_owned()]);
        streams
    }

    fn bytes(length: usize) -> Piece {
        Piece::Bytes { bytes: vec![0; length] }
    }

    #[tokio::test]
    async fn an_agent_that_does_not_know_of_streams_is_not_asked() {
        let streams = Streams::default();
        assert_eq!(streams.open(request()).map(drop), Err(NotOpened::Incapable));
        assert_eq!(streams.due(10), []);
    }

    #[tokio::test]
    async fn what_comes_is_read_and_credit_goes_back_as_it_is() {
        let streams = streams();
        let reader = streams.open(request()).unwrap();
        let stream = StreamId(1);
        assert!(matches!(streams.due(10)[..], [ToAgent::OpenStream { stream: StreamId(1), .. }]));
        assert_eq!(streams.hear(FromAgent::StreamOpened { stream }), None);
        reader.opened().await.unwrap();
        for _ in 0..8 {
            assert_eq!(streams.hear(FromAgent::StreamData { stream, piece: bytes(30_000) }), None);
        }
        assert_eq!(streams.due(10), [], "nothing was taken yet");
        for _ in 0..3 {
            assert_eq!(reader.next().await, Ok(Event::Piece(bytes(30_000))));
        }
        assert!(matches!(streams.due(10)[..], [ToAgent::StreamCredit { more, .. }] if more >= WINDOW / 4));
        drop(reader);
        assert_eq!(streams.due(10), [ToAgent::StreamEnd { stream, end: StreamEnd::Left }]);
        assert_eq!(streams.due(10), []);
    }

    #[tokio::test]
    async fn an_agent_that_sends_more_than_it_has_credit_for_loses_the_stream() {
        let streams = streams();
        let reader = streams.open(request()).unwrap();
        let stream = StreamId(1);
        let _ = streams.due(10);
        for _ in 0..9 {
            let _ = streams.hear(FromAgent::StreamData { stream, piece: bytes(30_000) });
        }
        assert_eq!(streams.due(10), [ToAgent::StreamEnd { stream, end: StreamEnd::Protocol }]);
        drop(reader);
        assert_eq!(streams.due(10), []);
    }

    #[tokio::test]
    async fn what_is_typed_waits_for_credit_and_no_more_than_a_few_pieces_wait() {
        let streams = streams();
        let reader = streams.open(request()).unwrap();
        let typed = vec![7; 1024 * 1024];
        let sent = tokio::time::timeout(Duration::from_millis(100), reader.send(&typed)).await;
        assert!(sent.is_err(), "it waits");
        let mut cost = 0;
        for message in streams.due(100) {
            if let ToAgent::StreamData { piece, .. } = message {
                cost += piece.cost();
            }
        }
        assert!(cost > 0 && cost <= u64::try_from(WAITING * (PIECE + 64)).unwrap());
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_cut_and_the_end_of_the_session_ends_all() {
        let streams = streams();
        let (slow, other) = (streams.open(request()).unwrap(), streams.open(request()).unwrap());
        let _ = streams.due(10);
        let _ = streams.hear(FromAgent::StreamData { stream: StreamId(1), piece: bytes(10) });
        streams.cut(Duration::ZERO);
        assert_eq!(slow.next().await, Err(Lost));
        assert_eq!(streams.due(10), [ToAgent::StreamEnd { stream: StreamId(1), end: StreamEnd::Left }]);
        streams.close();
        assert_eq!(other.next().await, Err(Lost));
        assert_eq!(streams.open(request()).map(drop), Err(NotOpened::Offline));
    }
}
