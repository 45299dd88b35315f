//! Parts of images on their way here: fetched from other hosts into files that are named by their digests. A part that was cut
//! off goes on where it was, also in a later attempt or another job. What must hold: a file has its name only once its content
//! was found to be what the name says.

use super::Ended;
use super::work::{Work, failed};
use crate::digest::{digest_of, hex_of};
use dockerforge_protocol::report::FailureKind;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How often a part is asked for in vain, one time after the other, before the job goes back to the queue.
const TRIES: u32 = 5;
/// The wait before the second time; each further one is twice as long.
const AGAIN: Duration = Duration::from_millis(200);
/// How often a part may come that is not what its digest says.
const CORRUPT: u32 = 3;
/// How long a part is kept that nobody asks for any more.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Bytes that are read of a file at once.
const PIECE: usize = 256 * 1024;

/// Where a part is, or will be.
pub(super) fn path_of(work: &Work<'_>, digest: &str) -> PathBuf {
    work.settings.layers.join(hex_of(digest))
}

fn part_of(work: &Work<'_>, digest: &str) -> PathBuf {
    work.settings.layers.join(format!("{}.part", hex_of(digest)))
}

/// Makes sure that a part is here, and tells its size. `seen` is called with the bytes of it that are here as they come.
pub(super) async fn fetch(
    work: &Work<'_>,
    digest: &str,
    limit: u64,
    mut seen: impl FnMut(u64) + Send,
) -> Result<u64, Ended> {
    // Two jobs that want one part would write into one file.
    let key = format!("layer {digest}");
    let _turn = work.unless_stopped(work.keys.lock(&key)).await?;
    if let Ok(there) = tokio::fs::metadata(path_of(work, digest)).await {
        seen(there.len());
        return Ok(there.len());
    }
    tokio::fs::create_dir_all(&work.settings.layers).await.map_err(|error| disk(&error))?;
    let (mut vain, mut corrupt) = (0, 0);
    loop {
        let before = length(&part_of(work, digest)).await;
        let why = match attempt(work, digest, limit, &mut seen).await? {
            Attempt::Whole(size) => return Ok(size),
            Attempt::Corrupt(came) => {
                corrupt += 1;
                work.say(&format!("{digest} came as {came}; it is fetched again\n"));
                if corrupt >= CORRUPT {
                    let detail = format!("what came for {digest} was something else, {CORRUPT} times: {came}");
                    return Err(failed(FailureKind::ImageCorrupt, detail));
                }
                continue;
            }
            Attempt::Broken(why) => why,
        };
        vain = if length(&part_of(work, digest)).await > before { 1 } else { vain + 1 };
        if vain >= TRIES {
            work.progress("waiting for a host that has it", None);
            return Err(failed(FailureKind::SourceUnavailable, why));
        }
        tracing::debug!(job = %work.attempt.job, digest, why, "a part of an image is asked for again");
        work.unless_stopped(tokio::time::sleep(AGAIN * 2_u32.pow(vain - 1))).await?;
    }
}

enum Attempt {
    Whole(u64),
    /// All of it came, and has this digest.
    Corrupt(String),
    /// It broke off, or did not begin.
    Broken(String),
}

async fn attempt(
    work: &Work<'_>,
    digest: &str,
    limit: u64,
    seen: &mut (impl FnMut(u64) + Send),
) -> Result<Attempt, Ended> {
    let path = part_of(work, digest);
    let mut sum = Sha256::new();
    let mut have = work.unless_stopped(summed(&path, &mut sum)).await?.map_err(|error| disk(&error))?;
    let asked = work.unless_stopped(work.settings.supplies.blob(work.attempt.job, digest, have)).await?;
    let (size, mut pieces) = match asked {
        Ok(blob) => blob,
        Err(error) => return Ok(Attempt::Broken(error.to_string())),
    };
    if size > limit {
        return Err(failed(FailureKind::ImageCorrupt, format!("{digest} is said to have {size} bytes")));
    }
    let mut file = OpenOptions::new().create(true).append(true).open(&path).await.map_err(|error| disk(&error))?;
    let broken = loop {
        match work.unless_stopped(pieces.next()).await? {
            None => break None,
            Some(Err(error)) => break Some(error.to_string()),
            Some(Ok(piece)) => {
                sum.update(&piece);
                have += piece.len() as u64;
                if have > size {
                    break None;
                }
                file.write_all(&piece).await.map_err(|error| disk(&error))?;
                seen(have);
            }
        }
    };
    file.flush().await.map_err(|error| disk(&error))?;
    if let Some(why) = broken.filter(|_| have < size) {
        return Ok(Attempt::Broken(why));
    }
    let came = digest_of(sum);
    if came == digest && have == size {
        file.sync_all().await.map_err(|error| disk(&error))?;
        tokio::fs::rename(&path, path_of(work, digest)).await.map_err(|error| disk(&error))?;
        return Ok(Attempt::Whole(size));
    }
    tokio::fs::remove_file(&path).await.map_err(|error| disk(&error))?;
    Ok(Attempt::Corrupt(format!("{have} bytes of {size}, {came}")))
}

/// The failure of a file of ours.
pub(super) fn disk(error: &io::Error) -> Ended {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::DiskFull,
        _ => FailureKind::Internal,
    };
    failed(kind, format!("a part of the image cannot be kept on this host: {error}"))
}

async fn length(path: &Path) -> u64 {
    tokio::fs::metadata(path).await.map(|found| found.len()).unwrap_or_default()
}

/// Sums up what of a part is here already.
async fn summed(path: &Path, sum: &mut Sha256) -> io::Result<u64> {
    let mut file = match File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let (mut buffer, mut size) = (vec![0; PIECE], 0);
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            return Ok(size);
        }
        sum.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Removes these parts, whole or not.
pub(super) async fn remove(work: &Work<'_>, digests: &[String]) {
    for digest in digests {
        for path in [path_of(work, digest), part_of(work, digest)] {
            let _ = tokio::fs::remove_file(path).await;
        }
    }
}

/// Removes what has been left for long: the rest of jobs that never came again.
pub(super) async fn sweep(work: &Work<'_>) {
    let Ok(mut files) = tokio::fs::read_dir(&work.settings.layers).await else { return };
    while let Ok(Some(file)) = files.next_entry().await {
        let changed = file.metadata().await.and_then(|found| found.modified());
        let age = changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = tokio::fs::remove_file(file.path()).await;
        }
    }
}
