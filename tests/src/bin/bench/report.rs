//! What was measured, as a table, with the disk's speed beside it.

use std::{
    fmt,
    io::Write,
    time::{Duration, Instant},
};

/// One figure.
struct Row {
    id: &'static str,
    what: String,
    figure: String,
    goal: &'static str,
    note: String,
}

/// All figures of a run.
pub struct Report {
    rows: Vec<Row>,
    disk: Duration,
}

impl Report {
    /// An empty one; measures the disk first.
    pub fn new() -> Self {
        Self { rows: Vec::new(), disk: fdatasync_p50() }
    }

    /// Adds a figure, and says it at once.
    pub fn add(&mut self, id: &'static str, what: impl Into<String>, figure: String, goal: &'static str, note: String) {
        let what = what.into();
        println!("{id}: {what}: {figure} ({note})");
        self.rows.push(Row { id, what, figure, goal, note });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get);
        let build = if cfg!(debug_assertions) { "DEBUG build: the figures say nothing" } else { "release build" };
        writeln!(f, "\n{cores} cores, {build}; the load generators run on the same cores and are counted in")?;
        writeln!(f, "fdatasync of 4 KiB, p50: {:.2} ms\n", ms(self.disk))?;
        writeln!(f, "| | what | figure | goal | |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for Row { id, what, figure, goal, note } in &self.rows {
            writeln!(f, "| {id} | {what} | {figure} | {goal} | {note} |")?;
        }
        writeln!(f, "\nP6, P8 and P10 are not measured here yet.")
    }
}

/// Milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The value below which this share of the values lies.
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length is an index")]
    let index = ((values.len().saturating_sub(1)) as f64 * share).round() as usize;
    values.get(index).copied().unwrap_or_default()
}

/// The median of ratios, with the lowest and the highest.
pub fn median_with_range(ratios: &mut [f64]) -> (f64, f64, f64) {
    ratios.sort_unstable_by(f64::total_cmp);
    (ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1])
}

/// How long the disk under the test folders takes to make 4 KiB durable.
fn fdatasync_p50() -> Duration {
    let mut file = tempfile::tempfile().unwrap();
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            file.write_all(&[7; 4096]).unwrap();
            let begun = Instant::now();
            file.sync_data().unwrap();
            begun.elapsed()
        })
        .collect();
    percentile(&mut times, 0.5)
}
