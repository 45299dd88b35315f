//! Jobs: the commands of the queue, and a job as the API writes it, which `follow` decides by.

use super::{
    error::CliError,
    follow::{self, Ending},
    list::{self, ListOptions, age, named, text},
    log,
    problem::Problem,
    resolve::{self, Kind},
    session::Session,
    table::{Cell, Table},
};
use dockerforge_protocol::ids::JobId;
use serde::Deserialize;

/// A job, as far as a client decides by it.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What it does: `image.build`.
    #[serde(default)]
    pub kind: String,
    /// Where it is.
    pub state: String,
    /// What it makes or takes away.
    #[serde(default)]
    pub resource: Option<Resource>,
    /// How far it is.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Problem>,
    /// Its log.
    #[serde(default)]
    pub log: Log,
}

/// What a job is about.
#[derive(Debug, Clone, Deserialize)]
pub struct Resource {
    /// `image`, `container`, …
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// How far a job is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The step, in words.
    pub step: String,
    /// 0 to 100, where it is known.
    pub percent: Option<u8>,
}

/// A job's log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Log {
    /// How long it is, bytes.
    pub size: u64,
}

impl Job {
    /// Whether the job is over: its state never changes again.
    #[must_use]
    pub fn over(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled")
    }

    /// Why it failed, in a line.
    pub(super) fn failure(&self) -> String {
        self.error.as_ref().map_or_else(|| "it does not say why".to_owned(), Problem::to_string)
    }
}

const STATES: [&str; 8] =
    ["queued", "assigned", "running", "unknown", "cancelling", "succeeded", "failed", "cancelled"];

/// The commands on jobs.
#[derive(Debug, clap::Subcommand)]
pub enum JobCommand {
    /// List jobs, newest first
    Ls {
        /// Only those in this state
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// Only those of this kind, such as image.build
        #[arg(long)]
        kind: Option<String>,
        /// Only those of this host, by name or id
        #[arg(long)]
        host: Option<String>,
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
    /// Show all of a job
    Show {
        /// The job
        job: JobId,
    },
    /// Ask a job to stop
    Cancel {
        /// The job
        job: JobId,
        /// Follow it until it is over; the exit code is 0 if it was cancelled, and 1 if it ended otherwise
        #[arg(long)]
        wait: bool,
    },
    /// Print a job's log
    Log {
        /// The job
        job: JobId,
        /// Go on until the job is over. How it ended does not change the exit code
        #[arg(long, short)]
        follow: bool,
        /// Begin at this byte
        #[arg(long, value_name = "BYTES", default_value_t = 0)]
        offset: u64,
    },
    /// Follow a job, with its log, until it is over; the exit code is how it ended
    Wait {
        /// The job
        job: JobId,
        /// Without the log
        #[arg(long, short)]
        quiet: bool,
    },
}

/// Runs one of them.
pub(super) async fn run(command: JobCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        JobCommand::Ls { state, kind, host, list } => {
            let host = match host {
                Some(host) => Some(session.id(Kind::Host, &host).await?),
                None => None,
            };
            ls(session, &list, &[("state", state), ("kind", kind), ("host", host)]).await
        }
        JobCommand::Show { job } => {
            let answer = session.client.get(&path(job), &[]).await?;
            session.show(&answer)
        }
        JobCommand::Cancel { job, wait } => {
            let answer = session.client.delete(&path(job), &[]).await?;
            if wait {
                return follow::to_the_end(session, &answer.parse()?, Ending::Cancelled).await.map(drop);
            }
            let job: Job = answer.parse()?;
            if session.console.json {
                session.console.json(&answer.body)
            } else {
                session.console.line(&format!("job {} is {}", job.id, job.state))
            }
        }
        JobCommand::Log { job, follow: false, offset } => {
            let mut position = log::Position::at(offset);
            let mut shown = |bytes: &[u8]| session.console.log(bytes);
            log::read(&session.client, &job.to_string(), &mut position, &mut shown).await
        }
        JobCommand::Log { job, follow: true, offset } => follow::log(session, &job.to_string(), offset).await,
        JobCommand::Wait { job, quiet } => {
            let answer = session.client.get(&path(job), &[]).await?;
            let ending = if quiet { Ending::SuccessInSilence } else { Ending::Success };
            follow::to_the_end(session, &answer.parse()?, ending).await.map(drop)
        }
    }
}

fn path(job: JobId) -> String {
    format!("/queue/{job}")
}

async fn ls(
    session: &mut Session,
    options: &ListOptions,
    filters: &[(&'static str, Option<String>)],
) -> Result<(), CliError> {
    let Some(jobs) = list::fetch(session, "/queue", options, filters).await? else { return Ok(()) };
    let hosts = resolve::names(&session.client, Kind::Host, &jobs, "/host").await;
    let mut table = Table::new(["ID", "KIND", "STATE", "STEP", "HOST", "RESOURCE", "CREATED"]);
    for job in &jobs {
        table.row([
            Cell::text(text(job, "/id")),
            Cell::text(text(job, "/kind")),
            Cell::state(text(job, "/state")),
            Cell::text(text(job, "/progress/step")),
            Cell::text(named(&hosts, text(job, "/host"))),
            Cell::text(text(job, "/resource/id")),
            Cell::text(&age(job, "/created_at")),
        ]);
    }
    table.print(&mut session.console)
}
