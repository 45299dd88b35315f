//! Every way a client command can fail, what is said about it, and the exit code it gives. Made all over `cli`;
//! shown in one place, [`Console::report`](super::console::Console::report).

use super::{context::ContextError, globals::KeySource, job::Job, problem::Problem};
use std::{error::Error, fmt, io, path::PathBuf};

/// Why a client command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line cannot be meant so, in a way that its grammar does not show.
    #[error("{0}")]
    Usage(String),
    /// `--url` is not the address of a coordinator.
    #[error("{url} is not a usable URL: {reason}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key file cannot be read.
    #[error("cannot read the key file {}", path.display())]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key cannot stand in a header.
    #[error("the API key contains characters that no key has")]
    BadKey,
    /// The file of certificate authorities cannot be used.
    #[error("cannot use the certificate authorities in {}: {reason}", path.display())]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// No connection could be made.
    #[error("cannot reach the coordinator at {url}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the attempt ended with.
        #[source]
        source: reqwest::Error,
    },
    /// The connection was made, and broke or fell silent before the answer was complete.
    #[error("the connection to the coordinator at {url} was lost before its answer was complete")]
    Lost {
        /// Where it was.
        url: String,
        /// What it ended with.
        #[source]
        source: reqwest::Error,
    },
    /// A job was being followed, and the coordinator stayed away for too long.
    #[error("the coordinator stayed away for {seconds} s; the job {job} was not over when last seen")]
    LostJob {
        /// Which.
        job: String,
        /// How long contact was tried for, seconds.
        seconds: u64,
        /// What the last attempt ended with.
        #[source]
        source: Box<CliError>,
    },
    /// The coordinator refused.
    #[error("{problem}")]
    Refused {
        /// What it said.
        problem: Box<Problem>,
        /// Where the key in use came from; set for 401 alone.
        key: Option<KeySource>,
    },
    /// The coordinator's answer is not one of this API.
    #[error("the answer of {url} is not one of this API ({reason}); is it a Dockerforge coordinator?")]
    NotUnderstood {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Nothing has this name.
    #[error("there is no {kind} named {name:?}")]
    UnknownName {
        /// user, host, template, configuration, image, container, token.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Several things have this name.
    #[error("several {kind}s are named {name:?}: say which by its id")]
    AmbiguousName {
        /// user, host, template, configuration, image, container, token.
        kind: &'static str,
        /// The name.
        name: String,
        /// The ids of those that have it.
        ids: Vec<String>,
    },
    /// A build context or an archive could not be read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The job that was waited for failed.
    #[error("the job {} failed: {}", .0.id, .0.failure())]
    JobFailed(Box<Job>),
    /// The job that was waited for was cancelled.
    #[error("the job {} was cancelled", .0.id)]
    JobCancelled(Box<Job>),
    /// A job was to be cancelled and ended otherwise.
    #[error("the job {} {} before it could be cancelled", .0.id, .0.state)]
    NotCancelled(Box<Job>),
    /// Ctrl-C while a job was being followed.
    #[error("interrupted; the job {job} goes on")]
    Interrupted {
        /// Which.
        job: String,
    },
    /// A terminal ended before its program did.
    #[error("the terminal was closed: {0}")]
    TerminalClosed(String),
    /// The program in a terminal ended so.
    #[error("the program ended with {0}")]
    Exit(u8),
    /// The output could not be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
}

impl CliError {
    /// The process's exit code, as [`EXIT_CODES`](super::EXIT_CODES) documents it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // As a shell reports a process that SIGPIPE ended.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 141,
            Self::Exit(code) => *code,
            Self::Usage(_) | Self::BadUrl { .. } | Self::KeyFile { .. } | Self::BadKey | Self::CaFile { .. } => 2,
            Self::Client(_)
            | Self::Refused { .. }
            | Self::NotUnderstood { .. }
            | Self::UnknownName { .. }
            | Self::AmbiguousName { .. }
            | Self::Context(_)
            | Self::JobFailed(_)
            | Self::NotCancelled(_)
            | Self::Output(_) => 1,
            Self::JobCancelled(_) => 3,
            Self::Unreachable { .. } | Self::Lost { .. } | Self::LostJob { .. } | Self::TerminalClosed(_) => 4,
            Self::Interrupted { .. } => 130,
        }
    }

    /// Whether another attempt may succeed without anybody changing anything: the coordinator is away or overloaded.
    #[must_use]
    pub fn transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused { problem, .. } => problem.status == 429 || problem.status >= 500,
            _ => false,
        }
    }

    /// Further lines for the person: one a pointer of a problem, and what can be done about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Unreachable { .. } if self.root_cause().is_some_and(|cause| cause.contains("certificate")) => {
                vec!["trust the authority that signed its certificate with --ca-file FILE".to_owned()]
            }
            Self::Unreachable { .. } => vec![
                "start a coordinator with `dockerforge serve`, or say where one is with --url or DOCKERFORGE_URL"
                    .to_owned(),
            ],
            Self::Refused { problem, key } => {
                let mut hints = problem.lines();
                if let Some(source) = key {
                    hints.push(format!("{source}; give one with --key-file FILE or the variable DOCKERFORGE_KEY"));
                    hints.push(
                        "the administrator's key is in admin.key in the coordinator's data folder; \
                         `dockerforge user create` and `dockerforge user token create` make others"
                            .to_owned(),
                    );
                }
                hints
            }
            Self::AmbiguousName { ids, .. } => ids.clone(),
            Self::JobFailed(job) => job.error.as_ref().map(Problem::lines).unwrap_or_default(),
            Self::Interrupted { job } | Self::LostJob { job, .. } => vec![
                format!("follow it: dockerforge job wait {job}"),
                format!("cancel it: dockerforge job cancel {job}"),
            ],
            _ => Vec::new(),
        }
    }

    /// What lies at the bottom of it, where that says more than the error itself.
    #[must_use]
    pub fn root_cause(&self) -> Option<String> {
        let mut cause: &dyn Error = self.source()?;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Some(cause.to_string())
    }
}

/// Text from elsewhere, made safe for a terminal: control characters become visible.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' | '\t' => f.write_str(" ")?,
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}
