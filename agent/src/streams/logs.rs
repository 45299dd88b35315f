//! A container's log, from a position on: what there is, and what is written until the container has ended. A container
//! that Docker restarts ends Docker's stream; it is then read again from where it was.

use super::open::{Ended, find, goes_on, refused};
use super::{Settings, Stream};
use crate::docker::live::LogQuery;
use crate::docker::{DockerError, Events};
use dockerforge_protocol::stream::{Line, LogPosition, LogsRequest, MAX_PIECE, Piece, StreamEnd};
use futures_util::{FutureExt, StreamExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Between two looks at a container that is being restarted.
const AGAIN: Duration = Duration::from_millis(300);
/// The most of a line that is sent in one: it has to fit into a piece, with what holds it.
const LONGEST: usize = 30 * 1024;

/// Runs a log to its end.
pub(super) async fn run(settings: &Settings, stream: &Stream, request: &LogsRequest) -> Result<StreamEnd, Ended> {
    let container = find(settings, request.container).await.map_err(|e| refused(&e))?;
    stream.opened().await?;
    let mut reader = Reader { stream, position: request.from, tail: request.tail };
    loop {
        let query = LogQuery {
            stdout: request.stdout,
            stderr: request.stderr,
            since: i32::try_from(reader.position.earliest().div_euclid(1_000_000_000)).unwrap_or(i32::MAX),
            tail: reader.tail,
            follow: request.follow,
        };
        if reader.tail.take() == Some(0) {
            reader.position = LogPosition::at(now());
        }
        reader.read(settings.engine.logs(&container.id, query).await?, query.tail.is_some()).await?;
        if !request.follow {
            return Ok(StreamEnd::Done { exit_code: None });
        }
        match find(settings, request.container).await {
            Ok(found) if found.id == container.id && goes_on(found.state) => tokio::time::sleep(AGAIN).await,
            Ok(found) => return Ok(StreamEnd::Done { exit_code: found.exit_code }),
            Err(DockerError::NotFound { .. }) => return Ok(StreamEnd::Done { exit_code: None }),
            Err(error) => return Err(error.into()),
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or_default()
}

struct Reader<'a> {
    stream: &'a Stream,
    position: LogPosition,
    tail: Option<u32>,
}

impl Reader<'_> {
    /// Sends what comes, whatever is there at once in one piece.
    async fn read(&mut self, mut lines: Events<Line>, cut: bool) -> Result<(), Ended> {
        let mut filter = self.position.filter();
        let mut begun = !cut;
        let mut batch = Batch::default();
        loop {
            let next = if let Some(next) = lines.next().now_or_never() {
                next
            } else {
                self.flush(&mut batch).await?;
                lines.next().await
            };
            let Some(line) = next.transpose()? else { return self.flush(&mut batch).await };
            if !filter.admits(line.source, line.at) {
                continue;
            }
            if !std::mem::replace(&mut begun, true) {
                // What lies before the tail is not to come when the log is read again.
                self.position = LogPosition::at(self.position.earliest().max(line.at));
            }
            self.position.read(line.source, line.at);
            for line in pieces(line) {
                if batch.cost + line.cost() > MAX_PIECE {
                    self.flush(&mut batch).await?;
                }
                batch.push(line);
            }
        }
    }

    async fn flush(&self, batch: &mut Batch) -> Result<(), Ended> {
        let Batch { lines, .. } = std::mem::take(batch);
        if lines.is_empty() { Ok(()) } else { Ok(self.stream.send(Piece::Lines { lines }).await?) }
    }
}

struct Batch {
    lines: Vec<Line>,
    cost: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self { lines: Vec::new(), cost: Piece::Lines { lines: Vec::new() }.cost() }
    }
}

impl Batch {
    fn push(&mut self, line: Line) {
        self.cost += line.cost();
        self.lines.push(line);
    }
}

/// A line in as many as are needed: Docker's own longest fits.
fn pieces(line: Line) -> Vec<Line> {
    if line.text.len() <= LONGEST {
        return vec![line];
    }
    line.text.chunks(LONGEST).map(|text| Line { text: text.to_vec(), ..line }).collect()
}
