//! `dockerforge container converge`: a container that runs is brought to what its configuration says; after `--wait`, each
//! resource that became another is told, or that none did.

use super::{
    error::{CliError, Shown},
    follow::{self, Ending},
    list::text,
    resolve::Kind,
    session::Session,
};
use serde_json::{Map, Value, json};

/// Which container, and to what.
#[derive(Debug, clap::Args)]
pub struct Converge {
    /// Name or id
    container: String,
    /// The version of its configuration [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    configuration_version: Option<u32>,
    /// Seconds within which it has to begin, and that it may take
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    deadline: Option<u32>,
    /// Follow the job until it is over, and tell what it changed
    #[arg(long)]
    wait: bool,
}

/// Asks for it.
pub(super) async fn run(options: Converge, session: &mut Session) -> Result<(), CliError> {
    let id = session.id(Kind::Container, &options.container).await?;
    let named = [("configuration_version", options.configuration_version), ("deadline", options.deadline)];
    let body: Map<_, _> = named.into_iter().filter_map(|(name, n)| Some((name.to_owned(), json!(n?)))).collect();
    let answer = session.client.post(&format!("/containers/{id}/converge"), &Value::Object(body)).await?;
    if !options.wait {
        return session.accepted(&answer, false).await;
    }
    let ended = follow::to_the_end(session, &answer.parse()?, Ending::Success).await?;
    if session.console.json {
        return Ok(());
    }
    lines(&ended.value()?).iter().try_for_each(|line| session.console.line(line))
}

/// A line a resource, as the job's result has them.
fn lines(job: &Value) -> Vec<String> {
    let resources = job.pointer("/result/resources").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if resources.is_empty() {
        return vec!["nothing changed".to_owned()];
    }
    let one = |outcome: &Value| {
        let detail = text(outcome, "/detail");
        let detail = if detail.is_empty() { String::new() } else { format!("  {}", Shown(detail)) };
        format!("{:<8}  {}{detail}", Shown(text(outcome, "/status")).to_string(), Shown(text(outcome, "/resource")))
    };
    resources.iter().map(one).collect()
}
