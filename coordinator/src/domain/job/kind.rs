//! What jobs do, and about what: each kind with its word, its limits, and who carries it out.

use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, UserId};
use jiff::SignedDuration;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Make a container and start it.
    ContainerCreate,
    /// Start a container that is there.
    ContainerStart,
    /// Stop a container, which stays.
    ContainerStop,
    /// Stop a container and start it again.
    ContainerRestart,
    /// Run a program in a container.
    ContainerExec,
    /// Bring a container to what its configuration says.
    ContainerConverge,
    /// Change what a container is.
    ContainerUpdate,
    /// Stop a container and remove it.
    ContainerDelete,
    /// Bring a container to another host; carried out by the coordinator.
    ContainerMove,
    /// Take in a container of another host; a part of another job.
    ContainerReceive,
    /// Remove what is left of a container on a host where it is not any more, or was to be; a part of another job.
    ContainerRemove,
    /// Build an image.
    ImageBuild,
    /// Pull an image.
    ImagePull,
    /// Bring an image that is on other hosts to one more.
    ImageCopy,
    /// Bring an image to the registry.
    ImagePush,
    /// Remove an image from one host; a part of another job.
    ImageRemove,
    /// Remove what is left of a user on one host; a part of another job.
    UserRemove,
    /// Remove an image everywhere; carried out by the coordinator.
    ImageDelete,
    /// Take a host out of service; carried out by the coordinator.
    HostDelete,
    /// Stop a user's containers; carried out by the coordinator.
    UserSuspend,
    /// Start those of a user's containers that are meant to run; carried out by the coordinator.
    UserResume,
    /// Take all that is a user's out of service; carried out by the coordinator.
    UserDelete,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::ContainerCreate,
        Self::ContainerStart,
        Self::ContainerStop,
        Self::ContainerRestart,
        Self::ContainerExec,
        Self::ContainerConverge,
        Self::ContainerUpdate,
        Self::ContainerDelete,
        Self::ContainerMove,
        Self::ContainerReceive,
        Self::ContainerRemove,
        Self::ImageBuild,
        Self::ImagePull,
        Self::ImageCopy,
        Self::ImagePush,
        Self::ImageRemove,
        Self::UserRemove,
        Self::ImageDelete,
        Self::HostDelete,
        Self::UserSuspend,
        Self::UserResume,
        Self::UserDelete,
    ];

    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContainerCreate => "container.create",
            Self::ContainerStart => "container.start",
            Self::ContainerStop => "container.stop",
            Self::ContainerRestart => "container.restart",
            Self::ContainerExec => "container.exec",
            Self::ContainerConverge => "container.converge",
            Self::ContainerUpdate => "container.update",
            Self::ContainerDelete => "container.delete",
            Self::ContainerMove => "container.move",
            Self::ContainerReceive => "container.receive",
            Self::ContainerRemove => "container.remove",
            Self::ImageBuild => "image.build",
            Self::ImagePull => "image.pull",
            Self::ImageCopy => "image.copy",
            Self::ImagePush => "image.push",
            Self::ImageRemove => "image.remove",
            Self::UserRemove => "user.remove",
            Self::ImageDelete => "image.delete",
            Self::HostDelete => "host.delete",
            Self::UserSuspend => "user.suspend",
            Self::UserResume => "user.resume",
            Self::UserDelete => "user.delete",
        }
    }

    /// The kind a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == word)
    }

    /// Whether the coordinator carries it out by means of other jobs.
    #[must_use]
    pub const fn is_conducted(self) -> bool {
        matches!(
            self,
            Self::ContainerMove
                | Self::ImageDelete
                | Self::HostDelete
                | Self::UserSuspend
                | Self::UserResume
                | Self::UserDelete
        )
    }

    /// Whether its success makes the thing it is about.
    #[must_use]
    pub const fn creates(self) -> bool {
        matches!(self, Self::ContainerCreate | Self::ImageBuild | Self::ImagePull | Self::ImageCopy)
    }

    /// Whether it makes an image, or brings one somewhere: what an image that goes has no use for.
    #[must_use]
    pub const fn brings_image(self) -> bool {
        matches!(self, Self::ImageBuild | Self::ImagePull | Self::ImageCopy | Self::ImagePush)
    }

    /// Whether it is begun at most once: where nobody knows whether it was, it is not tried again.
    #[must_use]
    pub const fn at_most_once(self) -> bool {
        matches!(self, Self::ContainerExec)
    }

    /// How long an agent may work on one attempt.
    #[must_use]
    pub const fn time_limit(self) -> SignedDuration {
        match self {
            Self::ImageBuild => SignedDuration::from_hours(1),
            Self::ImagePull => SignedDuration::from_mins(30),
            // Gigabytes over a slow line.
            Self::ImageCopy | Self::ImagePush => SignedDuration::from_hours(2),
            // All that a database has.
            Self::ContainerReceive => SignedDuration::from_hours(6),
            // 300 s to end, 300 s to become healthy, and the way back.
            Self::ContainerUpdate => SignedDuration::from_mins(20),
            _ => SignedDuration::from_mins(10),
        }
    }
}

/// What a job is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A container.
    Container(ContainerId),
    /// An image.
    Image(ImageId),
    /// A host.
    Host(HostId),
    /// A user.
    User(UserId),
}
