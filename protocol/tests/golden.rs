//! The bytes of every message, kept as files. A build that writes or reads other bytes than its predecessors is caught
//! here, before two versions meet on a network. `UPDATE_GOLDEN=1 cargo test -p dockerforge-protocol --test golden`
//! writes the files anew: only for a message that no released build has ever sent. A variant without a file fails: the
//! lists in `golden/coverage.rs` are made by the same exhaustive matches that name the variants.

#![allow(clippy::unwrap_used, reason = "a test may; the lint spares only the functions marked as tests")]

#[path = "golden/coverage.rs"]
mod coverage;
#[path = "golden/samples.rs"]
mod samples;
#[path = "golden/streams.rs"]
mod streams;

use coverage::Seen;
use dockerforge_protocol::codec;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeSet,
    fmt::{Debug, Write as _},
    path::{Path, PathBuf},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.chunks(32).fold(String::new(), |mut text, line| {
        for byte in line {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
        text
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Compares one message with its file, both ways, and tells what differs.
fn check<M: Serialize + DeserializeOwned + PartialEq + Debug>(union: &str, name: &str, message: &M) -> Option<String> {
    let path = folder().join(format!("{union}.{name}.hex"));
    let encoded = match codec::encode(message) {
        Ok(encoded) => encoded,
        Err(error) => return Some(format!("{union}.{name} cannot be encoded: {error:?}")),
    };
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, to_hex(&encoded)).unwrap();
    }
    let Ok(kept) = std::fs::read_to_string(&path) else {
        return Some(format!("{union}.{name} has no golden file {}", path.display()));
    };
    let kept = from_hex(&kept);
    if encoded != kept {
        return Some(format!("{union}.{name} is written differently: {}", to_hex(&encoded)));
    }
    match codec::decode::<M>(&kept) {
        Ok(decoded) if decoded == *message => None,
        Ok(decoded) => Some(format!("{union}.{name} reads back as {decoded:?}")),
        Err(error) => Some(format!("{union}.{name} cannot be read: {error:?}")),
    }
}

#[test]
fn every_message_is_written_and_read_as_the_golden_bytes() {
    let down = samples::to_agent().into_iter().filter_map(|(name, m)| check("to_agent", &name, &m));
    let up = samples::from_agent().into_iter().filter_map(|(name, m)| check("from_agent", &name, &m));
    let differences: Vec<String> = down.chain(up).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn no_golden_file_is_without_its_message() {
    let down = samples::to_agent().into_iter().map(|(name, _)| format!("to_agent.{name}.hex"));
    let up = samples::from_agent().into_iter().map(|(name, _)| format!("from_agent.{name}.hex"));
    let known: BTreeSet<String> = down.chain(up).collect();
    let kept: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(kept, known, "left: files, right: messages");
}

#[test]
fn every_variant_of_every_union_has_a_golden_message() {
    let mut seen = Seen::default();
    for (_, message) in samples::to_agent() {
        seen.note_down(&message);
    }
    for (_, message) in samples::from_agent() {
        seen.note_up(&message);
    }
    assert_eq!(seen.missing(), Vec::<String>::new(), "variants without a golden message");
}

/// The same bytes with one more named field in the outermost map.
fn with_extra_field(bytes: &[u8]) -> Vec<u8> {
    let extra = codec::encode(&"from_the_future").unwrap();
    let (count, rest) = match bytes[0] {
        small @ 0x80..=0x8f => (usize::from(small & 0x0f), &bytes[1..]),
        0xde => (usize::from(u16::from_be_bytes([bytes[1], bytes[2]])), &bytes[3..]),
        other => panic!("a message is a map with named fields, this begins with {other:#x}"),
    };
    let count = u16::try_from(count + 1).unwrap().to_be_bytes();
    // The new field stands last, with an array for its value: a reader has to skip it whatever it is.
    [&[0xde, count[0], count[1]], rest, &extra[..], &[0x92, 0x01, 0xc3]].concat()
}

#[test]
fn a_field_that_this_build_does_not_know_is_ignored() {
    for (name, message) in samples::to_agent() {
        let bytes = with_extra_field(&codec::encode(&message).unwrap());
        assert_eq!(codec::decode::<dockerforge_protocol::message::ToAgent>(&bytes).unwrap(), message, "{name}");
    }
    for (name, message) in samples::from_agent() {
        let bytes = with_extra_field(&codec::encode(&message).unwrap());
        assert_eq!(codec::decode::<dockerforge_protocol::message::FromAgent>(&bytes).unwrap(), message, "{name}");
    }
}

#[test]
fn a_message_that_this_build_does_not_know_is_an_error_and_not_another_message() {
    #[derive(Serialize)]
    struct Future {
        t: &'static str,
        attempt: u8,
    }
    let bytes = codec::encode(&Future { t: "teleport", attempt: 1 }).unwrap();
    assert!(codec::decode::<dockerforge_protocol::message::ToAgent>(&bytes).is_err());
    assert!(codec::decode::<dockerforge_protocol::message::FromAgent>(&bytes).is_err());
}
