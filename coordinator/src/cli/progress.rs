//! The one line at the bottom of the terminal that says how far a job is. Drawn on stderr, and only if that is a
//! terminal; the log is written above it.

use super::{console::Console, error::CliError, job::Job};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::{io::IsTerminal, time::Duration};

/// The line. It is cheap to clone, and every clone is the same line.
#[derive(Debug, Clone)]
pub(super) struct ProgressLine {
    bar: Option<ProgressBar>,
}

impl ProgressLine {
    /// A line, if there is a terminal to draw it on.
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
            .with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar: Some(bar) }
    }

    /// Shows how far the job is.
    pub(super) fn show(&self, job: &Job) {
        let Some(bar) = &self.bar else { return };
        let step = job.progress.as_ref().map(|p| match p.percent {
            Some(percent) => format!(": {} {percent} %", p.step),
            None => format!(": {}", p.step),
        });
        let text = format!("{} {}{}", job.kind, job.state, step.unwrap_or_default());
        bar.set_message(super::error::Shown(&text).to_string());
    }

    /// Says something that is not about the job's progress: that the coordinator is away.
    pub(super) fn say(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Writes while the line is out of the way.
    pub(super) fn aside(&self, write: impl FnOnce() -> Result<(), CliError>) -> Result<(), CliError> {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The log above the line: where both are on one terminal, only whole lines are written, because the progress line
/// would overwrite half of one.
#[derive(Debug)]
pub(super) struct LogAbove<'a> {
    console: &'a mut Console,
    line: ProgressLine,
    half: Vec<u8>,
}

impl<'a> LogAbove<'a> {
    /// An empty log above this line.
    pub(super) fn new(console: &'a mut Console, line: ProgressLine) -> Self {
        Self { console, line, half: Vec::new() }
    }

    /// Writes a piece of the log.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        if self.line.bar.is_none() || !self.console.shares_terminal() {
            return self.console.log(bytes);
        }
        self.half.extend_from_slice(bytes);
        // A program that never ends its line is shown all the same.
        let whole = match self.half.iter().rposition(|b| *b == b'\n') {
            Some(last) => last + 1,
            None if self.half.len() > 64 * 1024 => self.half.len(),
            None => return Ok(()),
        };
        let lines: Vec<u8> = self.half.drain(..whole).collect();
        self.line.aside(|| self.console.log(&lines))
    }

    /// Writes the half line that may be left, and takes the progress line away.
    pub(super) fn finish(&mut self) -> Result<(), CliError> {
        self.line.clear();
        if self.half.is_empty() { Ok(()) } else { self.console.log(&std::mem::take(&mut self.half)) }
    }
}
