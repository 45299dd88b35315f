//! Brings an image that other hosts have to this one: its configuration says which layers it has, those that this host lacks
//! are fetched, and Docker takes them in with those that it has. What must hold: what is taken in is the image that was asked for,
//! bit by bit (its id is the digest of its configuration, which holds its layers' digests), it gets our name only when it is whole,
//! and no more is fetched than is missing.

use super::archive::{self, Part};
use super::layers::{self, Coming, disk};
use super::work::{Work, failed};
use super::{Ended, Reason, failure, registry};
use crate::docker::{ContextStream, DockerError, Image};
use dockerforge_protocol::command::{CopyImage, local_tag};
use dockerforge_protocol::ids::ImageId;
use dockerforge_protocol::report::{FailureKind, Product};
use dockerforge_protocol::spec::is_digest;
use futures_util::StreamExt;
use serde::Deserialize;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// The largest configuration of an image that is taken.
const MAX_CONFIG: u64 = 8 * 1024 * 1024;
/// The largest layer.
const MAX_LAYER: u64 = 256 * 1024 * 1024 * 1024;
/// The most layers: Docker itself has at most 127.
const MAX_LAYERS: usize = 256;
/// How often progress is said.
const PROGRESS: Duration = Duration::from_millis(500);
/// What of an image's configuration is read here (Docker image specification 1.2).
#[derive(Deserialize)]
struct Config {
    rootfs: Option<RootFs>,
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
    let mut parts = vec![docker_id.to_owned()];
    note(&parts)?;
    work.step("fetching the configuration", Some(0))?;
    let (configuration, coming) = watch::channel(Coming::default());
    let size = layers::fetch(work, docker_id, MAX_CONFIG, &configuration).await?;
    let config = read_config(&configuration.borrow(), size)?;
    let mut there = shared(work, &config).await?;
    loop {
        work.say(&format!("{} of {} layers are here already\n", there, config.len()));
        for layer in &config[there..] {
            if !parts.contains(layer) {
                parts.push(layer.clone());
            }
        }
        note(&parts)?;
        let ended = bring(work, &name, docker_id, &config, &parts, coming.clone()).await;
        let Err(Ended::Failed(failure)) = ended else { break ended? };
        // The image that had the layers below may have been removed meanwhile: then more of them is missing.
        let now = shared(work, &config).await?;
        if now >= there {
            return Err(Ended::Failed(failure));
        }
        there = now;
    }
    work.done("loaded");
    let found = engine.image_inspect(&name).await?;
    if found.id != docker_id {
        let detail = format!("Docker made {} of it, not {docker_id}", found.id);
        return Err(failed(FailureKind::ImageCorrupt, detail));
    }
    layers::remove(work, &parts).await;
    Ok(found)
}

/// Has Docker take in an image of which these parts, its configuration first, are fetched or here as files.
async fn bring(
    work: &Work<'_>,
    name: &str,
    docker_id: &str,
    config: &[String],
    parts: &[String],
    configuration: watch::Receiver<Coming>,
) -> Result<(), Ended> {
    let (senders, receivers): (Vec<_>, Vec<_>) = parts[1..].iter().map(|_| watch::channel(Coming::default())).unzip();
    let coming: Vec<Part> = parts.iter().cloned().zip(std::iter::once(configuration).chain(receivers)).collect();
    let given = Arc::new(AtomicBool::new(false));
    // Docker reads the archive while its layers come.
    let archive = archive::of(name, docker_id, config, coming.clone(), Arc::clone(&given));
    let (mut fetching, mut loading) =
        (std::pin::pin!(fetch(work, &parts[1..], &senders)), std::pin::pin!(load(work, archive, &given)));
    let loaded = tokio::select! {
        fetched = &mut fetching => {
            fetched?;
            loading.await
        }
        loaded = &mut loading => {
            fetching.await?;
            loaded
        }
    };
    match loaded {
        Err(Ended::Failed(failure)) if !given.load(Ordering::Relaxed) => {
            // A layer that came altered has spoiled the archive, or Docker went away for a while.
            tracing::debug!(job = %work.attempt.job, ?failure, "an image is given to Docker once more");
            let again = coming.into_iter().map(|(digest, coming)| (digest, anew(&coming))).collect();
            load(work, archive::of(name, docker_id, config, again, Arc::clone(&given)), &given).await
        }
        loaded => loaded,
    }
}

/// A part that is there, as if it had come so at once.
fn anew(coming: &watch::Receiver<Coming>) -> watch::Receiver<Coming> {
    watch::channel(Coming { begun_anew: false, ..coming.borrow().clone() }).1
}

/// Fetches these layers, one after the other.
async fn fetch(work: &Work<'_>, missing: &[String], coming: &[watch::Sender<Coming>]) -> Result<(), Ended> {
    let mut before = 0;
    for (i, (layer, coming)) in missing.iter().zip(coming).enumerate() {
        // Each layer is a part of the way; how large those that come later are is told when they begin.
        let step = format!("layer {} of {}", i + 1, missing.len());
        let done = u8::try_from(i * 90 / missing.len()).unwrap_or(90);
        let mut fetching = std::pin::pin!(layers::fetch(work, layer, MAX_LAYER, coming));
        let size = loop {
            let bytes = before + coming.borrow().have;
            work.progress(&format!("{step}: {} MB", bytes / 1_000_000), Some(done));
            tokio::select! {
                size = &mut fetching => break size?,
                () = tokio::time::sleep(PROGRESS) => {}
            }
        };
        before += size;
        work.say(&format!("{layer}: {size} bytes\n"));
    }
    work.done("fetched");
    work.step("loading", Some(92))
}

/// The layers that an image's configuration names, the lowest first.
fn read_config(coming: &Coming, size: u64) -> Result<Vec<String>, Ended> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    let file = coming.file.as_ref().ok_or(io::ErrorKind::NotFound.into());
    file.and_then(|file| file.read_exact_at(&mut bytes, 0)).map_err(|error| disk(&error))?;
    let config: Config = serde_json::from_slice(&bytes)
        .map_err(|error| failed(FailureKind::ImageCorrupt, format!("its configuration cannot be read: {error}")))?;
    let Some(RootFs { diff_ids: layers }) = config.rootfs else {
        // There an image's id is the digest of a manifest (Docker's containerd image store).
        let detail = "the host that has it keeps images in containerd's store, from which they cannot be copied";
        return Err(failed(FailureKind::DockerRefused, detail));
    };
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

/// Has Docker take an image in. Once it was `given` the whole archive it does so whether anybody waits or not: the end of that is
/// waited for, or the name would appear after the job has ended.
async fn load(work: &Work<'_>, archive: ContextStream, given: &AtomicBool) -> Result<(), Ended> {
    let refused = |error: DockerError| Ended::Failed(failure(&error, FailureKind::DockerRefused));
    let mut output = work.unless_stopped(work.settings.engine.image_load(archive)).await?.map_err(refused)?;
    loop {
        let item = match work.unless_stopped(output.next()).await {
            Err(Ended::Stopped) if given.load(Ordering::Relaxed) => output.next().await,
            item => item?,
        };
        let Some(item) = item else { return Ok(()) };
        work.say(&item.map_err(refused)?.text);
    }
}

/// Removes what a job has brought in vain; whether nothing of it is left. What another attempt goes on with stays.
pub(super) async fn undo(work: &Work<'_>, command: &CopyImage, ended: &Ended, reason: Option<Reason>) -> bool {
    let over = match ended {
        Ended::Failed(failure) => !failure.retryable(),
        Ended::Stopped => matches!(reason, Some(Reason::Cancelled | Reason::Deadline)),
    };
    if !over {
        return true;
    }
    if let Some(fetched) = work.noted::<Vec<String>>() {
        layers::remove(work, &fetched).await;
    }
    work.untag(&local_tag(command.image)).await.is_ok()
}
