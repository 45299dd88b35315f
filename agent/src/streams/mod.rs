//! Streams over a session: logs, figures and terminals of containers, for somebody who looks now, and parts of images and volumes for
//! other hosts. The link makes one [`Streams`] a session, gives it what the coordinator says of streams, and sends what it
//! says. What must hold: a stream is of a container or an image of ours, the host owner's policy stands above it, no more is buffered than the credit of both sides, and
//! all of it ends with the session.

mod blob;
mod ending;
mod logs;
mod open;
mod stats;
mod terminal;
mod volume;

use crate::docker::Engine;
use crate::exports::Exports;
use crate::policy::Policy;
use crate::tasks::Tasks;
use crate::volumes::Carriers;
use dockerforge_protocol::ids::ClusterId;
use dockerforge_protocol::message::FromAgent;
use dockerforge_protocol::stream::{Piece, StreamEnd, StreamId, StreamRefusal, StreamRequest, TerminalSize, Window};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Streams that a session has at most.
const MOST: usize = 64;
/// Messages of all streams that wait to be written.
const QUEUE: usize = 8;
/// Pieces that wait for one terminal: more than their credit allows, so that it is the credit that counts.
const INPUT: usize = 4096;

/// What streams work with.
#[derive(Clone)]
pub struct Settings {
    /// Whose labels mark what is ours.
    pub cluster: ClusterId,
    /// The Docker Engine.
    pub engine: Arc<dyn Engine>,
    /// Images on their way to other hosts.
    pub exports: Exports,
    /// What makes volumes accessible.
    pub carriers: Carriers,
    /// What the host's owner allows.
    pub policy: Policy,
    /// What the streams run in.
    pub tasks: Tasks,
}

/// The streams of one session. Dropping it ends them.
pub struct Streams {
    settings: Settings,
    out: mpsc::Sender<FromAgent>,
    table: Table,
    all: CancellationToken,
}

/// What the session writes for its streams, in order.
pub type Outgoing = mpsc::Receiver<FromAgent>;

type Table = Arc<Mutex<BTreeMap<StreamId, Slot>>>;

/// The reader's half of a stream.
struct Slot {
    most: usize,
    credit: Arc<Semaphore>,
    window: Arc<Mutex<Window>>,
    input: mpsc::Sender<Input>,
    cancel: CancellationToken,
}

/// What comes down for a terminal.
enum Input {
    Bytes(Piece),
    Size(TerminalSize),
}

/// The task's half of a stream.
struct Stream {
    id: StreamId,
    out: mpsc::Sender<FromAgent>,
    credit: Arc<Semaphore>,
    window: Arc<Mutex<Window>>,
    input: Option<mpsc::Receiver<Input>>,
    cancel: CancellationToken,
}

/// The session is over, or nobody wants the stream any more.
struct Gone;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streams {
    /// No streams yet, and where what they say comes out.
    #[must_use]
    pub fn new(settings: Settings) -> (Self, Outgoing) {
        let (out, outgoing) = mpsc::channel(QUEUE);
        let all = settings.tasks.child();
        (Self { settings, out, table: Table::default(), all }, outgoing)
    }

    /// Opens a stream; an answer that is known at once is given back.
    #[must_use]
    pub fn open(&self, id: StreamId, request: StreamRequest) -> Option<FromAgent> {
        let mut table = locked(&self.table);
        if table.len() >= MOST || table.contains_key(&id) {
            return Some(FromAgent::StreamRefused { stream: id, refusal: StreamRefusal::TooMany });
        }
        if let Err(detail) = self.settings.policy.allows_stream(&request) {
            return Some(FromAgent::StreamRefused { stream: id, refusal: StreamRefusal::Policy { detail } });
        }
        let (input, receiver) = mpsc::channel(INPUT);
        let most = usize::try_from(request.window()).unwrap_or(usize::MAX);
        let credit = Arc::new(Semaphore::new(most));
        let window = Arc::new(Mutex::new(Window::of(request.window())));
        let cancel = self.all.child_token();
        let slot =
            Slot { most, credit: Arc::clone(&credit), window: Arc::clone(&window), input, cancel: cancel.clone() };
        table.insert(id, slot);
        let stream = Stream { id, out: self.out.clone(), credit, window, input: Some(receiver), cancel };
        let (settings, table) = (self.settings.clone(), Arc::clone(&self.table));
        self.settings.tasks.spawn("stream", async move {
            open::run(&settings, stream, request).await;
            locked(&table).remove(&id);
        });
        None
    }

    /// A piece came for a stream. One that is over is not there any more, and what still comes for it means nothing.
    pub fn data(&self, id: StreamId, piece: Piece) {
        let table = locked(&self.table);
        let Some(slot) = table.get(&id) else { return };
        let fits = locked(&slot.window).arrived(&piece).is_ok() && matches!(piece, Piece::Bytes { .. });
        if !fits || slot.input.try_send(Input::Bytes(piece)).is_err() {
            tracing::warn!(stream = id.0, "more was sent to a stream than it has credit for");
            slot.cancel.cancel();
        }
    }

    /// A terminal has another size. One that takes nothing in keeps the size it has.
    pub fn resize(&self, id: StreamId, size: TerminalSize) {
        if let Some(slot) = locked(&self.table).get(&id) {
            let _ = slot.input.try_send(Input::Size(size));
        }
    }

    /// More may be sent.
    pub fn credit(&self, id: StreamId, more: u64) {
        if let Some(slot) = locked(&self.table).get(&id) {
            let room = slot.most.saturating_sub(slot.credit.available_permits());
            slot.credit.add_permits(usize::try_from(more).unwrap_or(usize::MAX).min(room));
        }
    }

    /// Nobody wants the stream any more.
    pub fn end(&self, id: StreamId) {
        if let Some(slot) = locked(&self.table).get(&id) {
            slot.cancel.cancel();
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.all.cancel();
    }
}

impl Stream {
    async fn say(&self, message: FromAgent) -> Result<(), Gone> {
        self.out.send(message).await.map_err(|_| Gone)
    }

    async fn opened(&self) -> Result<(), Gone> {
        self.say(FromAgent::StreamOpened { stream: self.id }).await
    }

    /// Sends a piece once there is credit for it.
    async fn send(&self, piece: Piece) -> Result<(), Gone> {
        let cost = u32::try_from(piece.cost()).map_err(|_| Gone)?;
        self.credit.acquire_many(cost).await.map_err(|_| Gone)?.forget();
        self.say(FromAgent::StreamData { stream: self.id, piece }).await
    }

    /// A piece that came was passed on.
    async fn taken(&self, piece: &Piece) -> Result<(), Gone> {
        let more = locked(&self.window).taken(piece);
        match more {
            Some(more) => self.say(FromAgent::StreamCredit { stream: self.id, more }).await,
            None => Ok(()),
        }
    }

    async fn refuse(&self, refusal: StreamRefusal) {
        let _ = self.say(FromAgent::StreamRefused { stream: self.id, refusal }).await;
    }

    async fn over(&self, end: StreamEnd) {
        let _ = self.say(FromAgent::StreamEnd { stream: self.id, end }).await;
    }
}
