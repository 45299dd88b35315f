//! `dockerforge audit`: who did what, for administrators.

use super::{
    error::CliError,
    list::{self, ListOptions, age, text},
    resolve::Kind,
    session::Session,
    table::{Cell, Table},
};

/// The commands on the audit.
#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// List who did what, newest first
    Ls {
        /// Only what was done on behalf of this user: his id, or his name while he is there
        #[arg(long)]
        user: Option<String>,
        /// Only this, such as container.create
        #[arg(long)]
        action: Option<String>,
        /// Only what was done to this: its id
        #[arg(long, value_name = "ID")]
        resource: Option<String>,
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
}

/// Runs one of them.
pub(super) async fn run(command: AuditCommand, session: &mut Session) -> Result<(), CliError> {
    let AuditCommand::Ls { user, action, resource, list } = command;
    let user = match user {
        Some(user) => Some(session.id(Kind::User, &user).await?),
        None => None,
    };
    let filters = [("user", user), ("action", action), ("resource", resource)];
    let Some(lines) = list::fetch(session, "/audit", &list, &filters).await? else { return Ok(()) };
    let mut table = Table::new(["WHEN", "ACTION", "RESOURCE", "ACTOR", "FOR", "FROM"]);
    for line in &lines {
        let (actor, user) = (text(line, "/actor"), text(line, "/user"));
        table.row([
            Cell::text(&age(line, "/at")),
            Cell::text(text(line, "/action")),
            Cell::text(text(line, "/resource/id")),
            Cell::text(actor),
            Cell::text(if actor == user { "" } else { user }),
            Cell::text(text(line, "/remote")),
        ]);
    }
    table.print(&mut session.console)
}
