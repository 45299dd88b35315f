//! `dockerforge template`: what can be configured, as files of JSON, and the archive of cookbooks, roles or scripts beside it.

use super::{
    client::Answer,
    console::Style,
    context::Context,
    error::{CliError, Shown},
    list::{self, ListOptions, age, number, text},
    parameters,
    resolve::Kind,
    session::Session,
    table::{Cell, Table},
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The commands on templates.
#[derive(Debug, clap::Subcommand)]
pub enum TemplateCommand {
    /// Make a template
    Create {
        /// What it says, as JSON; - is stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Its cookbooks, roles or scripts: a folder, or a tar archive, compressed with gzip or not
        #[arg(long, value_name = "PATH")]
        archive: Option<PathBuf>,
        /// Every user sees it and may use it (administrators)
        #[arg(long)]
        public: bool,
    },
    /// List templates
    Ls {
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
    /// Show all of a template
    Show {
        /// Name or id
        template: String,
        /// The version to show [default: the newest]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        version: Option<u32>,
    },
    /// Say anew all that a template says; that makes its next version, and its archive stays
    Replace {
        /// Name or id
        template: String,
        /// What it says, as JSON; - is stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Every user sees it and may use it (administrators)
        #[arg(long)]
        public: bool,
    },
    /// Give a template other cookbooks, roles or scripts; that makes its next version
    Archive {
        /// Name or id
        template: String,
        /// A folder, or a tar archive, compressed with gzip or not
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
    /// Remove a template with all its versions
    Rm {
        /// Name or id
        template: String,
    },
}

/// Runs one of them.
pub(super) async fn run(command: TemplateCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        TemplateCommand::Create { file, archive, public } => create(session, &file, archive.as_deref(), public).await,
        TemplateCommand::Ls { list } => ls(session, &list).await,
        TemplateCommand::Show { template, version } => {
            let id = session.id(Kind::Template, &template).await?;
            let query: Vec<_> = version.map(|version| ("version", version.to_string())).into_iter().collect();
            let answer = session.client.get(&format!("/templates/{id}"), &query).await?;
            session.show(&answer)
        }
        TemplateCommand::Replace { template, file, public } => {
            let body = body(&file, public)?;
            let id = session.id(Kind::Template, &template).await?;
            let answer = session.client.put(&format!("/templates/{id}"), &body).await?;
            made(session, &answer)
        }
        TemplateCommand::Archive { template, path } => {
            let archive = Context::archive(&path)?;
            let id = session.id(Kind::Template, &template).await?;
            let answer = session.client.put_archive(&format!("/templates/{id}/archive"), &archive).await?;
            made(session, &answer)
        }
        TemplateCommand::Rm { template } => {
            let id = session.id(Kind::Template, &template).await?;
            session.client.delete(&format!("/templates/{id}"), &[]).await?;
            session.console.note(Style::Plain, &format!("the template {id} is gone"));
            Ok(())
        }
    }
}

async fn create(session: &mut Session, file: &Path, archive: Option<&Path>, public: bool) -> Result<(), CliError> {
    let body = body(file, public)?;
    // One that cannot be read is found before anything is made.
    let archive = archive.map(Context::archive).transpose()?;
    let mut answer = session.client.post("/templates", &body).await?;
    if let Some(archive) = archive {
        let template = answer.value()?;
        let id = Shown(text(&template, "/id")).to_string();
        let put = session.client.put_archive(&format!("/templates/{id}/archive"), &archive).await;
        answer = put.inspect_err(|_| {
            let said =
                format!("the template {id} was made, but it has no archive: dockerforge template archive {id} PATH");
            session.console.note(Style::Yellow, &said);
        })?;
    }
    made(session, &answer)
}

fn body(file: &Path, public: bool) -> Result<Value, CliError> {
    let mut body = parameters::object(file)?;
    if public {
        body.insert("public".to_owned(), json!(true));
    }
    Ok(Value::Object(body))
}

/// Tells the version that a change made.
fn made(session: &mut Session, answer: &Answer) -> Result<(), CliError> {
    if session.console.json {
        return session.console.json(&answer.body);
    }
    let template = answer.value()?;
    session.console.line(&format!("template  {}", Shown(text(&template, "/id"))))?;
    session.console.line(&format!("version   {}", number(&template, "/version").unwrap_or_default()))
}

async fn ls(session: &mut Session, options: &ListOptions) -> Result<(), CliError> {
    let Some(templates) = list::fetch(session, "/templates", options, &[]).await? else { return Ok(()) };
    let mut table = Table::new(["NAME", "ID", "VERSION", "PROVISIONER", "BASE", "FOR", "CHANGED"]);
    for template in &templates {
        let public = template.get("public").and_then(Value::as_bool).unwrap_or(false);
        table.row([
            Cell::text(text(template, "/name")),
            Cell::text(text(template, "/id")),
            Cell::number(&number(template, "/version").map(|n| n.to_string()).unwrap_or_default()),
            Cell::text(text(template, "/provisioner")),
            Cell::text(text(template, "/base")),
            Cell::text(if public { "everybody" } else { "the user" }),
            Cell::text(&age(template, "/changed_at")),
        ]);
    }
    table.print(&mut session.console)
}
