//! What makes a bare machine a host: an archive with the agent, its installer and its unit, which the agent port gives to
//! anybody, and the texts that fetch it: one command to paste, and a document for cloud-init. `app` loads it once; `http`
//! shows the texts beside a join token and serves the archive.
//!
//! What must hold: no text puts the token on a command line, where each user of the machine sees it; and what is
//! fetched is run only if it has the SHA-256 that came with the token, for the machine knows no certificate authority of
//! ours yet.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// Where the agent port serves the archive.
pub const INSTALL_PATH: &str = "/install/agent.tar";

/// The agent as it is given to machines that are to become hosts.
pub struct Installer {
    archive: Bytes,
    sha256: String,
}

impl Installer {
    /// Packs the agent's program with what installs it. The same files make the same archive, whoever packs them and when.
    pub fn load(program: &Path) -> io::Result<Self> {
        let program = std::fs::read(program)?;
        let mut archive = tar::Builder::new(Vec::with_capacity(program.len() + 32 * 1024));
        let script = include_str!("../../../packaging/install-agent.sh");
        let unit = include_str!("../../../packaging/systemd/dockerforge-agent.service");
        add(&mut archive, "install-agent.sh", 0o755, script.as_bytes())?;
        add(&mut archive, "systemd/dockerforge-agent.service", 0o644, unit.as_bytes())?;
        add(&mut archive, "dockerforge-agent", 0o755, &program)?;
        let archive = Bytes::from(archive.into_inner()?);
        let sha256 = hex::encode(Sha256::digest(&archive));
        Ok(Self { archive, sha256 })
    }

    /// The archive, a tar.
    #[must_use]
    pub fn archive(&self) -> Bytes {
        self.archive.clone()
    }

    /// What to paste into a root shell of the machine. `printf` and `echo` are the shell's own, so nothing of them is in a
    /// list of processes.
    #[must_use]
    pub fn command(&self, coordinator: &str, token: &str) -> String {
        let Self { sha256, .. } = self;
        format!(
            "(set -e; umask 077; cd \"$(mktemp -d)\"; trap 'rm -rf -- \"$PWD\"' EXIT; \
             curl -fsS --insecure --no-alpn -o agent.tar '{coordinator}{INSTALL_PATH}'; \
             echo '{sha256}  agent.tar' | sha256sum --check --quiet; tar -xf agent.tar; printf %s '{token}' >token; \
             bash install-agent.sh --install-docker --coordinator '{coordinator}' --token-file token)"
        )
    }

    /// The same as user data for cloud-init, for a machine that is only just being ordered: less than 2 KiB, and the smallest
    /// that a provider takes is 16.
    #[must_use]
    pub fn cloud_init(&self, coordinator: &str, token: &str) -> String {
        let join = JOIN
            .replace("{archive}", &format!("{coordinator}{INSTALL_PATH}"))
            .replace("{sha256}", &self.sha256)
            .replace("{coordinator}", coordinator);
        let mut script = String::new();
        for line in join.lines() {
            let _ = writeln!(script, "      {line}");
        }
        // A JSON text is one of YAML, too.
        let token = serde_json::Value::from(token);
        DOCUMENT.replace("{script}", script.trim_end()).replace("{token}", &token.to_string())
    }
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes)
}

/// `/run` is memory, and what is written there in time is not swept away while the machine starts, as in `/tmp`.
const DOCUMENT: &str = "#cloud-config
# Makes this machine a host of Dockerforge: installs Docker where it is missing, and the agent. The token is good once, and
# for a few minutes.
write_files:
  - path: /run/dockerforge-join/token
    owner: root:root
    permissions: '0600'
    content: {token}
  - path: /run/dockerforge-join/join.sh
    owner: root:root
    permissions: '0700'
    content: |
{script}
runcmd:
  - [bash, /run/dockerforge-join/join.sh]
";

/// A network that is only just coming up, or a coordinator with many at once, is asked again.
const JOIN: &str = "#!/bin/bash
set -eu
cd /run/dockerforge-join
trap 'rm -rf /run/dockerforge-join' EXIT
if ! command -v curl >/dev/null; then
  apt-get -q update
  DEBIAN_FRONTEND=noninteractive apt-get -qy -o DPkg::Lock::Timeout=120 install curl
fi
for try in 1 2 3 4 5 6; do
  if curl -fsS --insecure --no-alpn --max-time 300 -o agent.tar '{archive}'; then break; fi
  sleep 10
done
echo '{sha256}  agent.tar' | sha256sum --check --quiet
tar -xf agent.tar
bash install-agent.sh --install-docker --coordinator '{coordinator}' --token-file token
";

#[cfg(test)]
mod tests {
    use super::*;

    fn installer(program: &str) -> Installer {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        std::fs::write(&path, program).unwrap();
        Installer::load(&path).unwrap()
    }

    #[test]
    fn the_same_agent_is_the_same_archive_and_another_is_another() {
        let first = installer("x");
        assert_eq!(first.sha256, installer("x").sha256);
        assert_ne!(first.sha256, installer("y").sha256);
        let archive = first.archive();
        let mut read = tar::Archive::new(archive.as_ref());
        let files = read.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
        });
        let expected =
            [("install-agent.sh", 0o755), ("systemd/dockerforge-agent.service", 0o644), ("dockerforge-agent", 0o755)];
        assert_eq!(files.collect::<Vec<_>>(), expected.map(|(name, mode)| (name.to_owned(), mode)));
    }

    #[test]
    fn a_document_for_cloud_init_names_the_token_once_and_fits_where_least_is_taken() {
        let document = installer("x").cloud_init("https://dockerforge.example.org:7443", "dfj1_a\"b");
        assert!(document.starts_with("#cloud-config\n") && document.len() < 2048, "{} {document}", document.len());
        assert_eq!(document.matches("dfj1_").count(), 1);
        assert!(document.contains(r#"content: "dfj1_a\"b""#), "{document}");
    }
}
