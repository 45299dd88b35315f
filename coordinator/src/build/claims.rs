//! Which contexts requests are being decided about now. A context that two requests brought is one file; the one that is
//! refused may remove it only if the other does not count on it. Used by `super::contexts` alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The claims. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    made: u64,
    claimed: HashMap<String, Claimed>,
}

#[derive(Debug)]
struct Claimed {
    /// By how many requests.
    requests: usize,
    /// The number of the last claim: whoever made it has put the file there anew.
    last: u64,
}

/// One request's claim on a context, for as long as it is kept.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    sha256: String,
    number: u64,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a context; before its file is there.
    pub(super) fn claim(&self, sha256: &str) -> Claim {
        let mut inner = self.lock();
        inner.made += 1;
        let number = inner.made;
        let claimed = inner.claimed.entry(sha256.to_owned()).or_insert(Claimed { requests: 0, last: number });
        claimed.requests += 1;
        claimed.last = number;
        Claim { claims: self.clone(), sha256: sha256.to_owned(), number }
    }
}

impl Claim {
    /// Of which context.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Whether no other request claims it.
    pub(super) fn is_alone(&self) -> bool {
        self.claims.lock().claimed.get(&self.sha256).is_none_or(|claimed| claimed.requests == 1)
    }

    /// Does something, unless another request claims it or has claimed it since. None does meanwhile.
    pub(super) fn if_last<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let inner = self.claims.lock();
        let last = inner.claimed.get(&self.sha256).is_some_and(|c| c.requests == 1 && c.last == self.number);
        last.then(act)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = self.claims.lock();
        if let Some(claimed) = inner.claimed.get_mut(&self.sha256) {
            claimed.requests -= 1;
            if claimed.requests == 0 {
                inner.claimed.remove(&self.sha256);
            }
        }
    }
}
