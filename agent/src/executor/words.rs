//! The last words of what ran: the end of its output, as the failure of a build or of a converge tells it. Bounded, whatever is
//! written.

use dockerforge_protocol::command::OUTCOME_MARK;
use dockerforge_protocol::report::{ResourceOutcome, ResourceStatus};
use std::collections::VecDeque;

/// Lines that a failure tells.
const LINES: usize = 12;
/// Characters of each.
const LINE: usize = 300;
/// Characters of one that says what failed.
pub(super) const OUTCOME: usize = 1200;
/// The longest line that is read as one, bytes. A provisioner's outcome has to fit in: it is cut here, once its secrets are out.
pub(super) const LONGEST: usize = 64 * 1024;
/// Bytes that the coordinator keeps of a failure, with room for what it adds.
const FAILURE: usize = 4000;

/// What the classic builder puts around what a program wrote to its error output.
const COLOURS: [&str; 2] = ["\u{1b}[91m", "\u{1b}[0m"];

/// The end of what was written so far.
#[derive(Default)]
pub(super) struct LastWords {
    lines: VecDeque<String>,
    /// What came after the last line end.
    rest: String,
}

impl LastWords {
    /// Takes one more piece; the lines that are whole now. Which of them are of interest is for the caller to say.
    pub(super) fn whole(&mut self, text: &str) -> Vec<String> {
        self.rest.push_str(text);
        let mut whole: Vec<String> = Vec::new();
        if let Some((lines, rest)) = self.rest.rsplit_once('\n') {
            whole.extend(lines.split('\n').map(|line| line.trim_end().to_owned()));
            self.rest = rest.to_owned();
        }
        if self.rest.len() > LONGEST {
            whole.push(std::mem::take(&mut self.rest));
        }
        whole
    }

    /// Keeps a line.
    pub(super) fn keep(&mut self, line: &str) {
        if let Some(words) = words_of(line) {
            self.lines.push_back(words);
            if self.lines.len() > LINES {
                self.lines.pop_front();
            }
        }
    }

    /// Forgets all of it.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.rest.clear();
    }

    /// What a failure tells of it.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().chain(words_of(self.rest.trim_end())).collect()
    }
}

/// A failure with the last words before it, but for what it says itself. What was said last matters most, where not all has room.
pub(super) fn after(failure: String, mut lines: Vec<String>) -> String {
    const BETWEEN: &str = "; its last words: ";
    lines.retain(|line| !failure.lines().any(|told| told == line || told.ends_with(&format!(": {line}"))));
    let mut left = FAILURE.saturating_sub(failure.len() + BETWEEN.len());
    let fitting = lines.iter().rev().take_while(|line| {
        let fits = left > line.len();
        left = left.saturating_sub(line.len() + 1);
        fits
    });
    let first = lines.len() - fitting.count();
    match lines[first..].join("\n") {
        lines if lines.is_empty() => failure,
        lines => failure + BETWEEN + &lines,
    }
}

/// A text of at most that many characters and a mark: where it begins, and more of where it ends, for what a program said last
/// stands there.
pub(super) fn readable(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let (head, tail) = (most / 4, most - most / 4);
    text.chars().take(head).chain(" … ".chars()).chain(text.chars().skip(length - tail)).collect()
}

/// A line of output as a failure tells it; none of one that says nothing, or that something went well.
fn words_of(line: &str) -> Option<String> {
    // The builder colours what a program wrote to its error output.
    let line = COLOURS.iter().fold(line.to_owned(), |line, colour| line.replace(colour, ""));
    let told = line.strip_prefix(OUTCOME_MARK).and_then(|json| serde_json::from_str(json).ok());
    match told {
        Some(ResourceOutcome { status: ResourceStatus::Changed, .. }) => None,
        Some(ResourceOutcome { resource, status, detail }) => {
            Some(readable(&format!("{resource} {}: {detail}", status.as_str()), OUTCOME))
        }
        None => Some(line.chars().take(LINE).collect()).filter(|line: &String| !line.trim().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&str]) -> Vec<String> {
        let mut words = LastWords::default();
        for piece in pieces {
            for line in words.whole(piece) {
                words.keep(&line);
            }
        }
        words.lines()
    }

    #[test]
    fn the_end_is_told_however_it_came_and_not_more_of_it_than_is_of_use() {
        assert_eq!(heard(&["no rou", "te to host\n\n \nand", " more"]), ["no route to host", "and more"]);
        let many: Vec<String> = (0..100).map(|i| format!("{i}\n")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!((heard(&many).len(), heard(&many).remove(0)), (LINES, "88".to_owned()));
        assert!(heard(&[&"x".repeat(1 << 20)]).iter().all(|line| line.len() == LINE));
    }

    #[test]
    fn what_went_well_does_not_hide_what_failed() {
        let changed =
            "dockerforge-outcome: {\"resource\":\"directory[/srv]\",\"status\":\"changed\",\"detail\":\"\"}\n";
        let failed = "\u{1b}[0mdockerforge-outcome: {\"resource\": \"page\", \"status\": \"failed\", \"detail\": \"exit code 3\"}";
        assert_eq!(heard(&["why\n", &changed.repeat(50), failed]), ["why", "page failed: exit code 3"]);
    }

    #[test]
    fn a_failure_tells_what_was_said_last_once_and_no_more_than_is_kept_of_it() {
        let mut words = LastWords::default();
        assert_eq!(after("page failed".to_owned(), words.lines()), "page failed");
        for line in words.whole("one\ntwo: exit code 3\n3\n") {
            words.keep(&line);
        }
        let told = after("page failed: exit code 3".to_owned(), words.lines());
        assert_eq!(told, "page failed: exit code 3; its last words: one\ntwo: exit code 3\n3");
        let told = after("page failed: two: exit code 3".to_owned(), words.lines());
        assert_eq!(told, "page failed: two: exit code 3; its last words: one\n3");
        for i in 0..LINES {
            words.keep(&format!("{i} {}", "ñ".repeat(LINE)));
        }
        let told = after("why".repeat(OUTCOME / 3), words.lines());
        assert!(told.len() <= FAILURE && told.contains(&format!("\n{} ñ", LINES - 1)), "{told}");
        assert_eq!(readable(&"ñ".repeat(OUTCOME), OUTCOME), "ñ".repeat(OUTCOME));
        assert_eq!(readable("begins, goes on and ends", 8), "be … d ends");
    }
}
