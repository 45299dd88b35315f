//! What is measured as it happens: counters and histograms, kept in the process and rendered for Prometheus at
//! `/metrics` (`http/ops`). Whoever does what is measured calls a function here; where nothing listens, it does nothing.
//!
//! What must hold: a label is one of few words that this program knows (a route's template, a kind of job), never an id
//! or anything that a user can choose. What stands in the database is not counted here: `service/ops` reads it.

mod process;
mod text;

pub use process::{open_files, resident_bytes};
pub use text::Text;

pub use metrics_exporter_prometheus::BuildError;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::time::Duration;

const HTTP_REQUESTS: &str = "dockerforge_http_requests_total";
const HTTP_DURATION: &str = "dockerforge_http_request_duration_seconds";
const TRANSACTION_DURATION: &str = "dockerforge_database_transaction_duration_seconds";
const DATABASE_FAILURES: &str = "dockerforge_database_failures_total";
const JOBS_ENDED: &str = "dockerforge_jobs_ended_total";
const JOB_DURATION: &str = "dockerforge_job_duration_seconds";
const JOB_WAIT: &str = "dockerforge_job_wait_seconds";
const JOB_LOG: &str = "dockerforge_job_log_bytes_total";
const WEBHOOKS: &str = "dockerforge_webhook_deliveries_total";

/// Seconds, for what a user waits for: from an answer out of memory to one that `Prefer: wait` holds back.
const QUICK: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Seconds, for jobs: from the removal of a container to the longest build.
const LONG: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86_400.0];

/// Keeps what is measured. Clones are the same.
#[derive(Clone)]
pub struct Recorder {
    handle: PrometheusHandle,
}

impl Recorder {
    /// Begins to keep what this process measures. The first call in a process counts.
    pub fn install() -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in
            [(HTTP_DURATION, QUICK), (TRANSACTION_DURATION, QUICK), (JOB_DURATION, LONG), (JOB_WAIT, LONG)]
        {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if ::metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another part of this process keeps the metrics already");
        }
        describe();
        Ok(Self { handle })
    }

    /// Everything kept so far, in the text format of Prometheus 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds single observations into their histograms. To be called every few seconds: they would pile up where nobody
    /// scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn describe() {
    use ::metrics::{describe_counter, describe_histogram};
    describe_counter!(
        HTTP_REQUESTS,
        "Requests to the REST API, by the template of the route and the class of the status"
    );
    describe_histogram!(HTTP_DURATION, "Seconds from a request to the head of its answer");
    describe_histogram!(
        TRANSACTION_DURATION,
        "Seconds from asking for a transaction to its commit or end, waiting included"
    );
    describe_counter!(
        DATABASE_FAILURES,
        "Statements, commits and connections that failed for a reason of the database's own"
    );
    describe_counter!(JOBS_ENDED, "Jobs that ended, by kind and outcome");
    describe_histogram!(JOB_DURATION, "Seconds from when an agent first took a job to its end");
    describe_histogram!(JOB_WAIT, "Seconds from asking for a job to when an agent first took it");
    describe_counter!(JOB_LOG, "Bytes of log that jobs wrote");
    describe_counter!(WEBHOOKS, "Attempts to deliver an event to a webhook, by outcome");
    // There from the first scrape on, so that an alert on their growth sees the first time.
    ::metrics::counter!(JOB_LOG).absolute(0);
    for reason in [DatabaseFailure::Full, DatabaseFailure::Other] {
        ::metrics::counter!(DATABASE_FAILURES, "reason" => reason.as_str()).absolute(0);
    }
    for outcome in [Delivery::Taken, Delivery::Refused, Delivery::Unreachable] {
        ::metrics::counter!(WEBHOOKS, "outcome" => outcome.as_str()).absolute(0);
    }
}

/// A request was answered. `route` is its template, `method` a method of HTTP, `status` a class as `2xx`.
pub fn http_answered(route: &str, method: &'static str, status: &'static str, took: Duration) {
    ::metrics::counter!(HTTP_REQUESTS, "route" => route.to_owned(), "method" => method, "status" => status)
        .increment(1);
    ::metrics::histogram!(HTTP_DURATION, "route" => route.to_owned(), "method" => method).record(took);
}

/// A transaction was committed, or undone.
pub fn transaction_ended(took: Duration) {
    ::metrics::histogram!(TRANSACTION_DURATION).record(took);
}

/// Why the database failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFailure {
    /// Its disk is full.
    Full,
    /// It does not answer, or answers with an error.
    Other,
}

impl DatabaseFailure {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "disk-full",
            Self::Other => "other",
        }
    }
}

/// The database failed.
pub fn database_failed(reason: DatabaseFailure) {
    ::metrics::counter!(DATABASE_FAILURES, "reason" => reason.as_str()).increment(1);
}

/// An agent took a job for the first time.
pub fn job_started(kind: &'static str, waited: Duration) {
    ::metrics::histogram!(JOB_WAIT, "kind" => kind).record(waited);
}

/// A job ended; `took` since an agent first took it, if one did. Counted as it is decided: where the commit then fails,
/// it is decided and counted again.
pub fn job_ended(kind: &'static str, outcome: &'static str, took: Option<Duration>) {
    ::metrics::counter!(JOBS_ENDED, "kind" => kind, "outcome" => outcome).increment(1);
    if let Some(took) = took {
        ::metrics::histogram!(JOB_DURATION, "kind" => kind, "outcome" => outcome).record(took);
    }
}

/// Jobs wrote this much log.
pub fn job_logged(bytes: u64) {
    ::metrics::counter!(JOB_LOG).increment(bytes);
}

/// What became of one attempt to deliver an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver took it.
    Taken,
    /// The receiver answered that it does not.
    Refused,
    /// No answer came.
    Unreachable,
}

impl Delivery {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// An event was sent to a webhook, or was tried to be.
pub fn webhook_tried(outcome: Delivery) {
    ::metrics::counter!(WEBHOOKS, "outcome" => outcome.as_str()).increment(1);
}
