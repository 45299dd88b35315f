//! kill -9 of the coordinator between the start of a container that was made anew while it was stopped and its converge: it is
//! converged all the same, by one job.

use dockerforge_tests::{
    agent::Agent,
    backend::Backend,
    client::{Api, Job},
    cluster::Cluster,
    invariants::{self, Ledger},
    recipes::{configuration, page_template},
    wait,
};
use serde_json::json;
use std::{collections::BTreeSet, os::unix::process::ExitStatusExt};

/// How the steps begin that only a container that is due passes.
pub const STEPS: &str = "coordinator.due.";

/// A container of a configuration.
pub struct Due {
    _agent: Agent,
    api: Api,
    cluster: Cluster,
    ledger: Ledger,
    container: String,
    rounds: usize,
}

impl Due {
    /// It runs, and is converged.
    pub async fn set(backend: Backend) -> Self {
        let cluster = Cluster::start_on(backend).await;
        let (_, api) = cluster.user("ana").await;
        let agent = cluster.host(&api, "vps").await;
        let id = configuration(&api, "blog", &page_template(&api).await, json!({"title": "one"})).await;
        let body = json!({"name": "blog", "host": agent.host, "configuration": id});
        let job = api.post("/v1/images", &body).await.accepted();
        let image = api.succeeded(&job, 120).await;
        let container = agent.container("blog", &image, json!({})).await;
        // What the image has is less than what a converge would add.
        let patch = json!({"run_list": ["extra"]});
        api.patch(&format!("/v1/configurations/{id}"), &patch).await.expect(200);
        Self { _agent: agent, api, cluster, ledger: Ledger::default(), container, rounds: 0 }
    }

    /// It is made anew while it is stopped; the coordinator dies at the step once it is started, and comes back.
    pub async fn coordinator_dies_at(&mut self, step: &str) {
        eprintln!("the coordinator dies at {step}");
        self.rounds += 1;
        let path = format!("/v1/containers/{}", self.container);
        let job = self.api.post(&format!("{path}/stop"), &json!({"grace": 1})).await.accepted();
        self.api.succeeded(&job, 30).await;
        let change = json!({"env": {"ROUND": self.rounds.to_string()}});
        let job = self.api.patch(&path, &change).await.accepted();
        self.api.succeeded(&job, 60).await;
        assert_eq!(self.api.container(&self.container).await.rest["convergence"]["state"], "due");
        let before = self.converges().await;

        self.cluster.kill();
        self.cluster.launch(&[("FAILPOINTS", &format!("{step}=panic"))]).await;
        let start = self.api.post(&format!("{path}/start"), &json!({})).await.accepted();
        self.ledger.see(&start);
        let status = self.cluster.process().wait_ended(60).await;
        assert_eq!(status.signal(), Some(9), "{step}: {status}");
        self.cluster.launch(&[]).await;
        wait::until(90, "it is converged", async || {
            let shown = self.api.container(&self.container).await.rest["convergence"].clone();
            wait::check(shown["state"] == "converged", shown)
        })
        .await;
        let look = json!({"command": ["cat", "/www/extra.html"]});
        let look = self.api.post(&format!("{path}/exec"), &look).await.accepted();
        self.api.succeeded(&look, 30).await;
        assert_eq!(self.api.log(&look.id).await.text.trim(), "extra", "{step}");
        let after = self.converges().await;
        assert_eq!(after.difference(&before).count(), 1, "{step}: {before:?}, {after:?}");
    }

    async fn converges(&self) -> BTreeSet<String> {
        let jobs: Vec<Job> = self.api.all("/v1/queue?kind=container.converge").await;
        jobs.into_iter().map(|job| job.id).collect()
    }

    /// All holds that has to.
    pub async fn end(mut self) {
        invariants::hold(&self.cluster, &self.api, &mut self.ledger, 60).await;
    }
}
