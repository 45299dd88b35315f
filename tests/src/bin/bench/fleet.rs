//! Many agents in this process: the agent's own code, over real mutual TLS, with a simulated Docker.

use dockerforge_agent::{
    Agent,
    config::{Config, CoordinatorUrl},
    docker::fake::FakeEngine,
};
use dockerforge_protocol::enrolment::JoinToken;
use dockerforge_tests::{
    client::{Api, Host, Join},
    cluster::Cluster,
    wait,
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Agents that run until this is dropped.
pub struct Fleet {
    /// The ids of their hosts.
    pub hosts: Vec<String>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Fleet {
    /// Registers this many hosts and runs their agents; all are online when this returns.
    pub async fn start(cluster: &Cluster, api: &Api, count: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("dockerforge-fleet-").tempdir().unwrap();
        let coordinator: CoordinatorUrl = format!("https://{}", cluster.agent_port()).parse().unwrap();
        let (stop, mut tasks, mut hosts) = (CancellationToken::new(), JoinSet::new(), Vec::new());
        for i in 0..count {
            let (host, join): (Host, Join) = api.create_host(&format!("h{i}")).await;
            let token: JoinToken = join.token.parse().unwrap();
            let mut config = Config::new(coordinator.clone(), folder.path().join(&host.id));
            config.token = Some(token);
            let agent = Agent { config, engine: Arc::new(FakeEngine::new(Duration::ZERO)) };
            let cancel = stop.clone();
            tasks.spawn(async move {
                if let Err(error) = agent.run(cancel).await {
                    eprintln!("a simulated agent ended: {}", dockerforge_agent::report(&error));
                }
            });
            hosts.push(host.id);
        }
        wait::until(120, "the whole fleet is online", async || {
            let online = api.all::<Host>("/v1/hosts?state=online").await.len();
            wait::check(online == count, format!("{online} of {count}"))
        })
        .await;
        Self { hosts, stop, tasks, _folder: folder }
    }

    /// Stops the agents and waits for their end.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
