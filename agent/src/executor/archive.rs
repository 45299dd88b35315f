//! The archive that Docker takes an image in from, given to it while the image's layers still come. What must hold: the manifest,
//! without which Docker takes nothing in, comes last, once every layer was found to be what its digest says.

use super::layers::Coming;
use crate::digest::hex_of;
use crate::docker::ContextStream;
use bytes::Bytes;
use futures_util::StreamExt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Bytes that are read of a part at once.
const PIECE: u64 = 256 * 1024;
/// A block of a tar archive, bytes.
const BLOCK: usize = 512;
/// What an archive ends with: two blocks of nothing.
const END: usize = 2 * BLOCK;

/// A part on its way, by its digest.
pub(super) type Part = (String, watch::Receiver<Coming>);

/// An archive in Docker's oldest form, which every version reads (Docker image specification 1.2), of the image of this id under
/// this name. Of `layers`, the lowest first, only those that are among `parts` are in it; so is the configuration, which is one of
/// `parts`, too. `whole` becomes true with the last byte.
pub(super) fn of(
    name: &str,
    docker_id: &str,
    layers: &[String],
    parts: Vec<Part>,
    whole: Arc<AtomicBool>,
) -> ContextStream {
    let config = format!("{}.json", hex_of(docker_id));
    let manifest = serde_json::json!([{
        "Config": config,
        "RepoTags": [name],
        "Layers": layers.iter().map(|layer| layer_name(layer)).collect::<Vec<_>>(),
    }]);
    let docker_id = docker_id.to_owned();
    let parts = parts.into_iter().map(move |(digest, coming)| {
        let name = if digest == docker_id { config.clone() } else { layer_name(&digest) };
        part(name, coming)
    });
    let end = futures_util::stream::once(async move {
        let mut bytes = manifest.to_string().into_bytes();
        let mut end = header("manifest.json", bytes.len() as u64)?.to_vec();
        end.append(&mut bytes);
        end.resize(end.len().next_multiple_of(BLOCK) + END, 0);
        whole.store(true, Ordering::Relaxed);
        Ok(Bytes::from(end))
    });
    futures_util::stream::iter(parts).flatten().chain(end).boxed()
}

fn layer_name(digest: &str) -> String {
    format!("{}/layer.tar", hex_of(digest))
}

fn header(name: &str, size: u64) -> io::Result<Bytes> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_path(name)?;
    header.set_cksum();
    Ok(Bytes::copy_from_slice(header.as_bytes()))
}

/// How far the archive has come in one of its files.
enum At {
    Begin,
    Inside { file: Arc<File>, at: u64, size: u64 },
    End,
}

/// A file of the archive, as it comes.
fn part(name: String, coming: watch::Receiver<Coming>) -> ContextStream {
    futures_util::stream::try_unfold((At::Begin, coming), move |(at, mut coming)| {
        let name = name.clone();
        async move {
            match at {
                At::Begin => {
                    let now = next(&mut coming, |now| now.file.is_some()).await?;
                    let file = now.file.ok_or(io::ErrorKind::NotFound)?;
                    let bytes = header(&name, now.size)?;
                    Ok(Some((bytes, (At::Inside { file, at: 0, size: now.size }, coming))))
                }
                At::Inside { at, size, .. } if at == size => {
                    next(&mut coming, |now| now.whole).await?;
                    let block = BLOCK as u64;
                    let rest = usize::try_from(size.next_multiple_of(block) - size).unwrap_or_default();
                    Ok(Some((Bytes::from(vec![0; rest]), (At::End, coming))))
                }
                At::Inside { file, at, size } => {
                    let now = next(&mut coming, |now| now.have > at).await?;
                    if now.size != size {
                        return Err(io::Error::other("it has another size than was said"));
                    }
                    let wanted = usize::try_from((now.have - at).min(PIECE)).unwrap_or_default();
                    let (file, bytes) = read(file, at, wanted).await?;
                    let at = at + bytes.len() as u64;
                    Ok(Some((bytes, (At::Inside { file, at, size }, coming))))
                }
                At::End => Ok(None),
            }
        }
    })
    .boxed()
}

/// Waits until this is true of a part.
async fn next(coming: &mut watch::Receiver<Coming>, far: impl Fn(&Coming) -> bool) -> io::Result<Coming> {
    let now = coming.wait_for(|now| now.begun_anew || far(now)).await;
    let now = now.map_err(|_| io::Error::other("a part does not come"))?.clone();
    if now.begun_anew { Err(io::Error::other("a part came as something else")) } else { Ok(now) }
}

async fn read(file: Arc<File>, at: u64, wanted: usize) -> io::Result<(Arc<File>, Bytes)> {
    let read = move || {
        let mut buffer = vec![0; wanted];
        file.read_exact_at(&mut buffer, at)?;
        Ok((file, buffer.into()))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
