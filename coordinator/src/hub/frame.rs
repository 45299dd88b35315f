//! What comes over an agent's websocket, before it is a message of the protocol. Read by the handshake and by the session.

use super::SessionEnd;
use axum::Error;
use axum::extract::ws::Message;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// What came from the agent, as far as the websocket goes.
pub(super) enum Frame {
    /// A message, still encoded.
    Message(Bytes),
    /// A ping or a pong, which the library answers by itself: it lives.
    Life,
}

/// The next frame that means something.
pub(super) async fn next_frame<S>(stream: &mut S) -> Result<Frame, SessionEnd>
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    match stream.next().await {
        Some(Ok(Message::Binary(bytes))) => Ok(Frame::Message(bytes)),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(Frame::Life),
        Some(Ok(Message::Text(_))) => Err(SessionEnd::NotBinary),
        Some(Ok(Message::Close(frame))) => {
            let (code, reason) = frame.map_or((1005, String::new()), |frame| (frame.code, frame.reason.to_string()));
            Err(SessionEnd::PeerClosed { code, reason })
        }
        Some(Err(error)) => Err(SessionEnd::of_socket(error)),
        None => Err(SessionEnd::PeerGone),
    }
}
