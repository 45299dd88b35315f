//! `dockerforge user`: the users of the API, for administrators.

use super::{
    error::CliError,
    list::{self, ListOptions, age, text},
    resolve::Kind,
    session::Session,
    table::{Cell, Table},
    token::{self, TokenCommand},
};
use dockerforge_protocol::spec::ResourceName;
use serde_json::{Value, json};

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
    /// His API tokens
    #[command(subcommand)]
    Token(TokenCommand),
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
