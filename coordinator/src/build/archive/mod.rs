//! Makes a tar archive of unknown origin canonical: what comes out names only files, directories and links inside its
//! own tree, whatever came in. Called by [`super::Contexts`], in a blocking thread.
//!
//! What must hold: nothing is repaired. An archive that holds one entry that we do not want is refused with the name of
//! that entry, because a context without it would build something else than its owner meant. Memory is bounded by the
//! limits, not by the archive.
//!
//! The canonical form is POSIX ustar with pax headers for long names (IEEE Std 1003.1, pax), in the order of the
//! original: Docker's cache does not depend on the order, and sorting would need the whole tree at once. Owner and
//! group are 0 without names. Of the mode `0755` remains, so that a private file stays private, and set-id bits and
//! write access for others go. Modification times stay: Docker's build cache ignores them, and web servers derive
//! cache validators from them, so that a constant would make a changed file of equal size look unchanged.

mod error;
mod listing;
mod read;
mod tree;
mod write;

#[cfg(test)]
mod tests;

pub use error::{ArchiveError, Problem};
pub use listing::Listing;
pub use write::{File, compose};

use read::{Kind, Member, TarReader};
use std::io::{Read, Write};
use tree::{Node, Tree};
use write::TarWriter;

/// What an archive may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the upload, as it comes.
    pub compressed: u64,
    /// Bytes of the archive after decompression.
    pub expanded: u64,
    /// Files, directories and links, counting directories that are only implied by a longer name.
    pub entries: usize,
}

impl Default for Limits {
    /// 1 GiB compressed, 4 GiB expanded, 200,000 entries.
    fn default() -> Self {
        Self { compressed: 1 << 30, expanded: 4 << 30, entries: 200_000 }
    }
}

/// What a canonical archive is.
#[derive(Debug, Clone)]
pub struct Summary {
    /// SHA-256 of the canonical archive, lower-case hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// How many entries it has.
    pub entries: usize,
    tree: Tree,
}

impl Summary {
    /// Whether there is a file (or a link, which may lead to one) of this name, as a Dockerfile's name is given:
    /// relative to the root, a leading `./` allowed.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let found = tree::normalise(path.as_bytes()).ok().and_then(|path| self.tree.get(&path));
        matches!(found, Some(Node::File | Node::Symlink))
    }
}

/// Reads a tar archive, gzip-compressed or not, and writes it canonically.
///
/// # Errors
/// The first thing that is wrong with the archive, or the failure to read or write. What was written by then is of no
/// use.
pub fn canonicalise(reader: impl Read, writer: impl Write, limits: Limits) -> Result<Summary, ArchiveError> {
    let mut tar = TarReader::open(reader, limits)?;
    let mut out = TarWriter::new(writer);
    let mut tree = Tree::new(limits.entries);
    let mut entries = 0;
    while let Some(member) = tar.next_member()? {
        let problem = |problem| ArchiveError::entry(&member.name, problem);
        let path = tree::normalise(&member.name).map_err(problem)?;
        if path.is_empty() {
            // `./`, as `tar -C dir -c .` begins: the root itself, which is there anyway.
            if member.kind == Kind::Directory {
                continue;
            }
            return Err(problem(Problem::Empty));
        }
        let target = target(&member, &path, &tree).map_err(problem)?;
        let node = match member.kind {
            Kind::Directory => Node::Directory,
            Kind::Symlink => Node::Symlink,
            Kind::File | Kind::HardLink => Node::File,
        };
        match tree.add(&path, node) {
            Ok(true) => {}
            // A directory that was named or implied before: nothing new.
            Ok(false) if member.kind == Kind::Directory => continue,
            Ok(false) => return Err(problem(Problem::Duplicate)),
            Err(tree::AddError::Entry(found)) => return Err(problem(found)),
            Err(tree::AddError::Full) => return Err(ArchiveError::TooManyEntries(limits.entries)),
        }
        entries += 1;
        out.header(&member, &path, target.as_deref())?;
        if member.kind == Kind::File {
            tar.copy_content(member.size, &mut out)?;
        }
    }
    tar.finish()?;
    let (sha256, size) = out.finish()?;
    Ok(Summary { sha256, size, entries, tree })
}

/// Where a link leads, checked.
fn target(member: &Member, path: &str, tree: &Tree) -> Result<Option<String>, Problem> {
    match member.kind {
        Kind::File | Kind::Directory => Ok(None),
        Kind::Symlink => tree::check_symlink(path, &member.link).map(Some),
        Kind::HardLink => {
            let target = tree::normalise(&member.link).map_err(|_| Problem::hard_link(&member.link))?;
            // Only to a file before it: a reader that follows the order has it then, and no link can lead through it.
            match tree.get(&target) {
                Some(Node::File) if target != path => Ok(Some(target)),
                _ => Err(Problem::hard_link(&member.link)),
            }
        }
    }
}
