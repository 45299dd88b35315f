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

/// What was found for a page. `C` is what its list is ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T, C = Uuid> {
    /// The rows.
    pub items: Vec<T>,
    /// Where looking stopped before the page was full, because it had looked at enough: the next page goes on there.
    pub stopped: Option<C>,
}

impl<T, C> Found<T, C> {
    /// Nothing, and there is nothing more.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { items: Vec::new(), stopped: None }
    }

    /// The same rows as something else.
    ///
    /// # Errors
    /// Of the conversion.
    pub fn try_map<U, E>(self, convert: impl Fn(T) -> Result<U, E>) -> Result<Found<U, C>, E> {
        let items = self.items.into_iter().map(convert).collect::<Result<_, _>>()?;
        Ok(Found { items, stopped: self.stopped })
    }

    /// The same with another form of its end.
    pub fn cursor<D>(self, form: impl Fn(C) -> D) -> Found<T, D> {
        Found { items: self.items, stopped: self.stopped.map(form) }
    }

    /// Other rows for these, of the same page.
    pub fn with<U>(self, items: Vec<U>) -> Found<U, C> {
        Found { items, stopped: self.stopped }
    }
}

impl<T> Found<T> {
    /// Two lists as one, newest first: what is in both, once. Nothing is shown from beyond where one of them stopped.
    #[must_use]
    pub fn merge(self, other: Self, limit: u32, id: impl Fn(&T) -> Uuid) -> Self {
        let stopped = self.stopped.max(other.stopped);
        let mut items: Vec<T> = self.items.into_iter().chain(other.items).collect();
        items.sort_by_key(|item| std::cmp::Reverse(id(item)));
        items.dedup_by_key(|item| id(item));
        items.retain(|item| stopped.is_none_or(|stopped| id(item) >= stopped));
        let full = items.len() >= limit as usize;
        items.truncate(limit as usize);
        Self { items, stopped: stopped.filter(|_| !full) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(items: &[u128], stopped: Option<u128>) -> Found<u128> {
        Found { items: items.to_vec(), stopped: stopped.map(Uuid::from_u128) }
    }

    #[test]
    fn two_lists_become_one_that_leaves_nothing_out() {
        let merge = |a: Found<u128>, b, limit| a.merge(b, limit, |item| Uuid::from_u128(*item));
        assert_eq!(merge(found(&[9, 5, 1], None), found(&[8, 5], None), 9), found(&[9, 8, 5, 1], None));
        assert_eq!(merge(found(&[9, 5, 1], None), found(&[8, 5], None), 2), found(&[9, 8], None));
        // The second looked as far as 6: of the first, what is older may have something newer beside it there.
        assert_eq!(merge(found(&[9, 5, 1], None), found(&[8], Some(6)), 9), found(&[9, 8], Some(6)));
        assert_eq!(merge(found(&[], Some(3)), found(&[], Some(6)), 9), found(&[], Some(6)));
    }
}
