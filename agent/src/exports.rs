//! Images as files, for other hosts that ask for parts of them: an image is saved once, its configuration and its layers
//! are kept under their digests for as long as somebody reads them and a little longer, and a part can be read while the rest
//! is still being saved. What must hold: what a file's name says is what is in it, and nothing stays on the disk for good.

use crate::digest::{digest_of, hex_of};
use crate::docker::{DockerError, Engine, Events, Image};
use crate::tasks::Tasks;
use bytes::Bytes;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// The folder in the agent's own.
pub const FOLDER: &str = "exports";
/// How long an export is kept after its last reader: several hosts, or one that was cut off, ask one after the other.
const LINGER: Duration = Duration::from_secs(60);
/// Bytes that are read from an archive at once.
const PIECE: usize = 128 * 1024;

/// What of images is on the disk. Clones are the same.
#[derive(Clone)]
pub struct Exports {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    engine: Arc<dyn Engine>,
    tasks: Tasks,
    open: Mutex<HashMap<String, Weak<Export>>>,
    begun: AtomicU64,
}

/// An image that is being saved, or has been. Its files go with it.
pub struct Export {
    folder: PathBuf,
    saved: watch::Sender<Saved>,
}

#[derive(Default)]
struct Saved {
    /// Sizes by digest.
    blobs: BTreeMap<String, u64>,
    /// Whether all of it was saved, or why not.
    over: Option<Result<(), String>>,
}

/// Why a part of an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Docker could not save the image, or its archive could not be kept.
    #[error("the image cannot be saved: {0}")]
    Save(String),
    /// Docker keeps the image in a form that does not have it.
    #[error("the saved image has no part {0}")]
    Absent(String),
    /// The file cannot be read.
    #[error("a part of the saved image cannot be read")]
    Read(#[from] io::Error),
}

impl Exports {
    /// Nothing yet. What an earlier life of the agent left is removed.
    #[must_use]
    pub fn new(state: &Path, engine: Arc<dyn Engine>, tasks: Tasks) -> Self {
        let folder = state.join(FOLDER);
        let _ = std::fs::remove_dir_all(&folder);
        Self { inner: Arc::new(Inner { folder, engine, tasks, open: Mutex::default(), begun: AtomicU64::new(0) }) }
    }

    /// An image's export, which begins where there is none.
    ///
    /// # Errors
    /// The folder for it cannot be made.
    pub fn open(&self, image: &Image) -> io::Result<Arc<Export>> {
        let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, export| export.strong_count() > 0);
        if let Some(export) = open.get(&image.id).and_then(Weak::upgrade).filter(|export| !export.is_broken()) {
            return Ok(export);
        }
        // One that is still being read may have failed: each has a folder of its own.
        let folder = self.inner.folder.join(self.inner.begun.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir_all(&folder)?;
        let export = Arc::new(Export { folder, saved: watch::Sender::default() });
        open.insert(image.id.clone(), Arc::downgrade(&export));
        drop(open);
        let wanted: BTreeSet<String> = image.layers.iter().chain([&image.id]).cloned().collect();
        let (inner, id) = (Arc::clone(&self.inner), image.id.clone());
        self.keep(&export);
        let saving = Arc::clone(&export);
        self.inner.tasks.spawn("export", async move {
            let over = inner.save(&saving, &id, wanted).await;
            saving.saved.send_modify(|saved| saved.over = Some(over));
        });
        Ok(export)
    }

    /// Keeps an export for a while after this.
    pub fn keep(&self, export: &Arc<Export>) {
        let (export, token) = (Arc::clone(export), self.inner.tasks.token());
        self.inner.tasks.spawn("export", async move {
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                () = token.cancelled_owned() => {}
            }
            drop(export);
        });
    }
}

impl Inner {
    async fn save(&self, export: &Arc<Export>, id: &str, wanted: BTreeSet<String>) -> Result<(), String> {
        let archive = self.engine.image_save(id).await.map_err(|error| crate::report(&error))?;
        let broken = Arc::new(Mutex::new(None));
        let reader = SyncIoBridge::new(StreamReader::new(readable(archive, Arc::clone(&broken))));
        let writing = Arc::clone(export);
        let written = tokio::task::spawn_blocking(move || unpack(reader, &writing, &wanted)).await;
        // What Docker said is more to the point than what its broken archive looks like.
        let docker = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (docker, written) {
            (Some(error), _) => Err(error),
            (None, Ok(Err(error))) => Err(error.to_string()),
            (None, Err(error)) => Err(error.to_string()),
            (None, Ok(Ok(()))) => Ok(()),
        }
    }
}

fn readable(
    archive: Events<Bytes>,
    broken: Arc<Mutex<Option<String>>>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Unpin {
    archive.map_err(move |error: DockerError| {
        *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(crate::report(&error));
        io::Error::other(error)
    })
}

/// Writes the files of an archive whose content is wanted, each under its digest. Docker's versions name and order them in
/// different ways; what they contain is the same.
fn unpack(archive: impl Read, export: &Export, wanted: &BTreeSet<String>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let part = export.folder.join("part");
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let (mut file, mut sum, mut size) = (File::create(&part)?, Sha256::new(), 0);
        loop {
            let read = entry.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            sum.update(&buffer[..read]);
            file.write_all(&buffer[..read])?;
            size += read as u64;
        }
        let digest = digest_of(sum);
        if wanted.contains(&digest) {
            std::fs::rename(&part, export.path(&digest))?;
            export.saved.send_modify(|saved| {
                saved.blobs.insert(digest, size);
            });
        }
    }
    Ok(())
}

impl Export {
    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(hex_of(digest))
    }

    fn is_broken(&self) -> bool {
        matches!(self.saved.borrow().over, Some(Err(_)))
    }

    /// A part, once it is saved, and its size.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub async fn blob(&self, digest: &str) -> Result<(tokio::fs::File, u64), ExportError> {
        let mut saved = self.saved.subscribe();
        let size = match saved.wait_for(|saved| saved.blobs.contains_key(digest) || saved.over.is_some()).await {
            Err(_) => Err(ExportError::Save("it was given up".to_owned())),
            Ok(saved) => match (saved.blobs.get(digest), &saved.over) {
                (Some(size), _) => Ok(*size),
                (None, Some(Err(why))) => Err(ExportError::Save(why.clone())),
                (None, _) => Err(ExportError::Absent(digest.to_owned())),
            },
        }?;
        Ok((tokio::fs::File::open(self.path(digest)).await?, size))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
