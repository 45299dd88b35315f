//! What is in an archive that is kept, by names: enough to say of an entry of a run list that it cannot be there. Reads headers
//! and leaves the contents aside, but for what names a cookbook. Used by [`super::super::Contexts`], in a blocking thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use tar::EntryType;

/// The files in which a cookbook says what it is called, whatever its folder is.
const METADATA: [&str; 2] = ["metadata.rb", "metadata.json"];
/// Bytes that are read of one: no real one has more.
const MAX_METADATA: u64 = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File,
    Folder,
    /// Where it leads is not looked at: anything may be there.
    Link,
}

/// The names in an archive.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    nodes: BTreeMap<String, Node>,
    metadata: Vec<String>,
}

impl Listing {
    /// Reads a canonical archive.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(file: File) -> io::Result<Self> {
        let mut listing = Self::default();
        for entry in tar::Archive::new(file).entries_with_seek()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
            let node = match entry.header().entry_type() {
                EntryType::Directory => Node::Folder,
                EntryType::Symlink => Node::Link,
                _ => Node::File,
            };
            if node == Node::File && METADATA.iter().any(|name| path.ends_with(&format!("/{name}"))) {
                let mut text = Vec::new();
                entry.by_ref().take(MAX_METADATA).read_to_end(&mut text)?;
                listing.metadata.push(String::from_utf8_lossy(&text).into_owned());
            }
            // Folders need not be named before what is in them.
            for (end, _) in path.match_indices('/') {
                listing.nodes.entry(path[..end].to_owned()).or_insert(Node::Folder);
            }
            listing.nodes.insert(path, node);
        }
        Ok(listing)
    }

    /// Whether a file may be there: it is, or something on the way is a link.
    #[must_use]
    pub fn may_have_file(&self, path: &str) -> bool {
        self.may_have(path, Node::File)
    }

    /// Whether a folder may be there.
    #[must_use]
    pub fn may_have_folder(&self, path: &str) -> bool {
        self.may_have(path, Node::Folder)
    }

    fn may_have(&self, path: &str, node: Node) -> bool {
        let is_link = |path: &str| self.nodes.get(path) == Some(&Node::Link);
        self.nodes.get(path) == Some(&node)
            || is_link(path)
            || path.match_indices('/').any(|(end, _)| is_link(&path[..end]))
    }

    /// Whether a file of this name may be somewhere below a folder.
    #[must_use]
    pub fn may_have_below(&self, folder: &str, name: &str) -> bool {
        let below = |path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let named = |path: &str| path.rsplit('/').next() == Some(name);
        self.may_have_file(&format!("{folder}/{name}"))
            || self.nodes.iter().any(|(path, node)| below(path) && (*node == Node::Link || named(path)))
    }

    /// Whether a cookbook may say that it is called so.
    #[must_use]
    pub fn metadata_mentions(&self, name: &str) -> bool {
        self.metadata.iter().any(|text| text.contains(name))
    }
}
