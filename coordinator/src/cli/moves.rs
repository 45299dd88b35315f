//! `dockerforge container move`: a container goes to another host, with what is in its volumes.

use super::{args, error::CliError, resolve::Kind, session::Session};
use dockerforge_protocol::spec::{LabelKey, LabelValue};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Which container, and where to.
#[derive(Debug, clap::Args)]
pub struct Move {
    /// Name or id
    container: String,
    /// The host to move to, by name or id
    #[arg(long, required_unless_present_any = ["place", "place_labels"], conflicts_with_all = ["place", "place_labels"])]
    host: Option<String>,
    /// How another one of the hosts that users share is chosen: spread, binpack or random
    #[arg(long, value_name = "STRATEGY", value_parser = ["spread", "binpack", "random"])]
    place: Option<String>,
    /// A label that such a host must have; may be repeated
    #[arg(long = "place-label", value_name = "KEY=VALUE", value_parser = args::label)]
    place_labels: Vec<(LabelKey, LabelValue)>,
    /// Seconds it may take to end by itself before it is killed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=300))]
    grace: Option<u32>,
    /// Seconds that it may wait for its hosts
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    deadline: Option<u32>,
    /// Follow the job until it is over
    #[arg(long)]
    wait: bool,
}

/// Asks for it.
pub(super) async fn run(options: Move, session: &mut Session) -> Result<(), CliError> {
    let id = session.id(Kind::Container, &options.container).await?;
    let mut body = Map::new();
    if let Some(host) = &options.host {
        body.insert("host".to_owned(), json!(session.id(Kind::Host, host).await?));
    } else {
        let mut placement = Map::new();
        placement.extend(options.place.map(|strategy| ("strategy".to_owned(), json!(strategy))));
        if !options.place_labels.is_empty() {
            let labels = options.place_labels.into_iter().collect::<BTreeMap<_, _>>();
            placement.insert("labels".to_owned(), json!(labels));
        }
        body.insert("placement".to_owned(), Value::Object(placement));
    }
    let seconds = [("grace", options.grace), ("deadline", options.deadline)];
    body.extend(seconds.into_iter().filter_map(|(name, seconds)| Some((name.to_owned(), json!(seconds?)))));
    let answer = session.client.post(&format!("/containers/{id}/move"), &Value::Object(body)).await?;
    session.accepted(&answer, options.wait).await
}
