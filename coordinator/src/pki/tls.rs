//! The TLS of the agent port. One port carries its conversations, told apart by what the client offers (ALPN,
//! RFC 7301): an enrolment comes without a certificate, everything else with one of our authority. Where the coordinator
//! gives out the agent, a client that offers nothing may fetch that, and nothing else. The hub's listener asks
//! [`ServerTls::choose`] for each connection.
//!
//! What must hold: TLS 1.3 only; no session is ever resumed, because rustls does not ask the certificate verifier
//! again on resumption; the port's own certificate is replaced before it ends, without a restart.

use super::PkiError;
use super::authority::{Authority, ServerCertificate};
use dockerforge_protocol::enrolment::{ALPN_ENROLL, ALPN_SESSION};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the age of the port's certificate is looked at. Short beside its life, so that a machine that slept, or
/// whose clock jumped, is right again soon.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// What a connection to the agent port is for. The listener puts it into the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Conversation {
    /// A machine without an agent fetches one.
    Install,
    /// An enrolment: the client has no certificate yet.
    Enrol,
    /// Anything else: the client has shown a certificate of our authority.
    Session,
}

/// The TLS configurations of the agent port.
pub struct ServerTls {
    authority: Arc<Authority>,
    current: Arc<Current>,
    session: Arc<ServerConfig>,
    enrol: Arc<ServerConfig>,
    install: Option<Arc<ServerConfig>>,
}

/// The certificate that the port shows now.
struct Current {
    provider: Arc<CryptoProvider>,
    shown: RwLock<Shown>,
}

struct Shown {
    key: Arc<CertifiedKey>,
    /// From when on it is to be replaced: two thirds of its life.
    stale_at: Timestamp,
}

impl Shown {
    fn new(made: ServerCertificate, provider: &CryptoProvider) -> Result<Self, PkiError> {
        let life = made.not_after.duration_since(made.not_before);
        let key = CertifiedKey::from_der(made.chain, made.key, provider).map_err(PkiError::Tls)?;
        Ok(Self { key: Arc::new(key), stale_at: made.not_before + life / 3 * 2 })
    }
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner).key))
    }
}

impl ServerTls {
    /// The configurations for an authority, with a first certificate for the port.
    pub fn new(authority: Arc<Authority>, now: Timestamp) -> Result<Self, PkiError> {
        let provider = Arc::new(ring::default_provider());
        let shown = RwLock::new(Shown::new(authority.issue_server(now)?, &provider)?);
        let current = Arc::new(Current { provider: Arc::clone(&provider), shown });

        let mut roots = RootCertStore::empty();
        roots.add(authority.ca_der().clone()).map_err(PkiError::Tls)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(PkiError::Verifier)?;

        let builder = || {
            ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(PkiError::Tls)
        };
        let resolver = || Arc::clone(&current) as Arc<dyn ResolvesServerCert>;
        let session = builder()?.with_client_cert_verifier(verifier).with_cert_resolver(resolver());
        let enrol = builder()?.with_no_client_auth().with_cert_resolver(resolver());
        Ok(Self {
            authority,
            session: Arc::new(finish(session, &[ALPN_SESSION])),
            enrol: Arc::new(finish(enrol, &[ALPN_ENROLL])),
            install: None,
            current,
        })
    }

    /// The same for a coordinator that gives out the agent.
    pub fn with_install(mut self) -> Result<Self, PkiError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.current.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(PkiError::Tls)?;
        let install = builder.with_no_client_auth().with_cert_resolver(Arc::clone(&self.current) as _);
        self.install = Some(Arc::new(finish(install, &[])));
        Ok(self)
    }

    /// What a client's first words ask for, and the configuration that answers them; `None` if it offers none of our
    /// protocols. A client that offers both is held to the stricter one.
    #[must_use]
    pub fn choose(&self, hello: &ClientHello<'_>) -> Option<(Conversation, Arc<ServerConfig>)> {
        let Some(offered) = hello.alpn() else {
            return self.install.as_ref().map(|config| (Conversation::Install, Arc::clone(config)));
        };
        let offered: Vec<&[u8]> = offered.collect();
        if offered.contains(&ALPN_SESSION) {
            Some((Conversation::Session, Arc::clone(&self.session)))
        } else if offered.contains(&ALPN_ENROLL) {
            Some((Conversation::Enrol, Arc::clone(&self.enrol)))
        } else {
            None
        }
    }

    /// Replaces the port's certificate if two thirds of its life are over; answers whether it did. Connections that
    /// stand are not touched.
    pub fn renew_if_stale(&self, now: Timestamp) -> Result<bool, PkiError> {
        if now < self.current.shown.read().unwrap_or_else(PoisonError::into_inner).stale_at {
            return Ok(false);
        }
        let shown = Shown::new(self.authority.issue_server(now)?, &self.current.provider)?;
        *self.current.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(true)
    }

    /// Keeps the port's certificate fresh until cancelled. To be run as a task.
    pub async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            match self.renew_if_stale(Timestamp::now()) {
                Ok(true) => tracing::info!("replaced the certificate of the agent port"),
                Ok(false) => {}
                Err(error) => tracing::error!(error = %error, "the agent port keeps its old certificate"),
            }
        }
    }
}

/// What all configurations have in common.
fn finish(mut config: ServerConfig, alpn: &[&[u8]]) -> ServerConfig {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // A resumed session would skip the certificate verifier, and with it everything that happened since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockerforge_protocol::ids::ClusterId;

    #[test]
    fn the_ports_certificate_is_replaced_at_two_thirds_of_its_life() {
        let now = Timestamp::now();
        let authority = Arc::new(Authority::generate(ClusterId::new(), now).unwrap());
        let tls = ServerTls::new(authority, now).unwrap();
        let leaf = || tls.current.shown.read().unwrap().key.cert[0].clone();
        let first = leaf();
        let day = |n: i64| now + jiff::SignedDuration::from_hours(24 * n);
        assert!(!tls.renew_if_stale(day(59)).unwrap());
        assert_eq!(leaf(), first);
        assert!(tls.renew_if_stale(day(61)).unwrap());
        assert_ne!(leaf(), first);
        assert!(!tls.renew_if_stale(day(61)).unwrap());
    }
}
