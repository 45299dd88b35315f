//! `dockerforge container logs`, `stats` and `terminal`: what a container writes and uses now, and a shell in it. A log that
//! breaks off goes on where it was; a terminal is put back as it was, however it ends. `event` follows its stream as well.

use super::{client::Client, console::Console, console::Style, error::CliError, session::Session, sse};
use futures_util::{SinkExt, StreamExt};
use rustix::termios::{self, OptionalActions, Termios};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Read, Write};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

/// For how long a coordinator or a host may stay away before following gives up.
const AWAY: Duration = Duration::from_secs(120);
/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(1);

/// Which part of a log.
#[derive(Debug, clap::Args)]
pub struct Logs {
    /// Name or id
    pub container: String,
    /// Go on with what is written from now on, until the container ends
    #[arg(long, short)]
    follow: bool,
    /// Only the last so many lines of what there is
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
    /// Only what was written at this time or later, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Begin each line with its time
    #[arg(long, short)]
    timestamps: bool,
}

/// A program to run.
#[derive(Debug, clap::Args)]
pub struct Terminal {
    /// Name or id
    pub container: String,
    /// As whom, by name or number
    #[arg(long, short)]
    pub user: Option<String>,
    /// The program and its arguments [default: /bin/sh]
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Shows a log.
pub(super) async fn logs(session: &mut Session, id: &str, options: &Logs) -> Result<(), CliError> {
    let path = format!("/containers/{id}/logs");
    let mut query = Vec::new();
    query.extend(options.tail.map(|n| ("tail", n.to_string())));
    query.extend(options.since.map(|at| ("since", at.to_string())));
    if !options.follow {
        query.extend(options.timestamps.then(|| ("timestamps", "true".to_owned())));
        let response = session.client.open(&path, &query, "text/plain", None).await?;
        let mut body = response.bytes_stream();
        while let Some(piece) = body.next().await {
            session.console.log(&piece.map_err(|e| session.client.lost(e))?)?;
        }
        return Ok(());
    }
    let mut last = None;
    follow(&session.client, &path, &query, &mut last, &mut |name, data| {
        if name == "log" {
            let text = data["text"].as_str().unwrap_or_default();
            let at = data["at"].as_str().filter(|_| options.timestamps).map(|at| format!("{at} ")).unwrap_or_default();
            session.console.log(format!("{at}{text}").as_bytes())?;
        }
        Ok(())
    })
    .await
}

/// Shows figures: once, or every second.
pub(super) async fn stats(session: &mut Session, id: &str, live: bool) -> Result<(), CliError> {
    let path = format!("/containers/{id}/stats");
    if !live {
        let answer = session.client.get(&path, &[]).await?;
        return session.show(&answer);
    }
    let Session { client, console, .. } = session;
    follow(client, &path, &[], &mut None, &mut |name, data| {
        if name == "sample" { sample(console, data) } else { Ok(()) }
    })
    .await
}

fn sample(console: &mut Console, data: &Value) -> Result<(), CliError> {
    if console.json {
        return console.json(data.to_string().as_bytes());
    }
    let number = |field: &str| data[field].as_u64().unwrap_or_default();
    let mib = |field: &str| number(field) / (1024 * 1024);
    console.line(&format!(
        "cpu {:>6.1} %  memory {} / {} MiB  network {} / {} MiB  blocks {} / {} MiB  pids {}",
        data["cpu_percent"].as_f64().unwrap_or_default(),
        mib("memory_used"),
        mib("memory_limit"),
        mib("network_rx"),
        mib("network_tx"),
        mib("block_read"),
        mib("block_write"),
        number("pids"),
    ))
}

pub(super) type Show<'a> = dyn FnMut(&str, &Value) -> Result<(), CliError> + Send + 'a;

/// Shows the events of a stream to its end, through as many connections as that takes.
pub(super) async fn follow(
    client: &Client,
    path: &str,
    query: &[(&str, String)],
    last: &mut Option<String>,
    show: &mut Show<'_>,
) -> Result<(), CliError> {
    let mut since = Instant::now();
    let mut begun = false;
    loop {
        match client.open(path, query, "text/event-stream", last.as_deref()).await {
            Ok(response) => {
                begun = true;
                since = Instant::now();
                let mut body = response.bytes_stream();
                let mut parser = sse::Parser::default();
                while let Some(Ok(piece)) = body.next().await {
                    let events = parser.feed(&piece).map_err(|sse::TooLarge| CliError::NotUnderstood {
                        url: path.to_owned(),
                        reason: "an event is too large".to_owned(),
                    })?;
                    for event in events {
                        let data = serde_json::from_slice(&event.data).unwrap_or_default();
                        show(&event.name, &data)?;
                        *last = event.id.or(last.take());
                        if event.name == "end" {
                            return Ok(());
                        }
                    }
                }
            }
            // What cannot be at first is told; what was there is waited for.
            Err(error) if !begun || !error.transient() || since.elapsed() >= AWAY => return Err(error),
            Err(_) => {}
        }
        sleep(AGAIN).await;
    }
}

/// The person's terminal, raw until this is dropped.
struct Raw(Termios);

impl Raw {
    fn begin() -> Option<Self> {
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// How large the person's terminal is.
fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.min(1000), size.ws_row.min(1000)))
}

/// Opens a terminal and passes everything both ways until the program ends; its exit code becomes ours.
pub(super) async fn terminal(session: &mut Session, id: &str, options: &Terminal) -> Result<(), CliError> {
    let mut query: Vec<(&str, String)> = options.command.iter().map(|word| ("command", word.clone())).collect();
    query.extend(options.user.clone().map(|user| ("user", user)));
    if let Some((cols, rows)) = size() {
        query.extend([("cols", cols.to_string()), ("rows", rows.to_string())]);
    }
    let upgraded = session.client.websocket(&format!("/containers/{id}/terminal"), &query).await?;
    let (mut sink, mut stream) = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await.split();
    let raw = io::stdin().is_terminal().then(Raw::begin).flatten();
    let mut typed = keyboard();
    let resized = tokio::signal::unix::SignalKind::window_change();
    let mut resized = tokio::signal::unix::signal(resized).map_err(CliError::Output)?;
    let mut open = true;
    let code = loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let mut out = io::stdout().lock();
                    out.write_all(&bytes).and_then(|()| out.flush()).map_err(CliError::Output)?;
                }
                Some(Ok(Message::Text(text))) => {
                    let said: Value = serde_json::from_str(&text).unwrap_or_default();
                    break said.pointer("/exit/code").and_then(Value::as_i64);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    drop(raw);
                    let why = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    return Err(CliError::TerminalClosed(why));
                }
                Some(Err(_)) | None => {
                    drop(raw);
                    return Err(CliError::TerminalClosed("the connection was lost".to_owned()));
                }
            },
            bytes = typed.recv(), if open => {
                open = bytes.is_some();
                // What was piped in has ended: the program is told as a keyboard would.
                let bytes = bytes.unwrap_or_else(|| vec![4]);
                let _ = sink.send(Message::Binary(bytes.into())).await;
            },
            _ = resized.recv() => if let Some((cols, rows)) = size() {
                let text = json!({ "resize": { "cols": cols, "rows": rows } }).to_string();
                let _ = sink.send(Message::Text(text.into())).await;
            },
        }
    };
    drop(raw);
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(CliError::Exit(u8::try_from(code).unwrap_or(1))),
        None => {
            session.console.note(Style::Dim, "how the program ended is not known");
            Ok(())
        }
    }
}

/// What is typed. The thread ends with the process: a read from a terminal cannot be called off.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = io::stdin().lock().read(&mut buffer) {
            if sender.blocking_send(buffer[..read].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
