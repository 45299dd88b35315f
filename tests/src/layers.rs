//! All that an image is, layer by layer, as `docker history` and `docker save` show it: what was written in one layer and taken
//! away in the next is in it, too.

use crate::docker::Witness;
use dockerforge_protocol::{command::local_tag, ids::ImageId};
use futures_util::StreamExt;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Seek, Write},
    process::{Command, Stdio},
};

fn tag(image: &str) -> String {
    local_tag(image.parse::<ImageId>().unwrap())
}

/// The steps that it was made in, as text.
pub async fn history(docker: &Witness, image: &str) -> String {
    let steps = docker.raw().image_history(&tag(image)).await.unwrap();
    serde_json::to_string(&steps).unwrap()
}

/// Which of these texts are in any layer or in the image's own description. Looked for by grep, which is quick in half a gigabyte.
pub async fn found(docker: &Witness, image: &str, texts: &[&str]) -> BTreeSet<String> {
    let mut matches: File = tempfile::tempfile().unwrap();
    let mut grep = Command::new("grep");
    grep.args(["--text", "--only-matching", "--fixed-strings"]).env("LC_ALL", "C");
    for text in texts {
        grep.args(["-e", text]);
    }
    let mut grep = grep.stdin(Stdio::piped()).stdout(matches.try_clone().unwrap()).spawn().unwrap();
    let mut into = grep.stdin.take().unwrap();
    let mut saved = Box::pin(docker.raw().export_image(&tag(image)));
    let mut bytes = 0;
    while let Some(piece) = saved.next().await {
        let piece = piece.unwrap();
        bytes += piece.len();
        into.write_all(&piece).unwrap();
    }
    drop(into);
    let status = grep.wait().unwrap();
    assert!(bytes > 100 << 20, "{image} was saved as {bytes} bytes");
    assert!(status.code().is_some_and(|code| code < 2), "grep ended with {status}");
    let mut text = String::new();
    matches.rewind().unwrap();
    matches.read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}
