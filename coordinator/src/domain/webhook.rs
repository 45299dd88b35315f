//! A webhook: where a user's events are sent, signed, until they are taken. Headers, body and signature follow Standard
//! Webhooks 1.0 (standardwebhooks.com).

use super::Timestamp;
use super::event::Kinds;
use dockerforge_protocol::ids::{DeliveryId, UserId, WebhookId};
use jiff::SignedDuration;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use url::{Host, Url};

/// How many webhooks a user may have.
pub const LIMIT: u32 = 20;

/// What a webhook's secret is sealed as.
pub const SECRET: &str = "webhook secret";

/// Seconds from each failed attempt to the next: about three days in all.
const BACKOFF: [i64; 11] = [5, 30, 120, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 86_400];

/// A webhook, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub user: UserId,
    /// Where events are sent.
    pub target: Target,
    /// Which kinds are.
    pub kinds: Kinds,
    /// Whether everybody's are; for administrators.
    pub everybody: bool,
    /// Whether they are sent now.
    pub state: WebhookState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Grows with each change of what its user may change.
    pub revision: u64,
}

/// Whether a webhook is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookState {
    /// Events are sent.
    Active,
    /// Nothing is sent until it is made active again: its receiver said that it is gone, or took nothing for days.
    Disabled,
}

impl WebhookState {
    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    /// The state a word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Disabled].into_iter().find(|s| s.as_str() == word)
    }
}

/// One event on its way to a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id: the `webhook-id` header, the same at each attempt.
    pub id: DeliveryId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// Which event.
    pub event: i64,
    /// Of which kind.
    pub kind: String,
    /// How it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Option<Timestamp>,
    /// The status that the receiver answered last.
    pub status: Option<u16>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was taken or given up.
    pub ended_at: Option<Timestamp>,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be tried, for the first time or again.
    Pending,
    /// Taken.
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryState {
    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The state a word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Failed].into_iter().find(|s| s.as_str() == word)
    }
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// What the receiver answered, if it did.
    pub status: Option<u16>,
    /// Why it is not taken; nothing where it is.
    pub error: Option<String>,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is taken.
    Delivered,
    /// It is tried again after this long.
    Retry(SignedDuration),
    /// It is given up, and the webhook is disabled.
    GiveUp,
}

/// Decides what follows from the `attempts`-th attempt.
#[must_use]
pub fn after(attempts: u32, attempted: &Attempted) -> Next {
    // 410: the receiver wants no more.
    match (&attempted.error, attempted.status) {
        (None, _) => Next::Delivered,
        (Some(_), Some(410)) => Next::GiveUp,
        (Some(_), _) => {
            let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
            BACKOFF.get(index).map_or(Next::GiveUp, |&seconds| Next::Retry(SignedDuration::from_secs(seconds)))
        }
    }
}

/// The URL of a receiver: http or https, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Url);

impl Target {
    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The address, where the URL names one instead of a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Target {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 2048 {
            return Err("a URL may have 2048 bytes");
        }
        let url = Url::parse(text).map_err(|_| "expected a URL: https://host/path")?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("expected a URL with http or https");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a name or password in it is not taken; the signature says who sends");
        }
        if url.fragment().is_some() {
            return Err("a URL with a fragment is not taken");
        }
        Ok(Self(url))
    }
}

/// Whether an address is one of the public internet. Others (this machine's, private, link-local and reserved ones) are not
/// reached on behalf of a user who is no administrator: it would let him look into our own network (SSRF).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match embedded_v4(ip) {
            Some(v4) => is_public_v4(v4),
            // Global unicast is 2000::/3 (RFC 4291); of it 2001:db8::/32 is for documentation.
            None => ip.segments()[0] & 0xE000 == 0x2000 && ip.segments()[..2] != [0x2001, 0xDB8],
        },
    }
}

/// An IPv4 address that an IPv6 one leads to: mapped (::ffff:0:0/96), NAT64 (64:ff9b::/96), 6to4 (2002::/16).
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., g, h] = ip.segments();
    let low = Ipv4Addr::from(u32::from(g) << 16 | u32::from(h));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xFFFF, ..] | [0x64, 0xFF9B, 0, 0, 0, 0, ..] => Some(low),
        [0x2002, b, c, ..] => Some(Ipv4Addr::from(u32::from(b) << 16 | u32::from(c))),
        _ => None,
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let reserved = a == 0
        || a >= 240
        || (a == 100 && b & 0xC0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xFE == 18);
    !(reserved
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_attempt_is_repeated_later_and_later_for_about_three_days() {
        let failed = Attempted { status: Some(500), error: Some("500".to_owned()) };
        let (mut total, mut attempts) = (SignedDuration::ZERO, 1);
        while let Next::Retry(delay) = after(attempts, &failed) {
            total += delay;
            attempts += 1;
        }
        assert_eq!(after(attempts, &failed), Next::GiveUp);
        assert!((48..96).contains(&total.as_hours()), "{total:?}");
        assert_eq!(after(1, &Attempted { status: Some(204), error: None }), Next::Delivered);
        assert_eq!(after(1, &Attempted { status: Some(410), error: Some("gone".to_owned()) }), Next::GiveUp);
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "100.128.0.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for hidden in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(hidden.parse().unwrap()), "{hidden}");
        }
    }

    #[test]
    fn what_is_no_receiver_is_refused() {
        assert_eq!("https://panel.example/hook?x=1".parse::<Target>().unwrap().address(), None);
        // Other spellings of an address are the address.
        for spelling in ["http://127.1/", "http://0x7f.0.0.1/", "http://2130706433/", "http://[::1]:80/"] {
            assert!(spelling.parse::<Target>().unwrap().address().is_some_and(|ip| ip.is_loopback()), "{spelling}");
        }
        for bad in
            ["", "panel.example", "ftp://x/", "https://", "https://a:b@x/", "https://a@x/", "https://x/#y", "file:///x"]
        {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
