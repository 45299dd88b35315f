//! Identifiers: one newtype per resource, made by one macro. Each wraps a UUIDv7 (RFC 9562), so ids sort by
//! creation time, and prints as `<prefix>_<32 hex digits>`, so a reader sees what an id names. Used by every
//! layer on both sides; a raw UUID or string never stands for a resource outside this file and the store.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form {prefix}_<32 hex digits>")]
pub struct InvalidId {
    /// The prefix the wanted kind of id begins with.
    pub prefix: &'static str,
}

fn parse(text: &str, prefix: &'static str) -> Result<Uuid, InvalidId> {
    let invalid = InvalidId { prefix };
    let hex = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or(invalid.clone())?;
    // Only the printed form is accepted: one resource has one URL.
    if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(invalid);
    }
    Uuid::try_parse(hex).map_err(|_| invalid)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The prefix of the printed form, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id that sorts after every id made before it on this machine.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "a default id would be a different one at every call")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id that a stored UUID stands for.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID to store.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// One installation of Dockerforge: its database and its certificate authority.
    ClusterId = "cls";
    /// A user of the API; owns everything else.
    UserId = "usr";
    /// An API token of a user.
    TokenId = "tok";
    /// A machine with an agent.
    HostId = "hst";
    /// A single-use join token of a host.
    JoinTokenId = "jtk";
    /// An image: built from a Dockerfile, or pulled by reference.
    ImageId = "img";
    /// A container.
    ContainerId = "ctr";
    /// A template: what a client can make configurations of.
    TemplateId = "tpl";
    /// A configuration: one client's choice from a template.
    ConfigurationId = "cfg";
    /// A job of the queue: one asynchronous operation.
    JobId = "job";
    /// One installation of an agent on a machine; a copy of the machine carries the same.
    InstanceId = "ins";
    /// The value of a secret of a container.
    SecretId = "sec";
    /// What a link provisions: an account of one container in another.
    GrantId = "grt";
    /// A webhook of a user.
    WebhookId = "whk";
    /// One event on its way to a webhook.
    DeliveryId = "dlv";
    /// A request to the API, in its answer's headers and in the log.
    RequestId = "req";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_with_its_prefix_and_reads_back() {
        let id = ContainerId::new();
        let text = id.to_string();
        assert!(text.starts_with("ctr_") && text.len() == 36, "{text}");
        assert_eq!(text.parse::<ContainerId>(), Ok(id));
    }

    #[test]
    fn an_id_of_another_kind_or_form_is_refused() {
        let host = HostId::new().to_string();
        assert!(host.parse::<ContainerId>().is_err());
        for text in
            ["", "hst", "hst_", "hst_xyz", &host.to_uppercase(), &format!("{host}0"), &host.replace("hst_", "hst-")]
        {
            assert!(text.parse::<HostId>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let ids: Vec<JobId> = (0..1000).map(|_| JobId::new()).collect();
        assert!(ids.is_sorted());
    }
}
