//! The only place that spawns: every task is named, tracked and can be told to stop. `Agent::run` makes one set for one
//! agent and ends it with [`Tasks::shutdown`], so that thousands of agents can live in one process. What must hold: a task
//! watches [`Tasks::token`] and returns soon after it is cancelled, and a panic in one is logged once, with its name.

use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of a process, or of one component in a test. Clones are the same set.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
    running: Running,
}

/// How many tasks of each name run now.
type Running = Arc<Mutex<BTreeMap<&'static str, usize>>>;

/// Counts a task for as long as it lives, whichever way it ends.
struct Counted {
    name: &'static str,
    running: Running,
}

impl Counted {
    fn new(name: &'static str, running: &Running) -> Self {
        *running.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Self { name, running: Arc::clone(running) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

impl Tasks {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a future as a task of its own. The handle need not be kept: the set waits for it.
    #[allow(clippy::disallowed_methods, reason = "the one place where tasks are made")]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(self.track(name, future))
    }

    /// Counts a future that somebody else runs (a websocket that the HTTP library upgraded) as a task of this set.
    pub fn track<F>(&self, name: &'static str, future: F) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let counted = Counted::new(name, &self.running);
        self.tracker.track_future(async move {
            let _counted = counted;
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                tracing::error!(task = name, panic = panic_text(&*panic), "a task panicked");
            }
        })
    }

    /// Cancelled when the set shuts down.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// A token that is cancelled with the set, and that can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// Tells all tasks to stop and waits for them, at most this long. Answers the names of those that still run, each
    /// as often as it does; empty if all ended.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<&'static str> {
        self.token.cancel();
        self.tracker.close();
        // Its result says no more than the list below does.
        let _ = tokio::time::timeout(deadline, self.tracker.wait()).await;
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().flat_map(|(name, count)| std::iter::repeat_n(*name, *count)).collect()
    }
}

/// What a panic said, where it said it in words.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_tasks_that_heed_the_token() {
        let tasks = Tasks::new();
        let token = tasks.token();
        tasks.spawn("heeds", async move { token.cancelled().await });
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, Vec::<&str>::new());
    }

    #[tokio::test]
    async fn shutdown_names_the_tasks_that_do_not_stop() {
        let tasks = Tasks::new();
        tasks.spawn("deaf", std::future::pending());
        tasks.spawn("deaf", std::future::pending());
        assert_eq!(tasks.shutdown(Duration::from_millis(20)).await, ["deaf", "deaf"]);
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_own_task() {
        let tasks = Tasks::new();
        tasks.spawn("panics", async { panic!("on purpose") }).await.expect("the panic is caught in the task");
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, Vec::<&str>::new());
    }

    #[tokio::test]
    async fn a_child_token_ends_with_the_set_and_not_the_other_way_round() {
        let tasks = Tasks::new();
        tasks.child().cancel();
        assert!(!tasks.token().is_cancelled());
        let child = tasks.child();
        tasks.shutdown(Duration::from_secs(1)).await;
        assert!(child.is_cancelled());
    }
}
