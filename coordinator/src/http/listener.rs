//! Serves the REST API on its port, plain or over TLS, and lets requests in work end when it is told to stop.

use crate::tasks::Tasks;
use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Why the API is not served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The certificate or the key.
    #[error("the certificate and key of the API cannot be used: {0}")]
    Tls(String),
    /// The socket.
    #[error("the API's socket cannot be used")]
    Socket(#[source] io::Error),
}

/// Certificate chain and private key, PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain, the API's own certificate first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The API, being served.
pub struct Server {
    handle: Handle<SocketAddr>,
    task: JoinHandle<()>,
}

impl Server {
    /// Begins to serve.
    pub fn start(
        listener: TcpListener,
        tls: Option<&TlsFiles>,
        router: Router,
        tasks: &Tasks,
    ) -> Result<Self, ListenError> {
        let handle = Handle::new();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let task = match tls {
            None => {
                let server = axum_server::from_tcp(listener).map_err(ListenError::Socket)?.handle(handle.clone());
                tasks.spawn("api", async move { ended(server.serve(service).await) })
            }
            Some(files) => {
                let config = RustlsConfig::from_config(Arc::new(config(files)?));
                let server =
                    axum_server::from_tcp_rustls(listener, config).map_err(ListenError::Socket)?.handle(handle.clone());
                tasks.spawn("api", async move { ended(server.serve(service).await) })
            }
        };
        Ok(Self { handle, task })
    }

    /// Takes no more requests and waits for those in work, at most this long.
    pub async fn stop(self, deadline: Duration) {
        self.handle.graceful_shutdown(Some(deadline));
        // A second more: the server itself ends what is late.
        let _ = tokio::time::timeout(deadline + Duration::from_secs(1), self.task).await;
    }
}

fn ended(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "the API ended");
    }
}

fn config(files: &TlsFiles) -> Result<rustls::ServerConfig, ListenError> {
    let unusable = |error: &dyn std::fmt::Display| ListenError::Tls(error.to_string());
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&files.certificate).map_err(|e| unusable(&e))?.collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unusable(&e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&e))?
        .with_no_client_auth()
        .with_single_cert(chain.map_err(|e| unusable(&e))?, key)
        .map_err(|e| unusable(&e))?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}
