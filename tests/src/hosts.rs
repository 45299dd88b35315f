//! The further hosts of the test bed: each a Docker Engine in a network of its own, on a private switch on which this
//! machine has an address. A link that is cut or a daemon that is stopped here is as it was when its guard is dropped,
//! also when the test fails.

use crate::{agent::Agent, client::Api, cluster::Cluster, env};
use std::{net::IpAddr, path::Path, process::Command};

/// One of them.
#[derive(Debug, Clone)]
pub struct FarHost {
    /// Its name in the test bed.
    pub name: String,
    /// Its Docker Engine: `unix:///…`, which answers on this machine whatever happens to its link.
    pub docker: String,
    /// This machine, as it sees it.
    pub gateway: IpAddr,
    /// It, as this machine sees it: where its containers' ports are published.
    pub address: IpAddr,
}

/// Runs the script that has the hosts, and gives what it printed.
fn script(words: &[&str]) -> String {
    let script = env::hosts_script();
    let output = Command::new(&script).args(words).output().unwrap_or_else(|e| panic!("{}: {e}", script.display()));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What undoes something to a host, when dropped.
#[must_use = "what was done is undone when this is dropped"]
pub struct Undone<'a> {
    words: [&'a str; 2],
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        script(&self.words);
    }
}

impl FarHost {
    /// All that the test bed has.
    pub fn all() -> Vec<Self> {
        let listed = script(&["list"]);
        let told = |name: &str, what: &str| {
            let line = listed.lines().find(|line| line.starts_with(&format!("host={name} ")));
            let word = line.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix(what)));
            word.unwrap_or_else(|| panic!("the test bed names no {what} of host {name}: {listed}")).parse().unwrap()
        };
        let host = |(name, docker): (String, String)| {
            let (gateway, address) = (told(&name, "gateway="), told(&name, "ip="));
            Self { name, docker, gateway, address }
        };
        env::hosts().into_iter().map(host).collect()
    }

    /// A program in this host's network: what it starts has the same process id.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(env::hosts_script());
        command.args(["exec", &self.name]).arg(program);
        command
    }

    /// Starts an agent in this host's network, which dials the cluster over the switch; it is online when this returns.
    pub async fn online(&self, cluster: &Cluster, api: &Api, name: &str) -> Agent {
        Agent::online_within(cluster, self.clone(), api, name).await
    }

    /// Pulls the network cable.
    pub fn cut(&self) -> Undone<'_> {
        script(&["cut", &self.name]);
        Undone { words: ["heal", &self.name] }
    }

    /// kill -9 of its Docker; its containers run on.
    pub fn crash(&self) -> Undone<'_> {
        script(&["crash", &self.name]);
        Undone { words: ["start", &self.name] }
    }

    /// Ends its Docker, politely; its agent goes on.
    pub fn stop(&self) -> Undone<'_> {
        script(&["stop", &self.name]);
        Undone { words: ["start", &self.name] }
    }
}
