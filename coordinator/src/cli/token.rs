//! `dockerforge user token`: the API tokens of a user. A key is shown once, when it is made.

use super::{
    args,
    console::Style,
    error::{CliError, Shown},
    list::{self, ListOptions, age, text},
    resolve::{self, Kind},
    session::Session,
    table::{Cell, Table},
};
use dockerforge_protocol::spec::ResourceName;
use jiff::Timestamp;
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
        /// What it may do: read, write, host:root, admin; several with commas [default: read,write]
        #[arg(long, value_name = "SCOPE", value_delimiter = ',', value_parser = ["read", "write", "host:root", "admin"])]
        scope: Vec<String>,
        /// When it stops being good: a time such as 2030-01-01T00:00:00Z, or a span from now such as 30d or 12h [default: never]
        #[arg(long, value_name = "WHEN", value_parser = args::time_to_come)]
        expires: Option<Timestamp>,
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
        TokenCommand::Create { user, name, scope, expires } => {
            let user = session.id(Kind::User, &user).await?;
            let mut body = json!({ "name": name });
            if !scope.is_empty() {
                body["scopes"] = json!(scope);
            }
            if let Some(expires) = expires {
                body["expires_at"] = json!(expires.to_string());
            }
            let answer = session.client.post(&format!("/users/{user}/tokens"), &body).await?;
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
            let mut table = Table::new(["NAME", "ID", "SCOPES", "CREATED", "LAST USED", "EXPIRES"]);
            for token in &tokens {
                let scopes = token.get("scopes").and_then(Value::as_array).into_iter().flatten();
                let scopes: Vec<&str> = scopes.filter_map(Value::as_str).collect();
                table.row([
                    Cell::text(text(token, "/name")),
                    Cell::text(text(token, "/id")),
                    Cell::text(&scopes.join(",")),
                    Cell::text(&age(token, "/created_at")),
                    Cell::text(&age(token, "/last_used_at")),
                    Cell::text(&age(token, "/expires_at")),
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
