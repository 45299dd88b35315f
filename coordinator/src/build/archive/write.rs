//! Writes the canonical form, and its hash. Used by [`super::canonicalise`], and for contexts of our own making.

use super::Limits;
use super::error::ArchiveError;
use super::read::{BLOCK, Kind, Member, TarReader};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use tar::{EntryType, Header};

/// The largest time that fits a header's eleven octal digits: the year 2242.
const MAX_MTIME: u64 = 0o77_777_777_777;
/// The time of a file that has none of its own. Not 1970: tools that make zip files fail before 1980. This is the one
/// that npm chose.
const SOME_TIME: u64 = 499_162_500;

/// Writes members and hashes what it writes.
pub(super) struct TarWriter<W: Write> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }

    /// Writes the header of a member under its normalised name; the content of a file follows.
    pub(super) fn header(&mut self, member: &Member, path: &str, target: Option<&str>) -> Result<(), ArchiveError> {
        let mut header = blank();
        header.set_entry_type(match member.kind {
            Kind::File => EntryType::Regular,
            Kind::Directory => EntryType::Directory,
            Kind::Symlink => EntryType::Symlink,
            Kind::HardLink => EntryType::Link,
        });
        header.set_mode(match member.kind {
            // Searchable by its owner, or the files in it are lost.
            Kind::Directory => member.mode & 0o755 | 0o700,
            Kind::File | Kind::HardLink => member.mode & 0o755 | 0o400,
            Kind::Symlink => 0o777,
        });
        header.set_size(if member.kind == Kind::File { member.size } else { 0 });
        header.set_mtime(member.mtime.min(MAX_MTIME));

        // The name closes with a slash where it is a directory's, as every writer has it.
        let name = if member.kind == Kind::Directory { format!("{path}/") } else { path.to_owned() };
        let mut extended = Vec::new();
        if !set_name(&mut header, &name) {
            record(&mut extended, "path", &name);
        }
        if let Some(target) = target
            && !set_link(&mut header, target)
        {
            record(&mut extended, "linkpath", target);
        }
        if !extended.is_empty() {
            self.extended(&extended)?;
        }
        header.set_cksum();
        self.bytes(header.as_bytes())
    }

    /// A pax header for the member that follows.
    fn extended(&mut self, records: &[u8]) -> Result<(), ArchiveError> {
        let mut header = blank();
        header.set_entry_type(EntryType::XHeader);
        set_name(&mut header, "pax");
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.bytes(header.as_bytes())?;
        self.bytes(records)?;
        self.bytes(&vec![0; records.len().next_multiple_of(BLOCK) - records.len()])
    }

    /// Writes bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.inner.write_all(bytes).map_err(ArchiveError::Write)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Writes the end mark. Answers the SHA-256 in hex and the size in bytes.
    pub(super) fn finish(mut self) -> Result<(String, u64), ArchiveError> {
        self.bytes(&[0; 2 * BLOCK])?;
        self.inner.flush().map_err(ArchiveError::Write)?;
        Ok((hex::encode(self.hash.finalize()), self.size))
    }
}

/// A file of our own making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in the archive.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// Its mode.
    pub mode: u32,
}

impl File {
    /// A file of these bytes, which everybody may read.
    pub fn new(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: content.into(), mode: 0o644 }
    }

    /// The same, and everybody may run it.
    #[must_use]
    pub fn executable(self) -> Self {
        Self { mode: 0o755, ..self }
    }
}

impl<W: Write> TarWriter<W> {
    fn file(&mut self, file: &File) -> Result<(), ArchiveError> {
        let size = file.content.len();
        let member = own(&file.path, Kind::File, file.mode, size as u64);
        self.header(&member, &file.path, None)?;
        self.bytes(&file.content)?;
        self.bytes(&vec![0; size.next_multiple_of(BLOCK) - size])
    }
}

fn own(path: &str, kind: Kind, mode: u32, size: u64) -> Member {
    Member { name: path.as_bytes().to_vec(), kind, link: Vec::new(), mode, mtime: SOME_TIME, size }
}

/// Writes an archive of these files, and of a folder with what is in another archive, a canonical one; the folder is there
/// also where there is none. Answers its SHA-256 in hex and its size in bytes.
pub fn compose(
    files: &[File],
    folder: Option<(&str, Option<&mut dyn Read>)>,
    writer: impl Write,
) -> Result<(String, u64), ArchiveError> {
    let mut out = TarWriter::new(writer);
    for file in files {
        out.file(file)?;
    }
    if let Some((folder, inner)) = folder {
        out.header(&own(folder, Kind::Directory, 0o755, 0), folder, None)?;
        if let Some(inner) = inner {
            nest(folder, inner, &mut out)?;
        }
    }
    out.finish()
}

fn nest(folder: &str, inner: &mut dyn Read, out: &mut TarWriter<impl Write>) -> Result<(), ArchiveError> {
    // It was within its limits when it was made canonical.
    let mut tar = TarReader::open(inner, Limits { compressed: u64::MAX, expanded: u64::MAX, entries: usize::MAX })?;
    while let Some(member) = tar.next_member()? {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('/').to_owned();
        let path = format!("{folder}/{}", text(&member.name));
        let target = match member.kind {
            Kind::File | Kind::Directory => None,
            // Relative to its own folder, which moved with it.
            Kind::Symlink => Some(text(&member.link)),
            Kind::HardLink => Some(format!("{folder}/{}", text(&member.link))),
        };
        out.header(&member, &path, target.as_deref())?;
        if member.kind == Kind::File {
            tar.copy_content(member.size, out)?;
        }
    }
    tar.finish()
}

/// A header of root's, with no device numbers: a number that is left out is malformed to strict readers.
fn blank() -> Header {
    let mut header = Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.set_device_major(0);
        ustar.set_device_minor(0);
    }
    header
}

/// Puts a name into a header if it fits: 100 bytes, or 155 and 100 parted at a slash.
fn set_name(header: &mut Header, name: &str) -> bool {
    let Some(ustar) = header.as_ustar_mut() else { return false };
    let parts = if name.len() <= ustar.name.len() { Some(("", name)) } else { part_name(name) };
    // A name that does not fit is cut here for readers without pax; the pax header has it in full.
    let (prefix, rest) = parts.unwrap_or(("", name));
    copy(&mut ustar.prefix, prefix);
    copy(&mut ustar.name, rest);
    parts.is_some()
}

/// Parts a name at a slash such that both sides fit.
fn part_name(name: &str) -> Option<(&str, &str)> {
    name.match_indices('/')
        .map(|(at, _)| (&name[..at], &name[at + 1..]))
        .find(|(prefix, rest)| !prefix.is_empty() && prefix.len() <= 155 && !rest.is_empty() && rest.len() <= 100)
}

fn set_link(header: &mut Header, target: &str) -> bool {
    let Some(ustar) = header.as_ustar_mut() else { return false };
    copy(&mut ustar.linkname, target);
    target.len() <= ustar.linkname.len()
}

fn copy(field: &mut [u8], text: &str) {
    let length = text.len().min(field.len());
    field.fill(0);
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

/// Appends a pax record, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3; // the space, the equals sign, the line feed
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
}
