//! One connection to the coordinator's agent port: TCP, then TLS 1.3. The session, the context download and the
//! enrolment dial through it. What must hold: connecting ends within its deadline, and a dead peer is noticed by the
//! kernel too.

use crate::config::CoordinatorUrl;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use socket2::{SockRef, TcpKeepalive};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// TCP and TLS together.
const DEADLINE: Duration = Duration::from_secs(10);
/// Unacknowledged bytes for this long mean that the peer is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name is unknown, or nothing answers there.
    #[error("no connection to {url}")]
    Connect {
        /// Where.
        url: CoordinatorUrl,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS was refused, by us or by them.
    #[error("no trusted connection to {url}")]
    Tls {
        /// Where.
        url: CoordinatorUrl,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{url} did not answer within {} s", DEADLINE.as_secs())]
    Timeout {
        /// Where.
        url: CoordinatorUrl,
    },
}

impl DialError {
    /// Whether the server's chain does not hold the pinned CA.
    #[must_use]
    pub fn is_wrong_ca(&self) -> bool {
        let Self::Tls { source, .. } = self else { return false };
        source.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()).is_some_and(|error| {
            matches!(
                error,
                rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
                    | rustls::Error::NoCertificatesPresented
            )
        })
    }
}

/// Connects and shakes hands.
pub async fn connect(
    url: &CoordinatorUrl,
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<TlsStream<TcpStream>, DialError> {
    let dial = async {
        let tcp = TcpStream::connect((url.host.as_str(), url.port))
            .await
            .map_err(|source| DialError::Connect { url: url.clone(), source })?;
        tune(&tcp);
        TlsConnector::from(tls).connect(name, tcp).await.map_err(|source| DialError::Tls { url: url.clone(), source })
    };
    tokio::time::timeout(DEADLINE, dial).await.map_err(|_| DialError::Timeout { url: url.clone() })?
}

fn tune(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    // A kernel that knows less of this only notices a dead peer later: the session's silence limit stands behind it.
    let _ = tcp.set_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}
