//! The two ends of a session that others hold: [`SessionHandle`] to say something to the agent or to end it, and
//! [`Inbound`] to hear it. Dispatch gets both in a [`super::Knock`]; the registry keeps a handle of each connection.
//!
//! What must hold: no method of a handle waits for the agent, and a session that does not keep up is ended, not waited
//! for. The first reason to close is the one that the agent is told.

use super::refused;
use crate::relay::Streams;
use dockerforge_protocol::codec::MAX_FRAME;
use dockerforge_protocol::handshake::{Refused, RefusedReason};
use dockerforge_protocol::ids::HostId;
use dockerforge_protocol::message::{FromAgent, ToAgent};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// The epoch of a session that is not welcomed yet. Real ones begin at 1.
const NO_EPOCH: u64 = 0;

/// A session with an agent. Clones are the same session; holding one does not keep it open.
#[derive(Clone)]
pub struct SessionHandle {
    shared: Arc<Shared>,
}

struct Shared {
    id: u64,
    host: HostId,
    epoch: AtomicU64,
    // Boxed, because a channel sets aside room for 32 messages at once: 256 bytes a session instead of 12 KiB.
    outbound: mpsc::Sender<Box<ToAgent>>,
    why: OnceLock<Refused>,
    closing: CancellationToken,
    closed: CancellationToken,
    streams: Streams,
}

/// The session is over, or ends because it did not keep up; the message was not sent. Nothing is lost by it: whatever
/// matters is said again at the next session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session with the agent is over")]
pub struct SessionGone;

impl SessionHandle {
    /// A handle, and what its session writes to the agent.
    pub(super) fn new(id: u64, host: HostId, outbound: usize) -> (Self, mpsc::Receiver<Box<ToAgent>>) {
        let (sender, receiver) = mpsc::channel(outbound);
        let shared = Shared {
            id,
            host,
            epoch: AtomicU64::new(NO_EPOCH),
            outbound: sender,
            why: OnceLock::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            streams: Streams::default(),
        };
        (Self { shared: Arc::new(shared) }, receiver)
    }

    /// The host at the other end.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.shared.host
    }

    /// The session's number among the host's, from the [`Welcome`](dockerforge_protocol::handshake::Welcome); 0 before.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Acquire)
    }

    /// The connection's number in this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The streams that are open over the session.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.shared.streams
    }

    /// Queues a message; never waits. A queue that is full ends the session, because the agent does not keep up.
    ///
    /// # Errors
    /// The session is over or ending.
    pub fn send(&self, message: ToAgent) -> Result<(), SessionGone> {
        if self.shared.closing.is_cancelled() {
            return Err(SessionGone);
        }
        self.shared.outbound.try_send(Box::new(message)).map_err(|error| {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                self.close(refused(RefusedReason::Timeout, "the agent does not take what it is sent"));
            }
            SessionGone
        })
    }

    /// Ends the session: the agent is told why, if it listens, and the socket is closed within 2 s. Of several calls
    /// the first counts.
    pub fn close(&self, why: Refused) {
        // Set before it is announced, so that whoever sees the announcement finds the reason.
        let _ = self.shared.why.set(why);
        self.shared.closing.cancel();
    }

    /// Whether the session is over or about to be.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closing.is_cancelled() || self.shared.closed.is_cancelled()
    }

    /// Returns when the socket is closed.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Returns why the session is to end, once somebody closes it.
    pub(super) async fn told_to_close(&self) -> Refused {
        self.shared.closing.cancelled().await;
        let why = self.shared.why.get().cloned();
        why.unwrap_or_else(|| refused(RefusedReason::Unavailable, "the session was closed"))
    }

    /// Whether the session has its epoch and may be used.
    pub(super) fn is_live(&self) -> bool {
        self.epoch() != NO_EPOCH && !self.is_closed()
    }

    /// Gives the session its epoch.
    pub(super) fn welcome(&self, epoch: u64) {
        self.shared.epoch.store(epoch, Ordering::Release);
    }

    /// The session ended by itself: nothing can be sent from here on, though the socket may not be closed yet.
    pub(super) fn end(&self) {
        self.shared.closing.cancel();
        self.shared.streams.close();
    }

    /// The socket is closed.
    pub(super) fn mark_closed(&self) {
        self.end();
        self.shared.closed.cancel();
    }
}

impl std::fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("SessionHandle");
        debug.field("id", &self.id()).field("host", &self.host()).field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

/// What an agent says after its hello, in order. While nobody takes it the socket is not read.
#[derive(Debug)]
pub struct Inbound(mpsc::Receiver<Box<Queued>>);

/// The session's end of an [`Inbound`].
pub(super) struct Inbox {
    queue: mpsc::Sender<Box<Queued>>,
    room: Arc<Semaphore>,
}

/// A message that waits to be taken, and the room that it takes.
#[derive(Debug)]
struct Queued {
    message: FromAgent,
    _room: OwnedSemaphorePermit,
}

/// Bytes of messages, as they came, that may wait in one inbox: two of the largest. A bound on their number alone would
/// let the owner of a host fill the coordinator with large ones.
const INBOX_BYTES: usize = 2 * MAX_FRAME;

impl Inbox {
    /// Queues a message that came as so many bytes, once there is room.
    ///
    /// # Errors
    /// Nobody takes messages any more.
    pub(super) async fn put(&self, message: FromAgent, bytes: usize) -> Result<(), SessionGone> {
        let size = u32::try_from(bytes.min(INBOX_BYTES)).map_err(|_| SessionGone)?;
        let room = Arc::clone(&self.room).acquire_many_owned(size);
        let room = tokio::select! {
            room = room => room.map_err(|_| SessionGone)?,
            () = self.queue.closed() => return Err(SessionGone),
        };
        self.queue.send(Box::new(Queued { message, _room: room })).await.map_err(|_| SessionGone)
    }
}

impl Inbound {
    /// An inbox and its other end.
    pub(super) fn new(capacity: usize) -> (Inbox, Self) {
        let (queue, receiver) = mpsc::channel(capacity);
        (Inbox { queue, room: Arc::new(Semaphore::new(INBOX_BYTES)) }, Self(receiver))
    }

    /// The next message; `None` when the session is over and all that it said was taken.
    pub async fn recv(&mut self) -> Option<FromAgent> {
        self.0.recv().await.map(|queued| queued.message)
    }

    /// Waits for a message, and takes those that are there then, at most `limit`. Answers how many were appended; 0
    /// when the session is over and all that it said was taken.
    pub async fn recv_many(&mut self, messages: &mut Vec<FromAgent>, limit: usize) -> usize {
        let mut queued = Vec::new();
        let taken = self.0.recv_many(&mut queued, limit).await;
        messages.extend(queued.into_iter().map(|queued| queued.message));
        taken
    }

    /// The next message if it is there already.
    pub fn try_recv(&mut self) -> Option<FromAgent> {
        self.0.try_recv().ok().map(|queued| queued.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockerforge_protocol::inventory::Inventory;

    #[tokio::test]
    async fn an_inbox_is_bounded_by_bytes_and_by_number() {
        let message = || FromAgent::Inventory(Inventory::default());
        let full = async |inbox: &Inbox, bytes| {
            let put = inbox.put(message(), bytes);
            tokio::time::timeout(std::time::Duration::from_millis(20), put).await.is_err()
        };
        let (inbox, mut inbound) = Inbound::new(4);
        inbox.put(message(), MAX_FRAME).await.unwrap();
        inbox.put(message(), MAX_FRAME).await.unwrap();
        assert!(full(&inbox, 1).await, "of bytes");
        inbound.recv().await.unwrap();
        for _ in 0..3 {
            inbox.put(message(), 1).await.unwrap();
        }
        assert!(full(&inbox, 1).await, "of messages");
        drop(inbound);
        assert_eq!(inbox.put(message(), 1).await, Err(SessionGone));
    }

    #[tokio::test]
    async fn an_inbox_that_waits_for_room_sees_that_nobody_listens() {
        let (inbox, inbound) = Inbound::new(4);
        inbox.put(FromAgent::Inventory(Inventory::default()), INBOX_BYTES).await.unwrap();
        let (put, ()) = tokio::join!(inbox.put(FromAgent::Inventory(Inventory::default()), 1), async {
            tokio::task::yield_now().await;
            drop(inbound);
        });
        assert_eq!(put, Err(SessionGone));
    }
}
