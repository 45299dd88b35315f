//! A part of an image, for another host: from the image's export, which begins with the first part that is asked for.

use super::open::{Ended, refused};
use super::{Settings, Stream};
use crate::docker::DockerError;
use dockerforge_protocol::command::local_tag;
use dockerforge_protocol::stream::{BlobRequest, Piece, StreamEnd, StreamRefusal};
use std::io::SeekFrom;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Bytes in a piece: with what holds them, at most [`dockerforge_protocol::stream::MAX_PIECE`].
const PIECE: usize = 31 * 1024;
/// Bytes that are read from the disk at once.
const READ: usize = 16 * PIECE;

/// Runs the stream to its end.
pub(super) async fn run(settings: &Settings, stream: &Stream, request: &BlobRequest) -> Result<StreamEnd, Ended> {
    let found = match settings.engine.image_inspect(&local_tag(request.image)).await {
        Ok(found) => found,
        Err(DockerError::NotFound { .. }) => return Err(Ended::Refused(StreamRefusal::NoImage)),
        Err(error) => return Err(refused(&error)),
    };
    if found.id != request.docker_id || !(found.id == request.digest || found.layers.contains(&request.digest)) {
        return Err(Ended::Refused(StreamRefusal::NoImage));
    }
    let failed = |error: &dyn std::error::Error| StreamEnd::Failed { detail: crate::report(error) };
    let export = match settings.exports.open(&found) {
        Ok(export) => export,
        Err(error) => return Err(Ended::Refused(StreamRefusal::Docker { detail: error.to_string() })),
    };
    stream.opened().await?;
    let (mut file, size) = match export.blob(&request.digest).await {
        Ok(blob) => blob,
        Err(error) => return Ok(failed(&error)),
    };
    stream.send(Piece::Begin { size }).await?;
    if let Err(error) = file.seek(SeekFrom::Start(request.from.min(size))).await {
        return Ok(failed(&error));
    }
    let mut buffer = vec![0; READ];
    loop {
        let read = match file.read(&mut buffer).await {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => return Ok(failed(&error)),
        };
        for piece in buffer[..read].chunks(PIECE) {
            stream.send(Piece::Bytes { bytes: piece.to_vec() }).await?;
        }
    }
    settings.exports.keep(&export);
    Ok(StreamEnd::Done { exit_code: None })
}
