//! A program with a terminal in a container. What must hold: however the terminal ends, so does the program; and neither
//! direction waits for the other.

use super::ending::end_program;
use super::open::{Ended, find_running, refused};
use super::{Gone, Input, Settings, Stream};
use crate::docker::live::{NewExec, Terminal};
use dockerforge_protocol::stream::{Piece, StreamEnd, StreamRefusal, TerminalRequest};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

/// Read from a program at a time.
const CHUNK: usize = 16 * 1024;
/// A program that has closed its terminal ends within this, or has no exit code to tell.
const ENDING: Duration = Duration::from_secs(2);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// The variable by which everything that was started in a terminal is found again.
pub(super) const MARK: &str = "DOCKERFORGE_TERMINAL";

/// How a conversation with a program ended.
enum Over {
    /// The program has.
    Program,
    /// Nobody wants it any more.
    Left,
}

/// Runs a terminal to its end.
pub(super) async fn run(
    settings: &Settings,
    stream: &mut Stream,
    request: &TerminalRequest,
) -> Result<StreamEnd, Ended> {
    let engine = &settings.engine;
    let container = find_running(settings, request.container).await?;
    let mark = mark().ok_or(Ended::Refused(StreamRefusal::DockerDown))?;
    let new = NewExec {
        command: request.command.clone(),
        user: request.user.clone(),
        env: vec!["TERM=xterm-256color".to_owned(), format!("{MARK}={mark}")],
        tty: true,
    };
    let exec = engine.terminal_create(&container.id, &new).await.map_err(|e| refused(&e))?;
    let terminal = engine.terminal_start(&exec).await.map_err(|e| refused(&e))?;
    // The size before the first output; a program that has ended already needs none.
    let _ = engine.terminal_resize(&exec, request.size).await;
    let Some(input) = stream.input.take() else { return Err(Ended::Gone) };
    let over = converse(settings, stream, &exec, terminal, input).await;
    match over {
        Ok(Over::Program) => {
            let until = tokio::time::Instant::now() + ENDING;
            loop {
                let state = engine.terminal_state(&exec).await?;
                if !state.running {
                    return Ok(StreamEnd::Done { exit_code: state.exit_code });
                }
                if tokio::time::Instant::now() >= until {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
            end_program(settings, &container.id, &exec, &mark).await;
            Ok(StreamEnd::Done { exit_code: None })
        }
        Ok(Over::Left) | Err(Gone) => {
            end_program(settings, &container.id, &exec, &mark).await;
            Ok(StreamEnd::Left)
        }
    }
}

/// 128 random bits that name a terminal.
fn mark() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("{:032x}", u128::from_be_bytes(bytes)))
}

async fn converse(
    settings: &Settings,
    stream: &Stream,
    exec: &str,
    terminal: Box<dyn Terminal>,
    input: mpsc::Receiver<Input>,
) -> Result<Over, Gone> {
    let (reader, writer) = tokio::io::split(terminal);
    let talk = async {
        stream.opened().await?;
        tokio::select! {
            // What the program still wrote is sent before its end is noticed on the way in.
            biased;
            end = output(stream, reader) => end,
            Err(gone) = feed(settings, stream, exec, writer, input) => Err(gone),
        }
    };
    tokio::select! {
        over = talk => over,
        () = stream.cancel.cancelled() => Ok(Over::Left),
    }
}

async fn output(stream: &Stream, mut reader: ReadHalf<Box<dyn Terminal>>) -> Result<Over, Gone> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            // A connection that broke is as good as a program that ended: it is looked at next.
            Ok(0) | Err(_) => return Ok(Over::Program),
            Ok(read) => stream.send(Piece::Bytes { bytes: buffer[..read].to_vec() }).await?,
        }
    }
}

/// Passes on what is typed. A program that closed its side of the terminal takes no more of it; its end comes on the way
/// out.
async fn feed(
    settings: &Settings,
    stream: &Stream,
    exec: &str,
    mut writer: WriteHalf<Box<dyn Terminal>>,
    mut input: mpsc::Receiver<Input>,
) -> Result<(), Gone> {
    loop {
        match input.recv().await.ok_or(Gone)? {
            Input::Size(size) => {
                let _ = settings.engine.terminal_resize(exec, size).await;
            }
            Input::Bytes(piece) => {
                if let Piece::Bytes { bytes } = &piece {
                    let written = async {
                        writer.write_all(bytes).await?;
                        writer.flush().await
                    };
                    let _ = written.await;
                }
                stream.taken(&piece).await?;
            }
        }
    }
}
