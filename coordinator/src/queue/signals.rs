//! Wake-ups within this process: a host has something to claim, a job changed, the conductor has something to look at.
//! They carry nothing. Who waits registers first and looks then, so that nothing falls in between.

use dockerforge_protocol::ids::{HostId, JobId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// The wake-ups. Clones are the same.
#[derive(Clone, Default)]
pub struct Signals {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    hosts: Mutex<HashMap<HostId, (u64, Arc<Notify>)>>,
    jobs: Mutex<HashMap<JobId, watch::Sender<()>>>,
    conductor: Notify,
}

/// Hears of changes of one job for as long as it is kept.
pub struct JobWatch {
    job: JobId,
    changes: watch::Receiver<()>,
    inner: Arc<Inner>,
}

impl Signals {
    /// No wake-ups yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The host may have something to claim or to cancel.
    pub fn wake_host(&self, host: HostId) {
        if let Some((_, wake)) = self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner).get(&host) {
            wake.notify_one();
        }
    }

    /// Begins to hear of a host's wake-ups; the session of the host does, and gives the host up with
    /// [`Self::leave_host`]. Of two sessions the one with the greater epoch hears, whichever comes first.
    #[must_use]
    pub fn attend_host(&self, host: HostId, epoch: u64) -> Arc<Notify> {
        let wake = Arc::new(Notify::new());
        let mut hosts = self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.get(&host).is_none_or(|(newest, _)| *newest <= epoch) {
            hosts.insert(host, (epoch, Arc::clone(&wake)));
        }
        wake
    }

    /// Ends what [`Self::attend_host`] began, unless another session has taken over since.
    pub fn leave_host(&self, host: HostId, wake: &Arc<Notify>) {
        let mut hosts = self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.get(&host).is_some_and(|(_, current)| Arc::ptr_eq(current, wake)) {
            hosts.remove(&host);
        }
    }

    /// A job changed: its state, its progress, its log.
    pub fn job_changed(&self, job: JobId) {
        if let Some(watchers) = self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner).get(&job) {
            watchers.send_replace(());
        }
    }

    /// Begins to hear of changes of a job.
    #[must_use]
    pub fn watch_job(&self, job: JobId) -> JobWatch {
        let mut jobs = self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = jobs.entry(job).or_insert_with(|| watch::channel(()).0).subscribe();
        JobWatch { job, changes, inner: Arc::clone(&self.inner) }
    }

    /// A job that the coordinator carries out itself may go on.
    pub fn wake_conductor(&self) {
        self.inner.conductor.notify_one();
    }

    /// Waits for [`Self::wake_conductor`].
    pub async fn conductor_woken(&self) {
        self.inner.conductor.notified().await;
    }
}

impl JobWatch {
    /// Waits for a change since the last call, or since the watch began.
    pub async fn changed(&mut self) {
        // The sender lives as long as there is a watch.
        let _ = self.changes.changed().await;
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        let mut jobs = self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // This watch is one of those that the sender counts.
        if jobs.get(&self.job).is_some_and(|sender| sender.receiver_count() <= 1) {
            jobs.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn heard(wake: &Notify) -> bool {
        wake.notified().now_or_never().is_some()
    }

    #[test]
    fn the_newest_session_hears_of_its_host_whichever_came_first() {
        let (signals, host) = (Signals::new(), HostId::new());
        let newer = signals.attend_host(host, 2);
        let older = signals.attend_host(host, 1);
        signals.wake_host(host);
        assert_eq!((heard(&newer), heard(&older)), (true, false));
        signals.leave_host(host, &older);
        signals.wake_host(host);
        assert!(heard(&newer), "the end of the older session takes nothing from the newer");
        let newest = signals.attend_host(host, 3);
        signals.leave_host(host, &newer);
        signals.wake_host(host);
        assert_eq!((heard(&newest), heard(&newer)), (true, false));
    }
}
