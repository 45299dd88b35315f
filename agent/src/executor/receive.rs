//! [`Command::ReceiveContainer`](dockerforge_protocol::command::Command::ReceiveContainer): a container of another host,
//! with what is in its volumes there. What must hold: a volume is taken for filled only once all that was sent has come
//! and is on the disk; what this host had before under such a name is neither used nor removed; and what a job received in
//! vain goes whole.

use super::work::{Work, failed};
use super::{Ended, Reason, container, failure, network};
use crate::docker::{ContextStream, DockerError};
use crate::volumes::Carried;
use bytes::{Bytes, BytesMut};
use dockerforge_protocol::command::{DiscardContainer, ReceiveContainer, docker_name, labels, local_tag};
use dockerforge_protocol::report::{FailureKind, Product};
use dockerforge_protocol::spec::VolumeName;
use dockerforge_protocol::stream::VOLUME_SUM;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a volume is asked for in vain, one time after the other, before the job goes back to the queue.
const TRIES: u32 = 4;
/// The wait before the second time; each further one is twice as long.
const AGAIN: Duration = Duration::from_millis(300);
/// How often progress is said.
const PROGRESS: Duration = Duration::from_millis(500);

/// Makes sure that the container is here, with its volumes filled, and not started.
pub(super) async fn receive(work: &Work<'_>, command: &ReceiveContainer) -> Result<Product, Ended> {
    work.done("accepted");
    let create = &command.create;
    container::within_policy(work, create).await?;
    work.step("looking for what is here", Some(2))?;
    work.settings.carriers.sweep(create.container).await?;
    let found = container::look(work, &docker_name(create.container), create.container, create.user).await?;
    if found.is_some_and(|found| found.labels.get(labels::JOB) != Some(&work.attempt.job.to_string())) {
        return Err(failed(FailureKind::NameTaken, format!("{} is on the host already", create.container)));
    }
    match work.settings.engine.image_inspect(&local_tag(create.image)).await {
        Ok(_) => {}
        Err(DockerError::NotFound { .. }) => {
            return Err(failed(FailureKind::ImageNotFound, format!("the image {} is not on the host", create.image)));
        }
        Err(error) => return Err(error.into()),
    }
    let wanted: BTreeSet<&VolumeName> = create.spec.volumes.iter().map(|mount| &mount.volume).collect();
    let mut filled: BTreeSet<VolumeName> = work.noted().unwrap_or_default();
    for (i, volume) in wanted.iter().copied().enumerate() {
        if filled.contains(volume) {
            continue;
        }
        let begun = u8::try_from(5 + i * 80 / wanted.len()).unwrap_or(85);
        fetch(work, command, volume, begun).await?;
        filled.insert(volume.clone());
        // From here on it counts as filled, also if the machine fails now.
        on_disk().await?;
        work.note(&filled)?;
        work.done("filled");
    }
    let prepared = container::prepare(work, create).await?.with_volumes_as_they_are();
    let id = container::make(work, create, &prepared, &[], false).await?;
    Ok(Product::Container { docker_id: id })
}

/// Fills a volume from the host that the container leaves; anew from the beginning, if it breaks off.
async fn fetch(work: &Work<'_>, command: &ReceiveContainer, volume: &VolumeName, begun: u8) -> Result<(), Ended> {
    let create = &command.create;
    let mut vain = 0;
    loop {
        work.step(&format!("volume {volume}"), Some(begun))?;
        let name = network::fresh_volume(work, create.user, volume).await?;
        work.done("emptied");
        let carried = Carried { container: create.container, image: create.image, volume: name, read_only: false };
        let carrier = work.settings.carriers.carry(&carried).await?;
        let attempt = fill(work, volume, &carrier, begun).await;
        work.settings.carriers.remove(&carrier).await?;
        let why = match attempt {
            Ok(size) => {
                work.say(&format!("volume {volume}: {size} bytes\n"));
                return Ok(());
            }
            Err(Ended::Failed(failure)) if failure.kind == FailureKind::SourceUnavailable => failure,
            Err(ended) => return Err(ended),
        };
        vain += 1;
        if vain >= TRIES {
            return Err(Ended::Failed(why));
        }
        work.say(&format!("volume {volume}: {}; it is asked for again\n", why.detail));
        work.unless_stopped(tokio::time::sleep(AGAIN * 2_u32.pow(vain - 1))).await?;
    }
}

/// One try; how many bytes came.
async fn fill(work: &Work<'_>, volume: &VolumeName, carrier: &str, begun: u8) -> Result<u64, Ended> {
    let unavailable = |detail: String| failed(FailureKind::SourceUnavailable, detail);
    let asked = work.unless_stopped(work.settings.supplies.volume(work.attempt.job, volume)).await?;
    let stream = asked.map_err(|error| unavailable(error.to_string()))?;
    let way = Arc::new(Mutex::new(Way::default()));
    let archive = checked(stream, Arc::clone(&way));
    let taken = work.settings.carriers.fill(carrier, archive);
    let mut taken = std::pin::pin!(taken);
    let taken = loop {
        tokio::select! {
            biased;
            () = work.stop.stopped() => return Err(Ended::Stopped),
            taken = &mut taken => break taken,
            () = tokio::time::sleep(PROGRESS) => {
                let came = locked(&way).came / 1_000_000;
                work.progress(&format!("volume {volume}: {came} MB"), Some(begun));
            }
        }
    };
    let way = locked(&way);
    match (&way.broken, taken) {
        (Some(why), _) => Err(unavailable(format!("the volume {volume} did not come whole: {why}"))),
        (None, Err(error)) => Err(Ended::Failed(failure(&error, FailureKind::DockerRefused))),
        // Docker may stop reading where an archive says that it ends, before what would have shown that it does not.
        (None, Ok(())) if !way.whole => Err(unavailable(format!("the volume {volume} did not come whole"))),
        (None, Ok(())) => Ok(way.came),
    }
}

/// How far a volume is on its way.
#[derive(Default)]
struct Way {
    came: u64,
    whole: bool,
    broken: Option<String>,
}

fn locked(way: &Mutex<Way>) -> std::sync::MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The archive without the sum that follows it, which fails at its end if that is not the archive's.
fn checked(stream: ContextStream, way: Arc<Mutex<Way>>) -> ContextStream {
    let state = Some((stream, BytesMut::new(), Sha256::new()));
    futures_util::stream::unfold(state, move |state| {
        let way = Arc::clone(&way);
        async move {
            let (mut stream, mut held, mut sum) = state?;
            loop {
                let broken = match stream.next().await {
                    Some(Ok(bytes)) => {
                        held.extend_from_slice(&bytes);
                        let Some(surplus) = held.len().checked_sub(VOLUME_SUM).filter(|surplus| *surplus > 0) else {
                            continue;
                        };
                        let out: Bytes = held.split_to(surplus).freeze();
                        sum.update(&out);
                        locked(&way).came += out.len() as u64;
                        return Some((Ok(out), Some((stream, held, sum))));
                    }
                    Some(Err(error)) => error.to_string(),
                    None if sum.finalize()[..] == held[..] => {
                        locked(&way).whole = true;
                        return None;
                    }
                    None => "its sum is another".to_owned(),
                };
                locked(&way).broken = Some(broken.clone());
                return Some((Err(io::Error::new(io::ErrorKind::InvalidData, broken)), None));
            }
        }
    })
    .boxed()
}

/// All that was written is on the disk when this returns. Docker does not see to it, and the container's old host forgets
/// what it gave away.
async fn on_disk() -> Result<(), Ended> {
    let synced = tokio::task::spawn_blocking(rustix::fs::sync).await;
    synced.map_err(|error| failed(FailureKind::Internal, error.to_string()))
}

/// Makes sure that nothing is left of what a job received: the container if that job made it, and such volumes.
pub(super) async fn discard(work: &Work<'_>, command: &DiscardContainer) -> Result<Product, Ended> {
    work.done("accepted");
    work.step("removing", None)?;
    take_back(work, command).await?;
    work.done("removed");
    Ok(Product::Nothing)
}

async fn take_back(work: &Work<'_>, command: &DiscardContainer) -> Result<(), Ended> {
    let engine = &work.settings.engine;
    let (id, user, job) = (command.container, command.user, command.received_by.to_string());
    work.settings.carriers.sweep(id).await?;
    // What has the name and is another's, or another job's, is none of this job's.
    match engine.container_inspect(&docker_name(id)).await {
        Ok(found) if work.is_ours(&found.labels, user) && found.labels.get(labels::JOB) == Some(&job) => {
            match engine.container_remove(&found.id).await {
                Ok(()) | Err(DockerError::NotFound { .. }) => {}
                Err(DockerError::Conflict { message }) if message.contains("already in progress") => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(_) | Err(DockerError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut made = work.filters(user);
    made.push(format!("{}={job}", labels::JOB));
    let volumes: Vec<String> = engine.volume_list(&made).await?.into_iter().map(|volume| volume.name).collect();
    network::remove_volumes(work, user, &volumes).await
}

/// Removes what was received in vain; whether nothing of it is left. What another attempt goes on with stays.
pub(super) async fn undo(work: &Work<'_>, command: &ReceiveContainer, ended: &Ended, reason: Option<Reason>) -> bool {
    let over = match ended {
        Ended::Failed(failure) => !failure.retryable(),
        Ended::Stopped => matches!(reason, Some(Reason::Cancelled | Reason::Deadline)),
    };
    if !over {
        return true;
    }
    let create = &command.create;
    let all = DiscardContainer { container: create.container, user: create.user, received_by: work.attempt.job };
    match take_back(work, &all).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(?error, job = %work.attempt.job, "what a job received in vain is left over");
            false
        }
    }
}
