//! One connection of an agent, from the upgraded websocket to its end: one task that reads and writes at once. Started
//! by the routes.
//!
//! What must hold: neither direction waits for the other (two peers that both wait to write would wait for ever); a
//! stalled reader upstream stops the reading of the socket and nothing else; every end is logged once and told to the
//! agent where it can hear; the socket is closed within `HubConfig::farewell` of the decision.

use super::end::{SessionEnd, close_code};
use super::frame::{Frame, next_frame};
use super::handle::{Inbox, SessionHandle};
use super::handshake::shake_hands;
use super::registry::Place;
use super::{Hub, HubConfig, Peer};
use crate::relay::Streams;
use axum::Error;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use dockerforge_protocol::codec;
use dockerforge_protocol::handshake::{Refused, Welcome};
use dockerforge_protocol::message::{FromAgent, ToAgent};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

/// Messages written before one flush: enough to fill a few packets, and no more memory than needed.
const BATCH: usize = 32;
/// Messages of streams that are written before anything else is looked at again.
const STREAM_TURN: usize = 4;
/// A reader of a stream that takes nothing for so long, although there is something, is cut.
const READER: Duration = Duration::from_secs(60);

/// Runs a connection to its end.
pub(super) async fn run(
    hub: Hub,
    mut socket: WebSocket,
    peer: Peer,
    remote: SocketAddr,
    place: Place,
    mut outbound: mpsc::Receiver<Box<ToAgent>>,
) {
    let since = Instant::now();
    let session = &place.handle;
    let stop = hub.inner.tasks.token();
    let end = tokio::select! {
        why = session.told_to_close() => SessionEnd::Closed(why),
        () = stop.cancelled() => SessionEnd::ShuttingDown,
        () = certificate_end(&peer) => SessionEnd::CertificateEnded,
        end = converse(&hub, &mut socket, &peer, remote, session, &mut outbound) => end,
    };
    // From here on nobody finds the session; its inbox closed with `converse`.
    session.end();
    report(session, &peer, remote, since.elapsed(), &end);
    if let Some(last_word) = end.last_word() {
        // It is dropped anyway; a peer that does not answer the closing frame in time gets no more of it.
        let _ = timeout(hub.inner.config.farewell, farewell(&mut socket, last_word)).await;
    }
}

/// The conversation itself: returns when it cannot go on.
async fn converse(
    hub: &Hub,
    socket: &mut WebSocket,
    peer: &Peer,
    remote: SocketAddr,
    session: &SessionHandle,
    outbound: &mut mpsc::Receiver<Box<ToAgent>>,
) -> SessionEnd {
    // Boxed: it is over soon, and its memory with it.
    let (welcome, inbox) = match Box::pin(shake_hands(hub, socket, peer, remote, session)).await {
        Ok(shaken) => shaken,
        Err(end) => return end,
    };
    hub.inner.registry.welcome(session, welcome.epoch);
    tracing::info!(host = %peer.host, session = session.id(), epoch = welcome.epoch, remote = %remote, "agent connected");
    let config = &hub.inner.config;
    let (mut sink, mut stream) = socket.split();
    tokio::select! {
        end = listen(&mut stream, &inbox, session.streams(), config.silence) => end,
        end = speak(&mut sink, welcome, outbound, session.streams(), ping_period(config, session.id())) => end,
    }
}

/// Hands on what the agent says.
async fn listen<S>(stream: &mut S, inbox: &Inbox, streams: &Streams, silence: Duration) -> SessionEnd
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    // One timer for the session, moved only when it fires: setting it at each message costs more than the message.
    let alarm = sleep(silence);
    tokio::pin!(alarm);
    let mut heard = Instant::now();
    loop {
        let frame = tokio::select! {
            frame = next_frame(stream) => frame,
            () = &mut alarm => {
                if heard.elapsed() >= silence {
                    return SessionEnd::Silent;
                }
                alarm.as_mut().reset(heard + silence);
                continue;
            }
        };
        let (message, bytes) = match frame {
            Ok(Frame::Life) => {
                heard = Instant::now();
                continue;
            }
            Ok(Frame::Message(bytes)) => match codec::decode(&bytes) {
                Ok(FromAgent::Hello(_)) => return SessionEnd::HelloRepeated,
                Ok(message) => (message, bytes.len()),
                Err(error) => return SessionEnd::Undecodable(error),
            },
            Err(end) => return end,
        };
        // What is said of streams never waits behind reports: its own credit bounds it.
        if let Some(message) = streams.hear(message)
            && inbox.put(message, bytes).await.is_err()
        {
            return SessionEnd::Unheard;
        }
        // After the wait for room in the inbox: while the socket is not read, the agent is not the silent one.
        heard = Instant::now();
    }
}

/// Writes the welcome, then what is queued, and a ping now and then.
async fn speak<S>(
    sink: &mut S,
    welcome: Welcome,
    outbound: &mut mpsc::Receiver<Box<ToAgent>>,
    streams: &Streams,
    period: Duration,
) -> SessionEnd
where
    S: Sink<Message, Error = Error> + Unpin,
{
    let talk = async {
        sink.send(frame(&ToAgent::Welcome(welcome))?).await.map_err(SessionEnd::of_socket)?;
        let mut pings = interval_at(Instant::now() + period, period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                // What is about jobs overtakes what is about streams.
                biased;
                // Never 0: the session's own handle keeps the channel open.
                _ = outbound.recv_many(&mut batch, BATCH) => {
                    for message in batch.drain(..) {
                        sink.feed(frame(&message)?).await.map_err(SessionEnd::of_socket)?;
                    }
                    sink.flush().await.map_err(SessionEnd::of_socket)?;
                }
                _ = pings.tick() => {
                    sink.send(Message::Ping(Bytes::new())).await.map_err(SessionEnd::of_socket)?;
                    streams.cut(READER);
                }
                () = streams.wait() => {
                    for message in streams.due(STREAM_TURN) {
                        sink.feed(frame(&message)?).await.map_err(SessionEnd::of_socket)?;
                    }
                    sink.flush().await.map_err(SessionEnd::of_socket)?;
                }
            }
        }
    };
    let never: Result<std::convert::Infallible, SessionEnd> = talk.await;
    match never {
        Err(end) => end,
    }
}

fn frame(message: &ToAgent) -> Result<Message, SessionEnd> {
    codec::encode(message).map(|bytes| Message::Binary(bytes.into())).map_err(SessionEnd::Unencodable)
}

/// Tells the agent why, and closes the websocket as both sides should.
async fn farewell(socket: &mut WebSocket, last_word: Refused) -> Result<(), Error> {
    let close = CloseFrame { code: close_code(last_word.reason), reason: "".into() };
    if let Ok(bytes) = codec::encode(&ToAgent::Refused(last_word)) {
        socket.feed(Message::Binary(bytes.into())).await?;
    }
    socket.send(Message::Close(Some(close))).await?;
    // A socket that is closed with unread bytes is reset, and the reset overtakes what the peer has not read yet.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

/// Returns when the peer's certificate ends.
async fn certificate_end(peer: &Peer) {
    let left = peer.not_after.saturating_sub(Timestamp::now().as_microsecond());
    sleep_until(Instant::now() + Duration::from_micros(u64::try_from(left).unwrap_or(0))).await;
}

/// The session's own period within ±10 % of the configured one, so that sessions that began together drift apart.
fn ping_period(config: &HubConfig, session: u64) -> Duration {
    // The golden ratio's multiples spread evenly over the unit interval, however many there are.
    let spread = (session % 100_000).wrapping_mul(61_803) % 100_000;
    config.ping * 9 / 10 + config.ping / 5 * u32::try_from(spread).unwrap_or(0) / 100_000
}

/// Logs the end, once.
fn report(session: &SessionHandle, peer: &Peer, remote: SocketAddr, lasted: Duration, end: &SessionEnd) {
    let cause = std::error::Error::source(end).map(|cause| format!("{cause:?}"));
    let (host, epoch, seconds) = (peer.host, session.epoch(), lasted.as_secs_f64());
    if end.is_usual() {
        tracing::info!(%host, session = session.id(), epoch, %remote, seconds, why = %end, cause, "session ended");
    } else {
        tracing::warn!(%host, session = session.id(), epoch, %remote, seconds, why = %end, cause, "session ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_periods_stay_within_a_tenth_and_differ() {
        let config = HubConfig::default();
        let periods: Vec<Duration> = (1..=1000).map(|session| ping_period(&config, session)).collect();
        let (least, most) = (periods.iter().min().unwrap(), periods.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(9) && *most <= Duration::from_secs(11), "{least:?} {most:?}");
        assert!(*most > *least + Duration::from_millis(1900), "{least:?} {most:?}");
    }
}
