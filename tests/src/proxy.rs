//! A TCP proxy between an agent and the coordinator, which can be cut, healed, frozen half-open and slowed down, and
//! which counts bytes. It knows nothing of TLS: it breaks the network, not the conversation.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinSet,
};

/// How the network behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Bytes pass, each piece this much later.
    Fair(Duration),
    /// Connections stay open and nothing passes: what a vanished machine looks like.
    Frozen,
    /// Connections are reset and new ones refused.
    Cut,
}

/// See the module. Everything ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    bytes: Arc<AtomicU64>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a random port and forwards to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, watched) = watch::channel(Weather::Fair(Duration::ZERO));
        let (bytes, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let (counted, met) = (Arc::clone(&bytes), Arc::clone(&connections));
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((client, _)) = accepted else { continue };
                        if *watched.borrow() == Weather::Cut {
                            // Dropped at once: the other side sees its connection closed.
                            continue;
                        }
                        met.fetch_add(1, Ordering::Relaxed);
                        open.spawn(connection(client, target, watched.clone(), Arc::clone(&counted)));
                    }
                    Some(_) = open.join_next() => {}
                }
            }
        });
        Self { address, weather, bytes, connections, _tasks: tasks }
    }

    /// Where to dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and takes no new one.
    pub fn cut(&self) {
        self.weather.send_replace(Weather::Cut);
    }

    /// Keeps connections open and passes nothing on.
    pub fn freeze(&self) {
        self.weather.send_replace(Weather::Frozen);
    }

    /// Passes everything on again, late by `delay`.
    pub fn slow(&self, delay: Duration) {
        self.weather.send_replace(Weather::Fair(delay));
    }

    /// Passes everything on again.
    pub fn heal(&self) {
        self.slow(Duration::ZERO);
    }

    /// Bytes passed so far, both ways.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Connections taken so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn connection(
    client: TcpStream,
    target: SocketAddr,
    mut weather: watch::Receiver<Weather>,
    bytes: Arc<AtomicU64>,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let up = pump(client_read, server_write, weather.clone(), Arc::clone(&bytes));
    let down = pump(server_read, client_write, weather.clone(), bytes);
    tokio::select! {
        _ = async { tokio::join!(up, down) } => {}
        // A cut drops all four halves.
        _ = weather.wait_for(|now| *now == Weather::Cut) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    bytes: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Ok(fair) = weather.wait_for(|now| matches!(now, Weather::Fair(_))).await.map(|now| *now) else { break };
        if let Weather::Fair(delay) = fair
            && !delay.is_zero()
        {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
    let _ = to.shutdown().await;
}
