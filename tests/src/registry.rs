//! A private registry of one test's own: Debian's `docker-registry` with its own folder, behind a door that listens on the same
//! loopback address in the network of this machine and of each further host (Docker speaks to a registry on loopback without TLS),
//! and that notes what was asked of it, by whom, and with which right.

use crate::{hosts::FarHost, port::Port, process::Process, wait};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::{self, File},
    net::TcpListener,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::task::JoinSet;

/// The name that opens a registry with a password.
pub const NAME: &str = "dockerforge";
/// The password, with characters that are other ones in the two alphabets of base64.
pub const PASSWORD: &str = "the-registry-password-9c41~?>";
/// bcrypt of it, which is all that the registry takes.
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuVNU.Bu7fzfLFrShHQFslq9uMYr/zI5C";

/// One request to the registry.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Whose network it came from: the further host's name, or `here`.
    pub from: String,
    /// `GET`.
    pub method: String,
    /// `/v2/…`, without its query.
    pub path: String,
    /// The `Authorization` that came with it.
    pub right: Option<String>,
    /// What was answered.
    pub status: u16,
}

/// How the registry lets somebody in.
pub enum Lets<'a> {
    /// By tokens of the key whose certificate is in this file.
    Tokens(&'a Path),
    /// By [`NAME`] and [`PASSWORD`] alone.
    Password,
    /// Everybody.
    Everybody,
}

/// See the module. Everything ends when it is dropped.
pub struct Registry {
    folder: PathBuf,
    inner: Port,
    door: Port,
    deletes: bool,
    process: Option<Process>,
    doors: Option<JoinSet<()>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    cuts: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Door {
    from: String,
    inner: String,
    client: reqwest::Client,
    asked: Arc<Mutex<Vec<Asked>>>,
    cuts: Arc<AtomicUsize>,
}

/// Bytes of what is cut off in its middle, at least.
const LARGE: u64 = 1 << 20;

impl Registry {
    /// One that does not run yet, with its address: what asks it must be told before it can be told what to let in.
    pub fn reserve(folder: &Path) -> Self {
        let folder = folder.join("registry");
        fs::create_dir_all(folder.join("storage")).unwrap();
        let (inner, door) = (Port::reserve(), Port::reserve());
        Self {
            folder,
            inner,
            door,
            deletes: true,
            process: None,
            doors: None,
            asked: Arc::default(),
            cuts: Arc::default(),
        }
    }

    /// The same, which removes nothing.
    #[must_use]
    pub fn without_deletes(self) -> Self {
        Self { deletes: false, ..self }
    }

    /// Where it is: `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.door.address.to_string()
    }

    /// Starts it; it answers when this returns.
    pub async fn start(&mut self, lets: &Lets<'_>) {
        let auth = match lets {
            Lets::Everybody => String::new(),
            Lets::Password => {
                let file = self.folder.join("htpasswd");
                fs::write(&file, format!("{NAME}:{HASH}\n")).unwrap();
                format!("auth: {{htpasswd: {{realm: test, path: {file:?}}}}}\n")
            }
            Lets::Tokens(certificate) => format!(
                "auth: {{token: {{realm: 'http://127.0.0.1:9/none', service: dockerforge, issuer: dockerforge, rootcertbundle: {certificate:?}}}}}\n"
            ),
        };
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {:?}}}, delete: {{enabled: {}}}}}\n\
             http: {{addr: '{}'}}\n{auth}",
            self.storage(),
            self.deletes,
            self.inner.address
        );
        fs::write(self.folder.join("config.yml"), config).unwrap();
        self.launch().await;
    }

    /// Starts it again after [`Registry::stop`].
    pub async fn launch(&mut self) {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.folder.join("config.yml"));
        let mut process = Process::start("registry", &self.folder, &mut command);
        let url = format!("http://{}/v2/", self.inner.address);
        wait::until(20, "the registry answers", async || {
            assert!(process.ended().is_none(), "the registry ended:\n{}", process.output());
            reqwest::get(&url).await.map_err(|error| error.to_string())
        })
        .await;
        self.process = Some(process);
        self.open_doors();
    }

    fn open_doors(&mut self) {
        let mut doors = JoinSet::new();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let networks = FarHost::all().into_iter().map(|host| (host.name.clone(), Some(network_of(&host))));
        for (from, network) in networks.chain([("here".to_owned(), None)]) {
            let listener = listen_in(network, self.door.address);
            let (inner, asked, cuts) =
                (self.inner.address.to_string(), Arc::clone(&self.asked), Arc::clone(&self.cuts));
            let door = Door { from, inner, client: client.clone(), asked, cuts };
            let router = Router::new().fallback(pass).with_state(door);
            doors.spawn(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let _ = axum::serve(listener, router).await;
            });
        }
        self.doors = Some(doors);
    }

    /// Nobody answers at its address any more.
    pub async fn stop(&mut self) {
        if let Some(mut doors) = self.doors.take() {
            doors.shutdown().await;
        }
        self.process = None;
    }

    /// Where its files are.
    pub fn storage(&self) -> PathBuf {
        self.folder.join("storage")
    }

    /// The next so many large blobs that are fetched break off in their middle.
    pub fn cut(&self, times: usize) {
        self.cuts.store(times, Ordering::Relaxed);
    }

    /// How many of these are still to come.
    pub fn cuts_left(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }

    /// What was asked of it so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The files with the content of blobs, each with its size.
    pub fn blobs(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut folders = vec![self.storage()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name() == "data" {
                    found.push((entry.path(), entry.metadata().unwrap().len()));
                }
            }
        }
        found
    }
}

/// The network of a further host, known by its Docker's process.
fn network_of(host: &FarHost) -> File {
    let socket = Path::new(host.docker.trim_start_matches("unix://"));
    let pid = fs::read_to_string(socket.with_file_name("dockerd.pid")).unwrap();
    File::open(format!("/proc/{}/ns/net", pid.trim())).unwrap()
}

/// A socket stays in the network in which it was made: a thread that goes there for that ends right after.
fn listen_in(network: Option<File>, address: std::net::SocketAddr) -> TcpListener {
    let listen = move || {
        if let Some(network) = network {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        }
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        listener.set_nonblocking(true).unwrap();
        listener
    };
    std::thread::spawn(listen).join().unwrap()
}

async fn pass(State(door): State<Door>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut asked = Asked {
        from: door.from.clone(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        right: parts.headers.get(header::AUTHORIZATION).and_then(|right| right.to_str().ok()).map(str::to_owned),
        status: 502,
    };
    // Its name goes with it: the registry makes its addresses of that.
    let passed = door
        .client
        .request(parts.method, format!("http://{}{target}", door.inner))
        .headers(parts.headers)
        .body(reqwest::Body::wrap_stream(body.into_data_stream()))
        .send()
        .await;
    let response = match passed {
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        Ok(answer) => {
            let (status, headers) = (answer.status(), answer.headers().clone());
            let large = answer.content_length().filter(|size| *size >= LARGE && asked.path.contains("/blobs/"));
            let one_less = |left: usize| left.checked_sub(1);
            let cut = large.filter(|_| {
                asked.method == "GET" && door.cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            });
            let body = match cut {
                Some(size) => Body::from_stream(half_of(answer.bytes_stream(), size)),
                None => Body::from_stream(answer.bytes_stream()),
            };
            let mut response = Response::new(body);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
    };
    asked.status = response.status().as_u16();
    door.asked.lock().unwrap().push(asked);
    response
}

/// A body that breaks off in its middle.
fn half_of(
    body: impl Stream<Item = reqwest::Result<bytes::Bytes>>,
    size: u64,
) -> impl Stream<Item = std::io::Result<bytes::Bytes>> {
    body.scan(0, move |passed, piece| {
        *passed += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        let piece = if *passed > size / 2 { None } else { piece.ok() };
        std::future::ready(Some(piece.ok_or_else(|| std::io::ErrorKind::ConnectionReset.into())))
    })
}
