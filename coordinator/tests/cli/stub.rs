//! A coordinator of a few lines: records every request and answers what the test says. And the program, run against it.

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    serve::Listener,
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// How long a run of the program may take, before the test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// The ids of the tests' world.
pub const USER: &str = "usr_01890000000070008000000000000001";
pub const HOST: &str = "hst_01890000000070008000000000000001";
pub const HOST_2: &str = "hst_01890000000070008000000000000002";
pub const TEMPLATE: &str = "tpl_01890000000070008000000000000001";
pub const CONFIGURATION: &str = "cfg_01890000000070008000000000000001";
pub const IMAGE: &str = "img_01890000000070008000000000000001";
pub const CONTAINER: &str = "ctr_01890000000070008000000000000001";
pub const JOB: &str = "job_01890000000070008000000000000001";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `POST /v1/hosts?x=y`.
    pub line: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// How many with this line came before.
    pub earlier: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
    pub fn events(&self) -> bool {
        self.header("accept") == "text/event-stream"
    }
}

/// The stub; it ends with the test.
pub struct Stub {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    runtime: Option<Runtime>,
}

/// Accepts, but the first few connections it closes as soon as a request arrives on them.
struct Dropping {
    inner: TcpListener,
    left: AtomicUsize,
}

impl Listener for Dropping {
    type Io = TcpStream;
    type Addr = SocketAddr;
    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let (mut stream, address) = self.inner.accept().await.unwrap();
            if self.left.load(Ordering::Relaxed) == 0 {
                return (stream, address);
            }
            let _ = stream.read(&mut [0; 1024]).await;
            self.left.fetch_sub(1, Ordering::Relaxed);
        }
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl Stub {
    pub fn start(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        Self::with(0, true, answer)
    }

    /// Closes its first few connections without an answer.
    pub fn dropping(connections: usize, answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        Self::with(connections, true, answer)
    }

    /// Answers before it has read the body.
    pub fn hasty(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        Self::with(0, false, answer)
    }

    #[allow(clippy::disallowed_methods, reason = "the stub's one task ends with its runtime")]
    fn with(connections: usize, reads: bool, answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let inner = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", inner.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::<Asked>::new()));
        let (record, answer) = (asked.clone(), Arc::new(answer));
        let router = Router::new().fallback(move |request: Request| {
            let (record, answer) = (record.clone(), answer.clone());
            async move {
                let line = format!("{} {}", request.method(), request.uri());
                let headers = request.headers().clone();
                let body = if reads {
                    to_bytes(request.into_body(), usize::MAX).await.unwrap_or_default()
                } else {
                    Bytes::new()
                };
                let now = {
                    let mut record = record.lock().unwrap();
                    let earlier = record.iter().filter(|a| a.line == line && a.events_as(&headers)).count();
                    let now = Asked { line, headers, body, earlier };
                    record.push(now.clone());
                    now
                };
                answer(&now)
            }
        });
        let listener = Dropping { inner, left: AtomicUsize::new(connections) };
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, asked, runtime: Some(runtime) }
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The only request whose line begins so.
    pub fn only(&self, line: &str) -> Asked {
        let found: Vec<_> = self.asked().into_iter().filter(|a| a.line.starts_with(line)).collect();
        assert_eq!(found.len(), 1, "{line}: {:?}", self.lines());
        found.into_iter().next().unwrap()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|a| a.line).collect()
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut child = self.spawn(arguments);
        child.stdin.take().unwrap().write_all(input).unwrap();
        finish(child)
    }

    /// Starts the program.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        program(&self.url).args(arguments).spawn().unwrap()
    }
}

impl Asked {
    fn events_as(&self, headers: &HeaderMap) -> bool {
        self.headers.get(header::ACCEPT) == headers.get(header::ACCEPT)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // Streams that never end must not keep the test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The program with a clean environment and a key.
pub fn program(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dockerforge"));
    command
        .env_clear()
        .env("DOCKERFORGE_URL", url)
        .env("DOCKERFORGE_KEY", "dfk_secret")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The output of a run that must have ended with this code.
    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        self
    }
}

/// Waits for the program, and kills it if it takes too long.
pub fn finish(child: Child) -> Ran {
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        let output = receiver.recv().unwrap().unwrap();
        panic!("it did not end; so far: {}", String::from_utf8_lossy(&output.stderr))
    });
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// An answer of JSON.
pub fn answer(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, "application/json")], body.to_string())
        .into_response()
}

/// A refusal.
pub fn problem(status: u16, title: &str, detail: &str, errors: &Value) -> Response {
    let body = json!({"type": "x", "title": title, "status": status, "detail": detail, "errors": errors});
    let content = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::from_u16(status).unwrap(), content, body.to_string()).into_response()
}

/// A list of these items.
pub fn list(items: &Value) -> Response {
    answer(200, &json!({"items": items, "next": null}))
}

/// What every test answers to a look-up of a name, and to what it does not expect.
pub fn names(asked: &Asked) -> Response {
    match asked.line.as_str() {
        "GET /v1/users?name=acme" => list(&json!([{"id": USER, "name": "acme"}])),
        "GET /v1/hosts?name=vps" => list(&json!([{"id": HOST, "name": "vps"}, {"id": HOST_2, "name": "vps-2"}])),
        "GET /v1/hosts?name=vps-2" => list(&json!([{"id": HOST_2, "name": "vps-2"}])),
        "GET /v1/templates?name=page" => list(&json!([{"id": TEMPLATE, "name": "page"}])),
        "GET /v1/configurations?name=mine" => list(&json!([{"id": CONFIGURATION, "name": "mine"}])),
        "GET /v1/images?name=blog" => list(&json!([{"id": IMAGE, "name": "blog"}])),
        "GET /v1/containers?name=web" => list(&json!([{"id": CONTAINER, "name": "web"}])),
        _ => problem(404, "Not found", &format!("no answer for {}", asked.line), &json!([])),
    }
}

/// A job about a container.
pub fn job(state: &str, log_size: usize) -> Value {
    json!({"id": JOB, "kind": "container.create", "state": state, "attempt": 1, "user": USER, "host": HOST,
        "resource": {"kind": "container", "id": CONTAINER, "href": format!("/v1/containers/{CONTAINER}")},
        "progress": {"step": "starting", "percent": null}, "created_at": "2025-01-01T00:00:00Z",
        "deadline_at": "2025-01-01T01:00:00Z", "result": null, "error": null,
        "log": {"size": log_size, "href": format!("/v1/queue/{JOB}/log")}})
}

/// A body in these pieces, which ends properly or breaks off.
pub fn pieces(content: &str, pieces: Vec<String>, breaks_off: bool) -> Response {
    let end = breaks_off.then(|| Err(io::Error::other("cut")));
    let items: Vec<Result<String, io::Error>> = pieces.into_iter().map(Ok).chain(end).collect();
    // Apart from each other, as a network delivers them.
    let stream = futures_util::stream::unfold(items.into_iter(), |mut items| async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        items.next().map(|item| (item, items))
    });
    ([(header::CONTENT_TYPE, content.to_owned())], Body::from_stream(stream)).into_response()
}
