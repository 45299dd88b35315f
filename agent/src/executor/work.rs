//! One attempt in work, as its steps see it: where to say how far it is, when to stop, and whose things are ours. Used
//! by the commands' files. What must hold: a step that changes something in Docker is never dropped in its middle (its
//! effect would be unknown); steps that only wait are.

use super::keys::Keys;
use super::secrets::Values;
use super::{Ended, Settings, Stop, Table};
use crate::docker::{ContextStream, DockerError, LabelMap};
use crate::journal::Journal;
use crate::journal::spool::Spool;
use dockerforge_protocol::command::{Command, ContextRef, labels};
use dockerforge_protocol::enrolment::SuppliedImage;
use dockerforge_protocol::ids::{JobId, UserId};
use dockerforge_protocol::report::{AgentFailure, Attempt, FailureKind, Progress};
use dockerforge_protocol::spec::VolumeName;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why something that a job needs could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SupplyError(pub String);

/// What a job asks for while it runs: of the coordinator, or of a test.
pub trait Supplies: Send + Sync + 'static {
    /// The build context of a job. The stream fails if what came is not what the reference names.
    fn context<'a>(&'a self, job: JobId, context: &'a ContextRef) -> BoxFuture<'a, Result<ContextStream, SupplyError>>;

    /// The secrets of a job's container.
    fn secrets(&self, job: JobId) -> BoxFuture<'_, Result<Values, SupplyError>>;

    /// The node that a job converges its container to.
    fn node(&self, job: JobId) -> BoxFuture<'_, Result<Node, SupplyError>>;

    /// Where the image of a job is to be had, or to be brought to.
    fn image(&self, job: JobId) -> BoxFuture<'_, Result<SuppliedImage, SupplyError>>;

    /// A part of that image from this byte on, of a host that has it: the size of the whole part, and what comes. The stream
    /// fails where it ends early. With another `turn` it is another host, if there is one.
    fn blob<'a>(
        &'a self,
        job: JobId,
        digest: &'a str,
        from: u64,
        turn: u32,
    ) -> BoxFuture<'a, Result<(u64, ContextStream), SupplyError>>;

    /// What is in a volume of the container that a job receives, and after it its sum, of the host that the container leaves.
    /// The stream fails where it breaks off.
    fn volume<'a>(&'a self, job: JobId, volume: &'a VolumeName) -> BoxFuture<'a, Result<ContextStream, SupplyError>>;
}

/// A node, and which of the texts in it are secrets.
#[derive(Clone)]
pub struct Node {
    /// Its JSON.
    pub json: SecretString,
    /// What must not be shown of it.
    pub secrets: Vec<SecretString>,
}

/// The part of a fault point's name that says which job it is in.
pub(crate) fn kind(command: &Command) -> &'static str {
    match command {
        Command::CreateContainer(_) => "container.create",
        Command::StartContainer(_) => "container.start",
        Command::StopContainer(_) => "container.stop",
        Command::RestartContainer(_) => "container.restart",
        Command::ExecContainer(_) => "container.exec",
        Command::ConvergeContainer(_) => "container.converge",
        Command::UpdateContainer(_) => "container.limit",
        Command::RecreateContainer(_) => "container.recreate",
        Command::RemoveContainer(_) => "container.delete",
        Command::ReceiveContainer(_) => "container.receive",
        Command::ResumeContainer(_) => "container.resume",
        Command::DiscardContainer(_) => "container.discard",
        Command::BuildImage(_) => "image.build",
        Command::PullImage(_) => "image.pull",
        Command::CopyImage(_) => "image.copy",
        Command::PushImage(_) => "image.push",
        Command::RemoveImage(_) => "image.delete",
        Command::RemoveUser(_) => "user.delete",
    }
}

/// A place at which a test build can be killed or held: `agent.<job>.<step>`.
pub(crate) fn fault(kind: &str, step: &str) {
    fail::fail_point!(&format!("agent.{kind}.{step}"));
    // Without the feature the line above is nothing.
    let _ = (kind, step);
}

/// One attempt in work.
pub(crate) struct Work<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) table: &'a Table,
    pub(crate) keys: &'a Keys,
    pub(crate) journal: &'a Journal,
    pub(crate) attempt: Attempt,
    pub(crate) log: &'a Spool,
    pub(crate) stop: &'a Stop,
    pub(crate) kind: &'static str,
}

impl Work<'_> {
    /// Begins a step: says so, and stops here if the job was stopped.
    pub(crate) fn step(&self, step: &str, percent: Option<u8>) -> Result<(), Ended> {
        self.heed()?;
        self.progress(step, percent);
        Ok(())
    }

    /// Says how far the job is.
    pub(crate) fn progress(&self, step: &str, percent: Option<u8>) {
        self.table.progress(self.attempt, Progress { step: step.to_owned(), percent });
    }

    /// A step is done: the place to be killed in a test.
    pub(crate) fn done(&self, step: &str) {
        fault(self.kind, step);
    }

    /// Stops here if the job was stopped.
    pub(crate) fn heed(&self) -> Result<(), Ended> {
        if self.stop.reason().is_some() { Err(Ended::Stopped) } else { Ok(()) }
    }

    /// Waits for something that may be dropped in its middle, but not beyond the stop.
    pub(crate) async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            biased;
            () = self.stop.stopped() => Err(Ended::Stopped),
            value = wait => Ok(value),
        }
    }

    /// Takes a name off an image, if it has it.
    pub(crate) async fn untag(&self, tag: &str) -> Result<(), Ended> {
        match self.settings.engine.image_remove(tag).await {
            Ok(()) | Err(DockerError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes to the job's log.
    pub(crate) fn say(&self, text: &str) {
        self.write(text.as_bytes());
    }

    /// Writes bytes, whatever they are, to the job's log.
    pub(crate) fn write(&self, bytes: &[u8]) {
        self.log.write(bytes);
        self.table.ring();
    }

    /// Before what may be done only once: on the disk when this returns.
    pub(crate) async fn begin_once(&self) -> Result<(), Ended> {
        let written = self.journal.begin(self.attempt).await;
        written.map_err(|error| failed(FailureKind::Internal, crate::report(&error)))
    }

    /// Keeps what a later attempt must know and Docker will not tell any more. Removed with the job.
    pub(crate) fn note(&self, what: &impl Serialize) -> Result<(), Ended> {
        let json = serde_json::to_vec(what).unwrap_or_default();
        crate::state::replace_file(&note_path(self.settings, self.attempt.job), &json)
            .map(drop)
            .map_err(|error| failed(FailureKind::Internal, format!("the job's note cannot be written: {error}")))
    }

    /// What an earlier attempt noted, if one did.
    pub(crate) fn noted<T: DeserializeOwned>(&self) -> Option<T> {
        let bytes = std::fs::read(note_path(self.settings, self.attempt.job)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The labels that every object of ours carries.
    pub(crate) fn labels(&self, user: UserId) -> LabelMap {
        LabelMap::from([
            (labels::CLUSTER.to_owned(), self.settings.cluster.to_string()),
            (labels::HOST.to_owned(), self.settings.host.to_string()),
            (labels::USER.to_owned(), user.to_string()),
            (labels::JOB.to_owned(), self.attempt.job.to_string()),
        ])
    }

    /// Whether an object is ours and this user's.
    pub(crate) fn is_ours(&self, found: &LabelMap, user: UserId) -> bool {
        let has = |key: &str, value: String| found.get(key) == Some(&value);
        has(labels::CLUSTER, self.settings.cluster.to_string()) && has(labels::USER, user.to_string())
    }

    /// The label filters that find what is ours and this user's.
    pub(crate) fn filters(&self, user: UserId) -> Vec<String> {
        vec![format!("{}={}", labels::CLUSTER, self.settings.cluster), format!("{}={user}", labels::USER)]
    }
}

/// A failure of this kind, in one expression.
pub(crate) fn failed(kind: FailureKind, detail: impl Into<String>) -> Ended {
    Ended::Failed(AgentFailure::new(kind, detail))
}

/// Where a job's note is.
pub(crate) fn note_path(settings: &Settings, job: JobId) -> std::path::PathBuf {
    settings.spool.join(format!("{job}.note"))
}
