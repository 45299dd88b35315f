//! The one error of the rules: why something that was asked is refused. Free of transport: `http::error` alone knows
//! what status each becomes.

use super::Timestamp;
use super::quota::Counted;
use super::user::Scope;
use dockerforge_protocol::ids::{
    ConfigurationId, ContainerId, HostId, ImageId, JobId, TemplateId, TokenId, UserId, WebhookId,
};
use std::fmt;
use uuid::Uuid;

/// The kinds of things that can be named, missing or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user.
    User,
    /// An API token.
    Token,
    /// A host.
    Host,
    /// A template.
    Template,
    /// A configuration.
    Configuration,
    /// An image.
    Image,
    /// A container.
    Container,
    /// A job.
    Job,
    /// A webhook.
    Webhook,
}

impl Kind {
    /// The word for it, in answers and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Host => "host",
            Self::Template => "template",
            Self::Configuration => "configuration",
            Self::Image => "image",
            Self::Container => "container",
            Self::Job => "job",
            Self::Webhook => "webhook",
        }
    }

    /// The kind a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        use Kind as K;
        [K::User, K::Token, K::Host, K::Template, K::Configuration, K::Image, K::Container, K::Job, K::Webhook]
            .into_iter()
            .find(|k| k.as_str() == word)
    }
}

macro_rules! ids {
    ($($kind:ident $id:ident),*) => {
        impl Kind {
            /// An id of a thing of this kind, in its printed form.
            #[must_use]
            pub fn print_id(self, id: Uuid) -> String {
                match self {
                    $(Self::$kind => $id::from_uuid(id).to_string(),)*
                }
            }

            /// The thing that a printed id names.
            #[must_use]
            pub fn parse_id(text: &str) -> Option<(Self, Uuid)> {
                None$(.or_else(|| text.parse::<$id>().ok().map(|id| (Self::$kind, id.uuid()))))*
            }
        }
    };
}
ids! {
    User UserId, Token TokenId, Host HostId, Template TemplateId, Configuration ConfigurationId, Image ImageId,
    Container ContainerId, Job JobId, Webhook WebhookId
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong with what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer (RFC 6901) of the value it is about; for a query parameter, its name.
    pub pointer: String,
    /// What was expected.
    pub detail: String,
}

impl Violation {
    /// A violation at a pointer.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing, or it is another user's: nobody can tell which.
    #[error("there is no such {0}")]
    NotFound(Kind),
    /// Values that cannot be; all of them at once.
    #[error("{} of the values cannot be accepted", .0.len())]
    Invalid(Vec<Violation>),
    /// The user has a thing of this kind and name already.
    #[error("there is a {kind} named {name} already")]
    NameTaken {
        /// Of which kind.
        kind: Kind,
        /// Which name.
        name: String,
    },
    /// The image is not there yet.
    #[error("{image} is still being made; wait for its job to end")]
    ImageNotReady {
        /// Which.
        image: ImageId,
    },
    /// Containers use the image.
    #[error("{image} is used by {}", users(containers, *others))]
    ImageInUse {
        /// Which.
        image: ImageId,
        /// By which containers of the user's.
        containers: Vec<ContainerId>,
        /// By how many of others, who are nobody's business.
        others: u64,
    },
    /// Configurations are made of the template.
    #[error("{template} is used by {}", configured(configurations, *others))]
    TemplateInUse {
        /// Which.
        template: TemplateId,
        /// By which configurations of the user's.
        configurations: Vec<ConfigurationId>,
        /// By how many of others, who are nobody's business.
        others: u64,
    },
    /// Images are made of the configuration.
    #[error("{configuration} is used by {}", list(images))]
    ConfigurationInUse {
        /// Which.
        configuration: ConfigurationId,
        /// By which images.
        images: Vec<ImageId>,
    },
    /// A port of the host is another container's.
    #[error("port {port} of the host is {}", owner.map_or_else(|| "taken by another container".to_owned(), |id| format!("{id}'s")))]
    PortTaken {
        /// Which: `8080/tcp`.
        port: String,
        /// Whose it is, where that is the user's own.
        owner: Option<ContainerId>,
    },
    /// The container's image is of no configuration.
    #[error("the image of {0} was not built of a configuration: there is nothing to converge it to")]
    NotConfigured(ContainerId),
    /// A container that its user stopped runs nothing.
    #[error("{0} is stopped; start it first")]
    NotRunning(ContainerId),
    /// Another change of it is not finished.
    #[error("{0} changes this container already; wait for it to end, or cancel it")]
    BeingChanged(JobId),
    /// It is on its way to another host.
    #[error("{0} moves this container to another host; wait for it to end, or cancel it")]
    Moving(JobId),
    /// Another is on its way to another host, and is not to be linked meanwhile.
    #[error("{0} is on its way to another host: wait until it is there")]
    LinkedMoves(ContainerId),
    /// Containers that are linked are on one host.
    #[error("it is linked with {}, and linked containers are on one host", list(.0))]
    Linked(Vec<ContainerId>),
    /// A volume cannot go, or come, because another container has it.
    #[error("the volume {volume} is {container}'s too: a volume is on one host, and moves with its only container")]
    VolumeInUse {
        /// Which.
        volume: String,
        /// Whose it is too.
        container: ContainerId,
    },
    /// What is given parts of its host stays there.
    #[error("{0} is given parts of its host, which do not move with it")]
    BoundToHost(ContainerId),
    /// It changed while a change of it was worked out.
    #[error("this {0} was changed at the same time; look again")]
    Changed(Kind),
    /// It is not as who changes it says that he saw it.
    #[error("this {0} was changed since; look at it again")]
    PreconditionFailed(Kind),
    /// It is on its way out.
    #[error("this {0} is being deleted")]
    BeingDeleted(Kind),
    /// A job that is over cannot be cancelled.
    #[error("{0} has ended already")]
    JobEnded(JobId),
    /// What a job wrote is not kept for ever.
    #[error("the log of {0} was removed: logs are kept for a while after a job has ended")]
    LogRemoved(JobId),
    /// A job that the coordinator itself carries out cannot be cancelled.
    #[error("{0} cannot be cancelled: what it takes out of service stays out of service")]
    NotCancellable(JobId),
    /// The system user stays.
    #[error("the system user stays in service")]
    SystemUser,
    /// The host has its agent already.
    #[error("{0} is connected; a join token would replace a working agent. Delete the host first, or stop its agent")]
    HostConnected(HostId),
    /// No host has room for it: each host, and why not.
    #[error("{}", nothing_fits(.0))]
    NothingFits(Vec<Violation>),
    /// Others may see it and use it, and only its owner may delete it.
    #[error("this {0} is public, and another user's")]
    NotOwner(Kind),
    /// Others use what is the user's.
    #[error("this user has pool hosts or public images, which others use: delete those first")]
    Shares,
    /// The host takes nothing new.
    #[error("{0} is draining: what it runs goes on, and it takes no new containers and images")]
    HostDraining(HostId),
    /// The same key came with another request before.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyMismatch,
    /// The user has as much of something as he may.
    #[error("this needs {asked} more of {}, of which {used} of at most {limit} are used", .counted.as_str())]
    QuotaExceeded {
        /// Of what.
        counted: Counted,
        /// How much he may have. Of processors thousandths, of memory bytes.
        limit: u64,
        /// How much he has.
        used: u64,
        /// How much more was asked for.
        asked: u64,
    },
    /// The archives of the user's templates take as much as they may.
    #[error(
        "this archive has {asked} bytes, and those of this user's templates take {used} of at most {limit}: delete a template, or configurations and images of older versions"
    )]
    ArchivesFull {
        /// How many bytes they may take.
        limit: u64,
        /// How many they do.
        used: u64,
        /// How many more were asked for.
        asked: u64,
    },
    /// The user has as many of these as he may.
    #[error("{limit} of this kind are there already: {kind}")]
    TooMany {
        /// Of which kind.
        kind: Kind,
        /// How many he may have.
        limit: u32,
    },
    /// Who asks may not do that.
    #[error("this needs an administrator")]
    AdminOnly,
    /// The token may not do that, though its user may.
    #[error("this needs a token with the scope {0}")]
    ScopeMissing(Scope),
    /// The token's time is over.
    #[error("this token expired at {at}")]
    TokenExpired {
        /// When.
        at: Timestamp,
    },
    /// The user is suspended.
    #[error("this user is suspended; an administrator can resume him")]
    Suspended,
    /// Nothing can be seen of a container now: its host has no session with this coordinator.
    #[error("the host of {0} is not connected to this coordinator now")]
    HostOffline(ContainerId),
    /// Docker does not answer on the host.
    #[error("Docker does not answer on the host of {0}")]
    HostDockerDown(ContainerId),
    /// As many streams are open from the host as may be.
    #[error("the host of {0} has as many streams open as it may; try again when some have ended")]
    HostStreamsFull(ContainerId),
    /// The host's agent cannot do that.
    #[error("the agent on the host of {0} is too old for this: update it")]
    AgentTooOld(ContainerId),
    /// The host's owner does not allow it; the agent's words.
    #[error("{0}")]
    HostPolicy(String),
    /// The container is not on its host: not yet, or not any more.
    #[error("{0} is not on its host: it is not made yet, or was removed")]
    NotOnHost(ContainerId),
    /// Docker refused what was asked; its words.
    #[error("Docker refused: {0}")]
    DockerRefused(String),
    /// The user has as many streams open as he may.
    #[error("{limit} streams are open already; close one first")]
    TooManyStreams {
        /// How many he may have.
        limit: u32,
    },
    /// As many tickets are out as may be.
    #[error("too many tickets are out; try again in half a minute")]
    TooManyTickets,
}

impl Refusal {
    /// One invalid value.
    #[must_use]
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(pointer, detail)])
    }
}

fn users(containers: &[ContainerId], others: u64) -> String {
    with_others(containers, others, "containers")
}

fn configured(configurations: &[ConfigurationId], others: u64) -> String {
    with_others(configurations, others, "configurations")
}

fn with_others(own: &[impl ToString], others: u64, what: &str) -> String {
    let others = (others > 0).then(|| format!("{others} {what} of other users"));
    own.iter().map(ToString::to_string).chain(others).collect::<Vec<_>>().join(", ")
}

fn list(ids: &[impl ToString]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn nothing_fits(hosts: &[Violation]) -> String {
    if hosts.is_empty() {
        return "there is no host to place it on".to_owned();
    }
    hosts.iter().map(|host| format!("{}: {}", host.pointer, host.detail)).collect::<Vec<_>>().join("; ")
}
