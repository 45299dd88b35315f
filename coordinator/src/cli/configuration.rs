//! `dockerforge configuration`: what was chosen of a template, in versions.

use super::{
    client::Answer,
    console::Style,
    error::{CliError, Shown},
    list::{self, ListOptions, age, named, number, text},
    parameters::{self, Setting},
    resolve::{self, Kind},
    session::Session,
    table::{Cell, Table},
};
use dockerforge_protocol::spec::ResourceName;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

const VALUES: &str = "\
A value of --set that is JSON is taken as such (80, true, null, [1, 2], \"80\"), all else is a text; @FILE is the text in a \
file. Other processes see what is on a command line: give secrets by @FILE, or with --parameters. \\. is a dot within a name.";

/// The commands on configurations.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigurationCommand {
    /// Make a configuration of a template
    #[command(after_help = VALUES)]
    Create(Create),
    /// List configurations
    Ls {
        /// Only those of this template, by name or id
        #[arg(long)]
        template: Option<String>,
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
    /// Show all of a configuration; its secrets are never shown
    Show {
        /// Name or id
        configuration: String,
        /// The version to show [default: the newest]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        version: Option<u32>,
    },
    /// Print the node that a configuration becomes, as JSON: its run list and all attributes
    Node {
        /// Name or id
        configuration: String,
        /// The version to print [default: the newest]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        version: Option<u32>,
    },
    /// Change a configuration, which makes its next version; what is not named stays
    #[command(after_help = VALUES)]
    Update(Update),
    /// Remove a configuration with all its versions
    Rm {
        /// Name or id
        configuration: String,
    },
}

/// What is chosen.
#[derive(Debug, clap::Args)]
struct Choice {
    /// Parameters of the template, as JSON; - is stdin
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    /// A parameter, laid over those of the file; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parameters::setting)]
    set: Vec<Setting>,
    /// Something to add to the template's run list, such as recipe[backup]; may be repeated
    #[arg(long, value_name = "ITEM")]
    run: Vec<String>,
    /// Attributes to lay over all others, as JSON; - is stdin
    #[arg(long, value_name = "FILE")]
    attributes: Option<PathBuf>,
    /// Fetch what is chosen from the coordinator's configuration service now, by the UUID of a server there; the rest is laid over it
    #[arg(long, value_name = "UUID")]
    riyic: Option<uuid::Uuid>,
}

impl Choice {
    /// The members of a body, those that were named.
    fn named(self, unset: Vec<Vec<String>>) -> Result<Map<String, Value>, CliError> {
        let said = self.parameters.is_some() || !self.set.is_empty() || !unset.is_empty();
        let document = self.parameters.as_deref().map(parameters::object).transpose()?.unwrap_or_default();
        let document = parameters::laid_over(document, self.set, unset)?;
        let attributes = self.attributes.as_deref().map(parameters::object).transpose()?;
        let members = [
            ("parameters", said.then_some(Value::Object(document))),
            ("run_list", (!self.run.is_empty()).then(|| json!(self.run))),
            ("attributes", attributes.map(Value::Object)),
            ("riyic", self.riyic.map(|server| json!({ "server": server }))),
        ];
        Ok(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

/// What a configuration is to be.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Its name
    name: ResourceName,
    /// The template, by name or id
    #[arg(long)]
    template: String,
    /// The version of the template [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// What is chosen.
    #[command(flatten)]
    choice: Choice,
}

/// What is to be another from now on.
#[derive(Debug, clap::Args)]
pub struct Update {
    /// Name or id
    configuration: String,
    /// Another name
    #[arg(long)]
    name: Option<ResourceName>,
    /// What is chosen.
    #[command(flatten)]
    choice: Choice,
    /// A parameter that is no longer chosen; may be repeated
    #[arg(long, value_name = "KEY", value_parser = parameters::path)]
    unset: Vec<Vec<String>>,
    /// Add nothing to the template's run list any more
    #[arg(long, conflicts_with = "run")]
    no_run: bool,
    /// Go to the newest version of the template, or to this one
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "newest", value_parser = version)]
    upgrade: Option<Value>,
}

/// A version, or `newest`.
fn version(text: &str) -> Result<Value, String> {
    match text.parse::<u32>() {
        _ if text == "newest" => Ok(json!("newest")),
        Ok(version) if version > 0 => Ok(json!(version)),
        _ => Err("expected a version, or newest".to_owned()),
    }
}

/// Runs one of them.
pub(super) async fn run(command: ConfigurationCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        ConfigurationCommand::Create(create) => {
            let mut body = create.choice.named(Vec::new())?;
            let template = session.id(Kind::Template, &create.template).await?;
            body.insert("name".to_owned(), json!(create.name));
            body.insert("template".to_owned(), json!(template));
            body.extend(create.version.map(|version| ("template_version".to_owned(), json!(version))));
            let answer = session.client.post("/configurations", &Value::Object(body)).await?;
            made(session, &answer)
        }
        ConfigurationCommand::Ls { template, list } => {
            let template = match template {
                Some(template) => Some(session.id(Kind::Template, &template).await?),
                None => None,
            };
            ls(session, &list, template).await
        }
        ConfigurationCommand::Show { configuration, version } => {
            let answer = get(session, &configuration, "", version).await?;
            session.show(&answer)
        }
        ConfigurationCommand::Node { configuration, version } => {
            let answer = get(session, &configuration, "/node", version).await?;
            if session.console.json {
                return session.console.json(&answer.body);
            }
            let node = format!("{:#}", answer.value()?);
            node.lines().try_for_each(|line| session.console.line(&Shown(line).to_string()))
        }
        ConfigurationCommand::Update(update) => {
            let mut body = update.choice.named(update.unset)?;
            body.extend(update.name.map(|name| ("name".to_owned(), json!(name))));
            body.extend(update.no_run.then(|| ("run_list".to_owned(), json!([]))));
            body.extend(update.upgrade.map(|version| ("template_version".to_owned(), version)));
            if body.is_empty() {
                return Err(CliError::Usage("say what is to be another: see --help".to_owned()));
            }
            let id = session.id(Kind::Configuration, &update.configuration).await?;
            let answer = session.client.patch(&format!("/configurations/{id}"), &Value::Object(body)).await?;
            made(session, &answer)
        }
        ConfigurationCommand::Rm { configuration } => {
            let id = session.id(Kind::Configuration, &configuration).await?;
            session.client.delete(&format!("/configurations/{id}"), &[]).await?;
            session.console.note(Style::Plain, &format!("the configuration {id} is gone"));
            Ok(())
        }
    }
}

async fn get(session: &Session, name: &str, of: &str, version: Option<u32>) -> Result<Answer, CliError> {
    let id = session.id(Kind::Configuration, name).await?;
    let query: Vec<_> = version.map(|version| ("version", version.to_string())).into_iter().collect();
    session.client.get(&format!("/configurations/{id}{of}"), &query).await
}

/// Tells the version that a change made.
fn made(session: &mut Session, answer: &Answer) -> Result<(), CliError> {
    if session.console.json {
        return session.console.json(&answer.body);
    }
    let configuration = answer.value()?;
    session.console.line(&format!("configuration  {}", Shown(text(&configuration, "/id"))))?;
    session.console.line(&format!("version        {}", number(&configuration, "/version").unwrap_or_default()))
}

async fn ls(session: &mut Session, options: &ListOptions, template: Option<String>) -> Result<(), CliError> {
    let filters = [("template", template)];
    let Some(items) = list::fetch(session, "/configurations", options, &filters).await? else { return Ok(()) };
    let templates = resolve::names(&session.client, Kind::Template, &items, "/template").await;
    let mut table = Table::new(["NAME", "ID", "VERSION", "TEMPLATE", "OF VERSION", "CHANGED"]);
    for item in &items {
        let count = |pointer| number(item, pointer).map(|n| n.to_string()).unwrap_or_default();
        table.row([
            Cell::text(text(item, "/name")),
            Cell::text(text(item, "/id")),
            Cell::number(&count("/version")),
            Cell::text(named(&templates, text(item, "/template"))),
            Cell::number(&count("/template_version")),
            Cell::text(&age(item, "/changed_at")),
        ]);
    }
    table.print(&mut session.console)
}
