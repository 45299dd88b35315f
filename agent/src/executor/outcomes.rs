//! What a converge says became of its resources: taken out of its output by the mark, and what the job tells of it.

use super::quoted::{in_every_form, without};
use super::secrets::Redactor;
use super::words::{LONGEST, LastWords, OUTCOME, after, readable};
use dockerforge_protocol::command::OUTCOME_MARK;
use dockerforge_protocol::report::{MAX_RESOURCES, ResourceOutcome, ResourceStatus};
use secrecy::SecretString;

/// Characters of the name of a resource.
const RESOURCE: usize = 200;

/// Takes the lines that say what became of a resource out of what a converge writes, and secrets out of all of it: of an outcome
/// when it was read, for what is quoted in its line is none of it.
#[derive(Default)]
pub(super) struct Outcomes {
    /// In their order; also what failed and was then done otherwise.
    resources: Vec<ResourceOutcome>,
    /// The last that failed, however many were told before.
    failed: Option<ResourceOutcome>,
    /// In every form.
    secrets: Vec<SecretString>,
    /// Of what is shown.
    redactor: Redactor,
    /// Of what is shown.
    words: LastWords,
    /// The beginning of a line that may be one.
    held: Vec<u8>,
    /// Whether what comes next goes on with a line that is none.
    within: bool,
}

impl Outcomes {
    /// Of a converge that knows these secrets.
    pub(super) fn without(secrets: &[SecretString]) -> Self {
        let secrets = in_every_form(secrets);
        Self { redactor: Redactor::of(secrets.clone()), secrets, ..Self::default() }
    }

    /// What is to be shown after one more piece, or at the end.
    pub(super) fn pass(&mut self, piece: &[u8], end: bool) -> Vec<u8> {
        let mark = OUTCOME_MARK.as_bytes();
        let mut shown = Vec::with_capacity(piece.len());
        for &byte in piece {
            if self.within {
                shown.push(byte);
                self.within = byte != b'\n';
                continue;
            }
            self.held.push(byte);
            let may_be = self.held.starts_with(mark) || mark.starts_with(&self.held);
            if byte == b'\n' && may_be {
                self.line(&mut shown);
            } else if !may_be || self.held.len() > LONGEST {
                shown.append(&mut self.held);
                self.within = byte != b'\n';
            }
        }
        if end {
            self.line(&mut shown);
        }
        let mut shown = self.redactor.pass(&shown);
        if end {
            shown.extend(self.redactor.rest());
        }
        for line in self.words.whole(&String::from_utf8_lossy(&shown)) {
            self.words.keep(&line);
        }
        shown
    }

    /// Reads a line that is there whole; one that says nothing is shown.
    fn line(&mut self, shown: &mut Vec<u8>) {
        let said = self.held.strip_prefix(OUTCOME_MARK.as_bytes());
        match said.and_then(|json| serde_json::from_slice::<ResourceOutcome>(json).ok()) {
            Some(outcome) => {
                let text = |text: &str, most| readable(&without(&self.secrets, text), most);
                let outcome = ResourceOutcome {
                    resource: text(&outcome.resource, RESOURCE),
                    detail: text(&outcome.detail, OUTCOME),
                    status: outcome.status,
                };
                if outcome.status == ResourceStatus::Failed {
                    self.failed = Some(outcome.clone());
                }
                if self.resources.len() < MAX_RESOURCES {
                    self.resources.push(outcome);
                }
            }
            None => shown.extend_from_slice(&self.held),
        }
        self.held.clear();
    }

    /// What became of the resources of one that went well.
    pub(super) fn resources(self) -> Vec<ResourceOutcome> {
        self.resources
    }

    /// Why it failed, as precisely as it was said.
    pub(super) fn explain(&self, code: i64) -> String {
        let lines = self.words.lines();
        let failure = match &self.failed {
            Some(outcome) if outcome.detail.is_empty() => format!("{} failed", outcome.resource),
            Some(outcome) => format!("{} failed: {}", outcome.resource, outcome.detail),
            None if lines.is_empty() => format!("the converge ended with {code}, and said nothing"),
            None => format!("the converge ended with {code}"),
        };
        after(failure, lines)
    }
}

#[cfg(test)]
#[path = "outcomes_tests.rs"]
mod tests;
