//! Parts of images on their way here: fetched from other hosts into files that are named by their digests. A part that was cut
//! off goes on where it was, also in a later attempt or another job. What must hold: a part counts as whole only once its content
//! was found to be what its file's name says.

use super::Ended;
use super::work::{Work, failed};
use crate::digest::{digest_of, hex_of};
use dockerforge_protocol::report::FailureKind;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often a part is asked for in vain, one time after the other, before the job goes back to the queue.
const TRIES: u32 = 5;
/// The wait before the second time; each further one is twice as long.
const AGAIN: Duration = Duration::from_millis(200);
/// How often a part may come that is not what its digest says.
const CORRUPT: u32 = 3;
/// How long a part is kept that nobody asks for any more.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Between two sweeps.
const SWEEPS: Duration = Duration::from_secs(3600);
/// Bytes that are read from a file, or written to it, at once.
const PIECE: usize = 512 * 1024;

/// How far a part has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Coming {
    /// What has come of it can be read here, also after its name is gone; none as long as its size is not known.
    pub file: Option<Arc<File>>,
    /// Bytes of it in all.
    pub size: u64,
    /// Bytes of it in the file.
    pub have: u64,
    /// All of it is there, and is what its digest says.
    pub whole: bool,
    /// It came as something else: what was read of it before is void.
    pub begun_anew: bool,
}

/// Where a part is, or will be.
pub(super) fn path_of(work: &Work<'_>, digest: &str) -> PathBuf {
    work.settings.layers.join(hex_of(digest))
}

/// Makes sure that a part is here, and tells its size; `coming` is told how far it is.
pub(super) async fn fetch(
    work: &Work<'_>,
    digest: &str,
    limit: u64,
    coming: &watch::Sender<Coming>,
) -> Result<u64, Ended> {
    // Two jobs that want one part would write into one file.
    let key = format!("layer {digest}");
    let _turn = work.unless_stopped(work.keys.lock(&key)).await?;
    tokio::fs::create_dir_all(&work.settings.layers).await.map_err(|error| disk(&error))?;
    let (mut vain, mut corrupt) = (0, 0);
    loop {
        let before = length(&path_of(work, digest)).await;
        let why = match attempt(work, digest, limit, corrupt, coming).await? {
            Attempt::Whole(size) => return Ok(size),
            Attempt::Corrupt(came) => {
                corrupt += 1;
                coming.send_modify(|now| now.begun_anew = true);
                work.say(&format!("{digest} came as {came}; it is fetched again\n"));
                if corrupt >= CORRUPT {
                    let detail = format!("what came for {digest} was something else, {CORRUPT} times: {came}");
                    return Err(failed(FailureKind::ImageCorrupt, detail));
                }
                continue;
            }
            Attempt::Broken(why) => why,
        };
        vain = if length(&path_of(work, digest)).await > before { 1 } else { vain + 1 };
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
    turn: u32,
    coming: &watch::Sender<Coming>,
) -> Result<Attempt, Ended> {
    let path = path_of(work, digest);
    // What an earlier life of the host wrote may not have reached its disk: also what is all there is summed up again.
    let mut written = work.unless_stopped(Written::open(path.clone())).await?.map_err(|error| disk(&error))?;
    let readable = Arc::clone(&written.readable);
    let tell = |size, have, whole| {
        let file = Some(Arc::clone(&readable));
        coming.send_modify(|now| *now = Coming { file, size, have, whole, begun_anew: now.begun_anew });
    };
    let mut have = written.size;
    if digest_of(written.sum.clone()) == digest {
        tell(have, have, true);
        return Ok(Attempt::Whole(have));
    }
    let asked = work.unless_stopped(work.settings.supplies.blob(work.attempt.job, digest, have, turn)).await?;
    let (size, mut pieces) = match asked {
        Ok(blob) => blob,
        Err(error) => return Ok(Attempt::Broken(error.to_string())),
    };
    if size > limit {
        return Err(failed(FailureKind::ImageCorrupt, format!("{digest} is said to have {size} bytes")));
    }
    tell(size, have, false);
    let mut gathered = Vec::with_capacity(PIECE);
    let mut writing = tokio::task::spawn_blocking(|| Ok(written));
    let broken = loop {
        let piece = match work.unless_stopped(pieces.next()).await {
            Ok(piece) => piece,
            Err(stopped) => {
                // Nobody else may have the part before this is over.
                over_with(writing).await?;
                return Err(stopped);
            }
        };
        let over = !matches!(&piece, Some(Ok(piece)) if have + piece.len() as u64 <= size);
        if over || gathered.len() >= PIECE {
            // One piece is written while the next one comes.
            written = over_with(writing).await?;
            tell(size, written.size, false);
            let bytes = std::mem::replace(&mut gathered, Vec::with_capacity(PIECE));
            writing = tokio::task::spawn_blocking(move || written.with(&bytes));
        }
        match piece {
            None => break None,
            Some(Err(error)) => break Some(error.to_string()),
            Some(Ok(piece)) => {
                have += piece.len() as u64;
                if over {
                    break None;
                }
                gathered.extend_from_slice(&piece);
            }
        }
    };
    written = over_with(writing).await?;
    if let Some(why) = broken.filter(|_| have < size) {
        return Ok(Attempt::Broken(why));
    }
    let came = digest_of(written.sum);
    if came == digest && have == size {
        tell(size, have, true);
        return Ok(Attempt::Whole(size));
    }
    tokio::fs::remove_file(&path).await.map_err(|error| disk(&error))?;
    Ok(Attempt::Corrupt(format!("{have} bytes of {size}, {came}")))
}

async fn over_with(writing: tokio::task::JoinHandle<io::Result<Written>>) -> Result<Written, Ended> {
    writing.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| disk(&error))
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

/// What of a part is in its file, summed up.
struct Written {
    file: File,
    readable: Arc<File>,
    size: u64,
    sum: Sha256,
}

impl Written {
    async fn open(path: PathBuf) -> io::Result<Self> {
        let open = move || {
            let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
            let (mut sum, readable) = (Sha256::new(), Arc::new(file.try_clone()?));
            let (mut buffer, mut size) = (vec![0; PIECE], 0);
            loop {
                let read = file.read(&mut buffer)?;
                if read == 0 {
                    return Ok(Self { file, readable, size, sum });
                }
                sum.update(&buffer[..read]);
                size += read as u64;
            }
        };
        tokio::task::spawn_blocking(open).await.map_err(io::Error::other)?
    }

    fn with(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.file.write_all(bytes)?;
        self.sum.update(bytes);
        self.size += bytes.len() as u64;
        Ok(self)
    }
}

/// Removes these parts, whole or not.
pub(super) async fn remove(work: &Work<'_>, digests: &[String]) {
    for digest in digests {
        let _ = tokio::fs::remove_file(path_of(work, digest)).await;
    }
}

/// Sweeps now and then, until it is told to stop.
pub(super) async fn sweep_always(folder: PathBuf, token: CancellationToken) {
    loop {
        sweep(&folder).await;
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(SWEEPS) => {}
        }
    }
}

/// Removes what has been left for long: parts for jobs that never came again.
async fn sweep(folder: &Path) {
    let Ok(mut files) = tokio::fs::read_dir(folder).await else { return };
    while let Ok(Some(file)) = files.next_entry().await {
        let changed = file.metadata().await.and_then(|found| found.modified());
        let age = changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = tokio::fs::remove_file(file.path()).await;
        }
    }
}
