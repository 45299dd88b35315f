//! What the classic builder says while it works, read for what it means: which step it is at, which layers it made, and how it
//! ended.

use crate::docker::DockerError;
use dockerforge_protocol::command::OUTCOME_MARK;
use dockerforge_protocol::report::ResourceOutcome;
use std::collections::VecDeque;

/// Lines of output that the failure of a build tells.
const TAIL: usize = 12;
/// Characters of each.
const LINE: usize = 300;

/// What the builder puts around what a program wrote to its error output.
const COLOURS: [&str; 2] = ["\u{1b}[91m", "\u{1b}[0m"];

/// A build so far.
#[derive(Default)]
pub(super) struct Steps {
    /// The image that the step in work begins from, if it is such a step.
    base: Option<String>,
    /// Whether the step in work makes no layer: it is there already.
    there: bool,
    made: Vec<String>,
    tail: VecDeque<String>,
    /// What came after the last line end.
    rest: String,
}

impl Steps {
    /// Takes what was said; the step that begins with it, and how far that is.
    pub(super) fn hear(&mut self, text: &str) -> Option<(String, u8)> {
        let step = parse_step(text);
        if step.is_some() {
            self.base = base_of(text);
            self.there = self.base.is_some();
            self.tail.clear();
            self.rest.clear();
            return step;
        }
        self.rest.push_str(text);
        while let Some((line, rest)) = self.rest.split_once('\n') {
            let (line, rest) = (line.trim_end().to_owned(), rest.to_owned());
            self.rest = rest;
            self.line(&line);
        }
        if self.rest.len() > 4 * LINE {
            let line = std::mem::take(&mut self.rest);
            self.line(&line);
        }
        None
    }

    fn line(&mut self, line: &str) {
        if let Some(said) = line.strip_prefix(" ---> ") {
            match said {
                "Using cache" => self.there = true,
                id if id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()) && !self.there => {
                    self.made.push(id.to_owned());
                }
                _ => {}
            }
        } else if !line.trim().is_empty() && !line.starts_with("Removing intermediate container ") {
            self.tail.push_back(words_of(line));
            if self.tail.len() > TAIL {
                self.tail.pop_front();
            }
        }
    }

    /// The image that the step in work begins from, if it is such a step.
    pub(super) fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// The layers that this build has made, in their order.
    pub(super) fn made(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.made.iter().map(String::as_str)
    }

    /// The failure with the last lines of the step that failed. A program that found the disk full says so there alone.
    pub(super) fn explain(&self, error: DockerError) -> DockerError {
        let DockerError::Refused { status, message } = error else { return error };
        let rest = Some(self.rest.trim_end()).filter(|rest| !rest.is_empty()).map(words_of);
        let lines: Vec<String> = self.tail.iter().cloned().chain(rest).collect();
        if lines.is_empty() {
            return DockerError::Refused { status, message };
        }
        let full = lines.iter().any(|line| line.contains("No space left on device"));
        let message = format!("{message}; its last words: {}", lines.join("\n"));
        if full { DockerError::DiskFull { message } } else { DockerError::Refused { status, message } }
    }
}

/// A line of output as a failure tells it.
fn words_of(line: &str) -> String {
    // The builder colours what a program wrote to its error output.
    let line = COLOURS.iter().fold(line.to_owned(), |line, colour| line.replace(colour, ""));
    let told = line.strip_prefix(OUTCOME_MARK).and_then(|json| serde_json::from_str(json).ok());
    let words = told.map_or_else(
        || line.clone(),
        |ResourceOutcome { resource, status, detail }| format!("{resource} {}: {detail}", status.as_str()),
    );
    words.chars().take(LINE).collect()
}

/// `Step 2/5 : RUN make` as progress.
fn parse_step(text: &str) -> Option<(String, u8)> {
    let (count, instruction) = text.strip_prefix("Step ")?.split_once(" : ")?;
    let (at, of) = count.split_once('/')?;
    let (at, of) = (at.parse::<u32>().ok()?, of.parse::<u32>().ok()?);
    let percent = (at.saturating_sub(1) * 100).checked_div(of)?.min(98);
    let instruction: String = instruction.trim().chars().take(200).collect();
    Some((format!("build {at}/{of}: {instruction}"), u8::try_from(percent.max(1)).ok()?))
}

/// The image that a step of a build begins from, if it is such a step.
fn base_of(step: &str) -> Option<String> {
    let mut words = step.split_once(" : ")?.1.split_whitespace();
    let from = words.next()?.eq_ignore_ascii_case("from");
    words.find(|word| !word.starts_with("--")).filter(|_| from).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Steps, base_of, parse_step};
    use crate::docker::DockerError;

    #[test]
    fn the_image_that_a_step_begins_from_is_known() {
        for (step, base) in [
            ("Step 1/9 : FROM base.example/debian:12\n", Some("base.example/debian:12")),
            ("Step 3/9 : from --platform=linux/arm64 debian AS files", Some("debian")),
            ("Step 2/9 : RUN echo FROM x", None),
            ("Step 2/9 : FROM", None),
            ("FROM x", None),
        ] {
            assert_eq!(base_of(step).as_deref(), base, "{step}");
        }
    }

    #[test]
    fn a_build_step_is_progress() {
        assert_eq!(parse_step("Step 2/5 : RUN make\n"), Some(("build 2/5: RUN make".to_owned(), 20)));
        assert_eq!(parse_step("Step 1/2 : FROM x"), Some(("build 1/2: FROM x".to_owned(), 1)));
        for other in ["Step", "Step x/5 : RUN", "Step 1/0 : RUN", "Stepping 1/2 : x", " ---> abc"] {
            assert_eq!(parse_step(other), None, "{other}");
        }
    }

    /// A build as the classic builder tells it, in the pieces in which it comes.
    fn heard(pieces: &[&str]) -> Steps {
        let mut steps = Steps::default();
        for piece in pieces {
            let _ = steps.hear(piece);
        }
        steps
    }

    #[test]
    fn only_what_the_build_itself_made_is_its_own() {
        let steps = heard(&[
            "Step 1/5 : FROM base\n",
            " ---> aaaaaaaaaaaa\n",
            "Step 2/5 : RUN one\n",
            " ---> Using cache\n",
            " ---> bbbbbbbbbbbb\n",
            "Step 3/5 : RUN two\n",
            " ---> Running in 111111111111\n",
            " ---> dddddddddddd is only printed\n",
            "Removing intermediate container 111111111111\n",
            " ---> cccccccccccc\n",
            "Step 4/5 : RUN three\n",
            " ---> Running in 222222222222\n",
        ]);
        assert_eq!(steps.made().collect::<Vec<_>>(), ["cccccccccccc"]);
    }

    #[test]
    fn a_failure_tells_the_last_words_of_its_step_and_a_full_disk_by_its_kind() {
        let refused = || DockerError::Refused { status: 0, message: "it returned 1".to_owned() };
        let steps =
            heard(&["Step 1/2 : RUN a\n", "of a\n", "Step 2/2 : RUN b\n", "no rou", "te to host\nand", " more"]);
        assert_eq!(steps.explain(refused()).to_string(), "it returned 1; its last words: no route to host\nand more");
        let told = "\u{1b}[0mdockerforge-outcome: {\"resource\": \"page\", \"status\": \"failed\", \"detail\": \"exit code 3\"}";
        let steps = heard(&["Step 1/1 : RUN b\n", told]);
        assert_eq!(steps.explain(refused()).to_string(), "it returned 1; its last words: page failed: exit code 3");
        let steps = heard(&["Step 1/1 : RUN b\n", "dd: writing '/x': No space left on device\n"]);
        assert!(matches!(steps.explain(refused()), DockerError::DiskFull { .. }));
        assert_eq!(heard(&["Step 1/1 : RUN b\n"]).explain(refused()).to_string(), "it returned 1");
    }
}
