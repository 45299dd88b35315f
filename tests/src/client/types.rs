//! The bodies of the API as its contract documents them. A field that is missing or of another type fails the test
//! that reads it.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page<T> {
    /// The things, newest first.
    pub items: Vec<T>,
    /// What to give as `after` for the next page.
    pub next: Option<String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    /// `usr_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it administers.
    pub admin: bool,
    /// active or deleting.
    pub state: String,
    /// RFC 3339.
    pub created_at: String,
}

/// A user as it is answered once, with its first key.
#[derive(Debug, Clone, Deserialize)]
pub struct NewUser {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// Its key.
    pub key: String,
}

/// An API token.
#[derive(Debug, Clone, Deserialize)]
pub struct Token {
    /// `tok_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The key, in the answer that made it and never again.
    pub key: Option<String>,
}

/// How a machine becomes a host.
#[derive(Debug, Clone, Deserialize)]
pub struct Join {
    /// The token.
    pub token: String,
    /// RFC 3339.
    pub expires_at: String,
    /// What to paste on the machine.
    pub command: String,
    /// The same for cloud-init.
    pub cloud_init: Option<String>,
}

/// A host.
#[derive(Debug, Clone, Deserialize)]
pub struct Host {
    /// `hst_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// pending, online, unreachable, conflict or deleting.
    pub state: String,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// RFC 3339.
    pub created_at: String,
    /// Whether users share it.
    pub pool: bool,
    /// Whether it takes nothing new.
    pub draining: bool,
    /// RFC 3339.
    pub enrolled_at: Option<String>,
    /// RFC 3339.
    pub last_seen_at: Option<String>,
    /// The machine's own name.
    pub hostname: Option<String>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// Its Docker Engine.
    pub docker: Option<Value>,
    /// What it has.
    pub capacity: Option<Value>,
    /// What it uses.
    pub usage: Option<Value>,
    /// Why nothing can be run on it now, if so.
    pub unusable: Option<String>,
    /// What is wrong with it.
    pub diagnosis: Vec<Diagnosis>,
}

/// One thing that is wrong with a host.
#[derive(Debug, Clone, Deserialize)]
pub struct Diagnosis {
    /// What to branch on.
    pub kind: String,
    /// critical or warning.
    pub severity: String,
    /// RFC 3339; absent where it began just now.
    pub since: Option<String>,
    /// In words.
    pub detail: String,
}

/// An image.
#[derive(Debug, Clone, Deserialize)]
pub struct Image {
    /// `img_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// pending, ready, failed or deleting.
    pub state: String,
    /// Whether every user sees it.
    pub public: bool,
    /// Where it comes from.
    pub source: Value,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is.
    pub hosts: Vec<ImageOnHost>,
}

/// An image on a host.
#[derive(Debug, Clone, Deserialize)]
pub struct ImageOnHost {
    /// Which host; nothing where it is a shared one of others.
    #[serde(deserialize_with = "or_nothing")]
    pub host: String,
    /// pending, present, missing or failed.
    pub state: String,
    /// Docker's id.
    pub docker_id: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The job that brings it there.
    #[serde(default)]
    pub job: Option<String>,
    /// How far it is.
    #[serde(default)]
    pub progress: Option<Value>,
    /// Why it could not.
    #[serde(default)]
    pub error: Option<Value>,
}

/// A container.
#[derive(Debug, Clone, Deserialize)]
pub struct Container {
    /// `ctr_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Its host, where that is the user's own.
    pub host: Option<String>,
    /// What else is told of where it is.
    pub placement: Placement,
    /// What it is meant to be.
    pub desired_state: String,
    /// What it was seen to be.
    pub observed: ObservedState,
    /// As asked.
    pub command: Vec<String>,
    /// As asked.
    pub env: BTreeMap<String, String>,
    /// As asked.
    pub ports: Vec<Value>,
    /// As asked.
    pub volumes: Vec<Value>,
    /// As asked.
    pub resources: Value,
    /// As asked.
    pub restart: String,
    /// As asked.
    pub labels: BTreeMap<String, String>,
    /// All the rest, as asked.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// What is told of where a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Placement {
    /// Whether users share its host.
    pub pool: bool,
}

/// What an agent saw of a container.
#[derive(Debug, Clone, Deserialize)]
pub struct ObservedState {
    /// Docker's state, or pending, missing, unknown.
    pub state: String,
    /// Where it is checked.
    pub health: Option<String>,
    /// Docker's id.
    pub docker_id: Option<String>,
    /// Once it has ended.
    pub exit_code: Option<i64>,
    /// The published ports.
    #[serde(default)]
    pub ports: Vec<Published>,
    /// Its address in its user's network.
    pub address: Option<String>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Published {
    /// Inside.
    pub container: u16,
    /// On the host.
    pub host: u16,
    /// tcp or udp.
    pub protocol: String,
}

/// A job.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    /// `job_…`.
    pub id: String,
    /// What it does.
    pub kind: String,
    /// How it stands.
    pub state: String,
    /// Which attempt.
    pub attempt: u32,
    /// Whose it is.
    pub user: String,
    /// Where it is done.
    pub host: Option<String>,
    /// What it is a part of.
    pub parent: Option<String>,
    /// What it is about.
    pub resource: Option<Resource>,
    /// How far it is.
    pub progress: Option<Value>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// RFC 3339.
    pub ended_at: Option<String>,
    /// RFC 3339.
    pub deadline_at: String,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed.
    pub error: Option<Problem>,
    /// Its log.
    pub log: LogPlace,
}

impl Job {
    /// Whether it never changes again.
    pub fn is_terminal(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled")
    }

    /// The id of what it is about.
    ///
    /// # Panics
    /// If it is about nothing.
    pub fn resource_id(&self) -> String {
        self.resource.as_ref().map_or_else(|| panic!("no resource: {self:?}"), |resource| resource.id.clone())
    }

    /// The kind of its error.
    pub fn error_kind(&self) -> Option<&str> {
        self.error.as_ref().map(Problem::kind)
    }
}

/// What a job is about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resource {
    /// user, host, image or container.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its path.
    pub href: String,
}

/// Where a job's log is.
#[derive(Debug, Clone, Deserialize)]
pub struct LogPlace {
    /// Bytes so far.
    pub size: u64,
    /// Its path.
    pub href: String,
}

/// A job's log as it was read.
#[derive(Debug, Clone, Default)]
pub struct JobLog {
    /// The text.
    pub text: String,
    /// The offset after it.
    pub next: u64,
}

/// A problem (RFC 9457).
#[derive(Debug, Clone, Deserialize)]
pub struct Problem {
    /// A URI that names the kind.
    pub r#type: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status; none in a job's error, which is no answer.
    #[serde(default)]
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The request's path.
    #[serde(default)]
    pub instance: String,
    /// The request's id.
    #[serde(default)]
    pub request_id: String,
    /// What is wrong with the values that were sent.
    #[serde(default)]
    pub errors: Vec<Violation>,
}

impl Problem {
    /// The last part of the type: what a program branches on.
    pub fn kind(&self) -> &str {
        self.r#type.rsplit(['/', ':', '#']).next().unwrap_or_default()
    }

    /// The pointers of the errors, in order.
    pub fn pointers(&self) -> Vec<&str> {
        self.errors.iter().map(|error| error.pointer.as_str()).collect()
    }
}

/// One wrong value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Violation {
    /// JSON pointer (RFC 6901), or the name of a query parameter.
    pub pointer: String,
    /// What was expected.
    pub detail: String,
}

fn or_nothing<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
