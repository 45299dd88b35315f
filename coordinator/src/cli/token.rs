//! `dockerforge user token`: the API tokens of a user. A key is shown once, when it is made.

use super::{
    console::Style,
    error::{CliError, Shown},
    list::{self, ListOptions, age, text},
    resolve::{self, Kind},
    session::Session,
    table::{Cell, Table},
};
use dockerforge_protocol::spec::ResourceName;
use serde_json::{Value, json};

/// The commands on tokens.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print its key, once
    Create {
        /// The user, by name or id
        user: String,
        /// What the token is for
        name: ResourceName,
    },
    /// List a user's tokens
    Ls {
        /// The user, by name or id
        user: String,
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
    /// Revoke a token at once
    Rm {
        /// The user, by name or id
        user: String,
        /// The token, by name or id
        token: String,
    },
}

/// Runs one of them.
pub(super) async fn run(command: TokenCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        TokenCommand::Create { user, name } => {
            let user = session.id(Kind::User, &user).await?;
            let answer = session.client.post(&format!("/users/{user}/tokens"), &json!({ "name": name })).await?;
            if session.console.json {
                return session.console.json(&answer.body);
            }
            let token = answer.value()?;
            session.console.line(&format!("token  {}", text(&token, "/id")))?;
            key(session, &token)
        }
        TokenCommand::Ls { user, list } => {
            let user = session.id(Kind::User, &user).await?;
            let tokens = list::fetch(session, &format!("/users/{user}/tokens"), &list, &[]).await?;
            let Some(tokens) = tokens else { return Ok(()) };
            let mut table = Table::new(["NAME", "ID", "CREATED"]);
            for token in &tokens {
                table.row([
                    Cell::text(text(token, "/name")),
                    Cell::text(text(token, "/id")),
                    Cell::text(&age(token, "/created_at")),
                ]);
            }
            table.print(&mut session.console)
        }
        TokenCommand::Rm { user, token } => {
            let user = session.id(Kind::User, &user).await?;
            let token = resolve::token(&session.client, &user, &token).await?;
            session.client.delete(&format!("/users/{user}/tokens/{token}"), &[]).await?;
            session.console.note(Style::Plain, &format!("the token {token} is revoked"));
            Ok(())
        }
    }
}

/// Prints the key of what was just made.
pub(super) fn key(session: &mut Session, made: &Value) -> Result<(), CliError> {
    session.console.line(&format!("key  {}", Shown(text(made, "/key"))))?;
    session.console.note(Style::Yellow, "keep the key now: it is not shown again");
    Ok(())
}
