//! The journal's file: reading it whole, appending, compacting. Used by the journal's writer alone, on a thread that
//! may block. What must hold: after a failed append the file is cut back to the last good record before anything else
//! is appended, so that a torn line never stands in the middle.

use super::{Entries, Entry, JournalError, Record};
use crate::state::{open_private, replace_file, sync_folder};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file larger than this is compacted, if that would at least halve it.
const COMPACT_ABOVE: u64 = 256 * 1024;

pub(super) struct JournalFile {
    path: PathBuf,
    file: File,
    /// Where the last good record ends.
    end: u64,
    /// Whether bytes may stand behind `end`.
    torn: bool,
    /// The size at which to think about compaction.
    compact_at: u64,
    pub(super) entries: Entries,
}

impl JournalFile {
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Open { path: path.to_owned(), source };
        let mut file = open_private(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let (entries, good) = replay(&bytes);
        if good < bytes.len() {
            tracing::warn!(
                bytes = bytes.len() - good,
                "the journal ends in a record that was never completed; cut off"
            );
        }
        let end = good as u64;
        let mut journal =
            Self { path: path.to_owned(), file, end, torn: good < bytes.len(), compact_at: COMPACT_ABOVE, entries };
        journal.mend().and_then(|()| sync_folder(path)).map_err(failed)?;
        Ok(journal)
    }

    /// Puts records on the disk, all or none.
    pub(super) fn append<'a>(&mut self, records: impl Iterator<Item = &'a Record> + Clone) -> Result<(), JournalError> {
        let failed = |path: &Path, error: &std::io::Error| JournalError::Write {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut lines = Vec::new();
        for record in records.clone() {
            line(record, &mut lines);
        }
        if let Err(error) = self.put(&lines) {
            // The bytes may be there or not: they must be gone before the next record is.
            self.torn = true;
            let _ = self.mend();
            return Err(failed(&self.path, &error));
        }
        for record in records {
            apply(&mut self.entries, record.clone());
        }
        if self.end > self.compact_at {
            // The records stand already: a compaction that fails costs space, not a promise.
            if let Err(error) = self.compact() {
                tracing::warn!(%error, "the journal could not be compacted");
                self.compact_at = self.end * 2;
            }
        }
        Ok(())
    }

    /// The same failure for one more waiter.
    pub(super) fn again(error: &JournalError) -> JournalError {
        match error {
            JournalError::Write { path, reason } => JournalError::Write { path: path.clone(), reason: reason.clone() },
            JournalError::Open { .. } | JournalError::Closed => JournalError::Closed,
        }
    }

    fn put(&mut self, lines: &[u8]) -> std::io::Result<()> {
        self.mend()?;
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.end += lines.len() as u64;
        Ok(())
    }

    fn mend(&mut self) -> std::io::Result<()> {
        if self.torn {
            self.file.set_len(self.end)?;
            self.file.sync_data()?;
            self.torn = false;
        }
        self.file.seek(SeekFrom::Start(self.end)).map(drop)
    }

    fn compact(&mut self) -> std::io::Result<()> {
        let mut lines = Vec::new();
        for entry in self.entries.values() {
            line(&Record::Accepted(entry.accepted.clone()), &mut lines);
            if entry.begun {
                line(&Record::Begun { attempt: entry.accepted.attempt }, &mut lines);
            }
            if let Some((outcome, log_end)) = entry.finished.clone() {
                line(&Record::Finished { attempt: entry.accepted.attempt, outcome, log_end }, &mut lines);
            }
        }
        let size = lines.len() as u64;
        self.compact_at = COMPACT_ABOVE.max(size * 2);
        if size * 2 <= self.end {
            self.file = replace_file(&self.path, &lines)?;
            self.end = size;
            self.torn = false;
            self.file.seek(SeekFrom::Start(size))?;
        }
        Ok(())
    }
}

fn sum(json: &[u8]) -> String {
    hex::encode(&Sha256::digest(json)[..8])
}

fn line(record: &Record, into: &mut Vec<u8>) {
    // A record is made of strings, numbers and lists: it always has a JSON.
    let json = serde_json::to_vec(record).unwrap_or_default();
    into.extend_from_slice(sum(&json).as_bytes());
    into.push(b' ');
    into.extend_from_slice(&json);
    into.push(b'\n');
}

/// What the bytes say, and how many of them are good.
fn replay(bytes: &[u8]) -> (Entries, usize) {
    let mut entries = Entries::new();
    let mut good = 0;
    while let Some(length) = bytes[good..].iter().position(|&b| b == b'\n') {
        let Some(json) = verify(&bytes[good..good + length]) else { break };
        match serde_json::from_slice(json) {
            Ok(record) => apply(&mut entries, record),
            // Whole, but of a newer agent: its job will be decided by the coordinator, which misses it in the hello.
            Err(error) => tracing::warn!(%error, "the journal holds a record that this version cannot read; skipped"),
        }
        good += length + 1;
    }
    (entries, good)
}

/// The JSON of a line whose checksum is right.
fn verify(line: &[u8]) -> Option<&[u8]> {
    let (head, json) = line.split_at_checked(17)?;
    (head[..16] == *sum(json).as_bytes() && head[16] == b' ').then_some(json)
}

fn apply(entries: &mut Entries, record: Record) {
    match record {
        Record::Accepted(accepted) => {
            // A later attempt takes the place of an earlier one.
            entries.insert(accepted.attempt.job, Entry { accepted, begun: false, finished: None });
        }
        Record::Begun { attempt } => {
            if let Some(entry) = entries.get_mut(&attempt.job).filter(|e| e.accepted.attempt == attempt) {
                entry.begun = true;
            }
        }
        Record::Finished { attempt, outcome, log_end } => {
            if let Some(entry) = entries.get_mut(&attempt.job).filter(|e| e.accepted.attempt == attempt) {
                entry.finished = Some((outcome, log_end));
            }
        }
        Record::Forgotten { job } => {
            entries.remove(&job);
        }
    }
}
