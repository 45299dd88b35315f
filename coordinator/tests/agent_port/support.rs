//! An agent port of its own for each test, and agents that dial it: real TCP, real TLS, real websockets.

use axum::{Extension, Router, routing::get};
use dockerforge_coordinator::hub::listener::{self, Limits};
use dockerforge_coordinator::hub::{Conversation, Hub, HubConfig, Inbound, Knock, Peer, SessionHandle, routes};
use dockerforge_coordinator::pki::{Authority, ServerTls};
use dockerforge_coordinator::tasks::Tasks;
use dockerforge_protocol::codec;
use dockerforge_protocol::enrolment::{ALPN_ENROLL, ALPN_SESSION, ENROLL_SERVER_NAME, SESSION_PATH, server_name};
use dockerforge_protocol::handshake::{Hello, Refused, Welcome};
use dockerforge_protocol::ids::{ClusterId, HostId, InstanceId};
use dockerforge_protocol::inventory::Capacity;
use dockerforge_protocol::message::{FromAgent, ToAgent};
use futures_util::{SinkExt, StreamExt};
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

/// Longer than anything here takes; only a failing test waits for it.
pub const SOON: Duration = Duration::from_secs(10);

/// Where the test's router tells what it found in a request.
pub const WHO: &str = "/test/who";

/// An agent port with its hub.
pub struct Port {
    pub cluster: ClusterId,
    pub authority: Arc<Authority>,
    pub addr: SocketAddr,
    pub hub: Hub,
    pub knocks: mpsc::Receiver<Knock>,
    pub tasks: Tasks,
}

/// A session from the side of the coordinator.
pub struct Taken {
    pub session: SessionHandle,
    pub inbound: Inbound,
    pub knock: (Peer, SocketAddr, Hello),
}

pub async fn port() -> Port {
    port_with(HubConfig::default(), Limits::default()).await
}

pub async fn port_with(config: HubConfig, limits: Limits) -> Port {
    let cluster = ClusterId::new();
    let authority = Arc::new(Authority::generate(cluster, Timestamp::now()).unwrap());
    let tls = Arc::new(ServerTls::new(Arc::clone(&authority), Timestamp::now()).unwrap());
    let tasks = Tasks::new();
    let (sender, knocks) = mpsc::channel(4);
    let hub = Hub::new(sender, tasks.clone(), config);
    let router = Router::new().route(WHO, get(who)).merge(routes(hub.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tasks.spawn("agent port", listener::serve(listener, tls, router, limits, tasks.clone()));
    Port { cluster, authority, addr, hub, knocks, tasks }
}

async fn who(Extension(conversation): Extension<Conversation>, peer: Option<Extension<Peer>>) -> String {
    format!("{conversation:?} {:?}", peer.map(|Extension(peer)| peer.host))
}

/// What an agent shows: a certificate chain and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What an agent of a host gets from an authority at a time.
pub fn identity(authority: &Authority, host: HostId, at: Timestamp) -> Identity {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let issued = authority.issue_agent(&csr, host, at).unwrap();
    let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// The TLS of a client that trusts the port's authority.
pub fn client_tls(port: &Port, identity: Option<Identity>, alpn: &[&[u8]]) -> ClientConfig {
    client_tls_of(port.authority.ca_pem(), identity, alpn)
}

pub fn client_tls_of(ca_pem: &str, identity: Option<Identity>, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

pub type Tls = TlsStream<TcpStream>;

pub async fn dial_tls(addr: SocketAddr, name: &str, config: ClientConfig) -> std::io::Result<Tls> {
    let stream = TcpStream::connect(addr).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

/// One HTTP request; the whole answer. Errors of TLS 1.3's client certificates show here, at the first read.
pub async fn http_get(stream: &mut Tls, path: &str, headers: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // The port closes without a TLS farewell where it has none to say; what came before counts.
    match stream.read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => return Err(error),
        _ => {}
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The alert that the port answered a handshake or a request with.
pub fn alert(error: &std::io::Error) -> rustls::AlertDescription {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert of TLS: {error:?}"),
    }
}

/// Dials with a certificate and asks who the port takes us for.
pub async fn ask_who(port: &Port, identity: Option<Identity>) -> std::io::Result<String> {
    let config = client_tls(port, identity, &[ALPN_SESSION]);
    let mut stream = dial_tls(port.addr, &server_name(port.cluster), config).await?;
    http_get(&mut stream, WHO, "").await
}

pub async fn ask_enrolling(port: &Port, path: &str, headers: &str) -> std::io::Result<String> {
    let config = client_tls(port, None, &[ALPN_ENROLL]);
    let mut stream = dial_tls(port.addr, ENROLL_SERVER_NAME, config).await?;
    http_get(&mut stream, path, headers).await
}

/// An agent's end of a websocket.
pub struct Agent {
    pub host: HostId,
    pub ws: WebSocketStream<Tls>,
    pub cluster: ClusterId,
}

impl Agent {
    /// Dials as a host, and says nothing yet.
    pub async fn dial(port: &Port, host: HostId) -> Agent {
        Self::try_dial(port, host).await.unwrap()
    }

    pub async fn try_dial(port: &Port, host: HostId) -> Result<Agent, tungstenite::Error> {
        Self::dial_with(port, host, identity(&port.authority, host, Timestamp::now())).await
    }

    pub async fn dial_with(port: &Port, host: HostId, identity: Identity) -> Result<Agent, tungstenite::Error> {
        let config = client_tls(port, Some(identity), &[ALPN_SESSION]);
        let stream = dial_tls(port.addr, &server_name(port.cluster), config).await?;
        let (ws, _) = tokio_tungstenite::client_async(format!("ws://coordinator{SESSION_PATH}"), stream).await?;
        Ok(Agent { host, ws, cluster: port.cluster })
    }

    /// Dials, says hello and is welcomed with an epoch.
    pub async fn join(port: &mut Port, host: HostId, epoch: u64) -> (Agent, Taken) {
        let mut agent = Self::dial(port, host).await;
        agent.say(&FromAgent::Hello(agent.hello())).await;
        let taken = port.welcome(epoch).await;
        match agent.hear().await {
            Some(ToAgent::Welcome(welcome)) => assert_eq!(welcome.epoch, epoch),
            other => panic!("{other:?}"),
        }
        (agent, taken)
    }

    pub fn hello(&self) -> Hello {
        Hello {
            versions: (1, 1),
            cluster: self.cluster,
            host: self.host,
            instance: InstanceId::new(),
            boot_id: "boot".into(),
            agent_version: "0".into(),
            hostname: "machine".into(),
            docker: None,
            capacity: Capacity::default(),
            slots: 4,
            jobs: vec![],
            features: Vec::new(),
        }
    }

    pub async fn say(&mut self, message: &FromAgent) {
        self.send(Message::Binary(codec::encode(message).unwrap().into())).await;
    }

    pub async fn send(&mut self, message: Message) {
        tokio::time::timeout(SOON, self.ws.send(message)).await.expect("the port reads").unwrap();
    }

    /// The next message; `None` when the connection is over. Pings are answered on the way.
    pub async fn hear(&mut self) -> Option<ToAgent> {
        loop {
            match tokio::time::timeout(SOON, self.ws.next()).await.expect("the port says something")? {
                Ok(Message::Binary(bytes)) => return Some(codec::decode(&bytes).unwrap()),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(_) => return None,
            }
        }
    }

    /// Listens until the connection is over; the last word.
    pub async fn hear_the_end(&mut self) -> Option<Refused> {
        let mut last = None;
        while let Some(message) = self.hear().await {
            if let ToAgent::Refused(refused) = message {
                last = Some(refused);
            }
        }
        last
    }
}

impl Port {
    /// The next agent at the door.
    pub async fn knock(&mut self) -> Knock {
        tokio::time::timeout(SOON, self.knocks.recv()).await.expect("an agent knocks").unwrap()
    }

    /// Welcomes the next agent at the door.
    pub async fn welcome(&mut self, epoch: u64) -> Taken {
        let knock = self.knock().await;
        let Knock { peer, remote, hello, version, session, inbound, answer } = knock;
        answer.send(Ok(welcome(version, epoch))).unwrap();
        Taken { session, inbound, knock: (peer, remote, hello) }
    }

    /// Nobody is at the door, and nobody was.
    pub fn nobody_knocked(&mut self) {
        assert!(self.knocks.try_recv().is_err());
    }

    /// Ends everything, and checks that nothing is left.
    pub async fn shut_down(self) {
        assert_eq!(self.tasks.shutdown(SOON).await, Vec::<&str>::new());
        assert!(self.hub.is_empty());
    }
}

pub fn welcome(version: u16, epoch: u64) -> Welcome {
    Welcome { version, coordinator_version: "0".into(), epoch, heartbeat_ms: 5000, jobs: vec![] }
}

pub async fn closed_within(session: &SessionHandle, limit: Duration) {
    let since = Instant::now();
    let closed = tokio::time::timeout(limit, session.closed()).await;
    assert!(closed.is_ok(), "{session:?} is open after {:?}", since.elapsed());
}

/// Polls until something holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < until, "it did not come true that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
