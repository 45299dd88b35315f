//! The tree of names that an archive makes, and the rules for them. Used by [`super::canonicalise`] only.
//!
//! What must hold, and why it is enough: an entry lies under real directories only, never under a link. A symbolic link
//! is relative, its `..`s all come first, and there are no more of them than directories above it. So it leads up along
//! real directories, not above the root, and then down by names; each of those is a real directory or another such
//! link, which leads into the tree by the same argument.

use super::error::{Problem, printable};
use std::collections::HashMap;

/// The longest name, bytes (`PATH_MAX` without its NUL).
const MAX_PATH: usize = 4095;
/// The longest part between slashes, bytes (`NAME_MAX`).
const MAX_PART: usize = 255;
/// All names together, bytes for each entry that is allowed: far above any real tree, and it bounds the memory that
/// deep names take, whose directories count too.
const BYTES_PER_ENTRY: usize = 1024;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory, named or implied.
    Directory,
    /// A file, or another name of one.
    File,
    /// A symbolic link.
    Symlink,
}

/// The names so far.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: HashMap<Box<str>, Node>,
    limit: usize,
    bytes_left: usize,
}

/// Why a name is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AddError {
    /// The entry is wrong.
    Entry(Problem),
    /// There are too many.
    Full,
}

impl Tree {
    pub(super) fn new(limit: usize) -> Self {
        Self { nodes: HashMap::new(), limit, bytes_left: limit.saturating_mul(BYTES_PER_ENTRY) }
    }

    pub(super) fn get(&self, path: &str) -> Option<Node> {
        self.nodes.get(path).copied()
    }

    /// Adds a normalised name with all directories above it. Answers false if it was there already; a name that was
    /// there as something else than a directory is a duplicate for any newcomer.
    pub(super) fn add(&mut self, path: &str, node: Node) -> Result<bool, AddError> {
        for (at, _) in path.match_indices('/') {
            let above = &path[..at];
            match self.get(above) {
                Some(Node::Directory) => {}
                Some(_) => return Err(AddError::Entry(Problem::UnderNonDirectory(printable(above.as_bytes())))),
                None => self.insert(above, Node::Directory)?,
            }
        }
        match (self.get(path), node) {
            (None, _) => self.insert(path, node).map(|()| true),
            (Some(Node::Directory), Node::Directory) => Ok(false),
            (Some(_), _) => Err(AddError::Entry(Problem::Duplicate)),
        }
    }

    fn insert(&mut self, path: &str, node: Node) -> Result<(), AddError> {
        if self.nodes.len() >= self.limit {
            return Err(AddError::Full);
        }
        self.bytes_left = self.bytes_left.checked_sub(path.len()).ok_or(AddError::Full)?;
        self.nodes.insert(path.into(), node);
        Ok(())
    }
}

/// A name without `.` parts and doubled or closing slashes; empty for the root itself.
pub(super) fn normalise(name: &[u8]) -> Result<String, Problem> {
    if name.is_empty() {
        return Err(Problem::Empty);
    }
    if name.contains(&0) {
        return Err(Problem::Nul);
    }
    if name[0] == b'/' {
        return Err(Problem::Absolute);
    }
    let name = std::str::from_utf8(name).map_err(|_| Problem::NotUtf8)?;
    let mut path = String::with_capacity(name.len().min(MAX_PATH));
    for part in name.split('/') {
        match part {
            "" | "." => continue,
            ".." => return Err(Problem::Parent),
            _ if part.len() > MAX_PART => return Err(Problem::TooLong),
            _ => {}
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
        if path.len() > MAX_PATH {
            return Err(Problem::TooLong);
        }
    }
    Ok(path)
}

/// The target of a symbolic link at a normalised name, if it stays in the tree. See the module for why it does.
pub(super) fn check_symlink(path: &str, target: &[u8]) -> Result<String, Problem> {
    let shown = || printable(target);
    let text = std::str::from_utf8(target).map_err(|_| Problem::LinkTarget(shown()))?;
    if text.is_empty() || text.len() > MAX_PATH || text.contains('\0') {
        return Err(Problem::LinkTarget(shown()));
    }
    if text.starts_with('/') {
        return Err(Problem::LinkLeaves(shown()));
    }
    let mut above = path.matches('/').count();
    let mut went_down = false;
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if went_down => return Err(Problem::LinkUnclear(shown())),
            ".." => above = above.checked_sub(1).ok_or_else(|| Problem::LinkLeaves(shown()))?,
            _ if part.len() > MAX_PART => return Err(Problem::LinkTarget(shown())),
            _ => went_down = true,
        }
    }
    Ok(text.to_owned())
}
