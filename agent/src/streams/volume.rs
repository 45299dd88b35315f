//! What is in a volume, for the host that its container moves to. What must hold: the container does not run, from before the
//! first byte until after the last, so that what is given is what was left; and what is not the container's own
//! volume is not given.

use super::open::{Ended, find, refused};
use super::{Settings, Stream};
use crate::docker::{Container, DockerError};
use crate::volumes::Carried;
use dockerforge_protocol::command::{labels, volume_name};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::stream::{Piece, StreamEnd, StreamRefusal, VolumeRequest};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

/// Bytes in a piece: with what holds them, at most [`dockerforge_protocol::stream::MAX_PIECE`].
const PIECE: usize = 31 * 1024;

/// Runs the stream to its end.
pub(super) async fn run(settings: &Settings, stream: &Stream, request: &VolumeRequest) -> Result<StreamEnd, Ended> {
    let before = stopped(settings, request).await?;
    let name = volume_name(request.user, &request.volume);
    let refuse = |detail: String| Ended::Refused(StreamRefusal::Docker { detail });
    if !before.volumes.contains(&name) {
        return Err(refuse(format!("{} does not mount the volume {}", request.container, request.volume)));
    }
    let volume = settings.engine.volume_inspect(&name).await.map_err(|error| refused(&error))?;
    if !is_ours(settings, request, &volume.labels) {
        return Err(refuse(format!("the volume {name} is not ours")));
    }
    settings.carriers.sweep(request.container).await.map_err(|error| refused(&error))?;
    let carried = Carried { container: request.container, image: request.image, volume: name, read_only: true };
    let carrier = settings.carriers.carry(&carried).await.map_err(|error| refused(&error))?;
    let end = tokio::select! {
        end = give(settings, stream, request, &before, &carrier) => end,
        () = stream.cancel.cancelled() => Ok(StreamEnd::Left),
    };
    if let Err(error) = settings.carriers.remove(&carrier).await {
        tracing::warn!(%error, carrier, "what carried a volume is left over");
    }
    end
}

async fn give(
    settings: &Settings,
    stream: &Stream,
    request: &VolumeRequest,
    before: &Container,
    carrier: &str,
) -> Result<StreamEnd, Ended> {
    stream.opened().await?;
    let mut archive = settings.carriers.pack(carrier).await?;
    let mut sum = Sha256::new();
    while let Some(bytes) = archive.next().await {
        let bytes = bytes?;
        sum.update(&bytes);
        for piece in bytes.chunks(PIECE) {
            stream.send(Piece::Bytes { bytes: piece.to_vec() }).await?;
        }
    }
    // Docker itself may have started it meanwhile: after it was started itself, for one.
    let after = find(settings, request.container).await?;
    if after.id != before.id || after.started_at != before.started_at || !is_stopped(&after) {
        return Ok(StreamEnd::Failed { detail: format!("{} was started meanwhile", request.container) });
    }
    stream.send(Piece::Bytes { bytes: sum.finalize().to_vec() }).await?;
    Ok(StreamEnd::Done { exit_code: None })
}

/// The container, if it is the user's and does not run.
async fn stopped(settings: &Settings, request: &VolumeRequest) -> Result<Container, Ended> {
    let found = find(settings, request.container).await.map_err(|error| refused(&error))?;
    if !is_ours(settings, request, &found.labels) {
        return Err(Ended::Refused(StreamRefusal::NoContainer));
    }
    if is_stopped(&found) {
        return Ok(found);
    }
    Err(refused(&DockerError::Refused { status: 0, message: format!("{} runs", request.container) }))
}

fn is_stopped(found: &Container) -> bool {
    matches!(found.state, ContainerState::Created | ContainerState::Exited | ContainerState::Dead)
}

fn is_ours(settings: &Settings, request: &VolumeRequest, found: &crate::docker::LabelMap) -> bool {
    let has = |label: &str, value: &str| found.get(label).is_some_and(|v| v == value);
    has(labels::CLUSTER, &settings.cluster.to_string()) && has(labels::USER, &request.user.to_string())
}
