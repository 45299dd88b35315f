//! What `access_coverage` asks about: an owner with one of each thing on a real host, everybody else who may ask, and how
//! each operation is asked so that one row of its table does not disturb another.

use dockerforge_tests::{
    agent::Agent,
    client::{Answer, Api, Job, Token},
    cluster::Cluster,
    env,
    invariants::Ledger,
    recipes, wait,
};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// Nobody: no credentials.
    None,
    /// Somebody with a key that is none.
    Wrong,
    /// A token of the owner whose time is over.
    Expired,
    /// A token of the owner that was revoked.
    Revoked,
    /// A user who was suspended, with his own key.
    Suspended,
    /// A token of the owner that may only read.
    Reader,
    /// The owner.
    Owner,
    /// Another user.
    Other,
    /// The administrator, on his own behalf.
    Admin,
    /// The administrator, acting for the owner.
    Acting,
}

impl Principal {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::Wrong,
        Self::Expired,
        Self::Revoked,
        Self::Suspended,
        Self::Reader,
        Self::Owner,
        Self::Other,
        Self::Admin,
        Self::Acting,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Wrong => "wrong",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
            Self::Reader => "reader",
            Self::Owner => "owner",
            Self::Other => "other",
            Self::Admin => "admin",
            Self::Acting => "acting",
        }
    }

    /// Whether nothing of the owner's is his to see.
    pub const fn is_a_stranger(self) -> bool {
        matches!(self, Self::None | Self::Wrong | Self::Suspended | Self::Other)
    }
}

/// One request of the walk.
pub struct Asked<'a> {
    /// The operation's id in the document.
    pub operation: &'a str,
    /// Its method.
    pub method: &'a str,
    /// Its path, with the names of its parameters.
    pub path: &'a str,
    /// `/v1`, or nothing.
    pub mount: &'a str,
}

/// The ids of what an operation is done to.
#[derive(Debug, Clone)]
pub struct Things {
    user: String,
    token: String,
    host: String,
    template: String,
    configuration: String,
    image: String,
    container: String,
    job: String,
    webhook: String,
}

impl Things {
    /// Ids that never were.
    pub fn unknown() -> Self {
        let id = |prefix: &str| format!("{prefix}_0192f0c1a2b37c4d8e5f60718293a4b5");
        Self {
            user: id("usr"),
            token: id("tok"),
            host: id("hst"),
            template: id("tpl"),
            configuration: id("cfg"),
            image: id("img"),
            container: id("ctr"),
            job: id("job"),
            webhook: id("whk"),
        }
    }

    fn ids(&self) -> [&str; 9] {
        let Self { user, token, host, template, configuration, image, container, job, webhook } = self;
        [user, token, host, template, configuration, image, container, job, webhook]
    }

    /// The path with its ids.
    fn path(&self, ask: &Asked<'_>) -> String {
        let id = match ask.path.split('/').nth(1).unwrap_or_default() {
            "users" => &self.user,
            "hosts" => &self.host,
            "templates" => &self.template,
            "configurations" => &self.configuration,
            "images" => &self.image,
            "containers" => &self.container,
            "webhooks" => &self.webhook,
            _ => &self.job,
        };
        format!("{}{}", ask.mount, ask.path.replace("{id}", id).replace("{token}", &self.token))
    }
}

/// In every name of the owner's: nobody else's answer has it.
const MARK: &str = "anas-own";

/// The owner's things and everybody's keys.
pub struct World {
    /// What stays.
    pub hers: Things,
    address: SocketAddr,
    keys: Vec<(Principal, Api)>,
    /// All that the owner ever had.
    known: Vec<String>,
    jobs: Vec<Job>,
    /// A host without an agent: what is asked of it waits.
    waiting: String,
    /// An image of her configuration: a container of that can be converged.
    configured: String,
    agent: Agent,
}

static NUMBER: AtomicU16 = AtomicU16::new(1);

fn number() -> u16 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn name() -> String {
    format!("{MARK}-{}", number())
}

/// A template of hers, with its archive.
async fn template(owner: &Api) -> String {
    let mut body = recipes::page();
    body["name"] = json!(name());
    let id = recipes::template(owner, &body).await;
    recipes::put_archive(owner, &id, recipes::page_archive()).await;
    id
}

/// A template of hers and a configuration of that.
async fn configuration(owner: &Api) -> (String, String) {
    let template = template(owner).await;
    let configuration = recipes::configuration(owner, &name(), &template, json!({"title": "a page"})).await;
    (template, configuration)
}

fn body_of(ask: &Asked<'_>, things: &Things, waiting: &str) -> Option<Value> {
    Some(match ask.operation {
        "user_create" | "token_create" | "host_create" => json!({"name": format!("made-{}", number())}),
        "user_update" | "host_update" | "container_update" | "webhook_update" | "configuration_update" => json!({}),
        "template_create" | "template_replace" => {
            let mut template = recipes::page();
            template["name"] = json!(format!("made-{}", number()));
            template
        }
        "configuration_create" => {
            let name = format!("made-{}", number());
            json!({"name": name, "template": things.template, "parameters": {"title": "a page"}})
        }
        "image_create" => json!({"name": name(), "host": waiting, "reference": "busybox:1"}),
        "container_create" => json!({"name": name(), "image": things.image, "host": things.host}),
        "container_move" => json!({"host": waiting}),
        "container_exec" => json!({"command": ["true"]}),
        "webhook_create" => json!({"url": "https://panel.example/"}),
        _ => return None,
    })
}

impl World {
    /// One of each thing.
    pub async fn new(cluster: &Cluster) -> Self {
        let admin = cluster.admin();
        let (ana, owner) = cluster.user("ana").await;
        let (_, other) = cluster.user("eva").await;
        let (suspended, his) = cluster.user("sam").await;
        for user in [&ana.user.id, &suspended.user.id] {
            let quota = json!({"containers": 1000, "running_containers": 1000, "images": 1000, "hosts": 1000, "queued_jobs": 1000});
            admin.patch(&format!("/v1/users/{user}"), &json!({"quota": quota})).await.expect(200);
        }
        let job = admin.patch(&format!("/v1/users/{}", suspended.user.id), &json!({"suspended": true})).await;
        if job.status == 202 {
            admin.ended(&job.accepted().id, 30).await;
        }

        let agent = cluster.host(&owner, &name()).await;
        let (waiting, _) = owner.create_host(&name()).await;
        let image = agent.image(&name(), env::SLEEPER).await;
        let container = agent.container(&name(), &image, json!({"resources": {"cpus": 0.1}})).await;
        owner.observed(&container, "running", 20).await;
        let (template, configuration) = configuration(&owner).await;
        let body = json!({"name": name(), "host": agent.host, "configuration": configuration});
        let job = owner.post("/v1/images", &body).await.accepted();
        let configured = owner.succeeded(&job, 120).await;
        let mut world = Self {
            hers: Things {
                user: ana.user.id.clone(),
                token: String::new(),
                host: agent.host.clone(),
                template,
                configuration,
                image,
                container,
                job: String::new(),
                webhook: String::new(),
            },
            address: cluster.api(),
            keys: Vec::new(),
            known: Vec::new(),
            jobs: Vec::new(),
            waiting: waiting.id,
            configured,
            agent,
        };
        world.keys = vec![
            (Principal::None, cluster.anonymous()),
            (Principal::Wrong, cluster.anonymous().bearer(&format!("dft_{}", "x".repeat(43)))),
            (Principal::Suspended, his),
            (Principal::Owner, owner),
            (Principal::Other, other),
            (Principal::Admin, admin.clone()),
            (Principal::Acting, admin.acting_for(&ana.user.id)),
        ];
        let (_, reader) = world.token(json!({"scopes": ["read"]})).await;
        let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(2);
        let (_, expired) = world.token(json!({"expires_at": soon.to_string()})).await;
        let (id, revoked) = world.token(json!({})).await;
        world.owner().delete(&format!("/v1/users/{}/tokens/{id}", ana.user.id)).await.expect(204);
        wait::until(10, "a token expires", async || {
            let answer = expired.get("/v1/hosts").await;
            wait::check(answer.status == 401, answer)
        })
        .await;
        world.keys.extend([(Principal::Reader, reader), (Principal::Expired, expired), (Principal::Revoked, revoked)]);
        world.hers.token = world.token(json!({})).await.0;
        world.hers.job = world.pull().await.id;
        world.hers.webhook = world.webhook().await;
        world.note(world.hers.clone());
        world
    }

    fn api(&self, principal: Principal) -> &Api {
        &self.keys.iter().find(|(who, _)| *who == principal).expect("every principal has a client").1
    }

    /// The API as the owner sees it.
    pub fn owner(&self) -> Api {
        self.api(Principal::Owner).clone()
    }

    fn note(&mut self, things: Things) {
        self.known.extend(things.ids().map(str::to_owned));
        self.known.extend([self.configured.clone(), self.waiting.clone()]);
    }

    async fn token(&self, mut body: Value) -> (String, Api) {
        body["name"] = json!(name());
        let path = format!("/v1/users/{}/tokens", self.hers.user);
        let token: Token = self.owner().post(&path, &body).await.expect(201).body();
        (token.id.clone(), self.owner().bearer(token.key.as_deref().expect("the key, once")))
    }

    /// A job that waits for its host.
    async fn pull(&self) -> Job {
        let body = json!({"name": name(), "host": self.waiting, "reference": "busybox:1"});
        self.owner().post("/v1/images", &body).await.accepted()
    }

    async fn webhook(&self) -> String {
        let body = json!({"url": "https://panel.example/", "kinds": ["user.created"]});
        let made = self.owner().post("/v1/webhooks", &body).await.expect(201);
        made.json["id"].as_str().expect("an id").to_owned()
    }

    /// What an operation may be done to and change: new where it takes something away.
    pub async fn fresh(&mut self, operation: &str) -> Things {
        let mut things = self.hers.clone();
        match operation {
            "user_delete" => {
                let made = self.api(Principal::Admin).create_user(&name()).await;
                things.user = made.user.id;
            }
            "token_delete" => things.token = self.token(json!({})).await.0,
            "host_delete" => things.host = self.owner().create_host(&name()).await.0.id,
            "host_token" => things.host.clone_from(&self.waiting),
            "template_delete" => things.template = template(&self.owner()).await,
            "configuration_delete" => things.configuration = configuration(&self.owner()).await.1,
            "image_delete" => things.image = self.agent.image(&name(), env::SLEEPER).await,
            "job_cancel" => things.job = self.pull().await.id,
            "webhook_delete" => things.webhook = self.webhook().await,
            "container_delete" | "container_update" | "container_start" | "container_stop" | "container_restart"
            | "container_exec" | "container_converge" => {
                let configured = operation == "container_converge";
                let image = if configured { &self.configured } else { &things.image };
                let job = self.owner().run(&things.host, &name(), image, json!({})).await;
                things.container = job.resource_id();
                self.jobs.push(job);
            }
            // What is still being made does not move.
            "container_move" => {
                let job = self.owner().run(&things.host, &name(), &things.image, json!({})).await;
                things.container = self.owner().succeeded(&job, 60).await;
                self.jobs.push(job);
            }
            _ => return things,
        }
        self.note(things.clone());
        things
    }

    /// Asks as somebody. Whoever shows a key that is none comes from an address of his own: after five failures he would
    /// be told to wait.
    pub async fn ask(&self, principal: Principal, ask: &Asked<'_>, things: &Things) -> Answer {
        let mut api = self.api(principal).clone();
        if matches!(principal, Principal::Wrong | Principal::Revoked) {
            let [high, low] = number().to_be_bytes();
            api = Api::anonymous_from(Some(IpAddr::from([127, 9, high, low])), self.address).with_key_of(&api);
        }
        let mut call = api.call(ask.method.parse().expect("a method"), &things.path(ask));
        if ask.operation == "template_archive" {
            call = call.body("application/gzip", recipes::page_archive());
        }
        if let Some(body) = body_of(ask, things, &self.waiting) {
            call = call.json(&body);
        }
        call.send().await
    }

    /// I14: an answer holds no id and no name of the owner's but those that were asked for.
    pub fn nothing_of_hers(&self, answer: &Answer, ask: &Asked<'_>, things: &Things) {
        let named = if matches!(ask.operation, "image_create" | "container_move") { self.waiting.as_str() } else { "" };
        let asked = format!("{}{:?}{named}", things.path(ask), things.ids());
        let theirs = self.known.iter().map(String::as_str).filter(|id| !asked.contains(id)).chain([MARK]);
        for id in theirs {
            let headers = format!("{:?}", answer.headers);
            assert!(!answer.text.contains(id) && !headers.contains(id), "I14: {id} is in {answer}");
        }
    }

    /// What was asked by those who may not has changed nothing.
    pub async fn all_of_hers_is_as_it_was(&self) {
        let owner = self.owner();
        assert_eq!(owner.container(&self.hers.container).await.observed.state, "running");
        assert_eq!(owner.host(&self.hers.host).await.state, "online");
        assert_eq!(owner.image(&self.hers.image).await.state, "ready");
        assert_eq!(owner.job(&self.hers.job).await.state, "queued");
        for path in [
            format!("/v1/webhooks/{}", self.hers.webhook),
            format!("/v1/templates/{}", self.hers.template),
            format!("/v1/configurations/{}", self.hers.configuration),
        ] {
            owner.get(&path).await.expect(200);
        }
        assert_eq!(self.agent.docker.of_container(&self.hers.container).await.len(), 1);
    }

    /// Forgets the host that never comes, and notes all the others' jobs.
    pub async fn forget_what_never_ends(&self, ledger: &mut Ledger) {
        let job = self.owner().delete(&format!("/v1/hosts/{}?force=true", self.waiting)).await.accepted();
        self.owner().ended(&job.id, 60).await;
        for job in &self.jobs {
            ledger.see(job);
        }
    }
}
