//! The log of one attempt on its way to the coordinator: a file that the executor appends to and the session reads from
//! any offset, so that memory stays flat however long the log is and a new session resumes where the last one stopped.
//! What must hold: the file never grows beyond its limit plus one line, and what did not fit is said in that line. Log
//! lines are not fsynced: they survive kill -9, and after a power failure the coordinator has what it acknowledged.

use crate::state::open_private;
use dockerforge_protocol::report::Attempt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The log of one attempt.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    limit: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Opened with the first byte: most jobs write none.
    file: Option<File>,
    end: u64,
    dropped: u64,
}

impl Spool {
    /// The log of that attempt in that folder, with what an earlier life of the agent wrote.
    #[must_use]
    pub fn open(folder: &Path, attempt: Attempt, limit: u64) -> Self {
        let path = folder.join(format!("{}-{}.log", attempt.job, attempt.number));
        let end = std::fs::metadata(&path).map_or(0, |m| m.len());
        Self { path, limit, inner: Mutex::new(Inner { file: None, end, dropped: 0 }) }
    }

    /// Appends. What does not fit, in the limit or on the disk, is counted and dropped: a log never fails its job.
    pub fn write(&self, bytes: &[u8]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.dropped > 0 || inner.end + bytes.len() as u64 > self.limit {
            inner.dropped += bytes.len() as u64;
            return;
        }
        self.put(&mut inner, bytes);
    }

    fn put(&self, inner: &mut Inner, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = inner.end;
        let written = match &mut inner.file {
            Some(file) => file.write_all_at(bytes, end),
            none => open_private(&self.path).and_then(|file| none.insert(file).write_all_at(bytes, end)),
        };
        match written {
            Ok(()) => inner.end += bytes.len() as u64,
            Err(error) => {
                if inner.dropped == 0 {
                    tracing::warn!(%error, path = %self.path.display(), "a job's log cannot be written");
                }
                inner.dropped += bytes.len() as u64;
            }
        }
    }

    /// Ends the log: says what was dropped, and answers how long it is, bytes.
    pub fn seal(&self) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.dropped > 0 {
            let line = format!("\n… {} bytes dropped\n", inner.dropped);
            inner.dropped = 0;
            self.put(&mut inner, line.as_bytes());
        }
        inner.end
    }

    /// How long the log is so far, bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).end
    }

    /// Makes the log begin its next byte at or after this offset. The coordinator may have more than the disk kept when
    /// the power failed; what it has must not be written again with other bytes.
    pub fn extend_to(&self, offset: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.end = inner.end.max(offset);
    }

    /// At most `most` bytes from an offset on; fewer at the end.
    pub fn read(&self, offset: u64, most: usize) -> std::io::Result<Vec<u8>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let there = usize::try_from(inner.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(most);
        if there == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; there];
        let file = match &mut inner.file {
            Some(file) => file,
            none => none.insert(open_private(&self.path)?),
        };
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Removes the file; the job is forgotten.
    pub fn remove(&self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %self.path.display(), "a job's log cannot be removed");
            }
            _ => {}
        }
    }
}

/// Notes outlive their attempt, for the next one. No job is tried again after this.
const OLD_NOTE: Duration = Duration::from_secs(7 * 86_400);

/// Removes the logs of attempts that the journal does not hold (any more), and notes that nobody will ask for.
pub fn sweep(folder: &Path, held: impl Fn(&str) -> bool) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let old = || entry.metadata().ok()?.modified().ok()?.elapsed().ok().map(|age| age > OLD_NOTE);
        if entry.path().extension().is_some_and(|e| e == "note") && old() == Some(true) {
            let _ = std::fs::remove_file(entry.path());
        }
        if entry.file_name().to_str().and_then(|n| n.strip_suffix(".log")).is_some_and(|name| !held(name)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockerforge_protocol::ids::JobId;

    fn attempt() -> Attempt {
        Attempt { job: JobId::new(), number: 1 }
    }

    #[test]
    fn a_log_is_read_from_any_offset_also_by_the_next_life_of_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let attempt = attempt();
        let spool = Spool::open(folder.path(), attempt, 1000);
        spool.write(b"hello ");
        spool.write(b"world");
        assert_eq!(spool.read(3, 5).unwrap(), b"lo wo");
        let again = Spool::open(folder.path(), attempt, 1000);
        assert_eq!((again.end(), again.read(6, 99).unwrap().as_slice()), (11, b"world".as_slice()));
        again.write(b"!");
        assert_eq!(again.read(10, 99).unwrap(), b"d!");
        assert_eq!(again.read(12, 99).unwrap(), b"");
        again.remove();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), attempt(), 10);
        spool.write(b"12345678");
        spool.write(b"abcdef");
        spool.write(b"x");
        assert_eq!(spool.end(), 8);
        let end = spool.seal();
        assert_eq!(spool.read(0, 999).unwrap(), "12345678\n… 7 bytes dropped\n".as_bytes());
        assert_eq!(spool.seal(), end, "sealing twice says nothing twice");
    }

    #[test]
    fn a_log_that_the_coordinator_has_more_of_goes_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), attempt(), 1000);
        spool.extend_to(40);
        spool.write(b"on");
        assert_eq!((spool.end(), spool.read(40, 9).unwrap().as_slice()), (42, b"on".as_slice()));
    }

    #[test]
    fn logs_of_unknown_attempts_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, gone) = (attempt(), attempt());
        for attempt in [kept, gone] {
            Spool::open(folder.path(), attempt, 9).write(b"x");
        }
        let name = format!("{}-{}", kept.job, kept.number);
        sweep(folder.path(), |n| n == name);
        assert_eq!(Spool::open(folder.path(), kept, 9).end(), 1);
        assert_eq!(Spool::open(folder.path(), gone, 9).end(), 0);
    }
}
