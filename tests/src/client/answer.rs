//! An answer of the API, with the checks that every answer has to pass.

use super::types::{Job, Problem};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked, for messages.
    pub line: String,
    /// The status.
    pub status: u16,
    /// The headers, with lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub text: String,
    /// The body as JSON; null if it is none.
    pub json: Value,
}

impl Answer {
    pub(super) async fn read(line: String, response: reqwest::Response) -> reqwest::Result<Self> {
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let text = String::from_utf8_lossy(&response.bytes().await?).into_owned();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self { line, status, headers, text, json })
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Itself, if it has this status.
    ///
    /// # Panics
    /// If it has another.
    #[track_caller]
    #[allow(clippy::return_self_not_must_use, reason = "most callers want the check alone")]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The body as a type.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn body<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.json.clone()).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The job of an accepted asynchronous request: 202, its `Location` is the job's place in the queue.
    ///
    /// # Panics
    /// If it is no such answer.
    #[track_caller]
    pub fn accepted(self) -> Job {
        let answer = self.expect(202);
        let job: Job = answer.body();
        let prefix = if answer.line.contains(" /v1/") { "/v1" } else { "" };
        assert_eq!(answer.header("location"), Some(format!("{prefix}/queue/{}", job.id).as_str()), "{answer}");
        job
    }

    /// The problem of a refused request, after checking all that every problem has: the media type, the status in the
    /// body, a title, a detail, the path as instance and the request's id, which the header repeats.
    ///
    /// # Panics
    /// If it is no such answer, or of another status or type.
    #[track_caller]
    pub fn problem(self, status: u16, kind: &str) -> Problem {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer}");
        let problem: Problem = answer.body();
        assert_eq!(problem.kind(), kind, "{answer}");
        assert_eq!(problem.status, status, "{answer}");
        assert!(!problem.title.is_empty() && !problem.detail.is_empty(), "{answer}");
        let path = answer.line.split_once(' ').map_or("", |(_, path)| path).split('?').next().unwrap_or_default();
        assert_eq!(problem.instance, path, "{answer}");
        assert!(problem.request_id.starts_with("req_"), "{answer}");
        assert_eq!(answer.header("x-request-id"), Some(problem.request_id.as_str()), "{answer}");
        problem
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {} {:?}\n{}", self.line, self.status, self.headers, self.text)
    }
}
