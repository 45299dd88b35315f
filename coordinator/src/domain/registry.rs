//! The registry that hosts bring images to and have them from: what an image is called there, which hosts may use it, and how long
//! it is tried to remove one from it.

use dockerforge_protocol::ids::{HostId, ImageId, UserId};
use jiff::SignedDuration;
use std::path::PathBuf;

/// The registry as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its host and port.
    pub address: String,
    /// What all our repositories there begin with.
    pub prefix: String,
    /// Whether the coordinator itself speaks to it without TLS.
    pub plain: bool,
    /// How one makes oneself known to it.
    pub access: AccessSetting,
}

/// How one makes oneself known to the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessSetting {
    /// Not at all.
    Open,
    /// By a name and a password, which open all of it.
    Password {
        /// The name.
        user: String,
        /// The file with the password.
        file: PathBuf,
    },
    /// By tokens that the coordinator makes, each for one repository and an hour.
    Tokens {
        /// What the registry calls itself.
        service: String,
    },
}

/// Where images are brought to, as all coordinators of a database know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What all repositories begin with: the registry's address and our prefix in it.
    pub base: String,
    /// What opens it to a host.
    pub opening: Opening,
}

impl Place {
    /// What an image is called there, without a tag.
    #[must_use]
    pub fn repository(&self, image: ImageId) -> String {
        format!("{}/{image}", self.base)
    }
}

/// What opens the registry to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// What opens all of it, or nothing at all.
    Whole,
    /// A token for one repository.
    Repository,
}

impl Opening {
    /// The name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Repository => "repository",
        }
    }

    /// What a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Whole, Self::Repository].into_iter().find(|opening| opening.as_str() == word)
    }

    /// Whether a host may use the registry: what opens all of it is for an administrator's own hosts alone. Whoever has it could
    /// read and change what belongs to every user.
    #[must_use]
    pub const fn is_for(self, administrators: bool) -> bool {
        match self {
            Self::Whole => administrators,
            Self::Repository => true,
        }
    }
}

/// An image in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRegistry {
    /// Registry and repository: `registry.example:5000/dockerforge/img_…`.
    pub repository: String,
    /// The digest of its manifest, once it is there.
    pub digest: Option<String>,
}

/// A host, as far as the registry is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// Which.
    pub host: HostId,
    /// Whose it is.
    pub user: UserId,
    /// Whether he is an administrator.
    pub admin: bool,
    /// Whether it is online.
    pub online: bool,
}

/// Which of the hosts that have an image brings it to the registry, so that others have it from there; none where that is of no
/// use to any of them, or none of those that have it may. A host that is neither an administrator's nor the image's owner's is
/// not given a right to change it.
#[must_use]
pub fn pusher(opening: Opening, owner: UserId, have: &[Party], want: &[Party]) -> Option<HostId> {
    let may_push = |p: &&Party| opening.is_for(p.admin) && (p.admin || p.user == owner);
    if !want.iter().any(|p| opening.is_for(p.admin)) {
        return None;
    }
    let able = || have.iter().filter(may_push);
    able().find(|p| p.online).or_else(|| able().next()).map(|p| p.host)
}

/// Attempts after which an image is left in the registry: more than a week of them.
const MAX_REMOVALS: u32 = 200;

/// When to try again to remove an image from the registry after so many attempts; never where it is given up.
#[must_use]
pub fn removal_again(attempts: u32) -> Option<SignedDuration> {
    let seconds = 10_i64.saturating_mul(1 << attempts.saturating_sub(1).min(9)).min(3600);
    (attempts < MAX_REMOVALS).then(|| SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_all_of_the_registry_is_for_administrators_hosts() {
        assert!(Opening::Whole.is_for(true) && !Opening::Whole.is_for(false));
        assert!(Opening::Repository.is_for(true) && Opening::Repository.is_for(false));
    }

    #[test]
    fn an_image_is_pushed_by_a_host_of_its_owner_or_an_administrator_and_only_where_somebody_may_pull_it() {
        let (owner, other, root) = (UserId::new(), UserId::new(), UserId::new());
        let party = |user, online| Party { host: HostId::new(), user, admin: user == root, online };
        let (mine, theirs, away, shared) =
            (party(owner, true), party(other, true), party(root, false), party(root, true));
        for (opening, have, want, expected) in [
            (Opening::Repository, vec![theirs, mine], vec![theirs], Some(mine)),
            (Opening::Repository, vec![theirs], vec![mine], None),
            (Opening::Repository, vec![away, mine], vec![theirs], Some(mine)),
            (Opening::Repository, vec![away], vec![mine], Some(away)),
            (Opening::Whole, vec![mine, shared], vec![away], Some(shared)),
            (Opening::Whole, vec![shared], vec![mine, theirs], None),
            (Opening::Whole, vec![mine], vec![shared], None),
            (Opening::Repository, vec![], vec![mine], None),
        ] {
            let found = pusher(opening, owner, &have, &want);
            assert_eq!(found, expected.map(|p| p.host), "{opening:?} {have:?} {want:?}");
        }
    }

    #[test]
    fn a_removal_is_tried_for_more_than_a_week_and_once_an_hour_at_the_last() {
        let (mut total, mut attempts) = (SignedDuration::ZERO, 1);
        while let Some(wait) = removal_again(attempts) {
            assert!(wait <= SignedDuration::from_hours(1));
            total += wait;
            attempts += 1;
        }
        assert_eq!(removal_again(1), Some(SignedDuration::from_secs(10)));
        assert!((24 * 7..24 * 10).contains(&total.as_hours()), "{total:?}");
    }
}
