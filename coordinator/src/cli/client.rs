//! Requests to the REST API and their answers. Used by every command.
//!
//! What must hold: a POST carries an `Idempotency-Key` and only therefore may be repeated; a DELETE is repeated only
//! where its request never left; a status of 2xx or 303 is success and everything else an error with the server's
//! problem in it.

use super::{connect, context::Context, error::CliError, globals::Globals, globals::KeySource, problem::Problem};
use base64::Engine;
use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// The pauses before the first, second and third repetition of a request whose connection failed.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1)];

/// How long an answer may take, where it is not a stream and the request is small.
const ANSWER: Duration = Duration::from_secs(60);

/// The connection to one coordinator as one caller.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    key_source: KeySource,
    /// The user the caller acts for, in `Dockerforge-User`.
    pub acts_for: Option<String>,
}

/// A successful answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The body, untouched.
    pub body: Bytes,
    /// What was asked, for messages.
    url: String,
}

impl Answer {
    /// The body as a type.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        serde_json::from_slice(&self.body)
            .map_err(|e| CliError::NotUnderstood { url: self.url.clone(), reason: e.to_string() })
    }

    /// The body as JSON of any shape.
    pub(super) fn value(&self) -> Result<Value, CliError> {
        self.parse()
    }
}

/// When a request may be sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Whatever happened to the first: it is safe, or carries an idempotency key.
    Always,
    /// Only where no connection could be made.
    Unsent,
}

impl Client {
    /// A client as the options say. Nothing is sent yet.
    pub(super) fn new(globals: &Globals) -> Result<Self, CliError> {
        let base = connect::base_url(&globals.url)?;
        let (key, key_source) = globals.key()?;
        let http = connect::http_client(&base, globals, key.as_ref())?;
        Ok(Self { http, base, key_source, acts_for: None })
    }

    /// `GET`: the whole answer.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, CliError> {
        let request = || self.request(Method::GET, path).query(query).timeout(ANSWER);
        self.repeated(Repeat::Always, request).await
    }

    /// `GET` once, within this time: for those who have their own way to go on.
    pub(super) async fn get_within(&self, path: &str, time: Duration) -> Result<Answer, CliError> {
        let response = self.response(self.request(Method::GET, path).timeout(time)).await?;
        self.answer(response).await
    }

    /// `POST` of JSON, with an idempotency key, repeated where the connection fails.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, CliError> {
        let key = Uuid::new_v4().to_string();
        let request = || self.request(Method::POST, path).header("Idempotency-Key", &key).json(body).timeout(ANSWER);
        self.repeated(Repeat::Always, request).await
    }

    /// `PATCH` with JSON, with an idempotency key, repeated where the connection fails.
    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Answer, CliError> {
        let key = Uuid::new_v4().to_string();
        let request = || self.request(Method::PATCH, path).header("Idempotency-Key", &key).json(body).timeout(ANSWER);
        self.repeated(Repeat::Always, request).await
    }

    /// `PUT` of JSON, repeated only where its request never left: what arrives twice makes two versions.
    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Answer, CliError> {
        let request = || self.request(Method::PUT, path).json(body).timeout(ANSWER);
        self.repeated(Repeat::Unsent, request).await
    }

    /// `PUT` of an archive. There is no limit of time: it may be large.
    pub(super) async fn put_archive(&self, path: &str, archive: &Context) -> Result<Answer, CliError> {
        let request =
            || self.request(Method::PUT, path).header(header::CONTENT_TYPE, "application/gzip").body(archive.body());
        let result = self.repeated(Repeat::Unsent, request).await;
        match (result, archive.failure()) {
            (Err(_), Some(failure)) => Err(failure.into()),
            (result, _) => result,
        }
    }

    /// `POST` of a build context, packed anew for each attempt. There is no limit of time: it may be large.
    pub(super) async fn post_context(
        &self,
        path: &str,
        query: &[(&str, String)],
        context: &Context,
    ) -> Result<Answer, CliError> {
        let key = Uuid::new_v4().to_string();
        let request = || {
            self.request(Method::POST, path)
                .query(query)
                .header("Idempotency-Key", &key)
                .header(header::CONTENT_TYPE, "application/gzip")
                .body(context.body())
        };
        let result = self.repeated(Repeat::Always, request).await;
        // A context that cannot be read breaks the connection; why is known here alone.
        match (result, context.failure()) {
            (Err(_), Some(failure)) => Err(failure.into()),
            (result, _) => result,
        }
    }

    /// `DELETE`.
    pub(super) async fn delete(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, CliError> {
        let request = || self.request(Method::DELETE, path).query(query).timeout(ANSWER);
        self.repeated(Repeat::Unsent, request).await
    }

    /// A `GET` of this media type, whose body the caller reads piece by piece; a stream of events begins behind that
    /// event. Sent once.
    pub(super) async fn open(
        &self,
        path: &str,
        query: &[(&str, String)],
        accept: &'static str,
        last_event_id: Option<&str>,
    ) -> Result<Response, CliError> {
        let mut request = self.request_for(accept, Method::GET, path).query(query);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        self.response(request).await
    }

    /// Opens a websocket (RFC 6455): asks for it as any other request, and gives the connection that it becomes.
    pub(super) async fn websocket(&self, path: &str, query: &[(&str, String)]) -> Result<reqwest::Upgraded, CliError> {
        let key = base64::engine::general_purpose::STANDARD.encode(Uuid::new_v4().as_bytes());
        let request = self
            .request(Method::GET, path)
            .query(query)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, key);
        let response = self.response(request).await?;
        response.upgrade().await.map_err(|e| self.lost(e))
    }

    /// The error of a connection that failed while a body was read.
    pub(super) fn lost(&self, source: reqwest::Error) -> CliError {
        CliError::Lost { url: self.base.clone(), source: source.without_url() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_for("application/json", method, path)
    }

    fn request_for(&self, accept: &'static str, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/v1{path}", self.base)).header(header::ACCEPT, accept);
        match &self.acts_for {
            Some(user) => request.header("Dockerforge-User", user),
            None => request,
        }
    }

    async fn repeated(&self, repeat: Repeat, request: impl Fn() -> RequestBuilder) -> Result<Answer, CliError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let result = match self.response(request()).await {
                Ok(response) => self.answer(response).await,
                Err(error) => Err(error),
            };
            let again = match &result {
                Err(CliError::Unreachable { .. }) => true,
                Err(CliError::Lost { source, .. }) => repeat == Repeat::Always && !source.is_timeout(),
                _ => false,
            };
            match (again, pauses.next()) {
                (true, Some(pause)) => tokio::time::sleep(pause).await,
                _ => return result,
            }
        }
    }

    /// Sends, and waits for the head of the answer; a refusal is read to its end.
    async fn response(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|source| {
            let url = self.base.clone();
            let source = source.without_url();
            if source.is_connect() { CliError::Unreachable { url, source } } else { CliError::Lost { url, source } }
        })?;
        let status = response.status();
        if status.is_success() || matches!(status, StatusCode::SEE_OTHER | StatusCode::SWITCHING_PROTOCOLS) {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|e| self.lost(e))?;
        let key = (status == StatusCode::UNAUTHORIZED).then(|| self.key_source.clone());
        Err(CliError::Refused { problem: Box::new(Problem::of_answer(status, &body)), key })
    }

    async fn answer(&self, response: Response) -> Result<Answer, CliError> {
        let url = response.url().to_string();
        let body = response.bytes().await.map_err(|e| self.lost(e))?;
        Ok(Answer { body, url })
    }
}
