//! One page of a list: newest first, from a cursor on.

use uuid::Uuid;

/// Which page is wanted. The cursor is the id of the last row of the page before; ids sort by time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many rows at most.
    pub limit: u32,
    /// The last row seen.
    pub after: Option<Uuid>,
}

impl Page {
    /// The most rows that one page may have.
    pub const MAX: u32 = 200;
    /// Rows of a page where nothing is said.
    pub const DEFAULT: u32 = 50;
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: Self::DEFAULT, after: None }
    }
}
