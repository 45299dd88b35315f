//! `dockerforge container`: containers on hosts.

use super::{
    args,
    converge::{self, Converge},
    error::CliError,
    host_access::HostOptions,
    link::{self, LinkOption},
    list::{self, ListOptions, age, named, number, text},
    live,
    moves::{self, Move},
    resolve::{self, Kind},
    secrets::Secrets,
    session::Session,
    table::{Cell, Table},
};
use dockerforge_protocol::spec::{
    Bytes, EnvName, LabelKey, LabelValue, PidsLimit, PortMapping, ResourceName, RestartPolicy, VolumeMount,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The commands on containers.
#[derive(Debug, clap::Subcommand)]
pub enum ContainerCommand {
    /// Create and start a container
    Create(Box<Create>),
    /// List containers
    Ls {
        /// Only those on this host, by name or id
        #[arg(long)]
        host: Option<String>,
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
    /// Show all of a container
    Show {
        /// Name or id
        container: String,
    },
    /// Start a container
    Start {
        /// Name or id
        container: String,
        /// Follow the job until it is over
        #[arg(long)]
        wait: bool,
    },
    /// Stop a container; it stays, and is not started again until somebody asks
    Stop(Stop),
    /// Stop a container and start it
    Restart(Stop),
    /// Run a program in a container; what it writes is the job's log
    Exec(Exec),
    /// Change what a container is; what is not named stays
    Update(Box<Update>),
    /// Bring a container that runs to what its configuration says, without making it anew
    Converge(Converge),
    /// Bring a container to another host, with what is in its volumes; one of a configuration is converged there
    Move(Move),
    /// Show what a container wrote
    Logs(live::Logs),
    /// Show what a container uses
    Stats {
        /// Name or id
        container: String,
        /// Go on, once a second, until the container ends
        #[arg(long, short)]
        follow: bool,
    },
    /// Open a terminal in a container; the program's exit code becomes ours
    Terminal(live::Terminal),
    /// Stop and remove a container
    Rm {
        /// Name or id
        container: String,
        /// Remove its volumes too, those that no other container uses
        #[arg(long)]
        volumes: bool,
        /// Follow the job until it is over
        #[arg(long)]
        wait: bool,
    },
}

/// How a container is stopped.
#[derive(Debug, clap::Args)]
pub struct Stop {
    /// Name or id
    container: String,
    /// Seconds it may take to end by itself before it is killed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=300))]
    grace: Option<u32>,
    /// Follow the job until it is over
    #[arg(long)]
    wait: bool,
}

/// A program to run in a container.
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Name or id
    container: String,
    /// Type into it: with -t, as is always so there
    #[arg(long, short, requires = "tty")]
    interactive: bool,
    /// With a terminal of its own, as `container terminal`; it is no job then
    #[arg(long, short, conflicts_with_all = ["env", "workdir", "deadline", "wait"])]
    tty: bool,
    /// An environment variable; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = args::env)]
    env: Vec<(EnvName, String)>,
    /// Who it runs as: user or user:group
    #[arg(long, short)]
    user: Option<String>,
    /// The folder it begins in
    #[arg(long, short, value_name = "PATH")]
    workdir: Option<String>,
    /// Seconds within which it has to begin, and that it may run
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    deadline: Option<u32>,
    /// Follow the job until it is over
    #[arg(long)]
    wait: bool,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What a container may use.
#[derive(Debug, clap::Args)]
struct Limits {
    /// At most this many processors, such as 0.5
    #[arg(long, value_name = "N", value_parser = args::cpus)]
    cpus: Option<f64>,
    /// At most this much memory, such as 128m or 2g
    #[arg(long, value_name = "SIZE", value_parser = args::memory)]
    memory: Option<Bytes>,
    /// At most this many processes and threads
    #[arg(long, value_name = "N", value_parser = pids)]
    pids: Option<PidsLimit>,
}

impl Limits {
    /// Those that were named.
    fn named(&self) -> Map<String, Value> {
        let limits = [
            ("cpus", self.cpus.map(|n| json!(n))),
            ("memory", self.memory.map(|n| json!(n))),
            ("pids", self.pids.map(|n| json!(n))),
        ];
        limits.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// What is to be another from now on.
#[derive(Debug, clap::Args)]
pub struct Update {
    /// Name or id
    container: String,
    /// The image to run, by name or id
    #[arg(long)]
    image: Option<String>,
    /// An environment variable; may be repeated; all of them are replaced
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = args::env)]
    env: Vec<(EnvName, String)>,
    /// A container that it finds by a name, as with create; may be repeated; all of them are replaced, and what one that is not
    /// named any more has provisioned is taken back
    #[arg(long = "link", value_name = "LINK", value_parser = link::link)]
    links: Vec<LinkOption>,
    /// It has no links any more
    #[arg(long, conflicts_with = "links")]
    no_links: bool,
    /// Its secrets; those it has under other names stay.
    #[command(flatten)]
    secrets: Secrets,
    /// A secret that it has no more; may be repeated
    #[arg(long, value_name = "NAME")]
    no_secret: Vec<EnvName>,
    /// What it may use.
    #[command(flatten)]
    limits: Limits,
    /// When Docker restarts it: no, unless-stopped, always or on-failure
    #[arg(long, value_name = "POLICY", value_parser = str::parse::<RestartPolicy>)]
    restart: Option<RestartPolicy>,
    /// A label; may be repeated; all of them are replaced
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = args::label)]
    labels: Vec<(LabelKey, LabelValue)>,
    /// Give up if its host does not take it within these seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    deadline: Option<u64>,
    /// Follow the job until it is over
    #[arg(long)]
    wait: bool,
    /// The program to run and its arguments, instead of those it has
    #[arg(last = true)]
    command: Vec<String>,
}

impl Update {
    /// The body of the request; limits are replaced together, so those that are not named are taken from what is there.
    fn body(self, image: Option<String>, links: Option<Value>, before: &Value) -> Value {
        let mut resources = before.get("resources").and_then(Value::as_object).cloned().unwrap_or_default();
        let limits = self.limits.named();
        let limited = !limits.is_empty();
        resources.extend(limits);
        let other_secrets = self.changes_secrets();
        let mut secrets = before.get("secrets").and_then(Value::as_object).cloned().unwrap_or_default();
        secrets.retain(|name, _| self.no_secret.iter().all(|gone| gone.to_string() != *name));
        secrets.extend(self.secrets.named());
        let optional = [
            ("image", image.map(|image| json!(image))),
            ("links", links.or_else(|| self.no_links.then(|| json!([])))),
            ("command", (!self.command.is_empty()).then(|| json!(self.command))),
            ("env", (!self.env.is_empty()).then(|| json!(self.env.into_iter().collect::<BTreeMap<_, _>>()))),
            ("secrets", other_secrets.then_some(Value::Object(secrets))),
            ("resources", limited.then_some(Value::Object(resources))),
            ("restart", self.restart.map(|policy| json!(policy))),
            ("labels", (!self.labels.is_empty()).then(|| json!(self.labels.into_iter().collect::<BTreeMap<_, _>>()))),
            ("deadline", self.deadline.map(|seconds| json!(seconds))),
        ];
        let named = optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(named.collect())
    }

    fn changes_secrets(&self) -> bool {
        !self.no_secret.is_empty() || !self.secrets.named().is_empty()
    }
}

/// What a container is to be.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Its name
    name: ResourceName,
    /// The image to run, by name or id
    #[arg(long)]
    image: String,
    /// The host to run on, by name or id; where absent, a host that users share
    #[arg(long, conflicts_with_all = ["place", "place_labels"])]
    host: Option<String>,
    /// How one of the hosts that users share is chosen: spread, binpack or random
    #[arg(long, value_name = "STRATEGY", value_parser = ["spread", "binpack", "random"])]
    place: Option<String>,
    /// A label that such a host must have; may be repeated
    #[arg(long = "place-label", value_name = "KEY=VALUE", value_parser = args::label)]
    place_labels: Vec<(LabelKey, LabelValue)>,
    /// An environment variable; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = args::env)]
    env: Vec<(EnvName, String)>,
    /// A port to publish, [HOST:]CONTAINER[/udp]; may be repeated
    #[arg(long = "publish", short, value_name = "PORT", value_parser = args::port)]
    ports: Vec<PortMapping>,
    /// A named volume to mount, VOLUME:TARGET[:ro]; may be repeated
    #[arg(long = "volume", short, value_name = "VOLUME", value_parser = args::volume)]
    volumes: Vec<VolumeMount>,
    /// A container on the same host that it finds by a name, CONTAINER:ALIAS; with ",provision" that one makes an account
    /// for it, called as FIELD=VALUE say: databases:mysql,provision,database=blog; may be repeated
    #[arg(long = "link", value_name = "LINK", value_parser = link::link)]
    links: Vec<LinkOption>,
    /// Its secrets.
    #[command(flatten)]
    secrets: Secrets,
    /// What it may use.
    #[command(flatten)]
    limits: Limits,
    /// When Docker restarts it: no, unless-stopped, always or on-failure
    #[arg(long, value_name = "POLICY", value_parser = str::parse::<RestartPolicy>)]
    restart: Option<RestartPolicy>,
    /// A label; may be repeated
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = args::label)]
    labels: Vec<(LabelKey, LabelValue)>,
    /// What it is given of its host.
    #[command(flatten)]
    of_host: HostOptions,
    /// Give up if it does not run after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    deadline: Option<u64>,
    /// Follow the job until it is over
    #[arg(long)]
    wait: bool,
    /// The program to run and its arguments, instead of the image's own
    #[arg(last = true)]
    command: Vec<String>,
}

fn pids(text: &str) -> Result<PidsLimit, String> {
    let number: u64 = text.parse().map_err(|_| format!("expected a number, not {text:?}"))?;
    PidsLimit::try_from(number).map_err(|e| e.to_string())
}

impl Create {
    /// The body of the request; what was not asked for is not in it, so that the server's defaults hold.
    fn body(self, image: &str, host: Option<&str>, links: Option<Value>) -> Value {
        let mut placement = Map::new();
        placement.extend(self.place.map(|strategy| ("strategy".to_owned(), json!(strategy))));
        if !self.place_labels.is_empty() {
            let labels = self.place_labels.into_iter().collect::<BTreeMap<_, _>>();
            placement.insert("labels".to_owned(), json!(labels));
        }
        let (resources, secrets) = (self.limits.named(), self.secrets.named());
        let optional = [
            ("host", host.map(|host| json!(host))),
            ("links", links),
            ("placement", (!placement.is_empty()).then_some(Value::Object(placement))),
            ("command", (!self.command.is_empty()).then(|| json!(self.command))),
            ("env", (!self.env.is_empty()).then(|| json!(self.env.into_iter().collect::<BTreeMap<_, _>>()))),
            ("secrets", (!secrets.is_empty()).then_some(Value::Object(secrets))),
            ("ports", (!self.ports.is_empty()).then(|| json!(self.ports))),
            ("volumes", (!self.volumes.is_empty()).then(|| json!(self.volumes))),
            ("resources", (!resources.is_empty()).then_some(Value::Object(resources))),
            ("restart", self.restart.map(|policy| json!(policy))),
            ("labels", (!self.labels.is_empty()).then(|| json!(self.labels.into_iter().collect::<BTreeMap<_, _>>()))),
            ("deadline", self.deadline.map(|seconds| json!(seconds))),
        ];
        let mut body = json!({ "name": self.name, "image": image });
        for (name, value) in self.of_host.named() {
            body[name] = value;
        }
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        body
    }
}

/// Runs one of them.
pub(super) async fn run(command: ContainerCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        ContainerCommand::Create(create) => {
            let wait = create.wait;
            let image = session.id(Kind::Image, &create.image).await?;
            let host = match &create.host {
                Some(host) => Some(session.id(Kind::Host, host).await?),
                None => None,
            };
            let links = link::named(session, &create.links).await?;
            let answer = session.client.post("/containers", &create.body(&image, host.as_deref(), links)).await?;
            session.accepted(&answer, wait).await
        }
        ContainerCommand::Ls { host, list } => {
            let host = match host {
                Some(host) => Some(session.id(Kind::Host, &host).await?),
                None => None,
            };
            ls(session, &list, host).await
        }
        ContainerCommand::Show { container } => {
            let id = session.id(Kind::Container, &container).await?;
            let answer = session.client.get(&format!("/containers/{id}"), &[]).await?;
            session.show(&answer)
        }
        ContainerCommand::Start { container, wait } => ask(session, &container, "start", &json!({}), wait).await,
        ContainerCommand::Stop(stop) => stop.ask(session, "stop").await,
        ContainerCommand::Restart(stop) => stop.ask(session, "restart").await,
        ContainerCommand::Exec(Exec { container, tty: true, user, command, .. }) => {
            let id = session.id(Kind::Container, &container).await?;
            live::terminal(session, &id, &live::Terminal { container, user, command }).await
        }
        ContainerCommand::Exec(exec) => {
            let env: BTreeMap<_, _> = exec.env.into_iter().collect();
            let mut body = json!({ "command": exec.command });
            for (name, value) in [
                ("env", (!env.is_empty()).then(|| json!(env))),
                ("user", exec.user.map(|user| json!(user))),
                ("workdir", exec.workdir.map(|path| json!(path))),
                ("deadline", exec.deadline.map(|seconds| json!(seconds))),
            ] {
                if let Some(value) = value {
                    body[name] = value;
                }
            }
            ask(session, &exec.container, "exec", &body, exec.wait).await
        }
        ContainerCommand::Update(update) => {
            let wait = update.wait;
            let id = session.id(Kind::Container, &update.container).await?;
            let image = match &update.image {
                Some(image) => Some(session.id(Kind::Image, image).await?),
                None => None,
            };
            let links = link::named(session, &update.links).await?;
            let path = format!("/containers/{id}");
            // What is said of some limits or secrets leaves the others.
            let partial = !update.limits.named().is_empty() || update.changes_secrets();
            let before = if partial { session.client.get(&path, &[]).await?.value()? } else { Value::Null };
            let answer = session.client.patch(&path, &update.body(image, links, &before)).await?;
            session.accepted(&answer, wait).await
        }
        ContainerCommand::Converge(options) => converge::run(options, session).await,
        ContainerCommand::Move(options) => moves::run(options, session).await,
        ContainerCommand::Logs(options) => {
            let id = session.id(Kind::Container, &options.container).await?;
            live::logs(session, &id, &options).await
        }
        ContainerCommand::Stats { container, follow } => {
            let id = session.id(Kind::Container, &container).await?;
            live::stats(session, &id, follow).await
        }
        ContainerCommand::Terminal(options) => {
            let id = session.id(Kind::Container, &options.container).await?;
            live::terminal(session, &id, &options).await
        }
        ContainerCommand::Rm { container, volumes, wait } => {
            let id = session.id(Kind::Container, &container).await?;
            let query = if volumes { vec![("volumes", "true".to_owned())] } else { vec![] };
            let answer = session.client.delete(&format!("/containers/{id}"), &query).await?;
            session.accepted(&answer, wait).await
        }
    }
}

impl Stop {
    async fn ask(self, session: &mut Session, what: &str) -> Result<(), CliError> {
        let body = self.grace.map_or_else(|| json!({}), |grace| json!({ "grace": grace }));
        ask(session, &self.container, what, &body, self.wait).await
    }
}

/// Asks for something to be done with a container that is there.
async fn ask(session: &mut Session, container: &str, what: &str, body: &Value, wait: bool) -> Result<(), CliError> {
    let id = session.id(Kind::Container, container).await?;
    let answer = session.client.post(&format!("/containers/{id}/{what}"), body).await?;
    session.accepted(&answer, wait).await
}

async fn ls(session: &mut Session, options: &ListOptions, host: Option<String>) -> Result<(), CliError> {
    let Some(items) = list::fetch(session, "/containers", options, &[("host", host)]).await? else { return Ok(()) };
    let hosts = resolve::names(&session.client, Kind::Host, &items, "/host").await;
    let images = resolve::names(&session.client, Kind::Image, &items, "/image").await;
    let mut table = Table::new(["NAME", "ID", "STATE", "IMAGE", "HOST", "PORTS", "CREATED"]);
    for item in &items {
        let state = text(item, "/observed/state");
        let convergence = text(item, "/convergence/state");
        let state = match item.pointer("/observed/exit_code").and_then(Value::as_i64) {
            Some(code) if state == "exited" => format!("exited ({code})"),
            // It runs, and is not what was configured.
            _ if state == "running" && !["", "converged"].contains(&convergence) => {
                format!("running (converge {convergence})")
            }
            _ => state.to_owned(),
        };
        table.row([
            Cell::text(text(item, "/name")),
            Cell::text(text(item, "/id")),
            Cell::state(&state),
            Cell::text(named(&images, text(item, "/image"))),
            Cell::text(match item.pointer("/placement/pool").and_then(Value::as_bool) {
                Some(true) if text(item, "/host").is_empty() => "pool",
                _ => named(&hosts, text(item, "/host")),
            }),
            Cell::text(&ports(item)),
            Cell::text(&age(item, "/created_at")),
        ]);
    }
    table.print(&mut session.console)
}

/// The published ports as Docker bound them: `8080->80 53->53/udp`.
fn ports(container: &Value) -> String {
    let ports = container.pointer("/observed/ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let one = |port: &Value| {
        let protocol = match text(port, "/protocol") {
            "udp" => "/udp",
            _ => "",
        };
        Some(format!("{}->{}{protocol}", number(port, "/host")?, number(port, "/container")?))
    };
    ports.iter().filter_map(one).collect::<Vec<_>>().join(" ")
}
