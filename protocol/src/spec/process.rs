//! How a container's program runs: as whom, how it is told to end, how one knows that it is well, and what it finds by
//! name.

use super::{AbsolutePath, Bytes, Invalid, text_value};
use crate::ids::ContainerId;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A word of at most 63 characters that DNS takes as one label (RFC 1123, 2.1): lower-case letters, digits and `-`,
/// beginning and ending with a letter or digit. A host name, or the alias of a linked container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsLabel(String);

impl FromStr for DnsLabel {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = bytes.first().copied().is_some_and(alnum) && bytes.last().copied().is_some_and(alnum);
        if (1..=63).contains(&bytes.len()) && ends && bytes.iter().all(|&b| alnum(b) || b == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                "expected a DNS label: 1 to 63 characters of a-z, 0-9 or '-', beginning and ending with a letter or digit",
            ))
        }
    }
}

impl fmt::Display for DnsLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_value!(DnsLabel);

/// Who a program runs as in its container: `user`, `uid`, `user:group` or `uid:gid`. Names are those of the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunAs(String);

impl FromStr for RunAs {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = |part: &str| {
            let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            (1..=64).contains(&part.len()) && part.bytes().all(fine) && !part.starts_with('-')
        };
        let fine = match text.split_once(':') {
            Some((user, group)) => name(user) && name(group),
            None => name(text),
        };
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("expected a user, or user:group, by name or number"))
        }
    }
}

impl fmt::Display for RunAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_value!(RunAs);

/// The signals by which programs are asked to end.
const SIGNALS: [&str; 8] = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGKILL"];

/// A signal that asks a program to end, by its name in capitals (signal(7)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StopSignal(String);

impl FromStr for StopSignal {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if SIGNALS.contains(&text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(format!("expected one of {}", SIGNALS.join(", "))))
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_value!(StopSignal);

/// A span of whole seconds: 1 to 300 where a container is to end or a check to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Seconds(u32);

impl Seconds {
    /// The most, seconds.
    pub const MAX: u32 = 300;

    /// The span, seconds.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for Seconds {
    type Error = Invalid;
    fn try_from(value: u64) -> Result<Self, Invalid> {
        let seconds = u32::try_from(value).ok().filter(|seconds| (1..=Self::MAX).contains(seconds));
        seconds.map(Self).ok_or_else(|| Invalid::new("expected 1 to 300 seconds"))
    }
}

impl From<Seconds> for u64 {
    fn from(seconds: Seconds) -> Self {
        seconds.0.into()
    }
}

/// A file system in memory, which goes with the container's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TmpfsMount {
    /// Where it appears in the container.
    pub path: AbsolutePath,
    /// How large it may become; half of the host's memory where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
}

/// How Docker finds out whether a container is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Healthcheck {
    /// Not at all, whatever the image says.
    None,
    /// By a program in the container that ends with 0 where all is well.
    Check(Check),
}

/// See [`Healthcheck::Check`]. What is absent is as Docker has it: every 30 s, 30 s for an answer, 3 failures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is run.
    pub test: HealthTest,
    /// Between two checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Seconds>,
    /// How long one may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// Failures in a row that make it unhealthy: 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u8>,
    /// How long after a start failures do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Seconds>,
}

/// What a check runs, inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthTest {
    /// A line for the container's own shell.
    Shell(String),
    /// A program and its arguments.
    Program(Vec<String>),
}

/// Another container of the same user on the same host, found under a name of this container's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Which container.
    pub container: ContainerId,
    /// Under which name this container finds it.
    pub alias: DnsLabel,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_one_dns_label() {
        for good in ["mysql", "db-1", "a", "1"] {
            assert!(good.parse::<DnsLabel>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a:b", &"a".repeat(64)] {
            assert!(bad.parse::<DnsLabel>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_user_is_a_name_or_a_number_with_or_without_a_group() {
        for good in ["root", "1000", "1000:1000", "www-data:www-data"] {
            assert!(good.parse::<RunAs>().is_ok(), "{good}");
        }
        for bad in ["", ":", "a:", ":b", "a:b:c", "a b", "-u"] {
            assert!(bad.parse::<RunAs>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn only_signals_that_ask_for_an_end_are_taken() {
        assert!("SIGTERM".parse::<StopSignal>().is_ok());
        for bad in ["TERM", "sigterm", "SIGSTOP", "9", ""] {
            assert!(bad.parse::<StopSignal>().is_err(), "{bad:?} was accepted");
        }
    }
}
