//! An image: built on a host from a Dockerfile and a context, or pulled there by reference.

use super::registry::{InRegistry, Party};
use super::{Kind, Refusal, Timestamp};
use dockerforge_protocol::command::ContextRef;
use dockerforge_protocol::ids::{ConfigurationId, ContainerId, HostId, ImageId, JobId, UserId};
use dockerforge_protocol::spec::{ImageRef, Labels, ResourceName};
use std::collections::BTreeMap;

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Whose it is.
    pub user: UserId,
    /// Its name among its user's images.
    pub name: ResourceName,
    /// Whether it can be used.
    pub state: ImageState,
    /// Whether every user sees it.
    pub public: bool,
    /// Where it comes from.
    pub source: ImageSource,
    /// Its user's labels.
    pub labels: Labels,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Grows with each change of what its user may change.
    pub revision: u64,
    /// Docker's id of it, as the host that made it told: whatever any other host says, this is the image.
    pub docker_id: Option<String>,
    /// Where it is in the registry, or was to be.
    pub registry: Option<InRegistry>,
}

/// On which hosts an image is to be, beside the one that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    /// On no other.
    None,
    /// On all of its user's own.
    Mine,
    /// On all that he may have containers on: his own, and those that all users share.
    All,
    /// On these of his own.
    These(Vec<HostId>),
}

/// How an image comes to one more host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By its reference.
    Pull(ImageRef),
    /// From another host that has it.
    Copy,
}

impl Image {
    /// How it comes to a host of this user that does not have it, if it does; `sources` are the hosts that may give it. From
    /// them it comes as it is. Its reference may name something else by now, and on a host that is neither its owner's nor an
    /// administrator's choice a reference is nothing to follow: it might name what others have there.
    #[must_use]
    pub fn way_to(&self, host: UserId, sources: &[Party]) -> Option<Way> {
        if self.state != ImageState::Ready {
            return None;
        }
        let followed = |reference: &ImageRef| (host == self.user || self.public).then(|| Way::Pull(reference.clone()));
        let pulled = match &self.source {
            ImageSource::Reference(reference) => followed(reference),
            ImageSource::Dockerfile(_) => None,
        };
        match pulled {
            Some(pull) if !sources.iter().any(|source| source.online) => Some(pull),
            _ => (!sources.is_empty()).then_some(Way::Copy),
        }
    }

    /// The hosts that have it: what they have is the image, and not only called so.
    pub fn holders<'a>(&'a self, presence: &'a [ImageOnHost]) -> impl Iterator<Item = HostId> {
        let is_it = |p: &&ImageOnHost| p.docker_id.is_some() && p.docker_id == self.docker_id;
        let there = move |p: &&ImageOnHost| p.image == self.id && p.state == PresenceState::Present;
        presence.iter().filter(there).filter(is_it).map(|p| p.host)
    }

    /// Whether others may have it from a host: from whatever host a user has brought it to would be at that user's mercy.
    #[must_use]
    pub fn is_given_by(&self, host: &Party) -> bool {
        host.admin || host.user == self.user
    }
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageSource {
    /// Built from a context.
    Dockerfile(Recipe),
    /// Pulled.
    Reference(ImageRef),
}

impl ImageSource {
    /// The configuration that it was rendered from, if it was.
    #[must_use]
    pub fn made_of(&self) -> Option<MadeOf> {
        match self {
            Self::Dockerfile(recipe) => recipe.made_of,
            Self::Reference(_) => None,
        }
    }
}

/// How an image is built.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The context, kept by the coordinator until the build has ended.
    pub context: ContextRef,
    /// Where the Dockerfile stands in it.
    pub dockerfile: String,
    /// Build arguments.
    pub build_args: BTreeMap<String, String>,
    /// Whether the build cache is left alone.
    pub no_cache: bool,
    /// The configuration that it was rendered from, if it was.
    pub made_of: Option<MadeOf>,
}

/// A version of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeOf {
    /// Which configuration.
    pub configuration: ConfigurationId,
    /// In which version.
    pub version: u32,
}

/// `pending → ready → deleting → gone`; a creation that fails leaves no image, but its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageState {
    /// Being built or pulled.
    Pending,
    /// On the hosts it should be on.
    Ready,
    /// Being removed.
    Deleting,
}

impl ImageState {
    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Deleting => "deleting",
        }
    }

    /// The state a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Ready, Self::Deleting].into_iter().find(|s| s.as_str() == word)
    }
}

/// An image on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOnHost {
    /// Which image.
    pub image: ImageId,
    /// On which host.
    pub host: HostId,
    /// How it stands there.
    pub state: PresenceState,
    /// Docker's id of it there.
    pub docker_id: Option<String>,
    /// Its size there, bytes.
    pub size: Option<u64>,
    /// When that was last said.
    pub changed_at: Timestamp,
    /// The job that brings it there, or was to.
    pub job: Option<JobId>,
}

impl ImageOnHost {
    /// An image that a job brings to a host.
    #[must_use]
    pub const fn on_its_way(image: ImageId, host: HostId, job: JobId, now: Timestamp) -> Self {
        let state = PresenceState::Pending;
        Self { image, host, state, docker_id: None, size: None, changed_at: now, job: Some(job) }
    }
}

/// `pending → present ⇄ missing`, `pending → failed → pending`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceState {
    /// On its way there.
    Pending,
    /// There.
    Present,
    /// It was there; somebody removed it by hand.
    Missing,
    /// It could not be brought there; its job says why.
    Failed,
}

impl PresenceState {
    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Failed => "failed",
        }
    }

    /// The state a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Present, Self::Missing, Self::Failed].into_iter().find(|s| s.as_str() == word)
    }
}

/// Whether a container of this image can be made on that host now.
pub fn usable_on(image: &Image, presence: Option<&ImageOnHost>, host: HostId) -> Result<(), Refusal> {
    match (image.state, presence.map(|p| p.state)) {
        (ImageState::Deleting, _) => Err(Refusal::BeingDeleted(Kind::Image)),
        (ImageState::Pending, _) | (ImageState::Ready, Some(PresenceState::Pending)) => {
            Err(Refusal::ImageNotReady { image: image.id })
        }
        (ImageState::Ready, Some(PresenceState::Present)) => Ok(()),
        (ImageState::Ready, Some(PresenceState::Missing)) => Err(Refusal::invalid(
            "/image",
            format!("{} was removed from {host} by hand; make it there again", image.id),
        )),
        (ImageState::Ready, None | Some(PresenceState::Failed)) => {
            Err(Refusal::invalid("/image", format!("{} is not on {host}", image.id)))
        }
    }
}

/// Whether the image can be deleted while these containers of its owner, and so many of others, were made of it.
pub fn deletable(image: &Image, containers: Vec<ContainerId>, others: u64) -> Result<(), Refusal> {
    if containers.is_empty() && others == 0 {
        return Ok(());
    }
    Err(Refusal::ImageInUse { image: image.id, containers, others })
}

#[cfg(test)]
mod tests {
    use super::{Image, ImageSource, ImageState, Recipe, Way};
    use crate::domain::registry::Party;
    use dockerforge_protocol::command::ContextRef;
    use dockerforge_protocol::ids::{HostId, ImageId, UserId};
    use dockerforge_protocol::spec::Labels;
    use std::collections::BTreeMap;

    fn image(source: ImageSource, public: bool) -> Image {
        Image {
            id: ImageId::new(),
            user: UserId::new(),
            name: "blog".parse().unwrap(),
            state: ImageState::Ready,
            public,
            source,
            labels: Labels::default(),
            created_at: crate::clock::now(),
            revision: 1,
            docker_id: Some("sha256:1".to_owned()),
            registry: None,
        }
    }

    fn referenced(public: bool) -> Image {
        image(ImageSource::Reference("registry.example/app:1".parse().unwrap()), public)
    }

    fn source(user: UserId, admin: bool, online: bool) -> Party {
        Party { host: HostId::new(), user, admin, online }
    }

    #[test]
    fn a_reference_is_followed_by_its_owner_and_for_all_and_on_nobody_elses_host() {
        let stranger = UserId::new();
        let (own, public) = (referenced(false), referenced(true));
        for (image, host, followed) in
            [(&own, own.user, true), (&own, stranger, false), (&public, stranger, true), (&public, public.user, true)]
        {
            let way = image.way_to(host, &[]);
            assert_eq!(matches!(way, Some(Way::Pull(_))), followed, "{way:?}");
            assert_eq!(way.is_some(), followed);
            // From a host that has it, it comes as it is.
            assert_eq!(image.way_to(host, &[source(image.user, false, true)]), Some(Way::Copy));
        }
        let away = [source(own.user, false, false)];
        assert!(matches!(own.way_to(own.user, &away), Some(Way::Pull(_))), "rather than to wait");
        assert_eq!(own.way_to(stranger, &away), Some(Way::Copy), "it is waited for");
    }

    #[test]
    fn what_was_built_comes_from_a_host_that_may_give_it_or_not_at_all() {
        let context = ContextRef { sha256: String::new(), size: 0 };
        let (dockerfile, build_args) = (String::new(), BTreeMap::new());
        let recipe = Recipe { context, dockerfile, build_args, no_cache: false, made_of: None };
        let built = image(ImageSource::Dockerfile(recipe), true);
        assert_eq!(built.way_to(built.user, &[]), None);
        assert_eq!(built.way_to(built.user, &[source(built.user, false, false)]), Some(Way::Copy));
        for (user, admin, gives) in
            [(built.user, false, true), (UserId::new(), true, true), (UserId::new(), false, false)]
        {
            assert_eq!(built.is_given_by(&source(user, admin, true)), gives);
        }
    }
}
