//! The coordinator's store of build contexts: one canonical tar a file, named by its SHA-256, in a folder of its own.
//! The images service puts uploads in, and releases each once its request is decided; the agent port serves them to the
//! agent that builds; a periodic sweep removes those that no job needs any more.
//!
//! What must hold: a file under its final name is complete, canonical and durable; a name that a client gives never
//! reaches the file system; nothing younger than the sweep's age goes, because its job may not be committed yet.

use super::archive::{self, ArchiveError, Limits, Listing, Summary};
use super::claims::{Claim, Claims};
use bytes::Bytes;
use dockerforge_protocol::command::ContextRef;
use futures_util::{Stream, StreamExt};
use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

/// What unfinished files begin with.
const UNFINISHED: &str = ".unfinished-";
/// Bytes gathered before a write: each is a trip to a blocking thread.
const BUFFER: usize = 256 * 1024;

/// The store. Clones are the same folder.
#[derive(Debug, Clone)]
pub struct Contexts {
    folder: Arc<Path>,
    claims: Claims,
}

/// A context that is in the store.
#[derive(Debug)]
pub struct Received {
    /// What an agent fetches it by.
    pub context: ContextRef,
    /// What is in it.
    pub summary: Summary,
    /// Keeps it from being removed until the request is decided; goes to [`Contexts::release`] then.
    pub claim: Claim,
}

/// Why a context is not in the store, or does not come out.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The upload broke off.
    #[error("the upload broke off")]
    Upload(#[source] Box<dyn Error + Send + Sync>),
    /// The upload is larger than allowed, bytes.
    #[error("the upload is larger than the {0} bytes that are allowed")]
    TooLarge(u64),
    /// The archive is refused.
    #[error(transparent)]
    Archive(ArchiveError),
    /// The coordinator's disk is full.
    #[error("the coordinator's disk is full")]
    DiskFull(#[source] io::Error),
    /// There is no such context.
    #[error("there is no build context {0}")]
    NotFound(String),
    /// The context is not of the size that it was.
    #[error("the build context {sha256} has {found} bytes instead of {expected}")]
    Damaged {
        /// Which.
        sha256: String,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A file could not be handled.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was tried: `create`, `write`, `rename`.
        step: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The thread that handled it ended early: the coordinator shuts down.
    #[error("the coordinator shuts down")]
    Interrupted,
}

impl ContextError {
    fn file(step: &'static str, path: &Path, source: io::Error) -> Self {
        if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            Self::DiskFull(source)
        } else {
            Self::File { step, path: path.to_owned(), source }
        }
    }
}

/// An archive's failure to write is a failure of the store, not of the archive.
fn of_archive(error: ArchiveError, folder: &Path) -> ContextError {
    match error {
        ArchiveError::Write(source) => ContextError::file("write", folder, source),
        ArchiveError::Read(source) => ContextError::file("read", folder, source),
        other => ContextError::Archive(other),
    }
}

impl Contexts {
    /// The store in a folder, which is made if it is not there. What an earlier process left unfinished is removed, so
    /// a folder belongs to one process at a time.
    pub fn new(folder: &Path) -> Result<Self, ContextError> {
        std::fs::create_dir_all(folder).map_err(|error| ContextError::file("create", folder, error))?;
        let contexts = Self { folder: folder.into(), claims: Claims::default() };
        for (path, name, _) in contexts.files()? {
            if name.starts_with(UNFINISHED) {
                std::fs::remove_file(&path).map_err(|error| ContextError::file("remove", &path, error))?;
            }
        }
        Ok(contexts)
    }

    /// Takes an upload: a tar archive, compressed with gzip or not. The same content twice is one file.
    ///
    /// # Errors
    /// [`ContextError::Archive`], [`ContextError::TooLarge`] and [`ContextError::Upload`] are the client's side.
    pub async fn receive<S, E>(&self, upload: S, limits: Limits) -> Result<Received, ContextError>
    where
        S: Stream<Item = Result<Bytes, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let (file, path) = self.unfinished()?.into_parts();
        let written = self.spool(upload, tokio::fs::File::from_std(file), limits.compressed).await;
        let mut file = written?.into_std().await;
        let this = self.clone();
        blocking(move || {
            let result = this.canonicalise(&mut file, limits);
            // Gone only now: it deletes the upload.
            drop(path);
            result
        })
        .await
    }

    /// Makes the context that holds one file, `Dockerfile`, with this text.
    pub async fn from_dockerfile(&self, text: &str) -> Result<(ContextRef, Claim), ContextError> {
        self.compose(vec![archive::File::new("Dockerfile", text)], None).await
    }

    /// Makes the context that holds these files, and a folder with what is in another context.
    pub async fn compose(
        &self,
        files: Vec<archive::File>,
        folder: Option<(&'static str, Option<ContextRef>)>,
    ) -> Result<(ContextRef, Claim), ContextError> {
        let mut inner = match &folder {
            Some((_, Some(context))) => Some(self.open(context).await?.into_std().await),
            _ => None,
        };
        let this = self.clone();
        blocking(move || {
            let mut file = this.unfinished()?;
            let nested = folder.map(|(name, _)| {
                let inner = inner.as_mut().map(|inner| inner as &mut dyn std::io::Read);
                (name, inner)
            });
            let written = archive::compose(&files, nested, BufWriter::with_capacity(BUFFER, file.as_file_mut()));
            let (sha256, size) = written.map_err(|error| of_archive(error, &this.folder))?;
            this.keep(file, ContextRef { sha256, size })
        })
        .await
    }

    /// Opens a context to be sent.
    ///
    /// # Errors
    /// [`ContextError::NotFound`] also for a name that is not a hash.
    pub async fn open(&self, context: &ContextRef) -> Result<tokio::fs::File, ContextError> {
        let path = self.path(&context.sha256)?;
        let (this, context) = (self.clone(), context.clone());
        let file = blocking(move || {
            let failed = |error: io::Error| match error.kind() {
                ErrorKind::NotFound => ContextError::NotFound(context.sha256.clone()),
                _ => ContextError::file("open", &this.folder, error),
            };
            let file = File::open(&path).map_err(failed)?;
            let found = file.metadata().map_err(failed)?.len();
            if found == context.size {
                Ok(file)
            } else {
                Err(ContextError::Damaged { sha256: context.sha256.clone(), expected: context.size, found })
            }
        });
        Ok(tokio::fs::File::from_std(file.await?))
    }

    /// What is in a context, by names.
    pub async fn listing(&self, context: &ContextRef) -> Result<Listing, ContextError> {
        let file = self.open(context).await?.into_std().await;
        let path = self.path(&context.sha256)?;
        blocking(move || Listing::read(file).map_err(|error| ContextError::file("read", &path, error))).await
    }

    /// Ends a request's claim once the request is decided, and removes the context unless it is needed: by a job, as
    /// `needed` says, or by another request that brought the same. Answers whether it was removed.
    pub async fn release(&self, claim: Claim, needed: impl Future<Output = bool>) -> Result<bool, ContextError> {
        // In this order: a request that is decided between the two has its job by then.
        if !claim.is_alone() || needed.await {
            return Ok(false);
        }
        let path = self.path(claim.sha256())?;
        blocking(move || match claim.if_last(|| std::fs::remove_file(&path)) {
            None => Ok(false),
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => Err(ContextError::file("remove", &path, error)),
            Some(_) => Ok(true),
        })
        .await
    }

    /// Removes the contexts, and the unfinished uploads, that are older than this and not among those to keep. Answers
    /// how many.
    pub async fn sweep(&self, keep: HashSet<String>, older_than: Duration) -> Result<usize, ContextError> {
        let this = self.clone();
        blocking(move || {
            let mut removed = 0;
            for (path, name, changed) in this.files()? {
                let age = SystemTime::now().duration_since(changed).unwrap_or_default();
                let ours = match name.strip_suffix(".tar") {
                    Some(sha256) => is_hash(sha256) && !keep.contains(sha256),
                    None => name.starts_with(UNFINISHED),
                };
                if ours && age > older_than {
                    std::fs::remove_file(&path).map_err(|error| ContextError::file("remove", &path, error))?;
                    removed += 1;
                }
            }
            Ok(removed)
        })
        .await
    }

    /// Writes an upload down as it comes.
    async fn spool<S, E>(&self, upload: S, file: tokio::fs::File, limit: u64) -> Result<tokio::fs::File, ContextError>
    where
        S: Stream<Item = Result<Bytes, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let failed = |error| ContextError::file("write", &self.folder, error);
        let mut out = tokio::io::BufWriter::with_capacity(BUFFER, file);
        let mut upload = std::pin::pin!(upload);
        let mut size = 0;
        while let Some(piece) = upload.next().await {
            let piece = piece.map_err(|error| ContextError::Upload(error.into()))?;
            size += piece.len() as u64;
            if size > limit {
                return Err(ContextError::TooLarge(limit));
            }
            out.write_all(&piece).await.map_err(failed)?;
        }
        out.flush().await.map_err(failed)?;
        Ok(out.into_inner())
    }

    fn canonicalise(&self, upload: &mut File, limits: Limits) -> Result<Received, ContextError> {
        use std::io::Seek;
        upload.rewind().map_err(|error| ContextError::file("read", &self.folder, error))?;
        let mut file = self.unfinished()?;
        let reader = BufReader::with_capacity(BUFFER, upload);
        let mut writer = BufWriter::with_capacity(BUFFER, file.as_file_mut());
        let summary = archive::canonicalise(reader, &mut writer, limits);
        let summary = summary.map_err(|error| of_archive(error, &self.folder))?;
        writer.flush().map_err(|error| ContextError::file("write", &self.folder, error))?;
        drop(writer);
        let context = ContextRef { sha256: summary.sha256.clone(), size: summary.size };
        let (context, claim) = self.keep(file, context)?;
        Ok(Received { context, summary, claim })
    }

    /// Gives a finished file its name, durably. A file that has the name already is replaced by its equal, which also
    /// makes it young again for the sweep.
    fn keep(&self, file: NamedTempFile, context: ContextRef) -> Result<(ContextRef, Claim), ContextError> {
        let path = self.path(&context.sha256)?;
        let claim = self.claims.claim(&context.sha256);
        file.as_file().sync_all().map_err(|error| ContextError::file("sync", &path, error))?;
        file.persist(&path).map_err(|error| ContextError::file("rename", &path, error.error))?;
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| ContextError::file("sync", &self.folder, error))?;
        Ok((context, claim))
    }

    /// A new file that is deleted unless it is kept.
    fn unfinished(&self) -> Result<NamedTempFile, ContextError> {
        let made = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder);
        made.map_err(|error| ContextError::file("create", &self.folder, error))
    }

    fn path(&self, sha256: &str) -> Result<PathBuf, ContextError> {
        if is_hash(sha256) {
            Ok(self.folder.join(format!("{sha256}.tar")))
        } else {
            Err(ContextError::NotFound(sha256.escape_debug().take(100).collect()))
        }
    }

    /// Path, name and time of change of each file in the folder.
    fn files(&self) -> Result<Vec<(PathBuf, String, SystemTime)>, ContextError> {
        let failed = |error| ContextError::file("list", &self.folder, error);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Gone in between is gone.
            let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            files.push((entry.path(), entry.file_name().to_string_lossy().into_owned(), changed));
        }
        Ok(files)
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Runs what blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContextError> + Send + 'static,
) -> Result<T, ContextError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ContextError::Interrupted)?
}

#[cfg(test)]
#[path = "contexts_tests.rs"]
mod tests;
