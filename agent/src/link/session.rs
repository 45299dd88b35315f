//! One session: connection, hello, welcome, then a reader and a writer in one task until either ends. The writer asks
//! [`Outbound`] what is due; the reader gives orders to the executor. What must hold: nothing but the hello is said
//! before the welcome, a message that cannot be read is refused by name where it has one, and every way to end is a
//! variant of [`End`].

use super::outbound::{Outbound, finished};
use super::{Link, jitter};
use crate::dial::{DialError, connect};
use crate::identity::IdentityError;
use crate::streams::{Outgoing, Streams};
use dockerforge_protocol::codec::{CodecError, MAX_FRAME, decode, encode};
use dockerforge_protocol::command::{BUILD_LIMITS, LAUNCH_FEATURE};
use dockerforge_protocol::enrolment::SESSION_PATH;
use dockerforge_protocol::handshake::{Hello, Refused, SUPPORTED, Verdict, Welcome};
use dockerforge_protocol::inventory::Heartbeat;
use dockerforge_protocol::message::{FromAgent, ToAgent};
use dockerforge_protocol::report::{Attempt, Outcome, Refusal};
use dockerforge_protocol::spec::{CONTAINER_MOVES, HOST_ACCESS_FEATURE, IMAGE_COPIES};
use dockerforge_protocol::stream::{FEATURE, StreamId, StreamRefusal};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};
use tokio_util::sync::CancellationToken;

/// The websocket upgrade.
const UPGRADE: Duration = Duration::from_secs(10);
/// From the hello to its answer.
const WELCOME: Duration = Duration::from_secs(15);
/// The coordinator pings every 10 s; three that do not come mean that it is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// One batch of messages must leave within this.
const WRITE: Duration = Duration::from_secs(30);
/// Small buffers: an idle session costs little on either side.
const BUFFER: usize = 8 * 1024;
/// Answers that wait to be written; a coordinator that asks faster is not one.
const ANSWERS: usize = 256;
/// Messages of streams that are written before what is due is looked at again.
const STREAM_TURN: usize = 4;
/// A renewal that is not answered is asked for again.
const RENEW_AGAIN: Duration = Duration::from_secs(3600);

/// How a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the agent is stopping")]
    Stopped,
    #[error("no connection")]
    Dial(#[from] DialError),
    #[error("the identity cannot be used")]
    Identity(#[from] IdentityError),
    #[error("the websocket was not opened within {} s", UPGRADE.as_secs())]
    UpgradeTimeout,
    #[error("no answer to the hello within {} s", WELCOME.as_secs())]
    WelcomeTimeout,
    #[error("the coordinator refuses: {} ({:?})", .0.detail, .0.reason)]
    Refused(Refused),
    #[error("the answer to the hello is something else")]
    NoWelcome,
    #[error("the coordinator speaks version {0}, which was not offered")]
    Version(u16),
    #[error("the connection broke")]
    Broken(#[source] Box<tungstenite::Error>),
    #[error("the coordinator closed the connection")]
    Closed,
    #[error("nothing was heard for {} s", SILENCE.as_secs())]
    Silence,
    #[error("nothing could be written for {} s", WRITE.as_secs())]
    Stalled,
    #[error("more is asked than can be answered")]
    Overrun,
}

impl From<tungstenite::Error> for End {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => Self::Closed,
            error => Self::Broken(Box::new(error)),
        }
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// What reader and writer share.
struct Session<'a> {
    link: &'a Link,
    outbound: Mutex<Outbound>,
    answers: Mutex<VecDeque<FromAgent>>,
    streams: Streams,
    wake: Notify,
}

/// One session from dial to end.
pub(super) async fn run(link: &Link, cancel: &CancellationToken, welcomed: &mut bool) -> End {
    let opened = tokio::select! {
        opened = open(link) => opened,
        () = cancel.cancelled() => return End::Stopped,
    };
    let mut socket = match opened {
        Ok(socket) => socket,
        Err(end) => return end,
    };
    let mut outbound = Outbound::default();
    let welcome = tokio::select! {
        welcome = greet(link, &mut socket, &mut outbound) => welcome,
        () = cancel.cancelled() => return End::Stopped,
    };
    let welcome = match welcome {
        Ok(welcome) => welcome,
        Err(end) => return end,
    };
    *welcomed = true;
    tracing::info!(epoch = welcome.epoch, coordinator = welcome.coordinator_version, host = %link.identity.host(), "session is live");
    let (mut sink, stream) = socket.split();
    let (streams, mut outgoing) = Streams::new(link.streams.clone());
    let outbound = Mutex::new(outbound);
    let session = Session { link, outbound, answers: Mutex::new(VecDeque::new()), streams, wake: Notify::new() };
    session.decide(&welcome);
    let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms.max(100)));
    let end = tokio::select! {
        end = session.read(stream) => end,
        end = session.write(&mut sink, heartbeat, &mut outgoing) => end,
        () = cancel.cancelled() => End::Stopped,
    };
    // A close frame is a courtesy: a peer that does not take it is left.
    let _ = tokio::time::timeout(Duration::from_secs(2), sink.close()).await;
    end
}

async fn open(link: &Link) -> Result<Socket, End> {
    let stream = connect(&link.url, link.identity.tls(), link.identity.server_name()?).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(2 * MAX_FRAME)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let request = format!("ws://{}{SESSION_PATH}", link.url.authority());
    let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    let (socket, _) = tokio::time::timeout(UPGRADE, upgrade).await.map_err(|_| End::UpgradeTimeout)??;
    Ok(socket)
}

/// What this agent can beside what its version says. In tests it may be an older one.
fn features() -> Vec<String> {
    fail::fail_point!("agent.link.features", |_| vec![FEATURE.to_owned()]);
    [FEATURE, HOST_ACCESS_FEATURE, IMAGE_COPIES, BUILD_LIMITS, LAUNCH_FEATURE, CONTAINER_MOVES]
        .map(str::to_owned)
        .to_vec()
}

async fn greet(link: &Link, socket: &mut Socket, outbound: &mut Outbound) -> Result<Welcome, End> {
    let (docker, up) = link.observed.docker();
    drop(link.executor.table().refusals());
    let jobs = link.executor.table().held();
    outbound.begin(up);
    for job in &jobs {
        outbound.told(job.attempt);
    }
    let hello = FromAgent::Hello(Hello {
        versions: SUPPORTED,
        cluster: link.identity.cluster(),
        host: link.identity.host(),
        instance: link.identity.instance(),
        boot_id: crate::inventory::usage::boot_id(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: link.hostname.clone(),
        docker,
        capacity: crate::inventory::usage::capacity(),
        slots: link.slots,
        jobs,
        features: features(),
    });
    let answer = async {
        socket.send(Message::Binary(bytes(&hello).unwrap_or_default().into())).await?;
        loop {
            match socket.next().await {
                None | Some(Ok(Message::Close(_))) => return Err(End::Closed),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(Message::Binary(bytes))) => match decode(&bytes) {
                    Ok(ToAgent::Welcome(welcome)) => return Ok(welcome),
                    Ok(ToAgent::Refused(refused)) => return Err(End::Refused(refused)),
                    Ok(_) | Err(_) => return Err(End::NoWelcome),
                },
                Some(Ok(_)) => {}
            }
        }
    };
    let welcome = tokio::time::timeout(WELCOME, answer).await.map_err(|_| End::WelcomeTimeout)??;
    if (SUPPORTED.0..=SUPPORTED.1).contains(&welcome.version) {
        Ok(welcome)
    } else {
        Err(End::Version(welcome.version))
    }
}

/// A message's bytes. One that is too large (an inventory of tens of thousands of containers) is left out, loudly.
fn bytes(message: &FromAgent) -> Option<Vec<u8>> {
    match encode(message) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            tracing::error!(error = crate::report(&error), "a message cannot be sent");
            None
        }
    }
}

impl Session<'_> {
    fn outbound(&self) -> std::sync::MutexGuard<'_, Outbound> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, welcome: &Welcome) {
        for verdict in &welcome.jobs {
            match verdict.verdict {
                Verdict::Continue { log_from } | Verdict::Cancel { log_from } => {
                    self.outbound().wanted(verdict.attempt, log_from);
                }
                Verdict::Forget => self.outbound().gone(verdict.attempt),
            }
            self.link.executor.decide(verdict);
        }
    }

    fn answer(&self, message: FromAgent) -> Result<(), End> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS {
            return Err(End::Overrun);
        }
        answers.push_back(message);
        self.wake.notify_one();
        Ok(())
    }

    async fn read(&self, mut stream: SplitStream<Socket>) -> End {
        loop {
            let message = match tokio::time::timeout(SILENCE, stream.next()).await {
                Err(_) => return End::Silence,
                Ok(None | Some(Ok(Message::Close(_)))) => return End::Closed,
                Ok(Some(Err(error))) => return error.into(),
                Ok(Some(Ok(message))) => message,
            };
            if let Message::Binary(bytes) = message {
                let taken = match decode(&bytes) {
                    Ok(message) => self.take(message),
                    Err(error) => self.refuse(&bytes, &error),
                };
                if let Err(end) = taken {
                    return end;
                }
            }
        }
    }

    fn take(&self, message: ToAgent) -> Result<(), End> {
        let executor = &self.link.executor;
        match message {
            ToAgent::Welcome(_) => tracing::warn!("a second welcome is ignored"),
            ToAgent::Refused(refused) => return Err(End::Refused(refused)),
            ToAgent::Assign(assign) => {
                self.outbound().assigned(assign.attempt);
                executor.assign(assign);
            }
            ToAgent::Cancel { attempt } => {
                if executor.cancel(attempt) {
                    self.outbound().assigned(attempt);
                } else {
                    self.answer(finished(attempt, Outcome::Cancelled, 0))?;
                }
            }
            ToAgent::ResultAck { attempt } => {
                self.outbound().gone(attempt);
                executor.forget(attempt);
            }
            ToAgent::LogAck { attempt, upto } => {
                self.outbound().log_acked(attempt, upto);
                self.wake.notify_one();
            }
            ToAgent::Certificate { certificate } => match self.link.identity.renew(&certificate) {
                Ok(()) => tracing::info!("the certificate was renewed"),
                Err(error) => tracing::error!(error = crate::report(&error), "the renewed certificate is not usable"),
            },
            ToAgent::OpenStream { stream, request } => {
                if let Some(refusal) = self.streams.open(stream, request) {
                    self.answer(refusal)?;
                }
            }
            ToAgent::StreamData { stream, piece } => self.streams.data(stream, piece),
            ToAgent::StreamCredit { stream, more } => self.streams.credit(stream, more),
            ToAgent::ResizeTerminal { stream, size } => self.streams.resize(stream, size),
            ToAgent::StreamEnd { stream, .. } => self.streams.end(stream),
        }
        Ok(())
    }

    /// A message that cannot be read: an assignment is refused by name, another is said in the log.
    fn refuse(&self, bytes: &[u8], error: &CodecError) -> Result<(), End> {
        #[derive(Deserialize)]
        struct Loose {
            t: String,
            attempt: Option<Attempt>,
            command: Option<LooseCommand>,
            stream: Option<StreamId>,
        }
        #[derive(Deserialize)]
        struct LooseCommand {
            r#do: String,
        }
        let error = crate::report(error);
        match decode::<Loose>(bytes) {
            Ok(Loose { t, attempt: Some(attempt), command, .. }) if t == "assign" => {
                let command = command.map_or_else(|| "(no name)".to_owned(), |c| c.r#do);
                tracing::warn!(job = %attempt.job, command, error, "a command cannot be read; refused");
                self.answer(FromAgent::NotTaken { attempt, refusal: Refusal::Unsupported { command } })
            }
            Ok(Loose { t, stream: Some(stream), .. }) if t == "open_stream" => {
                tracing::warn!(error, "a stream of a kind that is not known is asked for; refused");
                self.answer(FromAgent::StreamRefused { stream, refusal: StreamRefusal::Unsupported })
            }
            Ok(Loose { t, .. }) => {
                tracing::warn!(message = t, error, "a message cannot be read; ignored");
                Ok(())
            }
            Err(_) => {
                tracing::warn!(error, "what came is not a message of this protocol; ignored");
                Ok(())
            }
        }
    }

    async fn write(&self, sink: &mut SplitSink<Socket, Message>, heartbeat: Duration, streams: &mut Outgoing) -> End {
        let observed = &self.link.observed;
        let mut next_heartbeat = Instant::now();
        let mut renew_at = self.link.identity.renew_at();
        loop {
            let mut batch: Vec<FromAgent> =
                self.answers.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
            if Instant::now() >= next_heartbeat {
                next_heartbeat = Instant::now() + jitter::tenth(heartbeat);
                batch.push(FromAgent::Heartbeat(self.heartbeat()));
                if crate::executor::now_us() / 1_000_000 >= renew_at {
                    renew_at += i64::try_from(RENEW_AGAIN.as_secs()).unwrap_or(i64::MAX);
                    match self.link.identity.renewal_request() {
                        Ok(csr) => batch.push(FromAgent::Renew { csr }),
                        Err(error) => {
                            tracing::error!(error = crate::report(&error), "the certificate cannot be renewed");
                        }
                    }
                }
            }
            batch.append(&mut self.outbound().due(self.link));
            // Last of all, and few: whatever becomes due meanwhile overtakes the rest.
            for _ in 0..STREAM_TURN {
                let Ok(message) = streams.try_recv() else { break };
                batch.push(message);
            }
            if batch.is_empty() {
                let message = tokio::select! {
                    message = streams.recv() => message,
                    () = self.wake.notified() => None,
                    () = self.link.executor.table().changed() => None,
                    () = observed.changed() => None,
                    () = tokio::time::sleep_until(next_heartbeat.into()) => None,
                };
                match message {
                    Some(message) => batch.push(message),
                    None => continue,
                }
            }
            let sent = async {
                for message in batch {
                    if let Some(bytes) = bytes(&message) {
                        sink.feed(Message::Binary(bytes.into())).await?;
                    }
                }
                sink.flush().await
            };
            match tokio::time::timeout(WRITE, sent).await {
                Err(_) => return End::Stalled,
                Ok(Err(error)) => return error.into(),
                Ok(Ok(())) => {}
            }
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        let observed = &self.link.observed;
        Heartbeat {
            docker_ping_age_ms: Some(u64::try_from(observed.ping_age().as_millis()).unwrap_or(u64::MAX)),
            running_jobs: u32::try_from(self.link.executor.table().in_work()).unwrap_or(u32::MAX),
            usage: crate::inventory::usage::usage(observed.running()),
            clock_us: crate::executor::now_us(),
        }
    }
}
