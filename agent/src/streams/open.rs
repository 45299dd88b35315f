//! From the request to the stream: finds the container, refuses what cannot be, and runs the stream to its end.

use super::{Settings, Stream, blob, logs, stats, terminal, volume};
use crate::docker::{Container, DockerError};
use dockerforge_protocol::command::{docker_name, labels};
use dockerforge_protocol::ids::ContainerId;
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::stream::{StreamEnd, StreamRefusal, StreamRequest};

/// How a stream ends early.
pub(super) enum Ended {
    /// It was not opened.
    Refused(StreamRefusal),
    /// It was, and could not go on.
    Failed(DockerError),
    /// Nobody listens.
    Gone,
}

impl From<super::Gone> for Ended {
    fn from(_: super::Gone) -> Self {
        Self::Gone
    }
}

impl From<DockerError> for Ended {
    fn from(error: DockerError) -> Self {
        Self::Failed(error)
    }
}

/// A failure before the stream was opened.
pub(super) fn refused(error: &DockerError) -> Ended {
    Ended::Refused(match error {
        DockerError::NotFound { .. } => StreamRefusal::NoContainer,
        DockerError::Conflict { .. } => StreamRefusal::NotRunning,
        DockerError::Unavailable { .. } | DockerError::Timeout { .. } | DockerError::Protocol { .. } => {
            StreamRefusal::DockerDown
        }
        DockerError::Refused { .. } | DockerError::CacheGone { .. } | DockerError::DiskFull { .. } => {
            StreamRefusal::Docker { detail: crate::report(error) }
        }
    })
}

/// Runs a stream to its end.
pub(super) async fn run(settings: &Settings, mut stream: Stream, request: StreamRequest) {
    let cancel = stream.cancel.clone();
    let kind = request.name();
    tracing::debug!(stream = stream.id.0, kind, ?request, "a stream is asked for");
    let end = match &request {
        // A terminal sees to its end by itself: what it started has to be ended too.
        StreamRequest::Terminal(request) => terminal::run(settings, &mut stream, request).await,
        // So does a volume: what carries it has to go.
        StreamRequest::Volume(request) => volume::run(settings, &stream, request).await,
        other => {
            let work = async {
                match other {
                    StreamRequest::Logs(request) => logs::run(settings, &stream, request).await,
                    StreamRequest::Stats(request) => stats::run(settings, &stream, request).await,
                    StreamRequest::Blob(request) => blob::run(settings, &stream, request).await,
                    StreamRequest::Terminal(_) | StreamRequest::Volume(_) => {
                        Err(Ended::Refused(StreamRefusal::Unsupported))
                    }
                }
            };
            tokio::select! {
                end = work => end,
                () = cancel.cancelled() => Ok(StreamEnd::Left),
            }
        }
    };
    match end {
        Ok(end) => stream.over(end).await,
        Err(Ended::Refused(refusal)) => stream.refuse(refusal).await,
        Err(Ended::Failed(error)) => {
            let detail = crate::report(&error);
            tracing::info!(stream = stream.id.0, kind, error = detail, "a stream could not go on");
            stream.over(StreamEnd::Failed { detail }).await;
        }
        Err(Ended::Gone) => {}
    }
}

/// The container of ours that is asked about.
pub(super) async fn find(settings: &Settings, id: ContainerId) -> Result<Container, DockerError> {
    let name = docker_name(id);
    let found = settings.engine.container_inspect(&name).await?;
    let has = |label: &str, value: &str| found.labels.get(label).is_some_and(|v| v == value);
    if has(labels::CLUSTER, &settings.cluster.to_string()) && has(labels::CONTAINER, &id.to_string()) {
        Ok(found)
    } else {
        Err(DockerError::NotFound { message: format!("what has the name {name} on the host is not ours") })
    }
}

/// Whether a container's log may still grow without anybody starting it.
pub(super) fn goes_on(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running | ContainerState::Restarting | ContainerState::Paused)
}

/// The container, if it runs.
pub(super) async fn find_running(settings: &Settings, id: ContainerId) -> Result<Container, Ended> {
    let found = find(settings, id).await.map_err(|e| refused(&e))?;
    if found.state == ContainerState::Running { Ok(found) } else { Err(Ended::Refused(StreamRefusal::NotRunning)) }
}
