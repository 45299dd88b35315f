//! The first words: an agent's hello within its time, checked against its certificate, then the knock and its answer.
//! Run by the session's task before anything else.
//!
//! What must hold: nobody upstream hears of an agent whose hello does not fit its certificate.

use super::end::SessionEnd;
use super::frame::{Frame, next_frame};
use super::handle::{Inbound, Inbox, SessionHandle};
use super::{Hub, Knock, Peer};
use axum::extract::ws::WebSocket;
use dockerforge_protocol::codec;
use dockerforge_protocol::handshake::{Hello, SUPPORTED, Version, Welcome, negotiate};
use dockerforge_protocol::message::FromAgent;
use std::net::SocketAddr;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Brings a connection to its welcome, which is not sent yet.
pub(super) async fn shake_hands(
    hub: &Hub,
    socket: &mut WebSocket,
    peer: &Peer,
    remote: SocketAddr,
    session: &SessionHandle,
) -> Result<(Welcome, Inbox), SessionEnd> {
    let config = &hub.inner.config;
    let hello = timeout(config.hello, hello(socket)).await.map_err(|_| SessionEnd::HelloLate)??;
    let version = check(&hello, peer)?;
    session.streams().allow(&hello.features);

    let (inbox, inbound) = Inbound::new(config.inbound);
    let (answer, answered) = oneshot::channel();
    let knock = Knock { peer: peer.clone(), remote, hello, version, session: session.clone(), inbound, answer };
    let decision = async {
        hub.inner.knocks.send(knock).await.map_err(|_| SessionEnd::NotAnswered)?;
        answered.await.map_err(|_| SessionEnd::NotAnswered)?.map_err(SessionEnd::TurnedAway)
    };
    let welcome = timeout(config.answer, decision).await.map_err(|_| SessionEnd::NotAnswered)??;
    Ok((welcome, inbox))
}

/// The first message, which must be a hello.
async fn hello(socket: &mut WebSocket) -> Result<Hello, SessionEnd> {
    loop {
        match next_frame(socket).await? {
            Frame::Life => {}
            Frame::Message(bytes) => {
                return match codec::decode(&bytes).map_err(SessionEnd::Undecodable)? {
                    FromAgent::Hello(hello) => Ok(hello),
                    _ => Err(SessionEnd::HelloMissing),
                };
            }
        }
    }
}

/// What both speak, if the hello is of who the certificate says.
fn check(hello: &Hello, peer: &Peer) -> Result<Version, SessionEnd> {
    if (hello.cluster, hello.host) != (peer.cluster, peer.host) {
        return Err(SessionEnd::WrongIdentity);
    }
    negotiate(SUPPORTED, hello.versions).ok_or(SessionEnd::NoCommonVersion(hello.versions))
}
