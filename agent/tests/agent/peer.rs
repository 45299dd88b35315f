//! A fake coordinator over real TLS: issues certificates, answers enrolments as told, and hands each session's socket to
//! the test. Also starts agents against it.

use dockerforge_agent::config::{Config, CoordinatorUrl};
use dockerforge_agent::docker::fake::FakeEngine;
use dockerforge_agent::{Agent, AgentError};
use dockerforge_protocol::codec::{decode, encode};
use dockerforge_protocol::enrolment::{
    ALPN_ENROLL, ALPN_SESSION, ENROLL_SERVER_NAME, EnrolRefusal, EnrolRefused, EnrolRequest, Enrolled, JoinToken,
    agent_uri, server_name,
};
use dockerforge_protocol::handshake::{Hello, JobVerdict, Refused, RefusedReason, Welcome};
use dockerforge_protocol::ids::{ClusterId, HostId, JoinTokenId};
use dockerforge_protocol::message::{FromAgent, ToAgent};
use futures_util::{SinkExt, StreamExt};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Chain, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

/// How long a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the peer answers an enrolment with.
#[derive(Clone, Copy)]
pub enum Answer {
    Enrol,
    /// With a certificate that is due for renewal.
    EnrolAged,
    Refuse(EnrolRefusal),
    /// Issue, then close without an answer.
    Lose,
}

pub struct Peer {
    pub cluster: ClusterId,
    pub host: HostId,
    pub port: u16,
    pub enrolments: Arc<Mutex<Vec<EnrolRequest>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    ca: Arc<Ca>,
    /// The build context that is served, whatever the job.
    pub context: Arc<Mutex<Option<Vec<u8>>>>,
    sessions: mpsc::Receiver<WebSocketStream<Io>>,
    stop: CancellationToken,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A connection whose first bytes were read to see what it is.
type Io = tokio::io::Join<Chain<Cursor<Vec<u8>>, ReadHalf<TlsStream<TcpStream>>>, WriteHalf<TlsStream<TcpStream>>>;

struct Ca {
    pem: String,
    der: CertificateDer<'static>,
    pin: [u8; 32],
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(cluster: ClusterId) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, cluster.to_string());
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate.der()).unwrap();
        let pin = Sha256::digest(parsed.public_key().raw).into();
        let pem = certificate.pem();
        let der = certificate.der().clone();
        Self { issuer: Issuer::from_ca_cert_pem(&pem, key).unwrap(), pem, der, pin }
    }

    fn agent(&self, csr: &str, cluster: ClusterId, host: HostId, age: time::Duration) -> String {
        let csr = CertificateSigningRequestParams::from_pem(csr).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(agent_uri(cluster, host).try_into().unwrap())];
        params.not_before = time::OffsetDateTime::now_utc() - age;
        params.not_after = params.not_before + time::Duration::days(30);
        params.signed_by(&csr.public_key, &self.issuer).unwrap().pem()
    }

    fn acceptor(&self, cluster: ClusterId) -> TlsAcceptor {
        let params = CertificateParams::new([server_name(cluster), ENROLL_SERVER_NAME.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![leaf.der().clone(), self.der.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![ALPN_ENROLL.to_vec(), ALPN_SESSION.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Peer {
    pub async fn start() -> Self {
        let (cluster, host) = (ClusterId::new(), HostId::new());
        let ca = Arc::new(Ca::new(cluster));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, sessions) = mpsc::channel(4);
        let enrolments = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let context = Arc::new(Mutex::new(None));
        let stop = CancellationToken::new();
        let peer = Self {
            context: Arc::clone(&context),
            cluster,
            host,
            port,
            enrolments: Arc::clone(&enrolments),
            answers: Arc::clone(&answers),
            ca: Arc::clone(&ca),
            sessions,
            stop: stop.clone(),
        };
        let accept = async move {
            let acceptor = ca.acceptor(cluster);
            while let Ok((tcp, _)) = listener.accept().await {
                // A client that refuses our certificate is one of the tests.
                let Ok(tls) = acceptor.accept(tcp).await else { continue };
                if tls.get_ref().1.alpn_protocol() == Some(ALPN_ENROLL) {
                    enrol(tls, &ca, (cluster, host), &enrolments, &answers).await;
                } else if let Some(io) = unless_context(tls, &context).await
                    && let Ok(socket) = tokio_tungstenite::accept_async(io).await
                {
                    let _ = sender.send(socket).await;
                }
            }
        };
        spawn(async move {
            tokio::select! {
                () = accept => {}
                () = stop.cancelled() => {}
            }
        });
        peer
    }

    pub fn token(&self) -> JoinToken {
        JoinToken { id: JoinTokenId::new(), secret: [7; 32], ca_pin: self.ca.pin }
    }

    pub fn then_answer(&self, answer: Answer) {
        self.answers.lock().unwrap().push_back(answer);
    }

    pub fn config(&self, folder: &Path) -> Config {
        let url = CoordinatorUrl { host: "localhost".to_owned(), port: self.port };
        let mut config = Config::new(url, folder.to_owned());
        config.token = Some(self.token());
        config.ping_every = Duration::from_millis(20);
        config.relist_every = Duration::from_millis(200);
        config.drain = Duration::from_millis(200);
        config
    }

    pub fn certificate(&self, csr: &str) -> String {
        self.ca.agent(csr, self.cluster, self.host, time::Duration::HOUR)
    }

    /// The next session, before its hello.
    pub async fn connection(&mut self) -> Session {
        let socket = tokio::time::timeout(PATIENCE, self.sessions.recv()).await.expect("no session came").unwrap();
        Session { socket, seen: Vec::new() }
    }

    /// The next session, welcomed with these verdicts.
    pub async fn session(&mut self, verdicts: impl FnOnce(&Hello) -> Vec<JobVerdict>) -> (Session, Hello) {
        let mut session = self.connection().await;
        let Some(FromAgent::Hello(hello)) = session.next().await else { panic!("the first message is not a hello") };
        assert_eq!((hello.cluster, hello.host), (self.cluster, self.host));
        session.send(welcome(verdicts(&hello))).await;
        (session, hello)
    }
}

pub fn welcome(jobs: Vec<JobVerdict>) -> ToAgent {
    let coordinator_version = "test".to_owned();
    ToAgent::Welcome(Welcome { version: 1, coordinator_version, epoch: 1, heartbeat_ms: 100, jobs })
}

/// Serves a request for a context; hands on what is something else.
async fn unless_context(tls: TlsStream<TcpStream>, context: &Mutex<Option<Vec<u8>>>) -> Option<Io> {
    let (mut reader, mut writer) = tokio::io::split(tls);
    let mut head = vec![0; 4096];
    let read = reader.read(&mut head).await.ok()?;
    head.truncate(read);
    if !head.starts_with(b"GET /agent/v1/contexts/job_") {
        return Some(tokio::io::join(Cursor::new(head).chain(reader), writer));
    }
    let context = context.lock().unwrap().clone();
    let (status, body) = context.map_or(("404 Not Found", b"gone".to_vec()), |body| ("200 OK", body));
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
    writer.write_all(head.as_bytes()).await.ok()?;
    writer.write_all(&body).await.ok()?;
    writer.shutdown().await.ok()?;
    None
}

async fn enrol(
    mut tls: TlsStream<TcpStream>,
    ca: &Ca,
    (cluster, host): (ClusterId, HostId),
    enrolments: &Mutex<Vec<EnrolRequest>>,
    answers: &Mutex<VecDeque<Answer>>,
) {
    let mut request = Vec::new();
    let body = loop {
        let mut piece = [0; 4096];
        let read = tls.read(&mut piece).await.unwrap();
        assert!(read > 0, "the request was cut off");
        request.extend_from_slice(&piece[..read]);
        let text = String::from_utf8(request.clone()).unwrap();
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str::<EnrolRequest>(body)
        {
            assert!(text.starts_with("POST /agent/v1/enroll HTTP/1.1\r\n"), "{text}");
            break body;
        }
    };
    let answer = answers.lock().unwrap().pop_front().unwrap_or(Answer::Enrol);
    let age = if matches!(answer, Answer::EnrolAged) { time::Duration::days(20) } else { time::Duration::HOUR };
    let certificate = ca.agent(&body.csr, cluster, host, age);
    enrolments.lock().unwrap().push(body);
    let (status, json) = match answer {
        Answer::Lose => return,
        Answer::Enrol | Answer::EnrolAged => {
            let enrolled = Enrolled { cluster, host, certificate, ca: ca.pem.clone() };
            ("200 OK", serde_json::to_string(&enrolled).unwrap())
        }
        Answer::Refuse(reason) => {
            let refused = EnrolRefused { reason, detail: format!("the token is {reason:?}") };
            ("403 Forbidden", serde_json::to_string(&refused).unwrap())
        }
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", json.len());
    tls.write_all(head.as_bytes()).await.unwrap();
    tls.write_all(json.as_bytes()).await.unwrap();
    let _ = tls.shutdown().await;
}

/// One session as the coordinator sees it.
pub struct Session {
    socket: WebSocketStream<Io>,
    pub seen: Vec<FromAgent>,
}

impl Session {
    pub async fn send(&mut self, message: ToAgent) {
        self.raw(encode(&message).unwrap()).await;
    }

    pub async fn raw(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::Binary(bytes.into())).await.unwrap();
    }

    pub async fn refuse(&mut self, reason: RefusedReason) {
        self.send(ToAgent::Refused(Refused { reason, detail: "the test says so".to_owned() })).await;
    }

    /// The next message; none when the agent closed.
    pub async fn next(&mut self) -> Option<FromAgent> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("nothing came") {
                Some(Ok(Message::Binary(bytes))) => return Some(decode(&bytes).unwrap()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The first message to come that the test wants; the others are kept in `seen`.
    pub async fn want<T>(&mut self, what: &str, pick: impl Fn(&FromAgent) -> Option<T>) -> T {
        loop {
            let Some(message) = self.next().await else { panic!("closed before {what}; seen {:?}", self.seen) };
            let picked = pick(&message);
            if !matches!(message, FromAgent::Heartbeat(_)) {
                self.seen.push(message);
            }
            if let Some(picked) = picked {
                return picked;
            }
        }
    }
}

/// An agent in this process.
pub struct Running {
    pub stop: CancellationToken,
    end: mpsc::Receiver<Result<(), AgentError>>,
}

impl Running {
    pub fn start(config: Config, engine: &FakeEngine) -> Self {
        let stop = CancellationToken::new();
        let (sender, end) = mpsc::channel(1);
        let agent = Agent { config, engine: Arc::new(engine.clone()) };
        let cancel = stop.clone();
        spawn(async move {
            let _ = sender.send(agent.run(cancel).await).await;
        });
        Self { stop, end }
    }

    /// How it ended.
    pub async fn end(&mut self) -> Result<(), AgentError> {
        tokio::time::timeout(PATIENCE, self.end.recv()).await.expect("the agent does not end").unwrap()
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        self.end().await.unwrap();
    }
}

#[allow(clippy::disallowed_methods, reason = "a test's task ends with its runtime")]
fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}
