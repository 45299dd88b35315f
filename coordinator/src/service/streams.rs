//! What somebody sees of a container now: its log, its figures, a terminal in it. A stream is opened for a user whose
//! container it is, over the live session of its host, and counts against what he may have open.

use super::{Result, Services, host_access};
use crate::access::{Permit, Read, Write};
use crate::domain::container::Container;
use crate::domain::{Kind, Refusal};
pub use crate::relay::{Event, Lost};
use crate::relay::{NotOpened, Reader};
use crate::store;
use dockerforge_protocol::ids::{ContainerId, UserId};
use dockerforge_protocol::stream::{LogsRequest, StatsRequest, StreamRefusal, StreamRequest, TerminalRequest};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// How many streams each user has open here, and how many he may. Clones are the same count.
#[derive(Clone)]
pub struct OpenStreams {
    most: u32,
    open: Arc<Mutex<HashMap<UserId, u32>>>,
}

/// A user's place among his streams, given up on drop.
struct Place {
    user: UserId,
    streams: OpenStreams,
}

impl OpenStreams {
    /// Nobody has any; each may have so many.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { most, open: Arc::default() }
    }

    fn take(&self, user: UserId) -> Result<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(user).or_default();
        if *count >= self.most {
            return Err(Refusal::TooManyStreams { limit: self.most }.into());
        }
        *count += 1;
        Ok(Place { user, streams: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

/// An open stream: its reader, and its user's place. Dropping it ends the stream.
pub struct Live {
    reader: Reader,
    _place: Place,
}

impl Deref for Live {
    type Target = Reader;
    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Services {
    /// A container's log.
    pub async fn container_logs(&self, permit: &Permit<Read>, wanted: LogsRequest) -> Result<Live> {
        self.open_stream(permit.user(), wanted.container, StreamRequest::Logs(wanted)).await
    }

    /// A container's figures.
    pub async fn container_stats(&self, permit: &Permit<Read>, wanted: StatsRequest) -> Result<Live> {
        self.open_stream(permit.user(), wanted.container, StreamRequest::Stats(wanted)).await
    }

    /// A terminal in a container. Nothing can be typed before the audit says who does, nor before it is looked again at
    /// whether the container, which may have become another meanwhile, reaches into its host.
    pub async fn container_terminal(&self, permit: &Permit<Write>, wanted: TerminalRequest) -> Result<Live> {
        let container = wanted.container;
        let live = self.open_stream(permit.user(), container, StreamRequest::Terminal(wanted)).await?;
        self.container_terminal_allowed(permit, container).await?;
        self.audit_terminal(permit, container, "terminal.open").await?;
        Ok(live)
    }

    /// Whether there is such a container of the user's, in which the token may have a terminal: what is not a websocket is
    /// told no more than that.
    pub async fn container_terminal_allowed(&self, permit: &Permit<Write>, id: ContainerId) -> Result<()> {
        let container = self.own_container(permit.user(), id).await?;
        host_access::demand(&mut self.store.read().await?, &container, permit.scopes()).await
    }

    /// Notes that a terminal is closed.
    pub async fn container_terminal_closed(&self, permit: &Permit<Write>, container: ContainerId) -> Result<()> {
        self.audit_terminal(permit, container, "terminal.close").await
    }

    /// A ticket for one terminal in a container of the user's.
    pub async fn container_terminal_ticket(&self, permit: &Permit<Write>, id: ContainerId) -> Result<String> {
        self.container_terminal_allowed(permit, id).await?;
        self.tickets.issue(permit.clone(), id)
    }

    async fn audit_terminal(&self, permit: &Permit<Write>, id: ContainerId, action: &'static str) -> Result<()> {
        let permit = permit.clone();
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    let now = crate::clock::now();
                    store::records::audit(conn, permit.origin(), action, Kind::Container, id.uuid(), now).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn own_container(&self, user: UserId, id: ContainerId) -> Result<Container> {
        let mut conn = self.store.read().await?;
        let container = store::containers::get(&mut conn, user, id).await?;
        container.ok_or_else(|| Refusal::NotFound(Kind::Container).into())
    }

    async fn open_stream(&self, user: UserId, id: ContainerId, request: StreamRequest) -> Result<Live> {
        let host = self.own_container(user, id).await?.host;
        let place = self.streams.take(user)?;
        let streams = (self.relay)(host).ok_or(Refusal::HostOffline(id))?;
        let reader = streams.open(request).map_err(|why| refusal(why, id))?;
        reader.opened().await.map_err(|why| refusal(why, id))?;
        Ok(Live { reader, _place: place })
    }
}

/// Why there is no stream, to who wanted it.
fn refusal(why: NotOpened, container: ContainerId) -> Refusal {
    match why {
        NotOpened::Offline | NotOpened::Unanswered => Refusal::HostOffline(container),
        NotOpened::Incapable | NotOpened::Refused(StreamRefusal::Unsupported) => Refusal::AgentTooOld(container),
        NotOpened::Refused(refusal) => match refusal {
            StreamRefusal::NoContainer | StreamRefusal::NoImage => Refusal::NotOnHost(container),
            StreamRefusal::NotRunning => Refusal::NotRunning(container),
            StreamRefusal::Policy { detail } => Refusal::HostPolicy(detail),
            StreamRefusal::TooMany => Refusal::HostStreamsFull(container),
            StreamRefusal::DockerDown => Refusal::HostDockerDown(container),
            StreamRefusal::Docker { detail } => Refusal::DockerRefused(detail),
            StreamRefusal::Unsupported => Refusal::AgentTooOld(container),
        },
    }
}
