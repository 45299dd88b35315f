//! `dockerforge event`: what happened, page by page or live. What is followed goes on where it broke off.

use super::{
    console::{Console, Style},
    error::{CliError, Shown},
    list::{Page, age, text},
    live,
    session::Session,
    table::{Cell, Table},
};
use serde_json::Value;

/// Rows of a page where nobody says how many.
const USUAL: usize = 50;

/// The commands on events.
#[derive(Debug, clap::Subcommand)]
pub enum EventCommand {
    /// List what happened, oldest first
    Ls {
        /// Which of them.
        #[command(flatten)]
        which: Which,
        /// At most this many on a page
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
        /// All pages; with --json each page is one document
        #[arg(long)]
        all: bool,
    },
    /// Show what happens, as it happens, until interrupted
    Follow {
        /// Which of them.
        #[command(flatten)]
        which: Which,
    },
}

/// Which events.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only what happened after the event with this id [default: ls begins with the oldest, follow with what is to come]
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    /// Only this kind, such as container.created or job.*; several with commas
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Everybody's (administrators)
    #[arg(long)]
    everybody: bool,
}

impl Which {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        query.extend(self.since.map(|id| ("after", id.to_string())));
        query.extend((!self.kinds.is_empty()).then(|| ("kind", self.kinds.join(","))));
        query.extend(self.everybody.then(|| ("all", "true".to_owned())));
        query
    }
}

/// Runs one of them.
pub(super) async fn run(command: EventCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        EventCommand::Ls { which, limit, all } => ls(session, which, limit, all).await,
        EventCommand::Follow { which } => {
            let Session { client, console, .. } = session;
            live::follow(client, "/events", &which.query(), &mut None, &mut |name, data| match name {
                // It says only from where on the stream tells.
                "ready" => Ok(()),
                _ => told(console, data),
            })
            .await
        }
    }
}

/// Every page says where to go on, the last one too: it is the one that leads no further.
async fn ls(session: &mut Session, mut which: Which, limit: Option<u32>, all: bool) -> Result<(), CliError> {
    let mut events = Vec::new();
    loop {
        let mut query = which.query();
        query.extend(limit.map(|limit| ("limit", limit.to_string())));
        let answer = session.client.get("/events", &query).await?;
        let page: Page = answer.parse()?;
        let next = page.next.and_then(|next| next.parse().ok());
        let full = page.items.len() >= limit.map_or(USUAL, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let further = next.is_some() && next != which.since && next != Some(0);
        if session.console.json && (further || events.is_empty()) {
            session.console.json(&answer.body)?;
        }
        events.extend(page.items);
        if !all || !further {
            if let Some(next) = next.filter(|_| further && full && !session.console.json) {
                session.console.note(Style::Dim, &format!("there may be more: --all, or --since {next}"));
            }
            break;
        }
        which.since = next;
    }
    if session.console.json {
        return Ok(());
    }
    let mut table = Table::new(["ID", "WHEN", "KIND", "RESOURCE", "DETAIL"]);
    for event in &events {
        table.row([
            Cell::number(text(event, "/id")),
            Cell::text(&age(event, "/at")),
            Cell::text(text(event, "/kind")),
            Cell::text(text(event, "/resource/id")),
            Cell::text(text(event, "/detail")),
        ]);
    }
    table.print(&mut session.console)
}

/// A line an event, as it comes.
fn told(console: &mut Console, event: &Value) -> Result<(), CliError> {
    if console.json {
        return console.json(event.to_string().as_bytes());
    }
    let words = ["/at", "/kind", "/resource/id", "/detail"].map(|pointer| text(event, pointer));
    let line = words.iter().filter(|word| !word.is_empty()).map(|word| Shown(word).to_string());
    console.line(&line.collect::<Vec<_>>().join("  "))
}
