//! What the classic builder says while it works, read for what it means: which step it is at, which layers it made, and how it
//! ended.

use super::words::{LastWords, after};
use crate::docker::DockerError;

/// What the builder says after a step, not always to the end of a line.
const REMOVING: &str = "Removing intermediate container ";

/// A build so far.
#[derive(Default)]
pub(super) struct Steps {
    /// The image that the step in work begins from, if it is such a step.
    base: Option<String>,
    /// Whether the step in work makes no layer: it is there already.
    there: bool,
    made: Vec<String>,
    /// Of the step in work.
    words: LastWords,
}

impl Steps {
    /// Takes what was said; the step that begins with it, and how far that is.
    pub(super) fn hear(&mut self, text: &str) -> Option<(String, u8)> {
        let step = parse_step(text);
        if step.is_some() {
            self.base = base_of(text);
            self.there = self.base.is_some();
            self.words.clear();
            return step;
        }
        for line in self.words.whole(text) {
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
        } else if !line.starts_with(REMOVING) {
            self.words.keep(line);
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
        let mut lines = self.words.lines();
        lines.retain(|line| !line.starts_with(REMOVING));
        let full = lines.iter().any(|line| line.contains("No space left on device"));
        let message = after(message, lines);
        if full { DockerError::DiskFull { message } } else { DockerError::Refused { status, message } }
    }
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
        let steps = heard(&["Step 1/1 : RUN b\n", "why\n", "Removing intermediate container 111111111111"]);
        assert_eq!(steps.explain(refused()).to_string(), "it returned 1; its last words: why");
        let steps = heard(&["Step 1/1 : RUN b\n", "dd: writing '/x': No space left on device\n"]);
        assert!(matches!(steps.explain(refused()), DockerError::DiskFull { .. }));
        assert_eq!(heard(&["Step 1/1 : RUN b\n"]).explain(refused()).to_string(), "it returned 1");
    }
}
