//! `/containers/{id}/terminal`: a program with a terminal, over a websocket. Binary frames are bytes, text frames JSON:
//! `{"resize": {"cols": …, "rows": …}}` from the client, `{"exit": {"code": …}}` from the server, once. What must hold: who
//! opens one is signed in by a key or a ticket, a page only from an origin that may; a terminal that nobody uses ends, and
//! its program with it.

use super::error::ApiError;
use super::extract::{Caller, Check, Id};
use super::{Context, State, auth};
use crate::access::{Permit, Write, authorize};
use crate::service::streams::{Event, Live, Lost};
use crate::service::tickets::LIFE;
use axum::Json;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::ContainerId;
use dockerforge_protocol::stream::{Piece, StreamEnd, TerminalRequest, TerminalSize};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, interval, sleep_until, timeout};
use utoipa::ToSchema;

/// A terminal in which nothing happens ends.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// And so does every other, after this.
const LONGEST: Duration = Duration::from_secs(4 * 3600);
/// Between two pings.
const PING: Duration = Duration::from_secs(30);
/// A client of which nothing comes, not even the answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(90);
/// A client that takes nothing is cut.
const WRITE: Duration = Duration::from_secs(60);
/// The largest message of a client, bytes.
const MESSAGE: usize = 64 * 1024;
/// Words of a command, and bytes of them all.
const WORDS: (usize, usize) = (64, 8 * 1024);

/// A ticket for one terminal.
#[derive(Serialize, ToSchema)]
pub struct TicketBody {
    /// Shown as the query parameter `ticket`. It works once, at this coordinator.
    pub ticket: String,
    /// For so many seconds.
    pub expires_in: u64,
}

/// A ticket that opens one terminal in this container, for those who cannot send a key with a websocket: browsers.
#[utoipa::path(post, operation_id = "container_terminal_ticket", path = "/containers/{id}/terminal-ticket", tag = "containers", params(("id" = String, Path, description = "The container's id")), responses(
    (status = 201, description = "The ticket", body = TicketBody)),
    extensions(("x-problems" = json!(["too-many-tickets"]))))]
pub(super) async fn ticket(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
) -> Result<Response, ApiError> {
    let ticket = state.services.container_terminal_ticket(&caller.may(Write)?, id).await?;
    let body = TicketBody { ticket, expires_in: LIFE.as_secs() };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Opens a terminal: a websocket (RFC 6455). Binary frames are bytes both ways. Text frames are JSON:
/// `{"resize": {"cols": 80, "rows": 24}}` from the client; `{"exit": {"code": 0}}` from the server when the program has ended.
/// It ends after 15 minutes in which nothing happens, and after 4 hours.
#[utoipa::path(get, operation_id = "container_terminal", path = "/containers/{id}/terminal", tag = "containers", params(
    ("id" = String, Path, description = "The container's id"),
    ("command" = Option<Vec<String>>, Query, description = "Program and arguments, one each; /bin/sh where absent"),
    ("user" = Option<String>, Query, description = "As whom; as the container's own user where absent"),
    ("cols" = Option<u16>, Query, description = "Characters across, 1 to 1000; 80 where absent"),
    ("rows" = Option<u16>, Query, description = "Characters down, 1 to 1000; 24 where absent"),
    ("ticket" = Option<String>, Query, description = "Instead of a key")), responses(
    (status = 101, description = "The terminal is open")),
    extensions(("x-problems" = json!(["other-origin", "host-policy", "container-not-running", "not-on-host", "agent-too-old", "docker-refused", "not-a-websocket", "too-many-streams", "host-offline", "docker-down"]))))]
pub(super) async fn open(
    Shared(state): Shared<State>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    Id(id): Id<ContainerId>,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let permit = sign_in(&state, &headers, &context, id, &query).await?;
    check_origin(&state, &headers)?;
    state.services.container_terminal_allowed(&permit, id).await?;
    let request = request(id, query)?;
    let upgrade = upgrade.map_err(|rejection| ApiError::not_a_websocket(rejection.body_text()))?;
    let live = state.services.container_terminal(&permit, request).await?;
    let tasks = state.tasks.clone();
    Ok(upgrade
        .read_buffer_size(4 * 1024)
        .write_buffer_size(8 * 1024)
        .max_write_buffer_size(4 * MESSAGE)
        .max_message_size(MESSAGE)
        .max_frame_size(MESSAGE)
        .on_upgrade(move |socket| tasks.track("terminal", run(state, permit, id, live, socket))))
}

/// By a ticket, or as everywhere.
async fn sign_in(
    state: &State,
    headers: &HeaderMap,
    context: &Context,
    id: ContainerId,
    query: &[(String, String)],
) -> Result<Permit<Write>, ApiError> {
    if let Some((_, ticket)) = query.iter().find(|(name, _)| name == "ticket") {
        let permit = state.services.tickets.redeem(ticket, id);
        return permit.ok_or_else(|| ApiError::unauthorized("this ticket is void: get another one"));
    }
    let principal = auth::principal(state, headers, context).await?;
    Ok(authorize(&principal, Write)?)
}

/// A browser names the page's origin (RFC 6455, 10.2); what names none is not a browser.
fn check_origin(state: &State, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("null");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if is_allowed(origin, host, &state.origins) { Ok(()) } else { Err(ApiError::other_origin(origin)) }
}

fn is_allowed(origin: &str, host: Option<&str>, allowed: &[String]) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let own = authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host));
    own || allowed.iter().any(|one| one.eq_ignore_ascii_case(origin))
}

fn request(container: ContainerId, query: Vec<(String, String)>) -> Result<TerminalRequest, ApiError> {
    let mut check = Check::default();
    let (mut command, mut user, mut cols, mut rows) = (Vec::new(), None, 80, 24);
    for (name, value) in query {
        match name.as_str() {
            "command" => command.push(value),
            "user" => user = Some(value),
            "cols" => cols = check.parse("cols", &value).unwrap_or(cols),
            "rows" => rows = check.parse("rows", &value).unwrap_or(rows),
            "ticket" => {}
            other => check.refuse(other, "there is no such parameter"),
        }
    }
    for (name, number) in [("cols", cols), ("rows", rows)] {
        if !(1..=1000).contains(&number) {
            check.refuse(name, "expected 1 to 1000");
        }
    }
    let bytes: usize = command.iter().map(String::len).sum();
    if command.len() > WORDS.0 || bytes > WORDS.1 || command.iter().any(|word| word.contains('\0')) {
        check.refuse("command", format!("expected at most {} words and {} bytes, without NUL", WORDS.0, WORDS.1));
    }
    if command.first().is_some_and(String::is_empty) {
        check.refuse("command", "expected a program");
    }
    let is_user = |text: &str| {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        (1..=64).contains(&text.len()) && text.chars().all(fine)
    };
    if user.as_deref().is_some_and(|user| !is_user(user)) {
        check.refuse("user", "expected a user, or user:group, by name or number");
    }
    if command.is_empty() {
        command.push("/bin/sh".to_owned());
    }
    check.finish(Some(TerminalRequest { container, command, user, size: TerminalSize { cols, rows } }))
}

/// Why a terminal is closed, for the closing frame (RFC 6455, 7.4.1).
enum Closed {
    /// The program has ended.
    Exit(Option<i64>),
    /// The client has left or broke the protocol.
    Client,
    /// For a reason of ours, in words.
    Ours(u16, &'static str),
}

/// When something was heard of the client, and when something happened in the terminal.
struct Signs {
    heard: Mutex<Instant>,
    used: Mutex<Instant>,
}

fn now(at: &Mutex<Instant>) {
    *at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
}

fn then(at: &Mutex<Instant>) -> Instant {
    *at.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a terminal to its end.
async fn run(state: State, permit: Permit<Write>, id: ContainerId, live: Live, socket: WebSocket) {
    let (mut sink, mut stream) = socket.split();
    let signs = Signs { heard: Mutex::new(Instant::now()), used: Mutex::new(Instant::now()) };
    let closed = tokio::select! {
        closed = show(&live, &mut sink, &signs) => closed,
        closed = type_in(&live, &mut stream, &signs) => closed,
        () = sleep_until(Instant::now() + LONGEST) => Closed::Ours(1008, "a terminal ends after 4 hours"),
        () = auth::signed_out(state.services.clone(), permit.origin().actor, permit.token()) => {
            Closed::Ours(1008, "the key with which it was opened is no longer good")
        }
        () = state.stop.cancelled() => Closed::Ours(1001, "the coordinator shuts down"),
    };
    // The program ends with its reader; the client is told after that, and waited for no longer than it is worth.
    drop(live);
    if let Err(error) = state.services.container_terminal_closed(&permit, id).await {
        tracing::error!(container = %id, error = &error as &dyn std::error::Error, "the end of a terminal is not in the audit");
    }
    let farewell = async {
        let (code, reason) = match closed {
            Closed::Client => return,
            Closed::Exit(code) => {
                let text = serde_json::json!({ "exit": { "code": code } }).to_string();
                if sink.send(Message::Text(text.into())).await.is_err() {
                    return;
                }
                (1000, "the program has ended")
            }
            Closed::Ours(code, reason) => (code, reason),
        };
        let _ = sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
        // Until the client has answered, so that it reads all of that.
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = timeout(Duration::from_secs(2), farewell).await;
}

/// From the program to the client.
async fn show(live: &Live, sink: &mut SplitSink<WebSocket, Message>, signs: &Signs) -> Closed {
    let mut pings = interval(PING);
    loop {
        let message = tokio::select! {
            event = live.next() => match event {
                Ok(Event::Piece(Piece::Bytes { bytes })) => {
                    now(&signs.used);
                    Message::Binary(bytes.into())
                }
                Ok(Event::Piece(_)) => continue,
                Ok(Event::End(StreamEnd::Done { exit_code })) => return Closed::Exit(exit_code),
                Ok(Event::End(_)) | Err(Lost) => return Closed::Ours(1011, "the terminal broke off"),
            },
            _ = pings.tick() => {
                if then(&signs.heard).elapsed() >= SILENCE {
                    return Closed::Client;
                }
                if then(&signs.used).elapsed() >= IDLE {
                    return Closed::Ours(1008, "nothing happened for 15 minutes");
                }
                Message::Ping(axum::body::Bytes::new())
            }
        };
        if !matches!(timeout(WRITE, sink.send(message)).await, Ok(Ok(()))) {
            return Closed::Client;
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    resize: Resize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    cols: u16,
    rows: u16,
}

/// From the client to the program.
async fn type_in(live: &Live, stream: &mut SplitStream<WebSocket>, signs: &Signs) -> Closed {
    while let Some(Ok(message)) = stream.next().await {
        now(&signs.heard);
        match message {
            Message::Binary(bytes) => {
                now(&signs.used);
                if live.send(&bytes).await.is_err() {
                    // Why it ended is said on the way out.
                    std::future::pending::<()>().await;
                }
            }
            Message::Text(text) => match serde_json::from_str::<Control>(&text) {
                Ok(Control { resize: Resize { cols: cols @ 1..=1000, rows: rows @ 1..=1000 } }) => {
                    live.resize(TerminalSize { cols, rows });
                }
                _ => return Closed::Ours(1007, "expected {\"resize\": {\"cols\": 1 to 1000, \"rows\": 1 to 1000}}"),
            },
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => break,
        }
    }
    Closed::Client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_and_those_that_are_named_may() {
        let allowed = ["https://panel.example.org".to_owned()];
        let may = |origin| is_allowed(origin, Some("api.example.org:7080"), &allowed);
        assert!(may("http://api.example.org:7080") && may("https://panel.example.org"));
        for bad in ["null", "https://evil.example", "http://api.example.org", "https://panel.example.org.evil.example"]
        {
            assert!(!may(bad), "{bad}");
        }
        assert!(!is_allowed("https://x", None, &[]));
    }

    #[test]
    fn all_that_is_wrong_with_a_terminal_is_said_at_once() {
        let ask = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            request(ContainerId::new(), pairs)
        };
        assert_eq!(ask(&[]).unwrap().command, ["/bin/sh"]);
        let shell = ask(&[("command", "ls"), ("command", "-l"), ("cols", "132"), ("user", "0:0")]).unwrap();
        assert_eq!((shell.command, shell.size.cols), (vec!["ls".to_owned(), "-l".to_owned()], 132));
        let wrong = ask(&[("cols", "0"), ("rows", "x"), ("user", "a b"), ("color", "red"), ("command", "")]);
        let errors: Vec<String> = wrong.unwrap_err().errors.into_iter().map(|e| e.pointer).collect();
        assert_eq!(errors, ["rows", "color", "cols", "command", "user"]);
    }
}
