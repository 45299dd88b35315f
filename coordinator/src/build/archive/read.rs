//! Reads the members of a tar archive one after another, without trusting it: v7, ustar, GNU long names and pax
//! headers. Used by [`super::canonicalise`] only.
//!
//! The `tar` crate's own iterator reads extended headers of any size into memory and takes an archive that ends in the
//! middle of a file for a short file, so that only its header type is used here. What must hold: no header makes us
//! take more memory than `MAX_EXTENSION`, and an archive is complete or an error.

use super::Limits;
use super::error::{ArchiveError, Problem};
use super::write::TarWriter;
use flate2::read::MultiGzDecoder;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use tar::{EntryType, Header};

/// The unit of tar, bytes.
pub(super) const BLOCK: usize = 512;
/// The largest extended header, bytes. Names and extended attributes are far below it.
const MAX_EXTENSION: u64 = 1 << 20;
/// What other formats begin with, for a better message.
const OTHER_FORMATS: [(&[u8], &str); 5] = [
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x9d", "compress"),
];

/// What a member is, of those that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
}

/// One member, its headers merged.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// Where a link leads; empty otherwise.
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    /// Seconds since 1970-01-01 UTC, not negative.
    pub(super) mtime: u64,
    /// Bytes of content.
    pub(super) size: u64,
}

/// What extended headers say of the next member.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<u64>,
    sparse: bool,
}

/// Counts what was read and stops at a limit.
struct Metered<'a> {
    inner: Box<dyn Read + 'a>,
    read: u64,
    limit: u64,
    gzip: bool,
}

impl Metered<'_> {
    /// Reads until the buffer is full or the archive ends.
    fn fill(&mut self, buf: &mut [u8]) -> Result<usize, ArchiveError> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.inner.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        self.read += filled as u64;
        if self.read > self.limit { Err(ArchiveError::TooLarge(self.limit)) } else { Ok(filled) }
    }

    fn failure(&self, error: io::Error) -> ArchiveError {
        match error.kind() {
            ErrorKind::UnexpectedEof => ArchiveError::Truncated,
            ErrorKind::InvalidData | ErrorKind::InvalidInput if self.gzip => ArchiveError::Gzip(error),
            _ => ArchiveError::Read(error),
        }
    }
}

/// See the module.
pub(super) struct TarReader<'a> {
    source: Metered<'a>,
}

impl<'a> TarReader<'a> {
    /// Finds out what it is by its first bytes.
    pub(super) fn open(mut reader: impl Read + 'a, limits: Limits) -> Result<Self, ArchiveError> {
        let mut magic = Vec::with_capacity(6);
        (&mut reader).take(6).read_to_end(&mut magic).map_err(ArchiveError::Read)?;
        if let Some((_, name)) = OTHER_FORMATS.iter().find(|(start, _)| magic.starts_with(start)) {
            return Err(ArchiveError::OtherFormat(name));
        }
        let gzip = magic.starts_with(&[0x1f, 0x8b]);
        let whole = Cursor::new(magic).chain(reader);
        let inner: Box<dyn Read + 'a> = if gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        Ok(Self { source: Metered { inner, read: 0, limit: limits.expanded, gzip } })
    }

    /// The next member, or `None` at the end mark. The content of a file must be copied before the next call.
    pub(super) fn next_member(&mut self) -> Result<Option<Member>, ArchiveError> {
        let mut extended = Extended::default();
        let mut extended_came = false;
        loop {
            let Some(header) = self.header()? else {
                // An extended header describes a member; without one the archive was cut.
                return if extended_came { Err(ArchiveError::Truncated) } else { Ok(None) };
            };
            let size = header.entry_size().map_err(|_| ArchiveError::Damaged(self.source.read - BLOCK as u64))?;
            // A bomb says how large it is before it goes off.
            if size > self.source.limit.saturating_sub(self.source.read) {
                return Err(ArchiveError::TooLarge(self.source.limit));
            }
            let kind = header.entry_type();
            let name = extended.name.clone().unwrap_or_else(|| header.path_bytes().into_owned());
            let wrong = |problem| ArchiveError::entry(&name, problem);
            match kind {
                EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                    if size > MAX_EXTENSION {
                        return Err(wrong(Problem::ExtensionTooLarge));
                    }
                    let text = self.extension(size)?;
                    extended_came |= kind != EntryType::XGlobalHeader;
                    extended.learn(kind, &text).map_err(wrong)?;
                }
                _ => return merge(&header, kind, size, extended, name).map(Some),
            }
        }
    }

    /// A header, or `None` at the end mark.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        let at = self.source.read;
        let filled = self.source.fill(header.as_mut_bytes())?;
        if filled < BLOCK {
            // Nothing at all, or text: not an archive. Otherwise the end mark is missing.
            return Err(if at == 0 { ArchiveError::NotTar } else { ArchiveError::Truncated });
        }
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        match header.cksum() {
            Ok(stored) if stored == sum => Ok(Some(header)),
            _ if at == 0 => Err(ArchiveError::NotTar),
            _ => Err(ArchiveError::Damaged(at)),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut text = vec![0; size.next_multiple_of(BLOCK)];
        if self.source.fill(&mut text)? < text.len() {
            return Err(ArchiveError::Truncated);
        }
        text.truncate(size);
        Ok(text)
    }

    /// Copies the content of the member that came last, with its padding.
    pub(super) fn copy_content<W: Write>(&mut self, size: u64, out: &mut TarWriter<W>) -> Result<(), ArchiveError> {
        let mut buffer = vec![0; 64 * 1024];
        let mut left = size.next_multiple_of(BLOCK as u64);
        let mut content = size;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            if self.source.fill(&mut buffer[..part])? < part {
                return Err(ArchiveError::Truncated);
            }
            let useful = usize::try_from(content).unwrap_or(usize::MAX).min(part);
            // What pads the last block may be anything; ours is zeros.
            buffer[useful..part].fill(0);
            out.bytes(&buffer[..part])?;
            content -= useful as u64;
            left -= part as u64;
        }
        Ok(())
    }

    /// Reads to the end, which also checks the checksum of gzip. After the end mark only padding may come.
    pub(super) fn finish(mut self) -> Result<(), ArchiveError> {
        let mut buffer = [0; 8 * 1024];
        loop {
            let filled = self.source.fill(&mut buffer)?;
            if buffer[..filled].iter().any(|byte| *byte != 0) {
                return Err(ArchiveError::TrailingData);
            }
            if filled < buffer.len() {
                return Ok(());
            }
        }
    }
}

/// One member of its last header and what the extended ones said.
fn merge(
    header: &Header,
    kind: EntryType,
    size: u64,
    extended: Extended,
    name: Vec<u8>,
) -> Result<Member, ArchiveError> {
    let wrong = |problem| ArchiveError::entry(&name, problem);
    let kind = match kind {
        EntryType::Directory => Kind::Directory,
        // Before ustar a directory was a file whose name ends in a slash.
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        EntryType::Char | EntryType::Block => return Err(wrong(Problem::Kind("a device"))),
        EntryType::Fifo => return Err(wrong(Problem::Kind("a FIFO"))),
        EntryType::GNUSparse => return Err(wrong(Problem::Sparse)),
        _ => return Err(wrong(Problem::Kind("an entry of unknown kind"))),
    };
    if extended.sparse {
        return Err(wrong(Problem::Sparse));
    }
    // Two readers that believe two headers see two archives.
    if extended.size.is_some_and(|other| other != size) {
        return Err(wrong(Problem::TwoSizes));
    }
    if kind != Kind::File && size != 0 {
        return Err(wrong(Problem::Content));
    }
    let link = extended.link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
    let mtime = extended.mtime.or_else(|| header.mtime().ok()).unwrap_or(0);
    let mode = header.mode().unwrap_or(0o644);
    Ok(Member { name, kind, link, mode, mtime, size })
}

impl Extended {
    /// Takes what an extended header says.
    fn learn(&mut self, kind: EntryType, text: &[u8]) -> Result<(), Problem> {
        match kind {
            EntryType::GNULongName => set(&mut self.name, until_nul(text).to_vec()),
            EntryType::GNULongLink => set(&mut self.link, until_nul(text).to_vec()),
            EntryType::XGlobalHeader => records(text, |key, _| match key {
                // What would change every member after it. The usual one is a comment with the commit.
                b"path" | b"linkpath" | b"size" => Err(Problem::Extension),
                _ => Ok(()),
            }),
            _ => records(text, |key, value| self.record(key, value)),
        }
    }

    /// Owner, group, access times and extended attributes go, as they do from the headers.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        match key {
            b"path" => set(&mut self.name, value.to_vec()),
            b"linkpath" => set(&mut self.link, value.to_vec()),
            b"size" => set(&mut self.size, number(value).ok_or(Problem::Extension)?),
            b"mtime" => {
                let whole = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                // A time before 1970 is as good as 1970.
                set(&mut self.mtime, if whole.starts_with(b"-") { 0 } else { number(whole).ok_or(Problem::Extension)? })
            }
            _ => {
                self.sparse |= key.starts_with(b"GNU.sparse.");
                Ok(())
            }
        }
    }
}

/// Sets what must not be said twice: readers differ in which one they believe.
fn set<T>(place: &mut Option<T>, value: T) -> Result<(), Problem> {
    if place.replace(value).is_some() { Err(Problem::Extension) } else { Ok(()) }
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The records of a pax header: `length key=value\n`, where the length counts all of it, so that a value may hold
/// anything.
fn records(mut text: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Problem>) -> Result<(), Problem> {
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ').ok_or(Problem::Extension)?;
        let length =
            number(&text[..space]).and_then(|length| usize::try_from(length).ok()).ok_or(Problem::Extension)?;
        let record = text.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or(Problem::Extension)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(Problem::Extension)?;
        each(&record[..equals], &record[equals + 1..])?;
        text = &text[length..];
    }
    Ok(())
}
