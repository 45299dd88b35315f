//! The terminal: results to stdout, words to stderr, colours where they are wanted. Nothing here panics on a closed
//! pipe: a result that cannot be written is an error, a word that cannot be written is dropped.

use super::{
    error::CliError,
    globals::{Color, Globals},
};
use std::io::{self, IsTerminal, Write};

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Style {
    /// It does not.
    #[default]
    Plain,
    /// A header.
    Bold,
    /// Good.
    Green,
    /// Under way, or to be looked at.
    Yellow,
    /// Bad.
    Red,
    /// Less important.
    Dim,
}

impl Style {
    /// The style of a state, the same in every table.
    pub(super) fn of_state(state: &str) -> Self {
        match state {
            "online" | "ready" | "present" | "running" | "succeeded" | "active" => Self::Green,
            "failed" | "dead" | "missing" | "unreachable" | "conflict" => Self::Red,
            "pending" | "queued" | "assigned" | "unknown" | "cancelling" | "deleting" | "removing" | "restarting"
            | "paused" => Self::Yellow,
            "cancelled" | "exited" => Self::Dim,
            _ => Self::Plain,
        }
    }

    /// The text in this style: SGR sequences of ECMA-48, where colours are on.
    pub(super) fn paint(self, on: bool, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Bold => "1",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Dim => "2",
        };
        if on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The terminal, or what stands in for it.
#[derive(Debug)]
pub(super) struct Console {
    /// Whether results are the server's JSON.
    pub json: bool,
    /// Whether stdout takes colours.
    pub color: bool,
    color_err: bool,
}

impl Console {
    /// The console that the options ask for.
    pub(super) fn new(globals: &Globals) -> Self {
        let wanted = |terminal: bool| match globals.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        Self {
            json: globals.json,
            color: wanted(io::stdout().is_terminal()),
            color_err: wanted(io::stderr().is_terminal()),
        }
    }

    /// A line of the result.
    #[allow(clippy::unused_self, reason = "writing goes through the console, so that one place knows where to")]
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(CliError::Output)
    }

    /// The server's JSON, as it came, and the end of its line where it has none.
    #[allow(clippy::unused_self, reason = "writing goes through the console, so that one place knows where to")]
    pub(super) fn json(&mut self, body: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(body)
            .and_then(|()| if body.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") })
            .and_then(|()| out.flush())
            .map_err(CliError::Output)
    }

    /// A piece of a job's log, as it came: to stdout, or to stderr where stdout is for JSON.
    pub(super) fn log(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        fn put(mut out: impl Write, bytes: &[u8]) -> Result<(), CliError> {
            out.write_all(bytes).and_then(|()| out.flush()).map_err(CliError::Output)
        }
        if self.json { put(io::stderr().lock(), bytes) } else { put(io::stdout().lock(), bytes) }
    }

    /// Whether a log and a progress line would share a terminal.
    pub(super) fn shares_terminal(&self) -> bool {
        io::stderr().is_terminal() && (self.json || io::stdout().is_terminal())
    }

    /// A word to the person.
    pub(super) fn note(&self, style: Style, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", style.paint(self.color_err, text));
    }

    /// Tells why the command failed. A closed pipe is not worth a word: its reader left on purpose.
    pub(super) fn report(&self, error: &CliError) {
        if matches!(error, CliError::Output(e) if e.kind() == io::ErrorKind::BrokenPipe) {
            return;
        }
        let mut err = io::stderr().lock();
        let label = Style::Red.paint(self.color_err, "error:");
        let cause = error.root_cause().map(|cause| format!(": {cause}")).unwrap_or_default();
        let _ = writeln!(err, "{label} {error}{cause}");
        for hint in error.hints() {
            let _ = writeln!(err, "  {hint}");
        }
    }
}
