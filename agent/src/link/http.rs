//! Fetches what a job needs from the coordinator, over a connection of its own with the agent's certificate: a build
//! context, which the executor reads as a stream straight into Docker, and a container's secrets. What must hold: memory stays flat, and a context that is not the
//! one that was named fails the stream at its end, so that Docker does not take it for whole.

use crate::config::CoordinatorUrl;
use crate::dial::connect;
use crate::docker::ContextStream;
use crate::executor::{Node, Supplies, SupplyError, Values};
use crate::identity::Identity;
use bytes::Bytes;
use dockerforge_protocol::command::ContextRef;
use dockerforge_protocol::enrolment::{
    CONTEXT_PATH, COPIES_PATH, NODE_PATH, SECRETS_PATH, SuppliedImage, SuppliedNode, VOLUMES_PATH,
};
use dockerforge_protocol::ids::{JobId, SecretId};
use dockerforge_protocol::spec::{MAX_SECRET, VolumeName};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Until the first byte of the answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The same where another host has to save an image first.
const SAVED: Duration = Duration::from_secs(30 * 60);
/// Bytes of all secrets of one container, as JSON that escapes every character.
const MAX_SECRETS: usize = 64 * 6 * MAX_SECRET;
/// Bytes of a node and its secrets, as JSON in JSON.
const MAX_NODE: usize = 8 * 1024 * 1024;
/// Bytes of what is told of an image.
const MAX_IMAGE: usize = 64 * 1024;
/// Between two pieces.
const SILENCE: Duration = Duration::from_secs(60);

/// What the coordinator gives.
pub struct CoordinatorSupplies {
    /// Where the coordinator is.
    pub url: CoordinatorUrl,
    /// Who asks.
    pub identity: Arc<Identity>,
}

impl Supplies for CoordinatorSupplies {
    fn context<'a>(&'a self, job: JobId, context: &'a ContextRef) -> BoxFuture<'a, Result<ContextStream, SupplyError>> {
        async move {
            let driven = self.get(&format!("{CONTEXT_PATH}/{job}"), "the build context").await?;
            Ok(checked(driven, context.clone()).boxed())
        }
        .boxed()
    }

    fn secrets(&self, job: JobId) -> BoxFuture<'_, Result<Values, SupplyError>> {
        async move {
            let values: BTreeMap<SecretId, Box<str>> =
                self.json(&format!("{SECRETS_PATH}/{job}"), "the secrets", MAX_SECRETS).await?;
            Ok(values.into_iter().map(|(id, value)| (id, SecretString::new(value))).collect())
        }
        .boxed()
    }

    fn node(&self, job: JobId) -> BoxFuture<'_, Result<Node, SupplyError>> {
        async move {
            let SuppliedNode { node, secrets } = self.json(&format!("{NODE_PATH}/{job}"), "the node", MAX_NODE).await?;
            Ok(Node { json: node.into(), secrets: secrets.into_iter().map(SecretString::from).collect() })
        }
        .boxed()
    }

    fn image(&self, job: JobId) -> BoxFuture<'_, Result<SuppliedImage, SupplyError>> {
        async move { self.json(&format!("{COPIES_PATH}/{job}"), "what the image is", MAX_IMAGE).await }.boxed()
    }

    fn blob<'a>(
        &'a self,
        job: JobId,
        digest: &'a str,
        from: u64,
        turn: u32,
    ) -> BoxFuture<'a, Result<(u64, ContextStream), SupplyError>> {
        async move {
            let path = format!("{COPIES_PATH}/{job}/{digest}?from={from}&turn={turn}");
            let driven = self.get_within(SAVED, &path, "a part of the image").await?;
            let size = driven.body.size_hint().exact();
            let size = size.ok_or_else(|| SupplyError("a part of the image comes without its size".to_owned()))?;
            Ok((from + size, pieces(driven)))
        }
        .boxed()
    }

    fn volume<'a>(&'a self, job: JobId, volume: &'a VolumeName) -> BoxFuture<'a, Result<ContextStream, SupplyError>> {
        async move { Ok(pieces(self.get(&format!("{VOLUMES_PATH}/{job}/{volume}"), "what is in the volume").await?)) }
            .boxed()
    }
}

/// A body as it comes.
fn pieces(driven: Driven) -> ContextStream {
    futures_util::stream::unfold(driven, |mut driven| async move { driven.next().await.map(|piece| (piece, driven)) })
        .boxed()
}

impl CoordinatorSupplies {
    /// A JSON value of at most so many bytes.
    async fn json<T: DeserializeOwned>(&self, path: &str, what: &str, limit: usize) -> Result<T, SupplyError> {
        let mut driven = self.get(path, what).await?;
        let unread = |why: &str| SupplyError(format!("{what} cannot be read: {why}"));
        let mut body = Vec::new();
        while let Some(piece) = driven.next().await {
            body.extend_from_slice(&piece.map_err(|error| unread(&error.to_string()))?);
            if body.len() > limit {
                return Err(unread("too much came"));
            }
        }
        // Of what is wrong only the place is said: its words may hold a value.
        serde_json::from_slice(&body).map_err(|error| unread(&format!("column {}", error.column())))
    }

    /// What the coordinator serves at a path to this host alone; `what` names it in errors.
    async fn get(&self, path: &str, what: &str) -> Result<Driven, SupplyError> {
        self.get_within(ANSWER, path, what).await
    }

    async fn get_within(&self, patience: Duration, path: &str, what: &str) -> Result<Driven, SupplyError> {
        let failed =
            |error: &dyn std::error::Error| SupplyError(format!("{what} cannot be fetched: {}", crate::report(error)));
        let name = self.identity.server_name().map_err(|e| failed(&e))?;
        let stream = connect(&self.url, self.identity.tls(), name).await.map_err(|e| failed(&e))?;
        let exchange = async {
            let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|e| failed(&e))?;
            let request = Request::get(path)
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
        let (response, connection) = tokio::time::timeout(patience, exchange).await.map_err(|e| failed(&e))??;
        let status = response.status();
        let mut driven = Driven { body: response.into_body(), connection };
        if status == StatusCode::OK {
            return Ok(driven);
        }
        let mut words = Vec::new();
        while let Some(Ok(bytes)) = driven.next().await {
            words.extend_from_slice(&bytes);
            if words.len() > 4096 {
                break;
            }
        }
        let words = String::from_utf8_lossy(&words);
        Err(SupplyError(format!("the coordinator does not give {what}: {status} {words}")))
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
    if size == context.size && hex::encode(sum.finalize()) == context.sha256 {
        return Ok(());
    }
    let text = format!("the build context is not the one that was named: {size} bytes of {} came", context.size);
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}
