//! The agent port: accepts connections, does the TLS handshake within its time, and serves HTTP on what comes out of
//! it. Run by `app` as a task. Each request carries its [`Conversation`], the remote address (as axum's `ConnectInfo`)
//! and, if the client showed a certificate, its [`Peer`].
//!
//! What must hold: a connection that has not proved who it is has a place only while there is one, and only for a short
//! time; a handler finds a [`Peer`] exactly where TLS verified a certificate.

use super::io::Impatient;
use super::{Conversation, Peer};
use crate::pki::{PeerError, ServerTls};
use crate::tasks::Tasks;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::Acceptor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

/// The times and counts of the port.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the accepted connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// Connections that have not proved who they are: in the TLS handshake, or enrolling. Beyond it the next ones wait
    /// in the kernel's queue, so that a fleet that comes back at once is served in turn and not turned away.
    pub unauthenticated: usize,
    /// From a connection's readiness for a request to the end of the request's header.
    pub header: Duration,
    /// The whole life of an enrolment's connection.
    pub enrolment: Duration,
    /// Machines that fetch the agent at the same time; the next one is hung up on, and asks again.
    pub installs: usize,
    /// The whole life of the connection of one.
    pub install: Duration,
    /// How long a write may make no progress.
    pub write: Duration,
    /// For requests in work when the port closes.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            unauthenticated: 1000,
            header: Duration::from_secs(15),
            enrolment: Duration::from_secs(30),
            installs: 64,
            install: Duration::from_secs(300),
            write: Duration::from_secs(10),
            drain: Duration::from_secs(5),
        }
    }
}

/// The wait after a failed accept: with no file descriptor left it fails at once, again and again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A TLS alert, `no_application_protocol` (RFC 7301 section 3.2), as the record that goes out before any key is
/// agreed: type alert, version 1.2 as RFC 8446 section 5.1 writes it, two bytes, fatal, 120.
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// hyper's smallest buffer, bytes; its default grows to 400 KiB.
const HTTP_BUFFER: usize = 8 * 1024;

/// Why a connection was not served.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the TLS handshake took too long")]
    HandshakeLate,
    #[error("the TLS handshake failed")]
    Handshake(#[source] std::io::Error),
    #[error("the client offers no protocol of this port")]
    NoProtocol,
    #[error("the client's certificate is of no use here")]
    Peer(#[source] PeerError),
    #[error("the client showed no certificate")]
    NoCertificate,
    #[error("the enrolment took too long")]
    EnrolmentLate,
    #[error("too many fetch the agent")]
    Installs,
    #[error("fetching the agent took too long")]
    InstallLate,
    #[error("the HTTP conversation failed")]
    Http(#[source] hyper::Error),
}

/// What all connections share.
struct Port {
    tls: Arc<ServerTls>,
    router: Router,
    limits: Limits,
    installs: Semaphore,
    tasks: Tasks,
}

type Stream = TlsStream<Impatient<TcpStream>>;

/// Serves the agent port until the tasks are told to stop, then lets requests in work end. Websockets are not waited
/// for here: the hub drains them.
pub async fn serve(listener: TcpListener, tls: Arc<ServerTls>, router: Router, limits: Limits, tasks: Tasks) {
    let places = Arc::new(Semaphore::new(limits.unauthenticated));
    let stop = tasks.token();
    let installs = Semaphore::new(limits.installs);
    let port = Arc::new(Port { tls, router, limits, installs, tasks });
    let accepting = async {
        loop {
            // Closed by nobody, so this never fails.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, remote)) => {
                    let connection = connection(Arc::clone(&port), stream, remote, place);
                    port.tasks.spawn("agent connection", connection);
                }
                Err(error) => {
                    tracing::warn!(error = %error, "cannot accept on the agent port");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
    }
}

async fn connection(port: Arc<Port>, stream: TcpStream, remote: SocketAddr, place: OwnedSemaphorePermit) {
    if let Err(error) = attend(&port, stream, remote, place).await {
        // Anybody can reach the port, so this is no news.
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::debug!(%remote, why = %error, cause, "agent port connection ended");
    }
}

async fn attend(
    port: &Port,
    stream: TcpStream,
    remote: SocketAddr,
    place: OwnedSemaphorePermit,
) -> Result<(), ConnectionError> {
    // Small messages both ways; a failure here shows at the first read.
    let _ = stream.set_nodelay(true);
    let stream = Impatient::new(stream, port.limits.write);
    let stop = port.tasks.token();
    let handshake = timeout(port.limits.handshake, handshake(&port.tls, stream));
    let (conversation, stream) = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        done = handshake => done.map_err(|_| ConnectionError::HandshakeLate)??,
    };
    match conversation {
        Conversation::Session => {
            let peer = peer(&stream)?;
            drop(place);
            serve_http(port, stream, conversation, Some(peer), remote).await
        }
        Conversation::Install => {
            // Places of their own: whoever fetches slowly keeps nobody from enrolling.
            let _fetches = port.installs.try_acquire().map_err(|_| ConnectionError::Installs)?;
            drop(place);
            let http = serve_http(port, stream, conversation, None, remote);
            timeout(port.limits.install, http).await.map_err(|_| ConnectionError::InstallLate)?
        }
        Conversation::Enrol => {
            let http = serve_http(port, stream, conversation, None, remote);
            let result = timeout(port.limits.enrolment, http).await;
            drop(place);
            result.map_err(|_| ConnectionError::EnrolmentLate)?
        }
    }
}

/// The TLS handshake, by what the client offers.
async fn handshake(tls: &ServerTls, stream: Impatient<TcpStream>) -> Result<(Conversation, Stream), ConnectionError> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(ConnectionError::Handshake)?;
    let Some((conversation, config)) = tls.choose(&start.client_hello()) else {
        let mut stream = start.io;
        stream.write_all(&NO_APPLICATION_PROTOCOL).await.map_err(ConnectionError::Handshake)?;
        return Err(ConnectionError::NoProtocol);
    };
    let stream = start.into_stream(config).await.map_err(ConnectionError::Handshake)?;
    Ok((conversation, stream))
}

/// Who the client is, by the certificate that TLS verified.
fn peer(stream: &Stream) -> Result<Peer, ConnectionError> {
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = certificates.first().ok_or(ConnectionError::NoCertificate)?;
    Peer::of(certificate).map_err(ConnectionError::Peer)
}

/// Serves HTTP/1.1 on an established connection, until it ends or becomes a websocket.
async fn serve_http(
    port: &Port,
    stream: Stream,
    conversation: Conversation,
    peer: Option<Peer>,
    remote: SocketAddr,
) -> Result<(), ConnectionError> {
    let router = port.router.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(conversation);
        extensions.insert(ConnectInfo(remote));
        if let Some(peer) = &peer {
            extensions.insert(peer.clone());
        }
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(port.limits.header)
        .max_buf_size(HTTP_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let stop = port.tasks.token();
    tokio::select! {
        result = connection.as_mut() => return result.map_err(ConnectionError::Http),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // What is not done by then is cut off by the end of the process.
    timeout(port.limits.drain, connection).await.unwrap_or(Ok(())).map_err(ConnectionError::Http)
}
