//! `dockerforge user`: the users of the API, for administrators.

use super::{
    args,
    console::Style,
    error::CliError,
    human,
    list::{self, ListOptions, age, text},
    resolve::Kind,
    session::Session,
    table::{Cell, Table},
    token::{self, TokenCommand},
};
use dockerforge_protocol::spec::ResourceName;
use serde_json::{Map, Value, json};

/// The commands on users.
#[derive(Debug, clap::Subcommand)]
pub enum UserCommand {
    /// Make a user, and print his key, once
    Create {
        /// His name
        name: ResourceName,
        /// Let him administer everything
        #[arg(long)]
        admin: bool,
    },
    /// List users
    Ls {
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
    /// Show all of a user
    Show {
        /// Name or id
        user: String,
    },
    /// Take a user and all that is his out of service
    Rm {
        /// Name or id
        user: String,
        /// Follow the job until it is over
        #[arg(long)]
        wait: bool,
    },
    /// Show how much a user may have and has, or change it: a number, or default
    Quota {
        /// Name or id
        user: String,
        /// The new limits; what is not named stays.
        #[command(flatten)]
        limits: Box<QuotaArgs>,
    },
    /// Suspend a user: his tokens open nothing, and his containers are stopped
    Suspend {
        /// Name or id
        user: String,
        /// Follow the job until it is over
        #[arg(long)]
        wait: bool,
    },
    /// Resume a user: those of his containers that are meant to run are started
    Resume {
        /// Name or id
        user: String,
        /// Follow the job until it is over
        #[arg(long)]
        wait: bool,
    },
    /// His API tokens
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Limits of a quota.
#[derive(Debug, clap::Args)]
pub struct QuotaArgs {
    /// Containers
    #[arg(long, value_name = "N", value_parser = args::limit)]
    containers: Option<Value>,
    /// Containers that are meant to run
    #[arg(long, value_name = "N", value_parser = args::limit)]
    running_containers: Option<Value>,
    /// Processors, as 1.5
    #[arg(long, value_name = "N", value_parser = args::cpus_limit)]
    cpus: Option<Value>,
    /// Memory, as 512m or 4g
    #[arg(long, value_name = "SIZE", value_parser = args::memory_limit)]
    memory: Option<Value>,
    /// Images
    #[arg(long, value_name = "N", value_parser = args::limit)]
    images: Option<Value>,
    /// Hosts
    #[arg(long, value_name = "N", value_parser = args::limit)]
    hosts: Option<Value>,
    /// Unfinished jobs
    #[arg(long, value_name = "N", value_parser = args::limit)]
    queued_jobs: Option<Value>,
}

impl QuotaArgs {
    /// The members that are to change.
    fn body(self) -> Map<String, Value> {
        [
            ("containers", self.containers),
            ("running_containers", self.running_containers),
            ("cpus", self.cpus),
            ("memory", self.memory),
            ("images", self.images),
            ("hosts", self.hosts),
            ("queued_jobs", self.queued_jobs),
        ]
        .into_iter()
        .filter_map(|(name, limit)| Some((name.to_owned(), limit?)))
        .collect()
    }
}

/// Runs one of them.
pub(super) async fn run(command: UserCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        UserCommand::Create { name, admin } => {
            let mut body = json!({ "name": name });
            if admin {
                body["admin"] = Value::Bool(true);
            }
            let answer = session.client.post("/users", &body).await?;
            if session.console.json {
                return session.console.json(&answer.body);
            }
            let user = answer.value()?;
            session.console.line(&format!("user  {}", text(&user, "/id")))?;
            token::key(session, &user)
        }
        UserCommand::Ls { list } => ls(session, &list).await,
        UserCommand::Show { user } => {
            let id = session.id(Kind::User, &user).await?;
            let answer = session.client.get(&format!("/users/{id}"), &[]).await?;
            session.show(&answer)
        }
        UserCommand::Rm { user, wait } => {
            let id = session.id(Kind::User, &user).await?;
            let answer = session.client.delete(&format!("/users/{id}"), &[]).await?;
            session.accepted(&answer, wait).await
        }
        UserCommand::Quota { user, limits } => quota(session, &user, limits.body()).await,
        UserCommand::Suspend { user, wait } => suspend(session, &user, true, wait).await,
        UserCommand::Resume { user, wait } => suspend(session, &user, false, wait).await,
        UserCommand::Token(command) => token::run(command, session).await,
    }
}

async fn ls(session: &mut Session, options: &ListOptions) -> Result<(), CliError> {
    let Some(users) = list::fetch(session, "/users", options, &[]).await? else { return Ok(()) };
    let mut table = Table::new(["NAME", "ID", "STATE", "ADMIN", "CREATED"]);
    for user in &users {
        let admin = user.get("admin").and_then(Value::as_bool).unwrap_or(false);
        table.row([
            Cell::text(text(user, "/name")),
            Cell::text(text(user, "/id")),
            Cell::state(text(user, "/state")),
            Cell::text(if admin { "yes" } else { "no" }),
            Cell::text(&age(user, "/created_at")),
        ]);
    }
    table.print(&mut session.console)
}

async fn quota(session: &mut Session, user: &str, limits: Map<String, Value>) -> Result<(), CliError> {
    let path = format!("/users/{}", session.id(Kind::User, user).await?);
    let answer = if limits.is_empty() {
        session.client.get(&path, &[]).await?
    } else {
        session.client.patch(&path, &json!({ "quota": limits })).await?
    };
    if session.console.json {
        return session.console.json(&answer.body);
    }
    let user = answer.value()?;
    let mut table = Table::new(["WHAT", "USED", "AT MOST"]);
    for (name, used) in user.get("usage").and_then(Value::as_object).into_iter().flatten() {
        let shown = |value: &Value| match value.as_u64() {
            Some(bytes) if name == "memory" => human::size(bytes),
            _ if value.is_null() => "no limit".to_owned(),
            _ => value.to_string(),
        };
        let limit = user.pointer(&format!("/quota/{name}")).unwrap_or(&Value::Null);
        table.row([Cell::text(name), Cell::text(&shown(used)), Cell::text(&shown(limit))]);
    }
    table.print(&mut session.console)
}

async fn suspend(session: &mut Session, user: &str, suspended: bool, wait: bool) -> Result<(), CliError> {
    let id = session.id(Kind::User, user).await?;
    let answer = session.client.patch(&format!("/users/{id}"), &json!({ "suspended": suspended })).await?;
    // The job that does it; or the user, where there is nothing to do.
    if !text(&answer.value()?, "/id").starts_with("usr_") {
        return session.accepted(&answer, wait).await;
    }
    if session.console.json {
        return session.console.json(&answer.body);
    }
    let already = if suspended { "suspended" } else { "in service" };
    session.console.note(Style::Plain, &format!("{user} is {already} already"));
    Ok(())
}
