//! kill -9 at every step of a move, of either agent and of the coordinator: the container is on the one host or on the other,
//! once, with all that is in its volumes, and runs.

use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{
    agent::Agent,
    client::{Api, Job},
    cluster::Cluster,
    env,
    hosts::FarHost,
    invariants::{self, Ledger},
    wait,
};
use serde_json::json;
use std::{collections::BTreeMap, os::unix::process::ExitStatusExt};

/// A container with a volume, and two hosts that it goes to and fro between.
pub struct Move {
    one: Agent,
    two: Agent,
    ledger: Ledger,
    api: Api,
    cluster: Cluster,
    container: String,
    content: BTreeMap<String, String>,
}

impl Move {
    /// On the first of the hosts, with something in its volume.
    pub async fn set() -> Self {
        let [net, _] = FarHost::all().try_into().expect("two further hosts");
        let cluster = Cluster::start_at(net.gateway).await;
        let (_, api) = cluster.user("ana").await;
        let one = cluster.host(&api, "one").await;
        let two = net.online(&cluster, &api, "two").await;
        let image = one.image("app", env::SLEEPER).await;
        let body = json!({"volumes": [{"volume": "data", "target": "/data"}]});
        let container = one.container("app", &image, body).await;
        let body = json!({"command": ["sh", "-c", "cd /data; chown 7:8 .; echo kept > a; ln -s a b; mkdir c"]});
        let job = api.post(&format!("/v1/containers/{container}/exec"), &body).await.accepted();
        api.succeeded(&job, 30).await;
        let mut scene = Self { one, two, ledger: Ledger::default(), api, cluster, container, content: BTreeMap::new() };
        scene.content = scene.tree().await;
        assert_eq!(scene.content.len(), 4, "{:?}", scene.content);
        for agent in [&scene.one, &scene.two] {
            scene.ledger.stranger(&agent.docker).await;
        }
        scene
    }

    async fn tree(&self) -> BTreeMap<String, String> {
        let agent = if self.is_at_first().await { &self.one } else { &self.two };
        agent.docker.tree(&docker_name(self.container.parse().unwrap()), "/data").await
    }

    /// Whether it is on the first host.
    async fn is_at_first(&self) -> bool {
        self.api.container(&self.container).await.host.as_deref() == Some(self.one.host.as_str())
    }

    /// Moves it to the other host; the agent that does it dies at the step and comes back.
    pub async fn agent_dies_at(&mut self, step: &str) {
        eprintln!("an agent dies at {step}");
        let here = self.is_at_first().await;
        // The old host stops and removes, the new one receives and starts.
        let source = ["agent.container.stop.", "agent.container.delete."].iter().any(|own| step.starts_with(own));
        let agent = if source == here { &mut self.one } else { &mut self.two };
        agent.kill();
        agent.launch(None, &[("FAILPOINTS", &format!("{step}=panic"))]);
        agent.is_online(30).await;
        let job = self.ask(here).await;
        let agent = if source == here { &mut self.one } else { &mut self.two };
        let status = agent.process().wait_ended(60).await;
        assert_eq!(status.signal(), Some(9), "{step}: {status}");
        agent.launch(None, &[]);
        self.is_whole(job, here, step).await;
    }

    /// Moves it to the other host; the coordinator dies after so long and comes back.
    pub async fn coordinator_dies_after(&mut self, pause: u128) {
        eprintln!("the coordinator dies after {pause} ms");
        let here = self.is_at_first().await;
        let job = self.ask(here).await;
        let begun = std::time::Instant::now();
        wait::until(10, "the moment", async || wait::check(begun.elapsed().as_millis() >= pause, ())).await;
        self.cluster.crash_and_restart().await;
        self.is_whole(job, here, &format!("after {pause} ms")).await;
    }

    async fn ask(&self, here: bool) -> Job {
        let to = if here { &self.two.host } else { &self.one.host };
        let body = json!({"host": to, "grace": 1});
        self.api.post(&format!("/v1/containers/{}/move", self.container), &body).await.accepted()
    }

    async fn is_whole(&mut self, job: Job, here: bool, step: &str) {
        self.ledger.see(&job);
        let ended = self.api.ended(&job.id, 120).await;
        self.ledger.see(&ended);
        let first = self.is_at_first().await;
        assert_eq!(first != here, ended.state == "succeeded", "{step}: {ended:?}");
        self.api.observed(&self.container, "running", 20).await;
        // What was left behind holds on to nothing.
        for (witness, cluster) in self.cluster.witnesses() {
            wait::until(30, "one volume is left in all", async || {
                let its = (witness.address == self.one.docker.address) == first;
                let volumes = witness.of_cluster(&cluster).await.volumes;
                wait::check(volumes.len() == usize::from(its), volumes)
            })
            .await;
        }
        invariants::hold(&self.cluster, &self.api, &mut self.ledger, 60).await;
        assert_eq!(self.tree().await, self.content, "{step}");
    }
}
