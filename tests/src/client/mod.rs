//! A thin client of the public API, typed after its documented bodies. It shares no type with the coordinator on
//! purpose: what a coordinator says is compared with what was promised, not with itself.

mod answer;
mod sse;
mod terminal;
mod types;

pub use answer::Answer;
pub use sse::{Event, Events};
pub use terminal::{NotOpen, Terminal};
pub use types::{
    Container, Diagnosis, Host, Image, ImageOnHost, Job, JobLog, Join, NewUser, ObservedState, Page, Placement,
    Problem, Published, Token, User, Violation,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, header};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Once,
    time::Duration,
};

/// A user's view of the API.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    authorization: Option<String>,
    acts_for: Option<String>,
}

/// A request being put together.
#[must_use]
pub struct Call {
    request: reqwest::RequestBuilder,
    line: String,
}

impl Api {
    /// A client without credentials.
    pub fn anonymous(address: SocketAddr) -> Self {
        Self::anonymous_from(None, address)
    }

    /// The same, from an address of this machine: whoever shows wrong keys is known by his.
    pub fn anonymous_from(local: Option<IpAddr>, address: SocketAddr) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Another test of this process may have been first.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(90))
            .no_proxy()
            .local_address(local)
            .build()
            .unwrap();
        Self { http, base: format!("http://{address}"), authorization: None, acts_for: None }
    }

    /// The same with a bearer key.
    #[must_use]
    pub fn bearer(&self, key: &str) -> Self {
        Self { authorization: Some(format!("Bearer {key}")), ..self.clone() }
    }

    /// With the credentials of another client, over connections of its own.
    #[must_use]
    pub fn with_key_of(&self, other: &Self) -> Self {
        Self { authorization: other.authorization.clone(), ..self.clone() }
    }

    /// The same with a name and a key as HTTP Basic (RFC 7617).
    #[must_use]
    pub fn basic(&self, name: &str, key: &str) -> Self {
        Self { authorization: Some(format!("Basic {}", STANDARD.encode(format!("{name}:{key}")))), ..self.clone() }
    }

    /// The same on behalf of a user.
    #[must_use]
    pub fn acting_for(&self, user: &str) -> Self {
        Self { acts_for: Some(user.to_owned()), ..self.clone() }
    }

    /// The URL that paths are appended to.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to a path, which begins with `/`.
    #[allow(clippy::needless_pass_by_value, reason = "reads as a request line")]
    pub fn call(&self, method: Method, path: &str) -> Call {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(user) = &self.acts_for {
            request = request.header("Dockerforge-User", user);
        }
        Call { request, line: format!("{method} {path}") }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).send().await
    }

    /// POST of a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path).json(body).send().await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path).send().await
    }

    /// Makes a user.
    pub async fn create_user(&self, name: &str) -> NewUser {
        self.post("/v1/users", &json!({"name": name})).await.expect(201).body()
    }

    /// Registers a host.
    pub async fn create_host(&self, name: &str) -> (Host, Join) {
        let answer = self.post("/v1/hosts", &json!({"name": name})).await.expect(201);
        (answer.body(), serde_json::from_value(answer.json["join"].clone()).expect("a join token with the new host"))
    }

    /// Registers a host that users share.
    pub async fn create_pool_host(&self, name: &str, labels: &Value) -> (Host, Join) {
        let body = json!({"name": name, "labels": labels, "pool": true});
        let answer = self.post("/v1/hosts", &body).await.expect(201);
        (answer.body(), serde_json::from_value(answer.json["join"].clone()).expect("a join token with the new host"))
    }

    /// PATCH of a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PATCH, path).json(body).send().await
    }

    /// One host.
    pub async fn host(&self, id: &str) -> Host {
        self.get(&format!("/v1/hosts/{id}")).await.expect(200).body()
    }

    /// One image.
    pub async fn image(&self, id: &str) -> Image {
        self.get(&format!("/v1/images/{id}")).await.expect(200).body()
    }

    /// One container.
    pub async fn container(&self, id: &str) -> Container {
        self.get(&format!("/v1/containers/{id}")).await.expect(200).body()
    }

    /// One job, however it is answered.
    pub async fn job(&self, id: &str) -> Job {
        let answer = self.get(&format!("/v1/queue/{id}")).await;
        assert!(answer.status == 200 || answer.status == 303, "{answer}");
        answer.body()
    }

    /// Everything of a list, over all its pages.
    pub async fn all<T: serde::de::DeserializeOwned>(&self, path: &str) -> Vec<T> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page: Page<T> = self.get(&format!("{path}{separator}limit=100{after}")).await.expect(200).body();
            items.extend(page.items);
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => return items,
            }
        }
    }

    /// Asks for an image from a Dockerfile alone; answers the job.
    pub async fn build(&self, host: &str, name: &str, dockerfile: &str) -> Job {
        let body = json!({"name": name, "host": host, "dockerfile": dockerfile});
        self.post("/v1/images", &body).await.accepted()
    }

    /// Asks for a container; answers the job. `rest` is merged into the body.
    pub async fn run(&self, host: &str, name: &str, image: &str, rest: Value) -> Job {
        let mut body = json!({"name": name, "host": host, "image": image});
        if let (Some(body), Value::Object(rest)) = (body.as_object_mut(), rest) {
            body.extend(rest);
        }
        self.post("/v1/containers", &body).await.accepted()
    }

    /// Waits until a job has ended, and gives it.
    pub async fn ended(&self, job: &str, seconds: u64) -> Job {
        crate::wait::until(seconds, &format!("{job} ends"), async || {
            let job = self.job(job).await;
            if job.is_terminal() { Ok(job) } else { Err(format!("{job:?}")) }
        })
        .await
    }

    /// Waits until a job has succeeded, and gives the id of what it is about.
    pub async fn succeeded(&self, job: &Job, seconds: u64) -> String {
        let ended = self.ended(&job.id, seconds).await;
        if ended.state != "succeeded" {
            let log = self.get(&format!("/v1/queue/{}/log", job.id)).await.text;
            panic!("expected that {} ({}) succeeds: {ended:?}\nits log:\n{log}", job.id, job.kind);
        }
        ended.resource.or_else(|| job.resource.clone()).map(|resource| resource.id).unwrap_or_default()
    }

    /// Waits until a job has reached a state, and gives it.
    pub async fn reaches(&self, job: &str, state: &str, seconds: u64) -> Job {
        crate::wait::until(seconds, &format!("{job} is {state}"), async || {
            let job = self.job(job).await;
            if job.state == state { Ok(job) } else { Err(format!("{job:?}")) }
        })
        .await
    }

    /// Waits until a job's log holds a text.
    pub async fn says(&self, job: &str, text: &str, seconds: u64) {
        crate::wait::until(seconds, &format!("{job} says {text:?}"), async || {
            let log = self.get(&format!("/v1/queue/{job}/log")).await.text;
            if log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// Waits until a container is seen in a state, and gives it.
    pub async fn observed(&self, container: &str, state: &str, seconds: u64) -> Container {
        crate::wait::until(seconds, &format!("{container} is {state}"), async || {
            let container = self.container(container).await;
            if container.observed.state == state { Ok(container) } else { Err(format!("{:?}", container.observed)) }
        })
        .await
    }

    /// The whole log of a job.
    pub async fn log(&self, job: &str) -> JobLog {
        let mut log = JobLog::default();
        loop {
            let path = format!("/v1/queue/{job}/log?offset={}", log.next);
            let answer = self.get(&path).await.expect(200);
            log.text.push_str(&answer.text);
            let next = answer.header("dockerforge-log-next").and_then(|next| next.parse().ok());
            let next: u64 = next.unwrap_or_else(|| panic!("no Dockerforge-Log-Next: {answer}"));
            if next == log.next {
                return log;
            }
            log.next = next;
        }
    }
}

impl Call {
    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// With a JSON body.
    pub fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// With a body of bytes.
    pub fn body(mut self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.header(header::CONTENT_TYPE, content_type).body(body);
        self
    }

    /// Sends it, and reads the whole answer.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn send(self) -> Answer {
        let line = self.line.clone();
        self.try_send().await.unwrap_or_else(|error| panic!("{line}: {error:?}"))
    }

    /// Sends it; an error if no answer comes, as when the coordinator is killed meanwhile.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        let response = self.request.send().await?;
        Answer::read(self.line, response).await
    }

    /// Sends it, and gives the answer before its body, for a stream.
    pub async fn stream(self) -> reqwest::Response {
        self.request.send().await.unwrap()
    }
}
