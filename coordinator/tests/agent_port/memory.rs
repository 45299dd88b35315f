//! What an idle connection costs the coordinator. Run by hand, in a release build, for the figure means nothing in
//! another: `cargo test --release -p dockerforge-coordinator --test agent_port -- --ignored --nocapture costs`.
//! The agents live in a process of their own, so that only the coordinator's side is counted.

use crate::support::*;
use dockerforge_coordinator::hub::HubConfig;
use dockerforge_coordinator::hub::listener::Limits;
use dockerforge_coordinator::tasks::Tasks;
use dockerforge_protocol::enrolment::{ALPN_SESSION, SESSION_PATH, server_name};
use dockerforge_protocol::ids::HostId;
use dockerforge_protocol::message::FromAgent;
use futures_util::StreamExt;
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How many agents; each takes a file descriptor on either side.
const AGENTS: usize = 3000;
/// Where the agents' process finds what it needs.
const FOLDER: &str = "AGENT_PORT_MEMORY_FOLDER";
/// What it says when all are welcomed.
const CONNECTED: &str = "all agents are connected";

fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a rule"]
async fn an_idle_connection_costs_this_much() {
    let mut port = port_with(HubConfig::default(), Limits::default()).await;
    // The first connection pays for what all share.
    drop(Agent::join(&mut port, HostId::new(), 1).await);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let hosts: Vec<HostId> = (0..AGENTS).map(|_| HostId::new()).collect();
    for host in &hosts {
        let issued = port.authority.issue_agent(&csr, *host, Timestamp::now()).unwrap();
        write(&host.to_string(), &issued.certificate_pem);
    }
    write("key", &key.serialize_pem());
    write("ca", port.authority.ca_pem());
    write("where", &format!("{} {}", port.addr, port.cluster));

    let before = resident_kib();
    let since = Instant::now();
    let mut agents = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::the_agents_of_the_measurement", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut taken = Vec::new();
    for _ in 0..AGENTS {
        taken.push(port.welcome(1).await);
    }
    let mut lines = BufReader::new(agents.stdout.take().unwrap()).lines();
    let find = move || (lines.any(|line| line.is_ok_and(|line| line.contains(CONNECTED))), lines);
    let (found, _open_to_the_end) = tokio::task::spawn_blocking(find).await.unwrap();
    assert!(found);
    let connected = since.elapsed();
    // Two rounds of pings, so that every buffer was used.
    tokio::time::sleep(Duration::from_secs(22)).await;
    assert_eq!(port.hub.len(), AGENTS);
    let each = (resident_kib() - before) / AGENTS as f64;
    println!("{AGENTS} simulated agents: {each:.1} KiB an idle connection; all connected in {connected:?}");
    agents.stdin.take().unwrap().write_all(b"end\n").unwrap();
    assert!(agents.wait().unwrap().success());
    port.tasks.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other half of the measurement, started by it"]
async fn the_agents_of_the_measurement() {
    let Ok(folder) = std::env::var(FOLDER).map(PathBuf::from) else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let place = read("where");
    let (addr, cluster) = place.split_once(' ').unwrap();
    let (addr, cluster) = (addr.parse().unwrap(), cluster.parse().unwrap());
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let hosts: Vec<HostId> = names.filter_map(|name| name.parse().ok()).collect();
    let (ca, key) = (read("ca"), read("key"));
    let (tasks, at_once) = (Tasks::new(), Arc::new(Semaphore::new(100)));
    let mut welcomed = Vec::new();
    for host in hosts {
        let chain = vec![CertificateDer::from_pem_slice(read(&host.to_string()).as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = client_tls_of(&ca, Some((chain, key)), &[ALPN_SESSION]);
        let permit = Arc::clone(&at_once).acquire_owned().await.unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        welcomed.push(receiver);
        tasks.spawn("agent", async move {
            let stream = dial_tls(addr, &server_name(cluster), config).await.unwrap();
            let url = format!("ws://coordinator{SESSION_PATH}");
            let (ws, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
            let mut agent = Agent { host, ws, cluster };
            agent.say(&FromAgent::Hello(agent.hello())).await;
            agent.hear().await.unwrap();
            drop(permit);
            sender.send(()).unwrap();
            while agent.ws.next().await.is_some() {}
        });
    }
    for one in welcomed {
        one.await.unwrap();
    }
    println!("{CONNECTED}");
    let mut end = [0; 4];
    tokio::task::spawn_blocking(move || std::io::stdin().read_exact(&mut end)).await.unwrap().unwrap();
}
