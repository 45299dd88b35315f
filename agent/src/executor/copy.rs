//! Brings an image that other hosts have to this one: its configuration says which layers it has, those that this host lacks
//! are fetched, and Docker takes them in with those that it has. What must hold: what is taken in is the image that was asked for,
//! bit by bit (its id is the digest of its configuration, which holds its layers' digests), it gets our name only when it is whole,
//! and no more is fetched than is missing.

use super::layers::{self, disk, path_of};
use super::work::{Work, failed};
use super::{Ended, Reason, failure, registry};
use crate::digest::hex_of;
use crate::docker::{ContextStream, DockerError, Image};
use bytes::Bytes;
use dockerforge_protocol::command::{CopyImage, local_tag};
use dockerforge_protocol::ids::ImageId;
use dockerforge_protocol::report::{FailureKind, Product};
use dockerforge_protocol::spec::is_digest;
use futures_util::{StreamExt, TryStreamExt};
use serde::Deserialize;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_util::io::ReaderStream;

/// The largest configuration of an image that is taken.
const MAX_CONFIG: u64 = 8 * 1024 * 1024;
/// The largest layer.
const MAX_LAYER: u64 = 256 * 1024 * 1024 * 1024;
/// The most layers: Docker itself has at most 127.
const MAX_LAYERS: usize = 256;
/// How often progress is said.
const PROGRESS: Duration = Duration::from_millis(500);
/// Bytes that are read of a layer at once.
const PIECE: usize = 256 * 1024;
/// A block of a tar archive.
const BLOCK: u64 = 512;
/// Bytes at an archive's end: two blocks.
const END: usize = 1024;

/// What of an image's configuration is read here (Docker image specification 1.2).
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Makes sure that the image is on this host under our name.
pub(super) async fn copy(work: &Work<'_>, command: &CopyImage) -> Result<Product, Ended> {
    work.done("accepted");
    work.step("asking where it is", Some(0))?;
    let supplied = work.unless_stopped(work.settings.supplies.image(work.attempt.job)).await?;
    let supplied = supplied.map_err(|error| failed(FailureKind::SourceUnavailable, error.to_string()))?;
    let (image, docker_id) = (command.image, &supplied.docker_id);
    let found = match supplied.registry.as_ref() {
        Some(registry) => registry::fetch(work, image, docker_id, registry).await?,
        None => None,
    };
    let found = match found {
        Some(found) => found,
        None => obtain(work, image, docker_id, |parts| work.note(parts)).await?,
    };
    // An earlier attempt may have died after Docker had taken it in.
    if let Some(fetched) = work.noted::<Vec<String>>() {
        layers::remove(work, &fetched).await;
    }
    Ok(Product::Image { docker_id: found.id, size: found.size })
}

/// The image of this id under our name, from other hosts unless it is here. `note` is told of all parts that are fetched, before
/// they are.
pub(super) async fn obtain(
    work: &Work<'_>,
    image: ImageId,
    docker_id: &str,
    note: impl Fn(&Vec<String>) -> Result<(), Ended> + Send,
) -> Result<Image, Ended> {
    let engine = &work.settings.engine;
    let name = local_tag(image);
    if !is_digest(docker_id) {
        return Err(failed(FailureKind::ImageCorrupt, format!("{docker_id} is not the id of an image")));
    }
    match engine.image_inspect(docker_id).await {
        Ok(found) => {
            if !found.tags.contains(&name) {
                work.say("the host has it already\n");
                engine.image_tag(docker_id, &name).await?;
            }
            return Ok(engine.image_inspect(&name).await?);
        }
        Err(DockerError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    layers::sweep(work).await;
    let mut fetched = vec![docker_id.to_owned()];
    note(&fetched)?;
    work.step("fetching the configuration", Some(0))?;
    layers::fetch(work, docker_id, MAX_CONFIG, |_| ()).await?;
    let config = read_config(work, docker_id).await?;
    let there = shared(work, &config).await?;
    let missing = &config[there..];
    work.say(&format!("{} of {} layers are here already\n", there, config.len()));
    fetched.extend_from_slice(missing);
    note(&fetched)?;
    let mut files = Vec::with_capacity(missing.len());
    let mut before = 0;
    for (i, layer) in missing.iter().enumerate() {
        // Each layer is a part of the way; how large those that come later are is told when they begin.
        let step = format!("layer {} of {}", i + 1, missing.len());
        let mut said = None::<Instant>;
        let done = u8::try_from(i * 90 / missing.len()).unwrap_or(90);
        let size = layers::fetch(work, layer, MAX_LAYER, |bytes| {
            if said.is_none_or(|at| at.elapsed() >= PROGRESS) {
                said = Some(Instant::now());
                work.progress(&format!("{step}: {} MB", (before + bytes) / 1_000_000), Some(done));
            }
        })
        .await?;
        before += size;
        work.say(&format!("{layer}: {size} bytes\n"));
        if !files.iter().any(|(known, _)| known == layer) {
            files.push((layer.clone(), size));
        }
    }
    work.done("fetched");

    work.step("loading", Some(92))?;
    load(work, &name, docker_id, &config, &files).await?;
    work.done("loaded");
    let found = engine.image_inspect(&name).await?;
    if found.id != docker_id {
        let detail = format!("Docker made {} of it, not {docker_id}", found.id);
        return Err(failed(FailureKind::ImageCorrupt, detail));
    }
    layers::remove(work, &fetched).await;
    Ok(found)
}

/// The layers that an image's configuration names, the lowest first.
async fn read_config(work: &Work<'_>, docker_id: &str) -> Result<Vec<String>, Ended> {
    let bytes = tokio::fs::read(path_of(work, docker_id)).await.map_err(|error| disk(&error))?;
    let config: Config = serde_json::from_slice(&bytes)
        .map_err(|error| failed(FailureKind::ImageCorrupt, format!("its configuration cannot be read: {error}")))?;
    let layers = config.rootfs.diff_ids;
    if layers.len() > MAX_LAYERS || !layers.iter().all(|layer| is_digest(layer)) {
        return Err(failed(FailureKind::ImageCorrupt, "its configuration names layers that are none"));
    }
    Ok(layers)
}

/// How many of these layers, from the lowest on, are on this host one upon the other in the same way: Docker keeps a layer by
/// all that lies below it.
async fn shared(work: &Work<'_>, layers: &[String]) -> Result<usize, Ended> {
    let mut longest = 0;
    for id in work.settings.engine.image_ids().await? {
        work.heed()?;
        match work.settings.engine.image_inspect(&id).await {
            Ok(found) => {
                let same = found.layers.iter().zip(layers).take_while(|(one, other)| one == other).count();
                longest = longest.max(same);
            }
            // Removed meanwhile.
            Err(DockerError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(longest)
}

async fn load(
    work: &Work<'_>,
    name: &str,
    docker_id: &str,
    layers: &[String],
    files: &[(String, u64)],
) -> Result<(), Ended> {
    let size = tokio::fs::metadata(path_of(work, docker_id)).await.map_err(|error| disk(&error))?.len();
    let config = format!("{}.json", hex_of(docker_id));
    let layer = |digest: &String| format!("{}/layer.tar", hex_of(digest));
    let manifest = serde_json::json!([{
        "Config": config,
        "RepoTags": [name],
        "Layers": layers.iter().map(layer).collect::<Vec<_>>(),
    }]);
    let manifest = manifest.to_string().into_bytes();
    let mut parts = vec![Part::header("manifest.json", manifest.len() as u64)?];
    parts.push(Part::Bytes(manifest.into()));
    parts.push(Part::padding(parts_size(&parts)));
    for (path, name, size) in std::iter::once((path_of(work, docker_id), config.clone(), size))
        .chain(files.iter().map(|(digest, size)| (path_of(work, digest), layer(digest), *size)))
    {
        parts.push(Part::header(&name, size)?);
        parts.push(Part::File(path));
        parts.push(Part::padding(size));
    }
    parts.push(Part::Bytes(Bytes::from_static(&[0; END])));
    let refused = |error: DockerError| Ended::Failed(failure(&error, FailureKind::DockerRefused));
    let mut output = work.unless_stopped(work.settings.engine.image_load(archive(parts))).await?.map_err(refused)?;
    while let Some(item) = work.unless_stopped(output.next()).await? {
        let text = item.map_err(refused)?.text;
        work.say(&text);
    }
    Ok(())
}

/// A part of an archive.
enum Part {
    Bytes(Bytes),
    File(PathBuf),
}

fn parts_size(parts: &[Part]) -> u64 {
    let size = |part: &Part| if let Part::Bytes(bytes) = part { bytes.len() as u64 } else { 0 };
    parts.iter().map(size).sum()
}

impl Part {
    fn header(name: &str, size: u64) -> Result<Self, Ended> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_path(name).map_err(|error| disk(&error))?;
        header.set_cksum();
        Ok(Self::Bytes(Bytes::copy_from_slice(header.as_bytes())))
    }

    /// What fills the last block of so many bytes.
    fn padding(size: u64) -> Self {
        let rest = usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or_default();
        Self::Bytes(vec![0; rest].into())
    }
}

fn archive(parts: Vec<Part>) -> ContextStream {
    futures_util::stream::iter(parts)
        .then(|part| async move {
            Ok::<ContextStream, io::Error>(match part {
                Part::Bytes(bytes) => futures_util::stream::iter([Ok(bytes)]).boxed(),
                Part::File(path) => ReaderStream::with_capacity(tokio::fs::File::open(path).await?, PIECE).boxed(),
            })
        })
        .try_flatten()
        .boxed()
}

/// Removes what a job has fetched in vain. What another attempt goes on with stays.
pub(super) async fn undo(work: &Work<'_>, ended: &Ended, reason: Option<Reason>) {
    let over = match ended {
        Ended::Failed(failure) => !failure.retryable(),
        Ended::Stopped => matches!(reason, Some(Reason::Cancelled | Reason::Deadline)),
    };
    if over && let Some(fetched) = work.noted::<Vec<String>>() {
        layers::remove(work, &fetched).await;
    }
}
