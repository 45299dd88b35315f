//! A refusal as the API writes it, `application/problem+json` (RFC 9457), and how it reads for a person. Made by
//! `client` from an answer and by `job` from a failed job's `error`.

use super::error::Shown;
use serde::{Deserialize, Deserializer};
use std::fmt;

/// A problem object. Everything is optional, so that a proxy's half of one still reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The stable name of the problem, often a URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same in a few words.
    pub title: String,
    /// The HTTP status; 0 where it is absent.
    pub status: u16,
    /// What it is about this time.
    pub detail: Option<String>,
    /// The request's id, to be quoted to whoever runs the coordinator.
    pub request_id: Option<String>,
    /// What is wrong with which field.
    #[serde(deserialize_with = "none_is_empty")]
    pub errors: Vec<FieldError>,
}

fn none_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FieldError>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What is wrong with one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FieldError {
    /// The field, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Problem {
    /// What an answer says about its refusal, whatever it is: a problem, other JSON, a proxy's page.
    pub(super) fn of_answer(status: reqwest::StatusCode, body: &[u8]) -> Self {
        let reason = status.canonical_reason().unwrap_or("refused").to_owned();
        if let Ok(mut problem) = serde_json::from_slice::<Self>(body)
            && !(problem.title.is_empty() && problem.detail.is_none())
        {
            problem.status = status.as_u16();
            if problem.title.is_empty() {
                problem.title = reason;
            }
            return problem;
        }
        let text = String::from_utf8_lossy(body);
        let text: String = text.trim().chars().take(300).collect();
        let detail = if text.is_empty() { format!("status {}", status.as_u16()) } else { text };
        Self { title: reason, status: status.as_u16(), detail: Some(detail), ..Self::default() }
    }

    /// One line a field that is wrong, and the request's id where the fault is not the caller's.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .errors
            .iter()
            .map(|e| {
                let pointer = if e.pointer.is_empty() { "(body)" } else { &e.pointer };
                format!("{}: {}", Shown(pointer), Shown(&e.detail))
            })
            .collect();
        if self.status >= 500
            && let Some(id) = &self.request_id
        {
            lines.push(format!("request {}", Shown(id)));
        }
        lines
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) if self.title.is_empty() => write!(f, "{}", Shown(detail)),
            Some(detail) => write!(f, "{}: {}", Shown(&self.title), Shown(detail)),
            None => write!(f, "{}", Shown(&self.title)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    #[test]
    fn a_problem_reads_as_title_detail_and_a_line_a_pointer() {
        let body = br#"{"type":"x","title":"Invalid","status":422,"detail":"2 problems","errors":[
            {"pointer":"/name","detail":"too long"},{"pointer":"","detail":"\u001b[31mred"}]}"#;
        let problem = Problem::of_answer(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!(problem.to_string(), "Invalid: 2 problems");
        assert_eq!(problem.lines(), ["/name: too long", "(body): \\u{1b}[31mred"]);
    }

    #[test]
    fn a_page_of_a_proxy_still_reads() {
        let problem = Problem::of_answer(StatusCode::BAD_GATEWAY, b"<h1>no\x07</h1>\n");
        assert_eq!((problem.to_string().as_str(), problem.status), ("Bad Gateway: <h1>no\\u{7}</h1>", 502));
        assert_eq!(Problem::of_answer(StatusCode::NOT_FOUND, b"").to_string(), "Not Found: status 404");
    }
}
