//! What has to hold after every fault, checked from outside: through the API, and on Docker itself. The names are
//! those of the list in ARCHITECTURE.md. I16 has a test of its own (`hosts`), and so has what an exec does (I8, `faults`): it
//! cannot be seen afterwards.

mod records;
pub mod secrecy;

use crate::{
    client::{Api, Container, Image, Job},
    cluster::Cluster,
    docker::Witness,
    wait,
};
use dockerforge_protocol::command::{docker_name, labels, network_name};
use std::collections::BTreeMap;

/// Each state and those that may follow it. A state that is looked at twice may have skipped some in between, so this
/// is the closure of single steps; `terminal → anything else` is never in it.
const FOLLOWS: &[(&str, &[&str])] = &[
    ("queued", &["assigned", "running", "unknown", "cancelling", "succeeded", "failed", "cancelled"]),
    ("assigned", &["queued", "running", "unknown", "cancelling", "succeeded", "failed", "cancelled"]),
    ("running", &["queued", "assigned", "unknown", "cancelling", "succeeded", "failed", "cancelled"]),
    ("unknown", &["queued", "assigned", "running", "cancelling", "succeeded", "failed", "cancelled"]),
    ("cancelling", &["succeeded", "failed", "cancelled"]),
    ("succeeded", &[]),
    ("failed", &[]),
    ("cancelled", &[]),
];

/// What was acknowledged and seen during a run.
#[derive(Default)]
pub struct Ledger {
    jobs: BTreeMap<String, Job>,
    strangers: Vec<(Witness, String)>,
}

impl Ledger {
    /// Notes a job as it was answered, and checks that it may have become so (I2, I10).
    ///
    /// # Panics
    /// If it may not.
    pub fn see(&mut self, job: &Job) {
        if let Some(before) = self.jobs.get(&job.id) {
            let allowed = FOLLOWS.iter().find(|(state, _)| *state == before.state).map_or(&[][..], |(_, next)| *next);
            assert!(
                job.state == before.state || allowed.contains(&job.state.as_str()),
                "I2, I10: {} became {} after {}",
                job.id,
                job.state,
                before.state
            );
            assert!(
                !before.is_terminal()
                    || (&before.result, &before.ended_at, before.error_kind())
                        == (&job.result, &job.ended_at, job.error_kind()),
                "I3: what came of {} changed: {before:?}, {job:?}",
                job.id
            );
            // An attempt that its agent refused (it is busy, its Docker does not answer yet) does not count.
            let refused = before.state == "assigned" && job.attempt + 1 == before.attempt;
            assert!(
                job.attempt >= before.attempt || refused,
                "I9: the attempt of {} went back: {before:?}, {job:?}",
                job.id
            );
        }
        self.jobs.insert(job.id.clone(), job.clone());
    }

    /// Looks at every job that was acknowledged.
    pub async fn look(&mut self, api: &Api) {
        for id in self.jobs.keys().cloned().collect::<Vec<_>>() {
            let answer = api.get(&format!("/v1/queue/{id}")).await;
            assert!(answer.status == 200 || answer.status == 303, "I1: an acknowledged job vanished: {answer}");
            self.see(&answer.body());
        }
    }

    /// Starts a container that is none of ours, which has to be there untouched at the end (I7).
    pub async fn stranger(&mut self, witness: &Witness) {
        let name = format!("stranger-{}", uuid::Uuid::new_v4().simple());
        witness.run_stranger(&name, &["sleep", "3600"]).await;
        self.strangers.push((witness.clone(), name));
    }

    /// Waits until every acknowledged job has ended (I4).
    pub async fn all_end(&mut self, api: &Api, seconds: u64) {
        wait::until(seconds, "I4: every acknowledged job ends", async || {
            self.look(api).await;
            let open: Vec<_> = self.jobs.values().filter(|job| !job.is_terminal()).collect();
            wait::check(open.is_empty(), open)
        })
        .await;
    }

    /// Every acknowledged job as it was seen last.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        for (witness, name) in self.strangers.drain(..) {
            crate::docker::block_on(async move { witness.remove(&name).await });
        }
    }
}

/// Waits until all is quiet and checks that what the API says and what Docker has are the same.
///
/// # Panics
/// Naming the invariant that does not hold.
pub async fn hold(cluster: &Cluster, api: &Api, ledger: &mut Ledger, seconds: u64) {
    ledger.all_end(api, seconds).await;
    strangers_untouched(ledger).await;
    containers_agree(cluster, api, seconds).await;
    images_agree(cluster, api, seconds).await;
    for (witness, cluster_id) in cluster.witnesses() {
        users_apart(&witness, &cluster_id).await;
    }
    standing(cluster).await;
}

/// What has to hold at any time, whatever is under way: the records agree with each other, no secret is outside its place,
/// and nobody has more than his quota.
///
/// # Panics
/// Naming the invariant that does not hold.
pub async fn standing(cluster: &Cluster) {
    records::hold(cluster).await;
    secrecy::hold(cluster).await;
    quotas_held(cluster).await;
}

/// I19: nobody has more than he may. (A limit that was lowered below what is used takes nothing away: a test that does so
/// does not ask this.)
async fn quotas_held(cluster: &Cluster) {
    for user in cluster.users().await {
        let shown = cluster.admin().get(&format!("/v1/users/{user}")).await.json;
        for (what, limit) in shown["quota"].as_object().into_iter().flatten() {
            let used = shown["usage"][what].as_f64().unwrap_or_default();
            assert!(limit.as_f64().is_none_or(|limit| used <= limit), "I19: {used} {what} of {limit} for {user}");
        }
    }
}

/// I14: a container is in its own user's network, or in its host's if it was given that, and has its own user's volumes.
async fn users_apart(witness: &Witness, cluster: &str) {
    for container in witness.containers(labels::CLUSTER, cluster).await {
        let user = container.labels.unwrap_or_default().get(labels::USER).cloned().unwrap_or_default();
        let own = user.parse().map(network_name).unwrap_or_default();
        let mode = container.host_config.and_then(|config| config.network_mode).unwrap_or_default();
        let networks = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        assert!(
            networks.keys().all(|name| *name == own || (name == "host" && mode == "host")),
            "I14: {networks:?} of a container of {user}"
        );
        let volumes = container.mounts.unwrap_or_default().into_iter().filter_map(|mount| mount.name);
        for volume in volumes.filter(|name| name.starts_with("df-")) {
            assert!(volume.starts_with(&own), "I14: {volume} in a container of {user}");
        }
    }
}

/// I7: what is not ours runs on as it was started.
///
/// # Panics
/// If it does not.
pub async fn strangers_untouched(ledger: &Ledger) {
    for (witness, name) in &ledger.strangers {
        let running = witness.inspect(name).await.and_then(|c| c.state).and_then(|state| state.running);
        assert_eq!(running, Some(true), "I7: {name}, which is not ours, was touched");
    }
}

/// I5, I6, I13: each container that is meant to be there is there once, on all hosts together, in the state that is shown;
/// nothing else of ours is there.
async fn containers_agree(cluster: &Cluster, api: &Api, seconds: u64) {
    wait::until(
        seconds,
        "I5, I6, I13: Docker has exactly the containers that the API shows, as it shows them",
        async || {
            let shown: Vec<Container> = api.all("/v1/containers").await;
            let shown: BTreeMap<String, String> =
                shown.into_iter().filter(|c| c.desired_state != "removed").map(|c| (c.id, c.observed.state)).collect();
            let mut found = BTreeMap::new();
            let mut there = Vec::new();
            for (witness, id) in cluster.witnesses() {
                there.extend(witness.containers(labels::CLUSTER, &id).await);
            }
            for container in there {
                let labelled = container.labels.unwrap_or_default();
                let id = labelled.get(labels::CONTAINER).cloned().unwrap_or_default();
                let expected = id.parse().map(docker_name).unwrap_or_default();
                let names = container.names.unwrap_or_default();
                assert!(names.contains(&format!("/{expected}")), "I5: {names:?} stands for {id}");
                let state = container.state.map(|state| state.to_string()).unwrap_or_default();
                assert!(found.insert(id.clone(), state).is_none(), "I5: two containers for {id}");
            }
            wait::check(found == shown, (found, shown))
        },
    )
    .await;
}

/// Each image that is ready has its tag on as many hosts as it is shown on; no tag of ours or of an unfinished build is there
/// beside.
async fn images_agree(cluster: &Cluster, api: &Api, seconds: u64) {
    wait::until(seconds, "I13: Docker has exactly the images that the API shows as ready", async || {
        let shown: Vec<Image> = api.all("/v1/images").await;
        let witnesses = cluster.witnesses();
        // Several hosts may work on one Docker Engine, and of others' hosts one is shown nothing.
        let most = witnesses.len();
        let hosts = |image: &Image| image.hosts.iter().filter(|on| on.state == "present").count().min(most).max(1);
        let ready: BTreeMap<String, usize> = shown
            .iter()
            .filter(|image| image.state == "ready" && image.source["kind"] != "reference")
            .map(|image| (format!("dockerforge.invalid/{}:latest", image.id), hosts(image)))
            .collect();
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for (witness, id) in &witnesses {
            for tag in witness.of_cluster(id).await.images {
                *found.entry(tag).or_default() += 1;
            }
        }
        wait::check(found == ready, (found, ready))
    })
    .await;
}
