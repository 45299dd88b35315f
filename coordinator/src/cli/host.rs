//! `dockerforge host`: machines with an agent, and the command that makes a machine one of them.

use super::{
    args,
    console::Style,
    error::{CliError, Shown},
    human,
    list::{self, ListOptions, age, number, text},
    resolve::Kind,
    session::Session,
    table::{Cell, Table},
};
use dockerforge_protocol::spec::{LabelKey, LabelValue, ResourceName};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The commands on hosts.
#[derive(Debug, clap::Subcommand)]
pub enum HostCommand {
    /// Register a host, and print the command to run on it
    Create {
        /// Its name
        name: ResourceName,
        /// A label; may be repeated
        #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = args::label)]
        labels: Vec<(LabelKey, LabelValue)>,
        /// Place containers of all users on it; for administrators
        #[arg(long)]
        pool: bool,
        /// Print a document for cloud-init instead, and nothing else: the user data of a machine to be ordered
        #[arg(long)]
        cloud_init: bool,
    },
    /// Change a host's labels, or whether it takes anything new
    Update {
        /// Name or id
        host: String,
        /// A label; may be repeated. What is given here replaces all that it has
        #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = args::label)]
        labels: Vec<(LabelKey, LabelValue)>,
        /// Take no new containers and images; what runs goes on
        #[arg(long, conflicts_with = "undrain")]
        drain: bool,
        /// Take new containers and images again
        #[arg(long, required_unless_present_any = ["labels", "drain"])]
        undrain: bool,
    },
    /// List hosts
    Ls {
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
    /// Show all of a host
    Show {
        /// Name or id
        host: String,
    },
    /// Make a fresh join token for a host, and print the command to run on it
    Token {
        /// Name or id
        host: String,
        /// Print a document for cloud-init instead, and nothing else: the user data of a machine to be ordered
        #[arg(long)]
        cloud_init: bool,
    },
    /// Take a host out of service and revoke its agent
    Rm {
        /// Name or id
        host: String,
        /// Although the host does not answer: what is on it stays there
        #[arg(long)]
        force: bool,
        /// Follow the job until it is over
        #[arg(long)]
        wait: bool,
    },
}

/// Runs one of them.
pub(super) async fn run(command: HostCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        HostCommand::Create { name, labels, pool, cloud_init } => {
            let mut body = json!({ "name": name });
            if !labels.is_empty() {
                body["labels"] = json!(labels.into_iter().collect::<BTreeMap<_, _>>());
            }
            if pool {
                body["pool"] = json!(true);
            }
            let answer = session.client.post("/hosts", &body).await?;
            if session.console.json {
                return session.console.json(&answer.body);
            }
            let host = answer.value()?;
            let made = host.get("join").unwrap_or(&Value::Null);
            if cloud_init {
                return user_data(session, made);
            }
            session.console.line(&format!("host  {}", text(&host, "/id")))?;
            join(session, made)
        }
        HostCommand::Update { host, labels, drain, undrain } => {
            let id = session.id(Kind::Host, &host).await?;
            let mut body = json!({});
            if !labels.is_empty() {
                body["labels"] = json!(labels.into_iter().collect::<BTreeMap<_, _>>());
            }
            if drain || undrain {
                body["draining"] = json!(drain);
            }
            let answer = session.client.patch(&format!("/hosts/{id}"), &body).await?;
            session.show(&answer)
        }
        HostCommand::Ls { list } => ls(session, &list).await,
        HostCommand::Show { host } => {
            let id = session.id(Kind::Host, &host).await?;
            let answer = session.client.get(&format!("/hosts/{id}"), &[]).await?;
            session.show(&answer)
        }
        HostCommand::Token { host, cloud_init } => {
            let id = session.id(Kind::Host, &host).await?;
            let answer = session.client.post(&format!("/hosts/{id}/token"), &json!({})).await?;
            if session.console.json {
                return session.console.json(&answer.body);
            }
            let made = answer.value()?;
            if cloud_init { user_data(session, &made) } else { join(session, &made) }
        }
        HostCommand::Rm { host, force, wait } => {
            let id = session.id(Kind::Host, &host).await?;
            let query = if force { vec![("force", "true".to_owned())] } else { vec![] };
            let answer = session.client.delete(&format!("/hosts/{id}"), &query).await?;
            session.accepted(&answer, wait).await
        }
    }
}

/// Prints the command that makes a machine the host, on a line of its own so that it can be copied as it is.
fn join(session: &mut Session, join: &Value) -> Result<(), CliError> {
    let color = session.console.color;
    let expires = match text(join, "/expires_at") {
        "" => String::new(),
        time => format!(" (the token is good for one use; it expires {})", human::age(time, jiff::Timestamp::now())),
    };
    session.console.line("")?;
    session.console.line(&format!("Run this on the machine, as root{expires}:"))?;
    session.console.line("")?;
    session.console.line(&Style::Bold.paint(color, &Shown(text(join, "/command")).to_string()))?;
    session.console.line("")
}

/// Prints the document alone, so that it can go into a file.
fn user_data(session: &mut Session, join: &Value) -> Result<(), CliError> {
    match text(join, "/cloud_init") {
        "" => Err(CliError::Usage(
            "this coordinator does not give out the agent (its setting agent-binary), so there is no document for cloud-init; \
             the host is registered, and `host token` makes the command to run on it"
                .to_owned(),
        )),
        document => document.lines().try_for_each(|line| session.console.line(line)),
    }
}

async fn ls(session: &mut Session, options: &ListOptions) -> Result<(), CliError> {
    let Some(hosts) = list::fetch(session, "/hosts", options, &[]).await? else { return Ok(()) };
    let mut table = Table::new(["NAME", "ID", "STATE", "DOCKER", "CPUS", "MEMORY", "RUNNING", "SEEN", "NOTE"]);
    for host in &hosts {
        let memory = match (number(host, "/usage/memory_used"), number(host, "/capacity/memory")) {
            (Some(used), Some(all)) => format!("{} of {}", human::size(used), human::size(all)),
            (None, Some(all)) => human::size(all),
            _ => String::new(),
        };
        let count = |pointer| number(host, pointer).map(|n| n.to_string()).unwrap_or_default();
        table.row([
            Cell::text(text(host, "/name")),
            Cell::text(text(host, "/id")),
            Cell::state(text(host, "/state")),
            Cell::text(text(host, "/docker/version")),
            Cell::number(&count("/capacity/cpus")),
            Cell::number(&memory),
            Cell::number(&count("/usage/containers_running")),
            Cell::text(&age(host, "/last_seen_at")),
            Cell::text(text(host, "/unusable")),
        ]);
    }
    table.print(&mut session.console)
}
