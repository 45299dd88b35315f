//! One live session of one host: claims and sends, commits and acknowledges. Ends when its connection does.

use super::admission::{self, assignment};
use super::{DispatchError, Dispatcher, reports};
use crate::domain::share::Places;
use crate::hub::{Inbound, Knock, SessionHandle};
use crate::store;
use dockerforge_protocol::handshake::{Refused, RefusedReason};
use dockerforge_protocol::ids::HostId;
use dockerforge_protocol::message::{Assign, FromAgent, ToAgent};
use dockerforge_protocol::report::{Attempt, Refusal};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Messages that one transaction carries at most.
const BATCH: usize = 32;
/// How often a session looks without being woken: for jobs whose wait is over, and for what another process enqueued.
const POLL: Duration = Duration::from_secs(1);

struct Session {
    dispatcher: Dispatcher,
    handle: SessionHandle,
    host: HostId,
    epoch: u64,
    slots: u32,
    /// What its agent can beside what its version says.
    features: Vec<String>,
    /// Cancellations that this session has sent.
    cancels: HashSet<Attempt>,
}

/// Answers a knock and, if it is admitted, serves the session to its end.
pub(super) async fn serve(dispatcher: Dispatcher, knock: Knock) {
    let (host, features) = (knock.peer.host, knock.hello.features.clone());
    let admitted = match admission::admit(&dispatcher, knock.peer, knock.remote.ip(), knock.hello, knock.version).await
    {
        Ok(admitted) => admitted,
        Err(refused) => {
            tracing::info!(%host, reason = ?refused.reason, detail = refused.detail, "a session was refused");
            if refused.reason == RefusedReason::Conflict {
                // The other copy, too.
                (dispatcher.close)(host, &refused);
            }
            let _ = knock.answer.send(Err(refused));
            return;
        }
    };
    let epoch = admitted.welcome.epoch;
    for job in admitted.changed {
        dispatcher.signals.job_changed(job);
    }
    dispatcher.signals.wake_conductor();
    // Registered before the first look.
    let wake = dispatcher.signals.attend_host(host, epoch);
    if knock.answer.send(Ok(admitted.welcome)).is_err() {
        dispatcher.signals.leave_host(host, &wake);
        return;
    }
    tracing::info!(%host, epoch, "a session began");
    let signals = dispatcher.signals.clone();
    let (handle, slots, cancels) = (knock.session, admitted.slots, HashSet::new());
    let mut session = Session { dispatcher, handle, host, epoch, slots, features, cancels };
    if let Err(error) = session.run(admitted.resend, knock.inbound, &wake).await {
        session.close(&error);
    }
    signals.leave_host(host, &wake);
}

impl Session {
    async fn run(
        &mut self,
        resend: Vec<Assign>,
        mut inbound: Inbound,
        wake: &Arc<tokio::sync::Notify>,
    ) -> Result<(), DispatchError> {
        let stop = self.dispatcher.tasks.token();
        let mut batch = Vec::with_capacity(BATCH);
        self.assign(resend).await?;
        self.look().await?;
        // Made once: a host that reports all the time does not put it off.
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let look = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                count = inbound.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.commit(std::mem::take(&mut batch)).await?
                }
                () = wake.notified() => true,
                _ = poll.tick() => true,
            };
            if look {
                self.look().await?;
            }
        }
    }

    /// Commits what came and acknowledges it; whether a place has become free.
    async fn commit(&mut self, batch: Vec<FromAgent>) -> Result<bool, DispatchError> {
        let (host, epoch, authority) = (self.host, self.epoch, Arc::clone(&self.dispatcher.authority));
        fail::fail_point!("coordinator.report.received");
        let effects = self
            .dispatcher
            .store
            .write(move |conn| {
                Box::pin(async move {
                    if !store::hosts::fence(conn, host, epoch).await? {
                        return Err(DispatchError::Superseded);
                    }
                    reports::apply(conn, host, &authority, batch, crate::clock::now()).await
                })
            })
            .await?;
        if effects.freed {
            fail::fail_point!("coordinator.report.committed");
        }
        for reply in effects.replies {
            let _ = self.handle.send(reply);
        }
        for job in effects.changed {
            self.dispatcher.signals.job_changed(job);
        }
        if effects.freed {
            self.dispatcher.signals.wake_conductor();
        }
        Ok(effects.freed)
    }

    /// Claims what the host can take, sends it, and passes on cancellations.
    async fn look(&mut self) -> Result<(), DispatchError> {
        let (host, epoch, places) = (self.host, self.epoch, Places::of_slots(self.slots));
        let mut conn = self.dispatcher.store.read().await?;
        let cancelling = store::jobs::cancelling_on_host(&mut conn, host).await?;
        let queued = store::jobs::any_queued(&mut conn, host).await?;
        drop(conn);
        self.cancels.retain(|attempt| cancelling.contains(attempt));
        for attempt in cancelling {
            if self.cancels.insert(attempt) {
                let _ = self.handle.send(ToAgent::Cancel { attempt });
            }
        }
        if !queued {
            return Ok(());
        }
        let claimed = self
            .dispatcher
            .store
            .write(move |conn| {
                Box::pin(async move {
                    if !store::hosts::fence(conn, host, epoch).await? {
                        return Err(DispatchError::Superseded);
                    }
                    Ok(store::jobs::claim(conn, host, places, crate::clock::now()).await?)
                })
            })
            .await?;
        if claimed.is_empty() {
            return Ok(());
        }
        fail::fail_point!("coordinator.assign.claimed");
        for job in &claimed {
            self.dispatcher.signals.job_changed(job.id);
        }
        self.assign(claimed.iter().filter_map(assignment).collect()).await?;
        fail::fail_point!("coordinator.assign.sent");
        Ok(())
    }

    /// Gives the agent its assignments. One that it could not read, because it is older, is not taken: without a word of
    /// the agent's, which would end the session at such a message.
    async fn assign(&mut self, assigns: Vec<Assign>) -> Result<(), DispatchError> {
        let mut beyond = Vec::new();
        for assign in assigns {
            let lacks = |feature: &&str| !self.features.iter().any(|known| known == feature);
            match assign.command.features().into_iter().find(lacks) {
                None => {
                    let _ = self.handle.send(ToAgent::Assign(assign));
                }
                Some(feature) => {
                    let command = format!("{} with {feature}", assign.command.name());
                    let refusal = Refusal::Unsupported { command };
                    beyond.push(FromAgent::NotTaken { attempt: assign.attempt, refusal });
                }
            }
        }
        if !beyond.is_empty() {
            self.commit(beyond).await?;
        }
        Ok(())
    }

    /// Ends the connection for a reason of ours.
    fn close(&self, error: &DispatchError) {
        let (reason, detail) = match error {
            DispatchError::Superseded => (RefusedReason::Superseded, "a newer connection of this host took over"),
            DispatchError::Protocol => (RefusedReason::Protocol, "a piece of log is larger than allowed"),
            DispatchError::Queue(_) | DispatchError::Renew(_) => {
                tracing::error!(host = %self.host, error = error as &dyn std::error::Error, "a session failed");
                (RefusedReason::Unavailable, "the coordinator cannot serve now")
            }
        };
        self.handle.close(Refused { reason, detail: detail.to_owned() });
    }
}
