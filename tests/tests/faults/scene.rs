//! What a fault run works on: a coordinator, a host, an image, and a ledger of all that was acknowledged.

use super::pulled::Pulled;
use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{
    agent::Agent,
    backend::Backend,
    client::{Answer, Api, Job, NewUser},
    cluster::Cluster,
    env,
    invariants::{self, Ledger},
    wait,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `dockerforge serve`.
    Coordinator,
    /// `dockerforge-agent`.
    Agent,
}

/// During what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// `POST /containers`.
    CreateContainer,
    /// `POST /images` with a Dockerfile.
    BuildImage,
    /// `POST /images` with a reference.
    PullImage,
    /// `DELETE /containers/{id}`.
    DeleteContainer,
    /// `DELETE /images/{id}`.
    DeleteImage,
    /// `POST /containers/{id}/stop`.
    StopContainer,
    /// `POST /containers/{id}/start`.
    StartContainer,
    /// `POST /containers/{id}/restart`.
    RestartContainer,
    /// `PATCH /containers/{id}` with another environment.
    RecreateContainer,
    /// `PATCH /containers/{id}` with other limits.
    LimitContainer,
}

impl Work {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::CreateContainer,
        Self::BuildImage,
        Self::PullImage,
        Self::DeleteContainer,
        Self::DeleteImage,
        Self::StopContainer,
        Self::StartContainer,
        Self::RestartContainer,
        Self::RecreateContainer,
        Self::LimitContainer,
    ];

    /// How the agent's steps of it begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::CreateContainer => "agent.container.create.",
            Self::BuildImage => "agent.image.build.",
            Self::PullImage => "agent.image.pull.",
            Self::DeleteContainer => "agent.container.delete.",
            Self::DeleteImage => "agent.image.delete.",
            Self::StopContainer => "agent.container.stop.",
            Self::StartContainer => "agent.container.start.",
            Self::RestartContainer => "agent.container.restart.",
            Self::RecreateContainer => "agent.container.recreate.",
            Self::LimitContainer => "agent.container.limit.",
        }
    }

    fn job_kind(self) -> &'static str {
        match self {
            Self::CreateContainer => "container.create",
            Self::BuildImage => "image.build",
            Self::PullImage => "image.pull",
            Self::DeleteContainer => "container.delete",
            Self::DeleteImage => "image.delete",
            Self::StopContainer => "container.stop",
            Self::StartContainer => "container.start",
            Self::RestartContainer => "container.restart",
            Self::RecreateContainer | Self::LimitContainer => "container.update",
        }
    }
}

/// One request, which is repeated until it is answered.
struct Request {
    method: Method,
    path: String,
    body: Option<Value>,
    key: String,
    /// What it deletes, if it does.
    target: Option<String>,
    /// What it pulls, if it does.
    pulled: Option<Pulled>,
}

/// See the module.
pub struct Scene {
    // Dropped in this order: nobody makes anything after the cluster has cleaned up.
    agent: Agent,
    ledger: Ledger,
    cluster: Cluster,
    user: NewUser,
    api: Api,
    image: String,
}

impl Scene {
    /// A coordinator on this database with one host that has one image; and a container beside, which is nobody's.
    pub async fn start(backend: Backend) -> Self {
        let cluster = Cluster::start_on(backend).await;
        let (user, api) = cluster.user("ana").await;
        let agent = cluster.host(&api, "vps").await;
        let image = agent.image("base", env::SLEEPER).await;
        let mut ledger = Ledger::default();
        ledger.stranger(&agent.docker).await;
        Self { agent, ledger, cluster, user, api, image }
    }

    /// One more host of the same user, with a Docker Engine of its own.
    pub async fn further_host(&self) -> Agent {
        let (_, docker) = env::hosts().into_iter().next().expect("the test bed has further hosts");
        Agent::online(&self.cluster, &self.api, "further", &docker).await
    }

    /// Everything holds, and both sides still end politely.
    pub async fn end(mut self) {
        self.hold().await;
        let status = self.agent.process().terminate(20).await;
        assert!(status.success(), "the agent ended with {status}");
        self.cluster.stop().await;
    }

    async fn hold(&mut self) {
        invariants::hold(&self.cluster, &self.api, &mut self.ledger, 60).await;
    }

    /// The side dies at the step, comes back, and the work is done as if nothing had been.
    pub async fn dies_once_at(&mut self, side: Side, work: Work, step: &str, number: usize) {
        eprintln!("{side:?} dies at {step} during {work:?}");
        let request = self.prepare(work, number).await;
        self.arm(side, step).await;
        let job = self.ask(&request, side, step).await;
        self.revive(side, &[]).await;
        self.done(work, &request, job).await;
    }

    /// The same, but it dies there again when it comes back.
    pub async fn dies_twice_at(&mut self, side: Side, work: Work, step: &str, number: usize) {
        eprintln!("{side:?} dies twice at {step} during {work:?}");
        let request = self.prepare(work, number).await;
        self.arm(side, step).await;
        let job = self.ask(&request, side, step).await;
        let points = format!("{step}=panic");
        self.revive(side, &[("FAILPOINTS", &points)]).await;
        // It may not pass there again: what was done is not done twice. A coordinator that may die at any moment is not
        // asked how the work stands.
        let begun = std::time::Instant::now();
        wait::until(30, "it dies again, or had the time to", async || {
            let passed = match &job {
                Some(job) if side == Side::Agent && !self.process_ended(side) => {
                    self.api.job(&job.id).await.is_terminal()
                }
                _ => begun.elapsed().as_secs() >= 5,
            };
            wait::check(passed || self.process_ended(side), ())
        })
        .await;
        if side == Side::Coordinator && !self.process_ended(side) {
            self.kill(side);
        }
        if self.process_ended(side) {
            self.revive(side, &[]).await;
        }
        self.done(work, &request, job).await;
        if !self.process_ended(side) {
            // The fault point is still armed: what comes next starts anew.
            self.kill(side);
            self.revive(side, &[]).await;
        }
    }

    /// Rounds of work during which either side is killed at moments that nobody chose.
    pub async fn killed_at_any_moment(&mut self, rounds: usize) {
        for round in 0..rounds {
            let work = [Work::CreateContainer, Work::BuildImage, Work::DeleteContainer][round % 3];
            let request = self.prepare(work, 200 + round).await;
            let side = if round % 2 == 0 { Side::Agent } else { Side::Coordinator };
            let job = self.send(&request).await.map(Answer::accepted).expect("both sides run");
            self.ledger.see(&job);
            let pause = u128::from(uuid::Uuid::new_v4().as_bytes()[0]) * 4;
            let begun = std::time::Instant::now();
            wait::until(5, "the moment", async || wait::check(begun.elapsed().as_millis() >= pause, ())).await;
            eprintln!("{side:?} is killed {pause} ms into {work:?}");
            self.kill(side);
            self.revive(side, &[]).await;
            self.done(work, &request, Some(job)).await;
        }
    }

    /// A program in a container runs once or not at all although the agent dies at this step of it; that it may have run is
    /// never called anything else.
    pub async fn runs_at_most_once_though_the_agent_dies_at(&mut self, step: &str) {
        eprintln!("the agent dies at {step}");
        let name = step.rsplit('.').next().unwrap();
        let id = self.agent.container(name, &self.image, json!({})).await;
        self.arm(Side::Agent, step).await;
        let body = json!({"command": ["sh", "-c", "echo ran >> /ran"]});
        let job = self.api.post(&format!("/v1/containers/{id}/exec"), &body).await.accepted();
        self.ledger.see(&job);
        self.died(Side::Agent, step).await;
        self.revive(Side::Agent, &[]).await;
        let ended = self.api.ended(&job.id, 60).await;
        self.ledger.see(&ended);
        let made = json!({"command": ["sh", "-c", "cat /ran || true"]});
        let look = self.api.post(&format!("/v1/containers/{id}/exec"), &made).await.accepted();
        self.api.succeeded(&look, 30).await;
        let ran = self.api.log(&look.id).await.text.matches("ran\n").count();
        match (ended.state.as_str(), ended.error_kind()) {
            ("succeeded", None) => assert_eq!(ran, 1, "{step}"),
            ("failed", Some("outcome-unknown")) => {
                assert!(ran <= 1 && matches!(name, "begun" | "ran"), "{step}: ran {ran} times, {ended:?}");
            }
            _ => panic!("{step}: {ended:?}"),
        }
        self.hold().await;
    }

    /// A container gets its image from another host first although the agent dies at this step of that.
    pub async fn image_comes_though_the_agent_dies_at(&mut self, source: &Agent, step: &str) {
        eprintln!("the agent dies at {step}");
        let name = step.rsplit('.').next().unwrap();
        let image = source.image(name, &format!("RUN echo {name} > /name\n{}", env::SLEEPER)).await;
        self.arm(Side::Agent, step).await;
        let job = self.api.run(&self.agent.host, name, &image, json!({})).await;
        self.ledger.see(&job);
        self.died(Side::Agent, step).await;
        self.revive(Side::Agent, &[]).await;
        self.api.succeeded(&job, 60).await;
        let left = std::fs::read_dir(self.agent.state().join("layers")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{step}: parts of the image are left");
        self.hold().await;
    }

    /// The user goes although the agent dies at this step of it.
    pub async fn user_goes_though_the_agent_dies_at(mut self, step: &str) {
        eprintln!("the agent dies at {step} during the deletion of its user");
        self.agent.container("c", &self.image, json!({"volumes": [{"volume": "v", "target": "/v"}]})).await;
        self.arm(Side::Agent, step).await;
        let admin = self.cluster.admin();
        let job = admin.delete(&format!("/v1/users/{}", self.user.user.id)).await.accepted();
        self.agent.process().wait_ended(60).await;
        self.agent.launch(None, &[]);
        let ended = admin.ended(&job.id, 60).await;
        assert_eq!(ended.state, "succeeded", "{ended:?}");
        self.cluster.nothing_left(10).await;
        invariants::strangers_untouched(&self.ledger).await;
        self.agent.process().wait_ended(30).await;
    }

    async fn prepare(&mut self, work: Work, number: usize) -> Request {
        let name = format!("{}-{number}", self.image.len());
        let host = self.agent.host.clone();
        let mut pulled = None;
        let (method, path, body, target) = match work {
            Work::CreateContainer => {
                let body = json!({"name": name, "host": host, "image": self.image,
                                  "volumes": [{"volume": "data", "target": "/data"}]});
                (Method::POST, "/v1/containers".to_owned(), Some(body), None)
            }
            Work::BuildImage => {
                let dockerfile = format!("FROM {}\nRUN echo {number}; sleep 1\n{}", env::BASE_IMAGE, env::SLEEPER);
                let body = json!({"name": name, "host": host, "dockerfile": dockerfile, "no_cache": true});
                (Method::POST, "/v1/images".to_owned(), Some(body), None)
            }
            Work::PullImage => {
                // A name that nobody else pulls: every second one is the owner's own.
                let tag = format!("t{}", uuid::Uuid::new_v4().simple());
                let published = Pulled::publish(&self.agent.docker, &tag, number % 2 == 1).await;
                let body = json!({"name": name, "host": host, "reference": published.reference});
                pulled = Some(published);
                (Method::POST, "/v1/images".to_owned(), Some(body), None)
            }
            Work::DeleteContainer => {
                let id = self.agent.container(&name, &self.image, json!({})).await;
                (Method::DELETE, format!("/v1/containers/{id}"), None, Some(id))
            }
            // What it runs counts its starts in its own files, which a start does not take away.
            Work::StopContainer | Work::StartContainer | Work::RestartContainer => {
                let counts = json!({"command": ["sh", "-c", "echo started >> /starts; exec sleep 3600"]});
                let id = self.agent.container(&name, &self.image, counts).await;
                if work == Work::StartContainer {
                    let job =
                        self.api.post(&format!("/v1/containers/{id}/stop"), &json!({"grace": 0})).await.accepted();
                    self.api.succeeded(&job, 30).await;
                }
                let verb = work.job_kind().trim_start_matches("container.");
                let body = if verb == "start" { json!({}) } else { json!({"grace": 0}) };
                (Method::POST, format!("/v1/containers/{id}/{verb}"), Some(body), None)
            }
            Work::RecreateContainer | Work::LimitContainer => {
                let volumes = json!({"volumes": [{"volume": "data", "target": "/data"}]});
                let id = self.agent.container(&name, &self.image, volumes).await;
                let body = match work {
                    Work::RecreateContainer => json!({"env": {"CHANGED": "yes"}}),
                    _ => json!({"resources": {"pids": 77}}),
                };
                (Method::PATCH, format!("/v1/containers/{id}"), Some(body), None)
            }
            Work::DeleteImage => {
                let id = self.agent.image(&name, env::SLEEPER).await;
                (Method::DELETE, format!("/v1/images/{id}"), None, Some(id))
            }
        };
        Request { method, path, body, key: uuid::Uuid::new_v4().to_string(), target, pulled }
    }

    async fn send(&self, request: &Request) -> reqwest::Result<Answer> {
        let mut call = self.api.call(request.method.clone(), &request.path);
        if let Some(body) = &request.body {
            call = call.json(body).header("idempotency-key", &request.key);
        }
        call.try_send().await
    }

    /// Starts the side anew with a fault point. It may reach it before anybody asks for anything.
    async fn arm(&mut self, side: Side, step: &str) {
        let points = format!("{step}=panic");
        self.kill(side);
        match side {
            Side::Coordinator => self.cluster.launch_only(&[("FAILPOINTS", &points)]),
            Side::Agent => {
                self.agent.launch(None, &[("FAILPOINTS", &points)]);
                self.agent.is_online(30).await;
            }
        }
    }

    /// Asks until it is answered; a coordinator that dies meanwhile is started again, and asked the same again. When this
    /// returns the side has died at the step.
    async fn ask(&mut self, request: &Request, side: Side, step: &str) -> Option<Job> {
        let mut died = false;
        let answer = wait::until(60, "an answer", async || {
            if side == Side::Coordinator && !died && self.process_ended(side) {
                self.died(side, step).await;
                died = true;
                self.cluster.launch_only(&[]);
            }
            self.send(request).await.map_err(|error| format!("{error:?}"))
        })
        .await;
        if !died {
            self.died(side, step).await;
        }
        // What was deleted before the coordinator died is not there to be deleted again.
        if answer.status == 404 && request.target.is_some() {
            return None;
        }
        let job = answer.accepted();
        self.ledger.see(&job);
        Some(job)
    }

    fn process_ended(&mut self, side: Side) -> bool {
        match side {
            Side::Coordinator => self.cluster.process().ended().is_some(),
            Side::Agent => self.agent.process().ended().is_some(),
        }
    }

    fn kill(&mut self, side: Side) {
        match side {
            Side::Coordinator => self.cluster.kill(),
            Side::Agent => self.agent.kill(),
        }
    }

    /// Waits until the side has died, of SIGKILL as its fault points kill: a step that is never reached shows nothing.
    async fn died(&mut self, side: Side, step: &str) {
        let process = match side {
            Side::Coordinator => self.cluster.process(),
            Side::Agent => self.agent.process(),
        };
        let status = process.wait_ended(30).await;
        assert_eq!(status.signal(), Some(9), "{side:?} at {step}: {status}");
    }

    async fn revive(&mut self, side: Side, variables: &[(&str, &str)]) {
        match side {
            Side::Coordinator if self.cluster.process().ended().is_some() => self.cluster.launch_only(variables),
            Side::Agent if self.agent.process().ended().is_some() => self.agent.launch(None, variables),
            _ => {}
        }
        if variables.is_empty() {
            self.cluster.serves(30).await;
            self.agent.is_online(60).await;
        }
    }

    /// The work is done, once, and all that has to hold holds.
    async fn done(&mut self, work: Work, request: &Request, job: Option<Job>) {
        self.cluster.serves(30).await;
        if let Some(job) = &job {
            let ended = self.api.ended(&job.id, 60).await;
            assert_eq!(ended.state, "succeeded", "{ended:?}");
            self.ledger.see(&ended);
            // Asked once more, the same key leads to the same job.
            if request.body.is_some() {
                let again = self.send(request).await.unwrap();
                assert_eq!(again.accepted().id, job.id, "I11");
            }
            let made = ended.resource_id();
            match work {
                Work::CreateContainer => assert_eq!(self.agent.docker.of_container(&made).await.len(), 1, "I5: {made}"),
                Work::BuildImage | Work::PullImage => {
                    let tag = format!("dockerforge.invalid/{made}:latest");
                    assert!(self.agent.docker.has_image(&tag).await, "{tag}");
                }
                Work::StopContainer => {
                    assert_eq!(self.api.observed(&made, "exited", 10).await.desired_state, "stopped");
                }
                Work::StartContainer | Work::RestartContainer => {
                    self.api.observed(&made, "running", 10).await;
                    let starts = self.agent.docker.file(&docker_name(made.parse().unwrap()), "/starts").await;
                    assert_eq!(starts, "started\nstarted\n", "{made} was not started exactly once more");
                }
                Work::RecreateContainer | Work::LimitContainer => {
                    assert_eq!(self.agent.docker.of_container(&made).await.len(), 1, "I5: {made}");
                    let real = self.agent.docker.inspect(&docker_name(made.parse().unwrap())).await.unwrap();
                    assert_eq!(real.state.and_then(|state| state.running), Some(true));
                    let shown = self.api.container(&made).await;
                    if work == Work::RecreateContainer {
                        assert!(real.config.unwrap().env.unwrap().contains(&"CHANGED=yes".to_owned()));
                        assert_eq!(shown.env["CHANGED"], "yes");
                    } else {
                        assert_eq!(real.host_config.unwrap().pids_limit, Some(77));
                        assert_eq!(shown.resources["pids"], 77);
                    }
                }
                Work::DeleteContainer | Work::DeleteImage => {}
            }
        }
        let open: Vec<Job> = self.api.all(&format!("/v1/queue?kind={}", work.job_kind())).await;
        for job in &open {
            self.api.ended(&job.id, 60).await;
        }
        if let Some(Pulled { docker, reference, owners }) = &request.pulled {
            assert_eq!(docker.has_image(reference).await, *owners, "I7: what {reference} named before, it names again");
            // A pulled image has no label by which the cluster would take it away at the end.
            let made = self.api.job(&job.as_ref().expect("a pull is answered").id).await.resource_id();
            let gone = self.api.delete(&format!("/v1/images/{made}")).await.accepted();
            self.api.succeeded(&gone, 30).await;
        }
        if let Some(target) = &request.target {
            self.api.get(&request.path).await.problem(404, "not-found");
            assert_eq!(self.agent.docker.of_container(target).await.len(), 0, "{target} was deleted");
            assert!(!self.agent.docker.has_image(&format!("dockerforge.invalid/{target}:latest")).await);
        }
        self.hold().await;
    }
}
