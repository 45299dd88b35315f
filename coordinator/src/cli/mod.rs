//! The client commands of `dockerforge`: they talk plain HTTP to the REST API, as any frontend would, and import
//! nothing else of the coordinator. `main` parses [`Command`] and [`Globals`] and calls [`run`].
//!
//! What must hold: stdout carries results only (tables, the server's JSON, a job's log byte for byte), stderr carries
//! everything said to the person; no write panics on a closed pipe; the exit code says how it ended ([`EXIT_CODES`]).

mod args;
mod audit;
mod client;
mod configuration;
mod connect;
mod console;
mod container;
mod context;
mod converge;
mod details;
mod dockerignore;
mod error;
mod event;
mod follow;
mod globals;
mod host;
mod host_access;
mod human;
mod image;
mod job;
mod link;
mod list;
mod live;
mod log;
mod moves;
mod parameters;
mod problem;
mod progress;
mod resolve;
mod secrets;
mod session;
mod sse;
mod table;
mod template;
mod token;
mod user;
mod webhook;

pub use error::CliError;
pub use globals::{Color, Globals};

use session::Session;
use std::process::ExitCode;

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes of the client commands:
  0    done; with --wait: the job succeeded
  1    refused by the coordinator, or the job failed
  2    wrong usage
  3    the job was cancelled
  4    the coordinator cannot be reached, or was lost on the way
  130  interrupted with Ctrl-C; a job that was being followed goes on
  141  the reader of our output went away";

/// A client command.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Users and their API tokens (administrators)
    #[command(subcommand)]
    User(user::UserCommand),
    /// Machines with an agent
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Templates: what can be configured, in versions
    #[command(subcommand)]
    Template(template::TemplateCommand),
    /// Configurations: what was chosen of a template, in versions
    #[command(subcommand)]
    Configuration(configuration::ConfigurationCommand),
    /// Images: built from a configuration or a Dockerfile, or pulled
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Containers
    #[command(subcommand)]
    Container(container::ContainerCommand),
    /// The queue: asynchronous operations, their progress and logs
    #[command(subcommand)]
    Job(job::JobCommand),
    /// What happened, as it happens too
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Where events are sent
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Who did what (administrators)
    #[command(subcommand)]
    Audit(audit::AuditCommand),
}

/// Runs a client command to its end, tells the person about a failure on stderr, and gives the process's exit code.
pub async fn run(command: Command, globals: Globals) -> ExitCode {
    match execute(command, &globals).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::Console::new(&globals).report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs a client command to its end. What failed is told to nobody yet.
pub async fn execute(command: Command, globals: &Globals) -> Result<(), CliError> {
    let mut session = Session::open(globals).await?;
    match command {
        Command::User(command) => user::run(command, &mut session).await?,
        Command::Host(command) => host::run(command, &mut session).await?,
        Command::Template(command) => template::run(command, &mut session).await?,
        Command::Configuration(command) => configuration::run(command, &mut session).await?,
        Command::Image(command) => image::run(command, &mut session).await?,
        Command::Container(command) => container::run(command, &mut session).await?,
        Command::Job(command) => job::run(command, &mut session).await?,
        Command::Event(command) => event::run(command, &mut session).await?,
        Command::Webhook(command) => webhook::run(command, &mut session).await?,
        Command::Audit(command) => audit::run(command, &mut session).await?,
    }
    session.close();
    Ok(())
}
