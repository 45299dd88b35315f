//! Following a job to its end: its log live, its progress, its result as the exit code. Used by every `--wait`, by
//! `job wait` and by `job log -f`.
//!
//! The log comes as a stream of events; beside it the job is polled, for its progress and so that a stream that falls
//! silent is noticed. Whatever breaks is tried again from where the log was shown to, until the coordinator was away for
//! [`AWAY`]. The job itself never depends on who looks at it.

use super::{
    client::{Answer, Client},
    console::Style,
    error::CliError,
    job::Job,
    log::{self, Ended, Position},
    progress::{LogAbove, ProgressLine},
    session::Session,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// For how long a coordinator may stay away before following gives up: longer than a restart takes.
const AWAY: Duration = Duration::from_secs(120);

/// How often the job is looked at beside its log.
const POLL: Duration = Duration::from_secs(1);

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(10);

/// How long a log may stay silent after its job was seen to be over.
const GRACE: Duration = Duration::from_secs(5);

/// What the caller wants the job to end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Success; the log is shown.
    Success,
    /// Success; the log is not shown.
    SuccessInSilence,
    /// Having been cancelled.
    Cancelled,
}

/// Follows a job until it is over, tells how it ended, and is an error if that is not what was wanted. What the job was
/// at last comes back.
pub(super) async fn to_the_end(session: &mut Session, job: &Job, wanted: Ending) -> Result<Answer, CliError> {
    let show_log = wanted != Ending::SuccessInSilence;
    let answer = uninterrupted(&job.id, follow(session, job, Position::at(0), show_log)).await?;
    if session.console.json {
        session.console.json(&answer.body)?;
    }
    let job: Box<Job> = Box::new(answer.parse()?);
    match (job.state.as_str(), wanted) {
        ("cancelled", Ending::Cancelled) => {
            session.console.note(Style::Plain, &format!("the job {} was cancelled", job.id));
            Ok(answer)
        }
        (_, Ending::Cancelled) => Err(CliError::NotCancelled(job)),
        ("succeeded", _) => {
            let what = job.resource.as_ref().map(|r| format!(": {} {}", r.kind, r.id)).unwrap_or_default();
            session.console.note(Style::Green, &format!("{} succeeded{what}", job.kind));
            Ok(answer)
        }
        ("cancelled", _) => Err(CliError::JobCancelled(job)),
        _ => Err(CliError::JobFailed(job)),
    }
}

/// Follows a job's log from a byte on until the job is over, however it ends.
pub(super) async fn log(session: &mut Session, id: &str, offset: u64) -> Result<(), CliError> {
    let job = session.client.get(&path(id), &[]).await?.parse()?;
    uninterrupted(id, follow(session, &job, Position::at(offset), true)).await.map(drop)
}

/// Runs until Ctrl-C.
async fn uninterrupted<T>(job: &str, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::select! {
        result = work => result,
        // Where the signal cannot be watched, it ends the process by itself, as it always did.
        Ok(()) = tokio::signal::ctrl_c() => Err(CliError::Interrupted { job: job.to_owned() }),
    }
}

async fn follow(session: &mut Session, job: &Job, mut position: Position, show: bool) -> Result<Answer, CliError> {
    let Session { client, console, .. } = session;
    let line = ProgressLine::new();
    line.show(job);
    let mut above = LogAbove::new(console, line.clone());
    if show {
        show_log(client, &job.id, &mut position, &mut above, &line).await?;
    }
    let result = wait_until_over(client, &job.id, &line).await;
    above.finish()?;
    result
}

/// Shows the whole log, through as many streams as that takes.
async fn show_log(
    client: &Client,
    job: &str,
    position: &mut Position,
    above: &mut LogAbove<'_>,
    line: &ProgressLine,
) -> Result<(), CliError> {
    let mut patience = Patience::new(job);
    loop {
        let before = position.offset;
        let mut show = |bytes: &[u8]| above.write(bytes);
        let ended = tokio::select! {
            ended = log::stream(client, job, position, &mut show) => ended,
            () = over_for_a_while(client, job, line) => {
                // The stream is stuck: what it did not bring is fetched as text.
                log::read(client, job, position, &mut show).await.map(|()| Ended::Over)
            }
        };
        let failure = match ended {
            Ok(Ended::Over) => return Ok(()),
            Ok(Ended::BrokeOff) => None,
            Err(error) if error.transient() => Some(error),
            Err(error) => return Err(error),
        };
        // A coordinator that shuts down ends its streams; the job may be over and its log complete all the same.
        match look(client, job).await {
            Ok((_, job)) if job.over() && position.offset >= job.log.size => return Ok(()),
            Ok(_) => patience.since = Instant::now(),
            Err(error) if error.transient() => {}
            Err(error) => return Err(error),
        }
        if position.offset > before {
            patience.renew();
        }
        line.say("the log broke off; connecting again");
        patience.pause(failure).await?;
    }
}

/// Looks at the job until it is over.
async fn wait_until_over(client: &Client, job: &str, line: &ProgressLine) -> Result<Answer, CliError> {
    let mut patience = Patience::new(job);
    loop {
        match look(client, job).await {
            Ok((answer, job)) if job.over() => return Ok(answer),
            Ok((_, job)) => {
                line.show(&job);
                patience.renew();
                sleep(POLL).await;
            }
            Err(error) if error.transient() => {
                line.say("the coordinator is away; trying again");
                patience.pause(Some(error)).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Shows the job's progress, and returns once the job has been over for [`GRACE`].
async fn over_for_a_while(client: &Client, job: &str, line: &ProgressLine) {
    loop {
        sleep(POLL).await;
        // A failure here is the stream's to notice.
        let Ok((_, job)) = look(client, job).await else { continue };
        line.show(&job);
        if job.over() {
            return sleep(GRACE).await;
        }
    }
}

async fn look(client: &Client, job: &str) -> Result<(Answer, Job), CliError> {
    let answer = client.get_within(&path(job), LOOK).await?;
    let job = answer.parse()?;
    Ok((answer, job))
}

fn path(job: &str) -> String {
    format!("/queue/{job}")
}

/// How long contact is tried for, and how often.
#[derive(Debug)]
struct Patience<'a> {
    job: &'a str,
    since: Instant,
    pause: Duration,
}

impl<'a> Patience<'a> {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    fn new(job: &'a str) -> Self {
        Self { job, since: Instant::now(), pause: Self::FIRST }
    }

    /// The coordinator was there.
    fn renew(&mut self) {
        *self = Self::new(self.job);
    }

    /// Pauses, each time for longer; the failure comes back once it has gone on for too long.
    async fn pause(&mut self, failure: Option<CliError>) -> Result<(), CliError> {
        match failure {
            Some(source) if self.since.elapsed() > AWAY => {
                Err(CliError::LostJob { job: self.job.to_owned(), seconds: AWAY.as_secs(), source: Box::new(source) })
            }
            _ => {
                sleep(self.pause).await;
                self.pause = (self.pause * 2).min(Self::LONGEST);
                Ok(())
            }
        }
    }
}
