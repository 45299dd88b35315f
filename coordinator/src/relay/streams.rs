//! The open streams of one session, and what the session still has to say for them. It queues no messages: the session's
//! writer asks what is due, after everything that is more urgent.

use super::reader::Reader;
use dockerforge_protocol::message::{FromAgent, ToAgent};
use dockerforge_protocol::stream::{
    FEATURE, Piece, StreamEnd, StreamId, StreamRefusal, StreamRequest, TerminalSize, Window,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Streams that a session has at most.
const MOST: usize = 64;

/// The streams of a session. Clones are the same.
#[derive(Clone, Default)]
pub struct Streams {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    due: Notify,
}

#[derive(Default)]
pub(super) struct Table {
    /// What the agent said that it can; of [`FEATURE`] depends whether it knows of streams at all.
    features: Vec<String>,
    closed: bool,
    last: u64,
    slots: BTreeMap<StreamId, Slot>,
}

/// One stream.
pub(super) struct Slot {
    // Down, until it is said.
    request: Option<StreamRequest>,
    pub(super) input: VecDeque<Piece>,
    most: u64,
    credit: u64,
    pub(super) size: Option<TerminalSize>,
    give: u64,
    end: Option<StreamEnd>,
    pub(super) left: bool,
    // Up, until it is taken.
    pub(super) answer: Option<Result<(), NotOpened>>,
    pub(super) received: VecDeque<Piece>,
    window: Window,
    pub(super) over: Option<Over>,
    taken: Instant,
    pub(super) changed: Arc<Notify>,
}

/// How a stream ended, as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// The agent said so.
    Said(StreamEnd),
    /// The session ended, or the reader took nothing for too long.
    Lost,
}

/// Why there is no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// The session is over.
    #[error("the session with the host is over")]
    Offline,
    /// The agent does not know of streams, or not of such a one.
    #[error("the host's agent is too old for this")]
    Incapable,
    /// The agent did not answer in time.
    #[error("the host's agent did not answer in time")]
    Unanswered,
    /// The agent refused, or the session has as many streams as it may.
    #[error("the host's agent refused")]
    Refused(StreamRefusal),
}

impl Streams {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent said that it can this.
    pub fn allow(&self, features: &[String]) {
        self.table().features = features.to_vec();
    }

    /// Whether the agent can be asked for this.
    #[must_use]
    pub fn know(&self, request: &StreamRequest) -> bool {
        self.table().knows(request)
    }

    /// Asks for a stream; the answer comes to the reader.
    ///
    /// # Errors
    /// It is known already that there will be none.
    pub fn open(&self, request: StreamRequest) -> Result<Reader, NotOpened> {
        let mut table = self.table();
        if table.closed {
            return Err(NotOpened::Offline);
        }
        if !table.knows(&request) {
            return Err(NotOpened::Incapable);
        }
        if table.slots.len() >= MOST {
            return Err(NotOpened::Refused(StreamRefusal::TooMany));
        }
        table.last += 1;
        let id = StreamId(table.last);
        let changed = Arc::new(Notify::new());
        let window = request.window();
        let slot = Slot {
            request: Some(request),
            input: VecDeque::new(),
            most: window,
            credit: window,
            size: None,
            give: 0,
            end: None,
            left: false,
            answer: None,
            received: VecDeque::new(),
            window: Window::of(window),
            over: None,
            taken: Instant::now(),
            changed: Arc::clone(&changed),
        };
        table.slots.insert(id, slot);
        drop(table);
        self.shared.due.notify_one();
        Ok(Reader::new(self.clone(), id, changed))
    }

    /// Returns when something may be due. For the session's writer alone.
    pub async fn wait(&self) {
        self.shared.due.notified().await;
    }

    pub(super) fn wake(&self) {
        self.shared.due.notify_one();
    }

    /// What is due to be said, at most so many messages. If it is that many there may be more, and [`Streams::wait`] returns
    /// at once.
    #[must_use]
    pub fn due(&self, limit: usize) -> Vec<ToAgent> {
        let mut messages = Vec::new();
        let mut table = self.table();
        table.slots.retain(|id, slot| if messages.len() < limit { slot.due(*id, limit, &mut messages) } else { true });
        drop(table);
        if messages.len() >= limit {
            self.shared.due.notify_one();
        }
        messages
    }

    /// Takes what the agent says of streams, and gives back what is about something else. What is said of a stream that is
    /// over already means nothing.
    #[must_use]
    pub fn hear(&self, message: FromAgent) -> Option<FromAgent> {
        let mut table = self.table();
        let mut with = |id: StreamId, act: &mut dyn FnMut(&mut Slot)| {
            if let Some(slot) = table.slots.get_mut(&id).filter(|slot| slot.over.is_none()) {
                act(slot);
                slot.changed.notify_waiters();
            }
        };
        let mut broken = false;
        match message {
            FromAgent::StreamOpened { stream } => with(stream, &mut |slot| slot.answer = Some(Ok(()))),
            FromAgent::StreamRefused { stream, refusal } => with(stream, &mut |slot| {
                slot.answer = Some(Err(NotOpened::Refused(refusal.clone())));
                slot.over = Some(Over::Lost);
            }),
            FromAgent::StreamData { stream, piece } => with(stream, &mut |slot| {
                if slot.received.is_empty() {
                    slot.taken = Instant::now();
                }
                if slot.window.arrived(&piece).is_ok() {
                    slot.received.push_back(piece.clone());
                } else {
                    slot.over = Some(Over::Said(StreamEnd::Protocol));
                    slot.end = Some(StreamEnd::Protocol);
                    broken = true;
                }
            }),
            FromAgent::StreamCredit { stream, more } => with(stream, &mut |slot| {
                slot.credit = slot.credit.saturating_add(more).min(slot.most);
                broken = true;
            }),
            FromAgent::StreamEnd { stream, end } => with(stream, &mut |slot| {
                slot.over = Some(Over::Said(end.clone()));
            }),
            other => return Some(other),
        }
        drop(table);
        if broken {
            self.shared.due.notify_one();
        }
        None
    }

    /// Ends the streams whose reader has taken nothing for so long although there was something.
    pub fn cut(&self, patience: Duration) {
        let mut cut = false;
        for slot in self.table().slots.values_mut() {
            if slot.over.is_none() && !slot.received.is_empty() && slot.taken.elapsed() >= patience {
                slot.received.clear();
                slot.over = Some(Over::Lost);
                slot.end = Some(StreamEnd::Left);
                slot.changed.notify_waiters();
                cut = true;
            }
        }
        if cut {
            self.shared.due.notify_one();
        }
    }

    /// The session is over, and its streams with it.
    pub fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        for slot in table.slots.values_mut() {
            slot.over.get_or_insert(Over::Lost);
            slot.changed.notify_waiters();
        }
    }
}

impl Table {
    fn knows(&self, request: &StreamRequest) -> bool {
        let can = |name: &str| self.features.iter().any(|known| known == name);
        can(FEATURE) && request.feature().is_none_or(can)
    }

    pub(super) fn slot(&mut self, id: StreamId) -> Option<&mut Slot> {
        self.slots.get_mut(&id)
    }

    /// Forgets a stream that nobody has to be told about.
    pub(super) fn forget(&mut self, id: StreamId) {
        let quiet = |slot: &Slot| self.closed || slot.request.is_some() || (slot.over.is_some() && slot.end.is_none());
        if self.slots.get(&id).is_some_and(quiet) {
            self.slots.remove(&id);
        }
    }
}

impl Slot {
    /// What this stream has to say; whether it stays.
    fn due(&mut self, stream: StreamId, limit: usize, messages: &mut Vec<ToAgent>) -> bool {
        if let Some(request) = self.request.take() {
            messages.push(ToAgent::OpenStream { stream, request });
        }
        if let Some(end) = self.end.take() {
            messages.push(ToAgent::StreamEnd { stream, end });
            self.over.get_or_insert(Over::Lost);
        }
        if self.left {
            if self.over.is_none() {
                messages.push(ToAgent::StreamEnd { stream, end: StreamEnd::Left });
            }
            return false;
        }
        if self.over.is_some() {
            return true;
        }
        if self.give > 0 {
            messages.push(ToAgent::StreamCredit { stream, more: std::mem::take(&mut self.give) });
        }
        if let Some(size) = self.size.take() {
            messages.push(ToAgent::ResizeTerminal { stream, size });
        }
        while messages.len() < limit
            && let Some(piece) = self.affordable()
        {
            self.credit -= piece.cost();
            messages.push(ToAgent::StreamData { stream, piece });
            self.changed.notify_waiters();
        }
        true
    }

    /// The next piece for which there is credit.
    fn affordable(&mut self) -> Option<Piece> {
        if self.input.front()?.cost() <= self.credit { self.input.pop_front() } else { None }
    }

    /// The next piece for the reader; whether the agent is to be told that there is room.
    pub(super) fn take(&mut self) -> Option<(Piece, bool)> {
        let piece = self.received.pop_front()?;
        self.taken = Instant::now();
        let more = self.window.taken(&piece);
        self.give += more.unwrap_or_default();
        Some((piece, more.is_some()))
    }
}
