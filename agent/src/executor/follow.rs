//! Follows a pull through what Docker says of it: its log, how far it is, and how it ends.

use super::Ended;
use super::work::Work;
use crate::docker::{Call, DockerError, Events, Output};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often the progress of a pull is said.
const PULL_PROGRESS: Duration = Duration::from_millis(500);

/// Sees a pull to its end; `words` makes of Docker's failure what it is to the job.
pub(super) async fn follow_pull(
    work: &Work<'_>,
    pull: Call<'_, Events<Output>>,
    words: impl Fn(&DockerError) -> Ended,
) -> Result<(), Ended> {
    let mut output = work.unless_stopped(pull).await?.map_err(|error| words(&error))?;
    let mut layers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut said = Instant::now();
    while let Some(item) = work.unless_stopped(output.next()).await? {
        let item = item.map_err(|error| words(&error))?;
        match (item.bytes, item.layer) {
            (Some(bytes), Some(layer)) => {
                layers.insert(layer, bytes);
                if said.elapsed() >= PULL_PROGRESS {
                    said = Instant::now();
                    let (done, all) = layers.values().fold((0, 0), |(d, a), (x, y)| (d + x, a + y));
                    let percent = (done * 98).checked_div(all).and_then(|p| u8::try_from(p.min(98)).ok());
                    work.progress("pulling", percent);
                }
            }
            (None, Some(layer)) => work.say(&format!("{layer}: {}\n", item.text)),
            (_, None) => work.say(&format!("{}\n", item.text)),
        }
    }
    Ok(())
}
