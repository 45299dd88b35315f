//! Fetches a build context from the coordinator, over a connection of its own with the agent's certificate. The
//! executor reads it as a stream straight into Docker. What must hold: memory stays flat, and a context that is not the
//! one that was named fails the stream at its end, so that Docker does not take it for whole.

use crate::config::CoordinatorUrl;
use crate::dial::connect;
use crate::docker::ContextStream;
use crate::executor::{ContextError, Contexts};
use crate::identity::Identity;
use bytes::Bytes;
use dockerforge_protocol::command::ContextRef;
use dockerforge_protocol::enrolment::CONTEXT_PATH;
use dockerforge_protocol::ids::JobId;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Until the first byte of the answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two pieces.
const SILENCE: Duration = Duration::from_secs(60);

/// Contexts from the coordinator.
pub struct CoordinatorContexts {
    /// Where the coordinator is.
    pub url: CoordinatorUrl,
    /// Who asks.
    pub identity: Arc<Identity>,
}

impl Contexts for CoordinatorContexts {
    fn open<'a>(&'a self, job: JobId, context: &'a ContextRef) -> BoxFuture<'a, Result<ContextStream, ContextError>> {
        async move {
            let failed = |error: &dyn std::error::Error| {
                ContextError(format!("the build context cannot be fetched: {}", crate::report(error)))
            };
            let name = self.identity.server_name().map_err(|e| failed(&e))?;
            let stream = connect(&self.url, self.identity.tls(), name).await.map_err(|e| failed(&e))?;
            let exchange = async {
                let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
                    .handshake(TokioIo::new(stream))
                    .await
                    .map_err(|e| failed(&e))?;
                let request = Request::get(format!("{CONTEXT_PATH}/{job}"))
                    .header("host", self.url.authority())
                    .body(Empty::<Bytes>::new())
                    .map_err(|e| failed(&e))?;
                let mut connection: Connection = Box::pin(connection);
                let mut answer = std::pin::pin!(sender.send_request(request));
                // A short answer may come with the end of the connection, in one and the same poll.
                tokio::select! {
                    biased;
                    response = &mut answer => Ok((response.map_err(|e| failed(&e))?, Some(connection))),
                    _ = &mut connection => Ok((answer.await.map_err(|e| failed(&e))?, None)),
                }
            };
            let (response, connection) = tokio::time::timeout(ANSWER, exchange).await.map_err(|e| failed(&e))??;
            let status = response.status();
            let mut driven = Driven { body: response.into_body(), connection };
            if status != StatusCode::OK {
                let mut words = Vec::new();
                while let Some(Ok(bytes)) = driven.next().await {
                    words.extend_from_slice(&bytes);
                    if words.len() > 4096 {
                        break;
                    }
                }
                let words = String::from_utf8_lossy(&words);
                return Err(ContextError(format!("the coordinator does not give the build context: {status} {words}")));
            }
            Ok(checked(driven, context.clone()).boxed())
        }
        .boxed()
    }
}

type Connection = std::pin::Pin<
    Box<
        hyper::client::conn::http1::Connection<
            TokioIo<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>,
            Empty<Bytes>,
        >,
    >,
>;

/// A body and the connection it comes through, which moves only while it is polled.
struct Driven {
    body: Incoming,
    connection: Option<Connection>,
}

impl Driven {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let frame = match &mut self.connection {
                Some(connection) => tokio::select! {
                    biased;
                    frame = self.body.frame() => frame,
                    _ = connection => {
                        // What the body still holds, or its error, comes out without the connection.
                        self.connection = None;
                        continue;
                    }
                    () = tokio::time::sleep(SILENCE) => return Some(Err(io::ErrorKind::TimedOut.into())),
                },
                None => self.body.frame().await,
            };
            match frame {
                None => return None,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => return Some(Ok(bytes)),
                    Err(_trailers) => {}
                },
                Some(Err(error)) => return Some(Err(io::Error::other(error))),
            }
        }
    }
}

/// The stream, which fails at its end if it was not what the reference names.
fn checked(driven: Driven, context: ContextRef) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    let state = Some((driven, Sha256::new(), 0_u64));
    futures_util::stream::unfold(state, move |state| {
        let context = context.clone();
        async move {
            let (mut driven, mut sum, mut size) = state?;
            match driven.next().await {
                Some(Ok(bytes)) => {
                    sum.update(&bytes);
                    size += bytes.len() as u64;
                    Some((Ok(bytes), Some((driven, sum, size))))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => verify(&context, sum, size).err().map(|error| (Err(error), None)),
            }
        }
    })
}

fn verify(context: &ContextRef, sum: Sha256, size: u64) -> io::Result<()> {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in sum.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    if size == context.size && hex == context.sha256 {
        return Ok(());
    }
    let text = format!("the build context is not the one that was named: {size} bytes of {} came", context.size);
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}
