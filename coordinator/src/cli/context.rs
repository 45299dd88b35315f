//! A build context, or the archive of a template, on its way: a folder as a tar archive (POSIX.1-2001, GNU long names), compressed with gzip
//! (RFC 1952), packed by a blocking thread while it is sent; never the whole of it is in memory. Used by `image build` and
//! `template`.
//!
//! What must hold: the same folder gives the same bytes, because a repeated request with the same idempotency key must
//! have the same body. So entries are in order of name, belong to nobody in particular, and gzip's own time is left out.
//! The Dockerfile and `.dockerignore` are always in it. Symbolic links go as links; sockets, pipes and devices do not go.

use super::dockerignore::Ignore;
use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use futures_util::stream;
use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead, BufWriter, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// The size of a piece on its way, bytes.
const PIECE: usize = 64 * 1024;

/// What begins a file that is compressed with gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How many pieces may wait to be sent.
const PIECES: usize = 8;

/// Why a context or an archive cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// A file or folder cannot be read.
    #[error("{} cannot be sent: it cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no Dockerfile.
    #[error("the build context cannot be sent: there is no {name} in {}", folder.display())]
    NoDockerfile {
        /// The name it should have.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The context is not a folder.
    #[error("the build context cannot be sent: {} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The archive could not be written on.
    #[error("the archive could not be packed")]
    Pack(#[source] io::Error),
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Context {
    source: Arc<Source>,
    /// The Dockerfile's path in a build context.
    pub dockerfile: String,
    failure: Arc<Mutex<Option<ContextError>>>,
}

#[derive(Debug)]
enum Source {
    /// A folder, without what its `.dockerignore` names.
    Folder { root: PathBuf, ignore: Ignore, always: Vec<String> },
    /// A Dockerfile alone.
    Dockerfile(Vec<u8>),
    /// An archive that is there already, compressed with gzip or not.
    Archive(PathBuf),
}

impl Context {
    /// A folder. The Dockerfile may be named from here or from within the folder, and is in the folder.
    pub(super) fn folder(root: &Path, dockerfile: Option<&Path>) -> Result<Self, ContextError> {
        if !fs::metadata(root).map_err(|source| read_error(root, source))?.is_dir() {
            return Err(ContextError::NotAFolder(root.to_owned()));
        }
        let given = dockerfile.unwrap_or(Path::new("Dockerfile"));
        let from_here = dockerfile.and_then(|file| {
            let file = file.canonicalize().ok()?;
            Some(file.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned())
        });
        let within = from_here.unwrap_or_else(|| given.strip_prefix("./").unwrap_or(given).to_owned());
        let name = within.to_string_lossy().into_owned();
        if within.is_absolute() || name.split('/').any(|part| part == "..") || !root.join(&within).is_file() {
            return Err(ContextError::NoDockerfile { name, folder: root.to_owned() });
        }
        let ignore_file = root.join(".dockerignore");
        let ignore = match fs::read_to_string(&ignore_file) {
            Ok(text) => Ignore::parse(&text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ignore::default(),
            Err(e) => return Err(read_error(&ignore_file, e)),
        };
        let always = vec![name.clone(), ".dockerignore".to_owned()];
        Ok(Self::of(Source::Folder { root: root.to_owned(), ignore, always }, name))
    }

    /// A Dockerfile alone, that needs no other file; `-` is stdin.
    pub(super) fn dockerfile(file: &Path) -> Result<Self, ContextError> {
        let text = if file == Path::new("-") {
            let mut text = Vec::new();
            io::stdin().lock().read_to_end(&mut text).map(|_| text)
        } else {
            fs::read(file)
        };
        let text = text.map_err(|source| read_error(file, source))?;
        Ok(Self::of(Source::Dockerfile(text), "Dockerfile".to_owned()))
    }

    /// All of a folder, or an archive that is there already, for a template.
    pub(super) fn archive(path: &Path) -> Result<Self, ContextError> {
        let about = fs::metadata(path).map_err(|source| read_error(path, source))?;
        let source = if about.is_dir() {
            Source::Folder { root: path.to_owned(), ignore: Ignore::default(), always: Vec::new() }
        } else {
            Source::Archive(path.to_owned())
        };
        Ok(Self::of(source, String::new()))
    }

    fn of(source: Source, dockerfile: String) -> Self {
        Self { source: Arc::new(source), dockerfile, failure: Arc::default() }
    }

    /// The archive as a request's body; each call packs anew.
    pub(super) fn body(&self) -> reqwest::Body {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (source, failure) = (self.source.clone(), self.failure.clone());
        // It ends when it is done, or at its first write after the request was given up.
        tokio::task::spawn_blocking(move || {
            let Err(error) = pack(&source, Pieces(sender.clone())) else { return };
            // A body that breaks off must not look like one that ended.
            let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
            // That the receiver left is the connection's failure, not the context's.
            if !matches!(&error, ContextError::Pack(e) if e.kind() == io::ErrorKind::BrokenPipe) {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
        reqwest::Body::wrap_stream(stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|piece: Result<Bytes, io::Error>| (piece, receiver))
        }))
    }

    /// Why packing failed, if it did.
    pub(super) fn failure(&self) -> Option<ContextError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Writes to the request that is being sent, and waits while it is slower.
struct Pieces(mpsc::Sender<Result<Bytes, io::Error>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(&bytes[..bytes.len().min(PIECE)]);
        let size = piece.len();
        self.0.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pack(source: &Source, mut out: impl Write) -> Result<(), ContextError> {
    if let Source::Archive(path) = source {
        return send(path, &mut out);
    }
    let gzip = GzBuilder::new().write(BufWriter::with_capacity(PIECE, out), Compression::fast());
    let mut archive = Builder::new(gzip);
    match source {
        Source::Dockerfile(text) => {
            let mut header = header(EntryType::Regular, 0o644, 0);
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, "Dockerfile", text.as_slice()).map_err(ContextError::Pack)?;
        }
        Source::Folder { root, ignore, always } => folder(&mut archive, root, "", ignore, always)?,
        Source::Archive(_) => {}
    }
    let mut out = archive.into_inner().and_then(flate2::write::GzEncoder::finish).map_err(ContextError::Pack)?;
    out.flush().map_err(ContextError::Pack)
}

/// Sends an archive as it is, or compresses it on its way where it is not compressed.
fn send(path: &Path, out: &mut impl Write) -> Result<(), ContextError> {
    let read = |source| read_error(path, source);
    let mut file = io::BufReader::with_capacity(PIECE, fs::File::open(path).map_err(read)?);
    let compressed = file.fill_buf().map_err(read)?.starts_with(&GZIP);
    let mut file = Noted { inner: file, failure: None };
    let sent = if compressed {
        io::copy(&mut file, out).map(drop)
    } else {
        let mut gzip = GzBuilder::new().write(BufWriter::with_capacity(PIECE, &mut *out), Compression::fast());
        io::copy(&mut file, &mut gzip).and_then(|_| gzip.finish()).and_then(|mut out| out.flush())
    };
    match (sent, file.failure) {
        (Err(_), Some(source)) => Err(read_error(path, source)),
        (sent, _) => sent.map_err(ContextError::Pack),
    }
}

/// Keeps why reading failed: a failure of the connection is told from it so.
struct Noted<R> {
    inner: R,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let shown = io::Error::from(error.kind());
            self.failure = Some(error);
            shown
        })
    }
}

fn folder<W: Write>(
    archive: &mut Builder<W>,
    root: &Path,
    within: &str,
    ignore: &Ignore,
    always: &[String],
) -> Result<(), ContextError> {
    let here = root.join(within);
    let entries = fs::read_dir(&here).map_err(|source| read_error(&here, source))?;
    let names: Result<Vec<OsString>, _> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let mut names = names.map_err(|source| read_error(&here, source))?;
    names.sort();
    for name in names {
        let Some(name) = name.to_str() else {
            let source = io::Error::new(io::ErrorKind::InvalidData, "its name is not UTF-8");
            return Err(read_error(&here.join(name), source));
        };
        let inside = if within.is_empty() { name.to_owned() } else { format!("{within}/{name}") };
        let path = root.join(&inside);
        let about = fs::symlink_metadata(&path).map_err(|source| read_error(&path, source))?;
        let wanted = always.contains(&inside) || !ignore.leaves_out(&inside);
        if about.is_dir() {
            if wanted {
                let mut header = header(EntryType::Directory, about.mode(), about.mtime());
                archive.append_data(&mut header, &inside, io::empty()).map_err(ContextError::Pack)?;
            }
            let holds_wanted = always.iter().any(|file| file.starts_with(&format!("{inside}/")));
            if wanted || holds_wanted || ignore.takes_back() {
                folder(archive, root, &inside, ignore, always)?;
            }
        } else if wanted {
            file(archive, &path, &inside, &about)?;
        }
    }
    Ok(())
}

fn file<W: Write>(
    archive: &mut Builder<W>,
    path: &Path,
    inside: &str,
    about: &fs::Metadata,
) -> Result<(), ContextError> {
    if about.is_symlink() {
        let target = fs::read_link(path).map_err(|source| read_error(path, source))?;
        let mut header = header(EntryType::Symlink, 0o777, about.mtime());
        return archive.append_link(&mut header, inside, target).map_err(ContextError::Pack);
    }
    if !about.is_file() {
        return Ok(());
    }
    let opened = fs::File::open(path).map_err(|source| read_error(path, source))?;
    let mut header = header(EntryType::Regular, about.mode(), about.mtime());
    header.set_size(about.len());
    let mut exact = Exact { inner: opened, left: about.len(), failure: None };
    match (archive.append_data(&mut header, inside, &mut exact), exact.failure) {
        (Err(_), Some(source)) => Err(read_error(path, source)),
        (result, _) => result.map_err(ContextError::Pack),
    }
}

/// Reads exactly as much as the header says: a file that grows meanwhile is cut, one that shrinks is an error, because
/// either would put the archive out of step.
struct Exact {
    inner: fs::File,
    left: u64,
    failure: Option<io::Error>,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = match self.inner.read(&mut buffer[..most]) {
            Ok(0) if most > 0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it shrank while it was read")),
            other => other,
        };
        match read {
            Ok(n) => {
                self.left -= n as u64;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let shown = io::Error::from(error.kind());
                self.failure = Some(error);
                Err(shown)
            }
        }
    }
}

fn header(kind: EntryType, mode: u32, mtime: i64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o7777);
    header.set_mtime(u64::try_from(mtime).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

fn read_error(path: &Path, source: io::Error) -> ContextError {
    ContextError::Read { path: path.to_owned(), source }
}
