//! What a command works with: the client, the console, and the few things every command does with both. Opened once
//! by [`execute`](super::execute).

use super::{
    client::{Answer, Client},
    console::{Console, Style},
    details,
    error::CliError,
    follow::{self, Ending},
    globals::Globals,
    job::Job,
    resolve::{self, Kind},
};

/// One run of a command.
#[derive(Debug)]
pub(super) struct Session {
    /// The coordinator.
    pub client: Client,
    /// The person.
    pub console: Console,
    /// Where the list that was shown goes on, if it does.
    pub more: Option<String>,
}

impl Session {
    /// A session as the options say; looks up the user to act for, where he is named.
    pub(super) async fn open(globals: &Globals) -> Result<Self, CliError> {
        let mut client = Client::new(globals)?;
        if let Some(user) = &globals.act_as {
            client.acts_for = Some(resolve::id(&client, Kind::User, user).await?);
        }
        Ok(Self { client, console: Console::new(globals), more: None })
    }

    /// The id of what a name or an id stands for.
    pub(super) async fn id(&self, kind: Kind, name: &str) -> Result<String, CliError> {
        resolve::id(&self.client, kind, name).await
    }

    /// Shows one resource: the server's JSON, or every field of it on a line.
    pub(super) fn show(&mut self, answer: &Answer) -> Result<(), CliError> {
        if self.console.json {
            return self.console.json(&answer.body);
        }
        let lines = details::lines(&answer.value()?, jiff::Timestamp::now(), self.console.color);
        lines.iter().try_for_each(|line| self.console.line(line))
    }

    /// The last word: that a list goes on.
    pub(super) fn close(self) {
        if let Some(cursor) = self.more {
            self.console.note(Style::Dim, &format!("there are more: --all, or --after {cursor}"));
        }
    }

    /// What follows an answer of 202: tells the job and its resource, or waits for its end.
    pub(super) async fn accepted(&mut self, answer: &Answer, wait: bool) -> Result<(), CliError> {
        let job: Job = answer.parse()?;
        if wait {
            return follow::to_the_end(self, &job, Ending::Success).await.map(drop);
        }
        if self.console.json {
            return self.console.json(&answer.body);
        }
        self.console.line(&format!("job        {}", job.id))?;
        if let Some(resource) = &job.resource {
            self.console.line(&format!("{:<9}  {}", resource.kind, resource.id))?;
        }
        self.console
            .note(Style::Dim, &format!("{} is {}; follow it: dockerforge job wait {}", job.kind, job.state, job.id));
        Ok(())
    }
}
