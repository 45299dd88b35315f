//! Arguments that stand for a value of the API: parsed here, by the protocol's own types where it has them, so that
//! what is mistyped is a usage error before anything is sent. Used by `container`, `host` and `image`.

use dockerforge_protocol::spec::{
    AbsolutePath, Bytes, EnvName, HostPort, ImageRef, LabelKey, LabelValue, PortMapping, PortProtocol, VolumeMount,
    VolumeName,
};
use jiff::{Span, SpanRelativeTo, Timestamp};
use serde_json::Value;
use std::num::NonZeroU16;

/// `KEY=VALUE`, a label.
pub(super) fn label(text: &str) -> Result<(LabelKey, LabelValue), String> {
    let (key, value) = pair(text)?;
    Ok((key.parse().map_err(said)?, value.parse().map_err(said)?))
}

/// `NAME=VALUE`, an environment variable.
pub(super) fn env(text: &str) -> Result<(EnvName, String), String> {
    let (name, value) = pair(text)?;
    Ok((name.parse().map_err(said)?, value.to_owned()))
}

/// `NAME=VALUE`, a build argument; it comes back as it was.
pub(super) fn build_arg(text: &str) -> Result<String, String> {
    let (name, _) = pair(text)?;
    if name.is_empty() { Err("the name is missing".to_owned()) } else { Ok(text.to_owned()) }
}

/// `[HOST:]CONTAINER[/tcp|/udp]`, a published port.
pub(super) fn port(text: &str) -> Result<PortMapping, String> {
    let (ports, protocol) = match text.split_once('/') {
        None => (text, PortProtocol::Tcp),
        Some((ports, "tcp")) => (ports, PortProtocol::Tcp),
        Some((ports, "udp")) => (ports, PortProtocol::Udp),
        Some((_, other)) => return Err(format!("expected /tcp or /udp, not /{other}")),
    };
    let number = |text: &str| -> Result<NonZeroU16, String> {
        text.parse().map_err(|_| format!("expected a port from 1 to 65535, not {text:?}"))
    };
    let (host, container): (Option<HostPort>, _) = match ports.split_once(':') {
        Some((host, container)) => (Some(number(host)?), number(container)?),
        None => (None, number(ports)?),
    };
    Ok(PortMapping { container, host, protocol })
}

/// `VOLUME:TARGET[:ro|:rw]`, a mounted volume.
pub(super) fn volume(text: &str) -> Result<VolumeMount, String> {
    let (name, rest) = text.split_once(':').ok_or("expected VOLUME:TARGET or VOLUME:TARGET:ro")?;
    if name.starts_with(['/', '.', '~']) {
        return Err("expected the name of a volume; a path of the host is mounted with --mount-host".to_owned());
    }
    let (target, read_only) = target(rest)?;
    let volume: VolumeName = name.parse().map_err(said)?;
    Ok(VolumeMount { volume, target, read_only })
}

/// `TARGET[:ro|:rw]`, where something is mounted, and whether it may only be read.
pub(super) fn target(text: &str) -> Result<(AbsolutePath, bool), String> {
    let (path, read_only) = match text.rsplit_once(':') {
        Some((path, "ro")) => (path, true),
        Some((path, "rw")) => (path, false),
        Some((_, other)) => return Err(format!("expected :ro or :rw at the end, not :{other}")),
        None => (text, false),
    };
    Ok((path.parse().map_err(said)?, read_only))
}

/// `128m`: a number of bytes with a binary unit, as Docker has it: b, k, m, g or t (1024 and its powers).
pub(super) fn memory(text: &str) -> Result<Bytes, String> {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, shift) = match bare.char_indices().last() {
        Some((at, 'k')) => (&bare[..at], 10),
        Some((at, 'm')) => (&bare[..at], 20),
        Some((at, 'g')) => (&bare[..at], 30),
        Some((at, 't')) => (&bare[..at], 40),
        _ => (bare, 0),
    };
    let wrong = || format!("expected a number of bytes such as 134217728, 128m or 1.5g, not {text:?}");
    let bytes = match digits.split_once('.') {
        None => digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)),
        // Exact for every fraction of up to nine digits; what is left below a byte is dropped.
        Some((whole, fraction)) if (1..=9).contains(&fraction.len()) && shift > 0 => {
            let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
            let all_digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
            let tenths = all_digits.then(|| format!("{whole}{fraction}").parse::<u64>().ok()).flatten();
            tenths.and_then(|n| u64::try_from((u128::from(n) << shift) / scale).ok())
        }
        Some(_) => None,
    };
    Bytes::try_from(bytes.ok_or_else(wrong)?).map_err(said)
}

/// `0.5`: processors.
pub(super) fn cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if (0.01..=1024.0).contains(&cpus) => Ok(cpus),
        _ => Err("expected 0.01 to 1024 processors".to_owned()),
    }
}

/// A time to come: RFC 3339, or a span from now (`30d`, `12h`), in which a day has 24 hours.
pub(super) fn time_to_come(text: &str) -> Result<Timestamp, String> {
    let span = || -> Result<Timestamp, jiff::Error> {
        let span: Span = text.parse()?;
        Timestamp::now().checked_add(span.to_duration(SpanRelativeTo::days_are_24_hours())?)
    };
    let time = text.parse().or_else(|_| span());
    let time =
        time.map_err(|_| format!("expected a time such as 2030-01-01T00:00:00Z, or a span such as 30d, not {text:?}"))?;
    if time > Timestamp::now() { Ok(time) } else { Err("expected a time to come".to_owned()) }
}

/// A limit of a quota that is a number, or `default`.
pub(super) fn limit(text: &str) -> Result<Value, String> {
    number_or_default(text, |text| {
        text.parse::<u64>().map(Value::from).map_err(|_| "expected a number, or default".to_owned())
    })
}

/// A limit of processors, or `default`.
pub(super) fn cpus_limit(text: &str) -> Result<Value, String> {
    number_or_default(text, |text| match text.parse::<f64>() {
        Ok(cpus) if (0.0..=1e9).contains(&cpus) => Ok(Value::from(cpus)),
        _ => Err("expected a number of processors such as 1.5, or default".to_owned()),
    })
}

/// A limit of memory with a unit, or `default`.
pub(super) fn memory_limit(text: &str) -> Result<Value, String> {
    number_or_default(
        text,
        |text| if text == "0" { Ok(Value::from(0)) } else { memory(text).map(|b| Value::from(b.get())) },
    )
}

fn number_or_default(text: &str, number: impl Fn(&str) -> Result<Value, String>) -> Result<Value, String> {
    if text == "default" { Ok(Value::Null) } else { number(text) }
}

/// An image reference; it comes back as it was.
pub(super) fn reference(text: &str) -> Result<String, String> {
    text.parse::<ImageRef>().map(|_| text.to_owned()).map_err(said)
}

pub(super) fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once('=').ok_or_else(|| "expected NAME=VALUE".to_owned())
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json<T: serde::Serialize>(value: Result<T, String>) -> String {
        value.map_or_else(|e| format!("refused: {e}"), |v| serde_json::to_string(&v).unwrap())
    }

    #[test]
    fn ports_volumes_and_sizes_read_as_docker_writes_them() {
        assert_eq!(json(port("80")), r#"{"container":80,"protocol":"tcp"}"#);
        assert_eq!(json(port("8053:53/udp")), r#"{"container":53,"host":8053,"protocol":"udp"}"#);
        assert_eq!(json(volume("db:/var/lib/mysql")), r#"{"volume":"db","target":"/var/lib/mysql","read_only":false}"#);
        assert_eq!(json(volume("db:/data:ro")), r#"{"volume":"db","target":"/data","read_only":true}"#);
        for (text, bytes) in [("8388608", 8 << 20), ("128m", 128 << 20), ("1.5G", 1536 << 20), ("64MiB", 64 << 20)] {
            assert_eq!(memory(text).unwrap().get(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_mistyped_is_refused() {
        for bad in ["", "0", "65536", "80:", ":80", "80/sctp", "1:2:3", "-1", "127.0.0.1:80:80"] {
            assert!(port(bad).is_err(), "{bad:?} was accepted");
        }
        for bad in ["", "db", "/etc:/etc", "./x:/x", "db:data", "db:/data:z", "db:/", "DB:/x"] {
            assert!(volume(bad).is_err(), "{bad:?} was accepted");
        }
        for bad in ["", "m", "128x", "-1m", "1.5", "1..5m", "1.m", "1k", "99999999999999t", "0.+5g", "ñ"] {
            assert!(memory(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(env("A").is_err() && env("1A=x").is_err() && env("A=b=c").is_ok());
        assert!(label("dev.dockerforge.user=x").is_err() && build_arg("=x").is_err());
        for bad in ["", "yesterday", "2001-01-01T00:00:00Z", "-3d", "30"] {
            assert!(time_to_come(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(time_to_come("30d").is_ok() && time_to_come("9999-01-01T00:00:00Z").is_ok());
        assert!(limit("-1").is_err() && cpus_limit("-1").is_err() && memory_limit("1x").is_err());
        assert_eq!((limit("default"), cpus_limit("1.5")), (Ok(Value::Null), Ok(Value::from(1.5))));
        assert!(cpus("0").is_err() && cpus("NaN").is_err() && cpus("0.5").is_ok());
    }
}
