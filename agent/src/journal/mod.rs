//! What the agent has promised: the attempts it accepted and the outcomes that are not acknowledged yet. An append-only
//! file of checksummed JSON lines; the executor writes it, the session reads what it held at the start. What must hold:
//! `accept` and `finish` return after the record is on the disk (fdatasync), and a file that was cut at any byte opens
//! with every record that was on the disk before.
//!
//! One line is `<first 8 bytes of the SHA-256 of the JSON, in hex> <JSON>\n`.

mod file;
pub mod spool;

use dockerforge_protocol::command::Command;
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::report::{Attempt, Outcome};
use file::JournalFile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// How the journal fails.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file or its folder cannot be opened or read.
    #[error("the journal {} cannot be opened", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A record could not be put on the disk.
    #[error("the journal {} cannot be written: {reason}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why, as the operating system said it to the writer.
        reason: String,
    },
    /// The journal's writer has ended; the agent is stopping.
    #[error("the journal is closed")]
    Closed,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "each is written at once; none are kept in numbers")]
enum Record {
    Accepted(Accepted),
    Begun { attempt: Attempt },
    Finished { attempt: Attempt, outcome: Outcome, log_end: u64 },
    Forgotten { job: JobId },
}

/// An accepted attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Which.
    pub attempt: Attempt,
    /// What it does.
    pub command: Command,
    /// When it is stopped as failed: microseconds since 1970-01-01 UTC by the host's clock.
    pub deadline_us: i64,
}

/// A job of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was accepted.
    pub accepted: Accepted,
    /// Whether what may be done only once was begun.
    pub begun: bool,
    /// How it ended and how long its log is, bytes, if it ended.
    pub finished: Option<(Outcome, u64)>,
}

/// The jobs, and nothing else, decide what a compacted journal holds.
type Entries = BTreeMap<JobId, Entry>;

/// One record on its way to the disk, and who waits for it.
struct Write {
    record: Record,
    done: Option<oneshot::Sender<Result<(), JournalError>>>,
}

/// A handle of the journal. Clones are the same journal.
#[derive(Clone)]
pub struct Journal {
    writes: mpsc::Sender<Write>,
}

/// The part that writes; runs as a task of its own so that many records share one fdatasync.
pub struct JournalWriter {
    file: Arc<Mutex<JournalFile>>,
    writes: mpsc::Receiver<Write>,
}

/// Opens the journal in that folder, makes it whole, and answers what it holds.
pub fn open(folder: &Path) -> Result<(Journal, JournalWriter, Vec<Entry>), JournalError> {
    let file = JournalFile::open(&folder.join("journal"))?;
    let entries = file.entries.values().cloned().collect();
    let (sender, receiver) = mpsc::channel(256);
    let writer = JournalWriter { file: Arc::new(Mutex::new(file)), writes: receiver };
    Ok((Journal { writes: sender }, writer, entries))
}

impl Journal {
    /// Promises an attempt: on the disk when this returns.
    pub async fn accept(&self, accepted: Accepted) -> Result<(), JournalError> {
        self.durable(Record::Accepted(accepted)).await
    }

    /// Says that what may be done only once is about to be: on the disk when this returns.
    pub async fn begin(&self, attempt: Attempt) -> Result<(), JournalError> {
        self.durable(Record::Begun { attempt }).await
    }

    /// Keeps a result until it is acknowledged: on the disk when this returns.
    pub async fn finish(&self, attempt: Attempt, outcome: Outcome, log_end: u64) -> Result<(), JournalError> {
        self.durable(Record::Finished { attempt, outcome, log_end }).await
    }

    /// Forgets a job. Need not be on the disk yet when this returns: a job that comes back after a crash is offered at
    /// the next hello and forgotten again.
    pub async fn forget(&self, job: JobId) {
        // Only a stopped writer refuses, and then there is nobody left to forget for.
        let _ = self.writes.send(Write { record: Record::Forgotten { job }, done: None }).await;
    }

    async fn durable(&self, record: Record) -> Result<(), JournalError> {
        let (done, wait) = oneshot::channel();
        self.writes.send(Write { record, done: Some(done) }).await.map_err(|_| JournalError::Closed)?;
        wait.await.map_err(|_| JournalError::Closed)?
    }
}

impl JournalWriter {
    /// Writes until every [`Journal`] is gone. All records that wait go to the disk with one fdatasync.
    pub async fn run(mut self) {
        let mut batch = Vec::new();
        while self.writes.recv_many(&mut batch, 256).await > 0 {
            let writes = std::mem::take(&mut batch);
            let file = Arc::clone(&self.file);
            // fdatasync blocks for as long as the disk takes: not on the thread that sends heartbeats.
            let written = tokio::task::spawn_blocking(move || {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let answer = file.append(writes.iter().map(|w| &w.record));
                for write in writes {
                    if let Some(done) = write.done {
                        // Whoever waited may have been cancelled; the record stands all the same.
                        let _ = done.send(answer.as_ref().copied().map_err(JournalFile::again));
                    }
                }
                answer
            });
            if let Ok(Err(error)) = written.await {
                tracing::error!(%error, "the journal cannot be written");
            }
        }
    }
}

#[cfg(test)]
mod tests;
