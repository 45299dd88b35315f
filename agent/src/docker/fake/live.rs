//! Logs, figures and terminals of the engine in memory: a test writes the log, gives the readings, and holds the other end
//! of each terminal.

use super::{FakeEngine, missing};
use crate::docker::live::{Counters, ExecState, Live, LogQuery, NewExec, Terminal};
use crate::docker::{Call, Events};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::stream::{Line, Source, TerminalSize};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::io::DuplexStream;

/// Bytes that a terminal holds each way.
const TERMINAL: usize = 4096;

/// A program that was run in a container.
#[derive(Debug)]
pub struct FakeTerminal {
    /// As it was asked for.
    pub new: NewExec,
    /// How large its terminal is.
    pub size: Option<TerminalSize>,
    /// How it is.
    pub state: ExecState,
    /// The program's side of its terminal, until a test takes it.
    pub program: Option<DuplexStream>,
}

impl Clone for FakeTerminal {
    /// A copy of what is known; there is only one terminal.
    fn clone(&self) -> Self {
        Self { new: self.new.clone(), size: self.size, state: self.state, program: None }
    }
}

impl FakeEngine {
    /// Writes a line into a container's log.
    pub fn add_line(&self, docker_id: &str, source: Source, at: i64, text: &str) {
        let line = Line { source, at, text: text.as_bytes().to_vec() };
        self.world().logs.entry(docker_id.to_owned()).or_default().push(line);
        self.live.send_modify(|n| *n += 1);
    }

    /// A container ends by itself.
    pub fn exit_container(&self, docker_id: &str, code: i64) {
        if let Some((container, ..)) = self.world().containers.get_mut(docker_id) {
            container.state = ContainerState::Exited;
            container.exit_code = Some(code);
        }
        self.live.send_modify(|n| *n += 1);
    }

    /// A program that was run ends.
    pub fn exit_program(&self, exec: &str, code: i64) {
        if let Some(exec) = self.world().terminals.get_mut(exec) {
            exec.state = ExecState { running: false, exit_code: Some(code), pid: None };
        }
    }

    /// The next line of a log from an index on, once there is one; none when there will not be any.
    async fn line(&self, id: &str, index: &mut usize, query: LogQuery) -> Option<Line> {
        let mut changes = self.live.subscribe();
        loop {
            let runs = {
                let world = self.world();
                let lines = world.logs.get(id).map(Vec::as_slice).unwrap_or_default();
                while let Some(line) = lines.get(*index) {
                    *index += 1;
                    let wanted = if line.source == Source::Stdout { query.stdout } else { query.stderr };
                    if wanted && line.at >= i64::from(query.since) * 1_000_000_000 {
                        return Some(line.clone());
                    }
                }
                world.containers.get(id).is_some_and(|(c, ..)| c.state == ContainerState::Running)
            };
            if !query.follow || !runs || changes.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl Live for FakeEngine {
    fn logs<'a>(&'a self, id: &'a str, query: LogQuery) -> Call<'a, Events<Line>> {
        async move {
            let lines = self.act("container logs", id, |w| Ok(w.logs.get(id).map_or(0, Vec::len))).await?;
            let skipped = query.tail.map_or(0, |tail| lines.saturating_sub(usize::try_from(tail).unwrap_or(lines)));
            let state = (self.clone(), id.to_owned(), skipped);
            let lines = stream::unfold(state, move |(engine, id, mut index)| async move {
                let line = engine.line(&id, &mut index, query).await?;
                Some((Ok(line), (engine, id, index)))
            });
            Ok(lines.boxed())
        }
        .boxed()
    }

    fn stats<'a>(&'a self, id: &'a str) -> Call<'a, Events<Counters>> {
        self.act("container stats", id, |w| Ok(stream::iter(w.counters.clone()).map(Ok).boxed())).boxed()
    }

    fn terminal_create<'a>(&'a self, container: &'a str, exec: &'a NewExec) -> Call<'a, String> {
        self.act("exec create", container, |w| {
            let id = w.id("exec");
            let state = ExecState { running: false, exit_code: None, pid: None };
            w.terminals.insert(id.clone(), FakeTerminal { new: exec.clone(), size: None, state, program: None });
            Ok(id)
        })
        .boxed()
    }

    fn terminal_start<'a>(&'a self, exec: &'a str) -> Call<'a, Box<dyn Terminal>> {
        self.act("exec start", exec, move |w| match w.terminals.get_mut(exec) {
            None => missing(exec),
            Some(found) => {
                let (ours, program) = tokio::io::duplex(TERMINAL);
                found.program = Some(program);
                found.state.running = true;
                let terminal: Box<dyn Terminal> = Box::new(ours);
                Ok(terminal)
            }
        })
        .boxed()
    }

    fn terminal_detached<'a>(&'a self, exec: &'a str) -> Call<'a, ()> {
        self.act("exec start", exec, move |w| {
            let Some(script) = w.terminals.get(exec).and_then(|e| e.new.command.last().cloned()) else {
                return missing(exec);
            };
            // What the script would find: programs that have the mark which it looks for.
            for other in w.terminals.values_mut() {
                if other.state.running && other.new.env.iter().any(|value| script.contains(value.as_str())) {
                    other.state = ExecState { running: false, exit_code: Some(129), pid: None };
                }
            }
            Ok(())
        })
        .boxed()
    }

    fn terminal_resize<'a>(&'a self, exec: &'a str, size: TerminalSize) -> Call<'a, ()> {
        self.act("exec resize", exec, move |w| match w.terminals.get_mut(exec) {
            None => missing(exec),
            Some(found) => {
                found.size = Some(size);
                Ok(())
            }
        })
        .boxed()
    }

    fn terminal_state<'a>(&'a self, exec: &'a str) -> Call<'a, ExecState> {
        self.act("exec inspect", exec, move |w| w.terminals.get(exec).map_or_else(|| missing(exec), |e| Ok(e.state)))
            .boxed()
    }
}
