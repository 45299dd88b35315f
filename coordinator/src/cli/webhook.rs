//! `dockerforge webhook`: where events are sent, and what became of each. A webhook has no name but its id; its secret is
//! shown once, when it is made. (`--url` is where the coordinator is: a receiver has another word.)

use super::{
    console::Style,
    error::{CliError, Shown},
    list::{self, ListOptions, age, number, text},
    session::Session,
    table::{Cell, Table},
};
use dockerforge_protocol::ids::WebhookId;
use serde_json::{Map, Value, json};

/// The commands on webhooks.
#[derive(Debug, clap::Subcommand)]
pub enum WebhookCommand {
    /// Make a webhook, and print the secret that its requests are signed with, once
    Create {
        /// Where events are POSTed: http or https
        #[arg(value_name = "RECEIVER")]
        to: String,
        /// Only this kind of events, such as container.created or job.*; several with commas [default: all]
        #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
        kinds: Vec<String>,
        /// Send everybody's events (administrators)
        #[arg(long)]
        everybody: bool,
    },
    /// List webhooks
    Ls {
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
    /// Show all of a webhook
    Show {
        /// Its id
        webhook: WebhookId,
    },
    /// Change where events are sent, which are, and whether
    Update(Update),
    /// Remove a webhook; what is still on its way to it is not sent
    Rm {
        /// Its id
        webhook: WebhookId,
    },
    /// List what became of each event that was to be sent to it
    Deliveries {
        /// Its id
        webhook: WebhookId,
        /// Only those in this state
        #[arg(long, value_parser = ["pending", "delivered", "failed"])]
        state: Option<String>,
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
}

/// What is to be another from now on.
#[derive(Debug, clap::Args)]
pub struct Update {
    /// Its id
    webhook: WebhookId,
    /// Where events are POSTed
    #[arg(long, value_name = "RECEIVER")]
    to: Option<String>,
    /// Only this kind of events; several with commas
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', conflicts_with = "all_kinds")]
    kinds: Vec<String>,
    /// Events of all kinds
    #[arg(long)]
    all_kinds: bool,
    /// Send again, also what happened meanwhile and is still kept
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Send nothing until it is enabled again
    #[arg(long, required_unless_present_any = ["to", "kinds", "all_kinds", "enable"])]
    disable: bool,
}

impl Update {
    /// The members that are to change.
    fn body(self) -> Value {
        let state = match (self.enable, self.disable) {
            (true, _) => Some("active"),
            (_, true) => Some("disabled"),
            _ => None,
        };
        let kinds = self.all_kinds || !self.kinds.is_empty();
        let named = [
            ("url", self.to.map(Value::from)),
            ("kinds", kinds.then(|| json!(self.kinds))),
            ("state", state.map(Value::from)),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(named.collect::<Map<_, _>>())
    }
}

/// Runs one of them.
pub(super) async fn run(command: WebhookCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        WebhookCommand::Create { to, kinds, everybody } => {
            let mut body = json!({ "url": to, "kinds": kinds });
            if everybody {
                body["all"] = json!(true);
            }
            let answer = session.client.post("/webhooks", &body).await?;
            if session.console.json {
                return session.console.json(&answer.body);
            }
            let webhook = answer.value()?;
            session.console.line(&format!("webhook  {}", Shown(text(&webhook, "/id"))))?;
            session.console.line(&format!("secret   {}", Shown(text(&webhook, "/secret"))))?;
            session.console.note(Style::Yellow, "keep the secret now: it is not shown again");
            Ok(())
        }
        WebhookCommand::Ls { list } => ls(session, &list).await,
        WebhookCommand::Show { webhook } => {
            let answer = session.client.get(&path(webhook), &[]).await?;
            session.show(&answer)
        }
        WebhookCommand::Update(update) => {
            let path = path(update.webhook);
            let answer = session.client.patch(&path, &update.body()).await?;
            session.show(&answer)
        }
        WebhookCommand::Rm { webhook } => {
            session.client.delete(&path(webhook), &[]).await?;
            session.console.note(Style::Plain, &format!("the webhook {webhook} is gone"));
            Ok(())
        }
        WebhookCommand::Deliveries { webhook, state, list } => deliveries(session, webhook, state, &list).await,
    }
}

fn path(webhook: WebhookId) -> String {
    format!("/webhooks/{webhook}")
}

async fn ls(session: &mut Session, options: &ListOptions) -> Result<(), CliError> {
    let Some(webhooks) = list::fetch(session, "/webhooks", options, &[]).await? else { return Ok(()) };
    let mut table = Table::new(["ID", "STATE", "URL", "KINDS", "OF", "CREATED"]);
    for webhook in &webhooks {
        let kinds = webhook.get("kinds").and_then(Value::as_array).into_iter().flatten();
        let kinds: Vec<&str> = kinds.filter_map(Value::as_str).collect();
        let everybody = webhook.get("all").and_then(Value::as_bool).unwrap_or(false);
        table.row([
            Cell::text(text(webhook, "/id")),
            Cell::state(text(webhook, "/state")),
            Cell::text(text(webhook, "/url")),
            Cell::text(if kinds.is_empty() { "all".to_owned() } else { kinds.join(",") }.as_str()),
            Cell::text(if everybody { "everybody" } else { "the user" }),
            Cell::text(&age(webhook, "/created_at")),
        ]);
    }
    table.print(&mut session.console)
}

async fn deliveries(
    session: &mut Session,
    webhook: WebhookId,
    state: Option<String>,
    options: &ListOptions,
) -> Result<(), CliError> {
    let path = format!("{}/deliveries", path(webhook));
    let Some(deliveries) = list::fetch(session, &path, options, &[("state", state)]).await? else { return Ok(()) };
    let mut table = Table::new(["ID", "EVENT", "KIND", "STATE", "TRIES", "STATUS", "NEXT", "ERROR"]);
    for delivery in &deliveries {
        let count = |pointer| number(delivery, pointer).map(|n| n.to_string()).unwrap_or_default();
        table.row([
            Cell::text(text(delivery, "/id")),
            Cell::number(text(delivery, "/event")),
            Cell::text(text(delivery, "/kind")),
            Cell::state(text(delivery, "/state")),
            Cell::number(&count("/attempts")),
            Cell::text(&count("/status")),
            Cell::text(&age(delivery, "/next_at")),
            Cell::text(text(delivery, "/error")),
        ]);
    }
    table.print(&mut session.console)
}
