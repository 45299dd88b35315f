//! Redeems a join token: one HTTPS request to the coordinator that the token's pin names. Called by `Agent::run` where
//! there is no identity yet. What must hold: the key is on the disk before the request and is used again by a retry, so
//! that a lost answer does not burn the token; only what may pass by itself is tried again.

use super::{Identity, IdentityError, KEY, kept_key, pin, signing_request};
use crate::config::CoordinatorUrl;
use crate::dial::{DialError, connect};
use crate::jitter;
use bytes::Bytes;
use dockerforge_protocol::enrolment::{
    ENROLL_PATH, ENROLL_SERVER_NAME, EnrolRefusal, EnrolRefused, EnrolRequest, Enrolled, JoinToken,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The whole request, once connected.
const ANSWER: Duration = Duration::from_secs(30);
const LEAST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(30);
/// An answer is two certificates; more is something else.
const MOST_BYTES: usize = 256 * 1024;

/// Why an enrolment failed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Key or identity could not be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The coordinator could not be reached.
    #[error("the coordinator cannot be reached")]
    Dial(#[source] DialError),
    /// Whoever answers there does not have the CA that the token names.
    #[error("the coordinator at {url} is not the one that issued this token")]
    OtherCoordinator {
        /// Where.
        url: CoordinatorUrl,
    },
    /// The connection broke before the answer was whole.
    #[error("the coordinator's answer did not arrive")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The coordinator refused the token.
    #[error("the coordinator refused the join token: {}", .0.detail)]
    Refused(EnrolRefused),
    /// What answered is not an enrolment.
    #[error("the coordinator's answer is not that of an enrolment (status {status})")]
    Answer {
        /// The HTTP status.
        status: StatusCode,
    },
    /// The agent was stopped meanwhile.
    #[error("stopped before the coordinator answered")]
    Stopped,
}

impl EnrolError {
    /// Whether the same request may succeed later.
    fn passes(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Broken(_) => true,
            Self::Refused(refused) => refused.reason == EnrolRefusal::Unavailable,
            Self::Answer { status } => status.is_server_error(),
            Self::Identity(_) | Self::OtherCoordinator { .. } | Self::Stopped => false,
        }
    }
}

/// Redeems the token, trying again for as long as the failures may pass by themselves.
pub async fn enrol(
    url: &CoordinatorUrl,
    token: &JoinToken,
    hostname: &str,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<Identity, EnrolError> {
    let key = kept_key(&folder.join(KEY))?;
    let request = EnrolRequest {
        token: token.reveal(),
        csr: signing_request(&key)?,
        hostname: hostname.to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let body = Bytes::from(serde_json::to_vec(&request).unwrap_or_default());
    let mut failures = 0;
    loop {
        let answer = tokio::select! {
            answer = ask(url, token, body.clone()) => answer,
            () = cancel.cancelled() => return Err(EnrolError::Stopped),
        };
        match answer {
            Ok(enrolled) => {
                // The token is used, and nothing of the answer is kept yet: the same key is answered again.
                fail::fail_point!("agent.enrol.answered");
                return Ok(Identity::store(folder, &key, &enrolled, token.id)?);
            }
            Err(error) if error.passes() => {
                let wait = jitter::backoff(failures, LEAST, MOST).max(Duration::from_millis(100));
                failures += 1;
                tracing::warn!(
                    error = crate::report(&error),
                    again_in_ms = wait.as_millis(),
                    "enrolment failed; trying again"
                );
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = cancel.cancelled() => return Err(EnrolError::Stopped),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn ask(url: &CoordinatorUrl, token: &JoinToken, body: Bytes) -> Result<Enrolled, EnrolError> {
    let tls = pin::enrolment_tls(token.ca_pin)
        .map_err(|e| EnrolError::Identity(IdentityError::Unfit(format!("TLS cannot be set up: {e}"))))?;
    let name = ServerName::try_from(ENROLL_SERVER_NAME)
        .map_err(|e| EnrolError::Identity(IdentityError::Unfit(e.to_string())))?;
    let stream = connect(url, Arc::new(tls), name).await.map_err(|error| {
        if error.is_wrong_ca() { EnrolError::OtherCoordinator { url: url.clone() } } else { EnrolError::Dial(error) }
    })?;
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(ENROLL_PATH)
            .header("host", url.authority())
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let bytes = Limited::new(response.into_body(), MOST_BYTES).collect().await.map_err(EnrolError::Broken)?;
            Ok::<_, EnrolError>((status, bytes.to_bytes()))
        };
        let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
        // The connection may end before the answer was read out of it.
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        }
    };
    let (status, bytes) = tokio::time::timeout(ANSWER, exchange).await.map_err(broken)??;
    if status.is_success() {
        return serde_json::from_slice(&bytes).map_err(|_| EnrolError::Answer { status });
    }
    match serde_json::from_slice::<EnrolRefused>(&bytes) {
        Ok(refused) => Err(EnrolError::Refused(refused)),
        Err(_) => Err(EnrolError::Answer { status }),
    }
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EnrolError {
    EnrolError::Broken(error.into())
}
