//! What can be wrong with an archive. Shown to the client who uploaded it, so each names the entry and the matter.

/// Why an archive is refused, or could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// One of its entries is not wanted.
    #[error("{name}: {problem}")]
    Entry {
        /// The entry, with unprintable characters escaped.
        name: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// It is not a tar archive at all.
    #[error("this is not a tar archive, compressed with gzip or not")]
    NotTar,
    /// It is compressed in another way than gzip.
    #[error("this is compressed with {0}; send a tar archive, compressed with gzip or not")]
    OtherFormat(&'static str),
    /// A header in the midst of it is damaged.
    #[error("the archive is damaged at byte {0} (after decompression)")]
    Damaged(u64),
    /// The compressed data are damaged.
    #[error("the gzip data are damaged")]
    Gzip(#[source] std::io::Error),
    /// It ends too soon.
    #[error("the archive is cut off")]
    Truncated,
    /// Something other than padding follows its end.
    #[error("something follows the end of the archive")]
    TrailingData,
    /// It is larger than allowed after decompression, bytes.
    #[error("the archive expands to more than the {0} bytes that are allowed")]
    TooLarge(u64),
    /// It has more entries than allowed.
    #[error("the archive has more than the {0} entries that are allowed")]
    TooManyEntries(usize),
    /// It could not be read.
    #[error("the archive could not be read")]
    Read(#[source] std::io::Error),
    /// The canonical form could not be written.
    #[error("the canonical archive could not be written")]
    Write(#[source] std::io::Error),
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Its name begins at the root of the file system.
    #[error("the name is absolute")]
    Absolute,
    /// Its name has a `..` in it.
    #[error("the name contains '..'")]
    Parent,
    /// It has no name.
    #[error("the name is empty")]
    Empty,
    /// Its name has a NUL in it.
    #[error("the name contains a NUL")]
    Nul,
    /// Its name is not UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// Its name, or a part of it, is longer than a file system takes.
    #[error("the name is too long: 255 bytes between slashes, 4095 in all")]
    TooLong,
    /// The same name came before.
    #[error("the name occurs twice")]
    Duplicate,
    /// It lies under something that is not a directory, a symbolic link for one.
    #[error("it lies under {0}, which is not a directory")]
    UnderNonDirectory(String),
    /// It is a symbolic link to a place outside the archive.
    #[error("the symbolic link leads out of the archive, to {0}")]
    LinkLeaves(String),
    /// It is a symbolic link whose target goes down and up again, so that where it leads depends on other links.
    #[error("the symbolic link has a '..' after a name: {0}")]
    LinkUnclear(String),
    /// It is a symbolic link whose target cannot be a path.
    #[error("the target of the symbolic link is not a path: {0}")]
    LinkTarget(String),
    /// It is a hard link to something that is not an earlier file of the archive.
    #[error("the hard link does not lead to an earlier file of the archive: {0}")]
    HardLink(String),
    /// It is a device, a FIFO, or something else that has no place in a build context.
    #[error("{0} has no place in a build context")]
    Kind(&'static str),
    /// It is stored as a sparse file.
    #[error("sparse files are not taken; make the archive without --sparse")]
    Sparse,
    /// It has content where its kind has none.
    #[error("it has content, which its kind has not")]
    Content,
    /// Its two headers tell two sizes.
    #[error("its headers tell two sizes")]
    TwoSizes,
    /// A header that describes it is malformed.
    #[error("its extended header is malformed")]
    Extension,
    /// A header that describes it is too large.
    #[error("its extended header is larger than 1 MiB")]
    ExtensionTooLarge,
}

impl ArchiveError {
    /// An entry and what is wrong with it.
    pub(super) fn entry(name: &[u8], problem: Problem) -> Self {
        Self::Entry { name: printable(name), problem }
    }
}

impl Problem {
    /// See [`Problem::HardLink`].
    pub(super) fn hard_link(target: &[u8]) -> Self {
        Self::HardLink(printable(target))
    }
}

/// A name as it may be shown: escaped, and not longer than a line or two.
pub(super) fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(200).flat_map(char::escape_debug).collect();
    if text.chars().nth(200).is_some() {
        shown.push('…');
    }
    if shown.is_empty() { "(an entry without a name)".to_owned() } else { shown }
}
