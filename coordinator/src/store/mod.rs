//! All SQL, one copy of it, over SQLite (one file, the default) and PostgreSQL. Called by the services, the queue and
//! the dispatcher; a file here holds the statements of one group of tables, as functions over a [`Conn`].
//!
//! What must hold: every change goes through [`Store::write`], which runs it in one transaction that is never dropped
//! half way because its caller went away. On SQLite one writer carries many callers' transactions in one commit.

mod cluster;
pub mod configurations;
pub mod containers;
pub mod converge;
pub mod enrolment;
mod error;
pub mod events;
pub mod grants;
pub mod hosts;
pub mod idempotency;
pub mod images;
pub mod jobs;
mod labels;
pub mod links;
pub mod logs;
pub mod moves;
mod pages;
pub mod placement;
mod postgres;
pub mod quotas;
pub mod records;
pub mod registry;
pub mod revisions;
mod rows;
pub mod secrets;
mod sqlite;
pub mod templates;
pub mod users;
pub mod vault;
pub mod webhooks;

pub use cluster::cluster_id;
pub use error::{Constraint, StoreError};

use crate::metrics;
use crate::tasks::Tasks;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::pool::PoolConnection;
use std::path::PathBuf;
use std::time::Instant;
use tokio::sync::{oneshot, watch};

/// Where the data is.
#[derive(Debug, Clone)]
pub enum Location {
    /// A SQLite file, made where it is absent.
    Sqlite(PathBuf),
    /// A PostgreSQL database: `postgres://user:password@host:port/database`.
    Postgres(String),
}

/// A connection of either kind, inside a transaction or only for reading.
pub enum Conn {
    /// SQLite.
    Sqlite(PoolConnection<sqlx::Sqlite>),
    /// PostgreSQL.
    Postgres(PoolConnection<sqlx::Postgres>),
}

/// Runs the same expression against whichever database is configured; each arm is checked against its native driver.
macro_rules! on {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::store::Conn::Sqlite(conn) => {
                let $c = &mut **conn;
                $body
            }
            $crate::store::Conn::Postgres(conn) => {
                let $c = &mut **conn;
                $body
            }
        }
    };
}
pub(crate) use on;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    committed: watch::Sender<()>,
}

#[derive(Clone)]
enum Backend {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

/// What a transaction does.
type Run = Box<dyn for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Settled> + Send>;

/// One caller's transaction.
struct Work {
    /// Its effect on the database, then what it has to say once that is committed.
    run: Run,
    /// Answers the caller where nothing came of `run`: it was never begun, or panicked.
    failed: oneshot::Sender<StoreError>,
}

/// What a transaction came to.
struct Settled {
    /// Whether its changes stay.
    keep: bool,
    /// Answers the caller: with the result, or with why it could not be committed.
    answer: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

impl Store {
    /// Opens the database, checks it, and brings its schema up to date.
    ///
    /// # Errors
    /// Where it cannot be reached or made, is of a newer version, or is a SQLite older than 3.51.3 (whose WAL could
    /// corrupt a database).
    pub async fn open(location: &Location, tasks: &Tasks) -> Result<Self, StoreError> {
        let backend = match location {
            Location::Sqlite(path) => Backend::Sqlite(sqlite::Sqlite::open(path, tasks).await?),
            Location::Postgres(url) => Backend::Postgres(postgres::Postgres::open(url, tasks).await?),
        };
        Ok(Self { backend, committed: watch::Sender::new(()) })
    }

    /// Runs `change` in one transaction and answers when it is durable. An error of `change` undoes all it did.
    ///
    /// `change` must await nothing but the connection it is given: on SQLite all writers wait for it.
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let begun = Instant::now();
        let (reply, result) = oneshot::channel();
        let (failed, failure) = oneshot::channel();
        let run: Run = Box::new(move |conn| {
            Box::pin(async move {
                let outcome = change(conn).await;
                Settled {
                    keep: outcome.is_ok(),
                    answer: Box::new(move |committed| {
                        // A caller that went away does not hear it; its change stands all the same.
                        let _ = reply.send(outcome.and_then(|value| committed.map(|()| value).map_err(E::from)));
                    }),
                }
            })
        });
        let work = Work { run, failed };
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.submit(work).await?,
            Backend::Postgres(postgres) => postgres.submit(work),
        }
        let outcome = result.await;
        metrics::transaction_ended(begun.elapsed());
        let result = match outcome {
            Ok(result) => result,
            // Where nobody says why, the store itself has ended.
            Err(_) => Err(failure.await.unwrap_or(StoreError::Stopped).into()),
        };
        if result.is_ok() {
            self.committed.send_replace(());
        }
        result
    }

    /// Changes whenever this process has committed something; what, it does not say.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<()> {
        self.committed.subscribe()
    }

    /// A connection for reading.
    pub async fn read(&self) -> Result<Conn, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.read().await,
            Backend::Postgres(postgres) => postgres.read().await,
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut conn = self.read().await?;
        on!(&mut conn, |c| sqlx::query("SELECT 1").execute(c).await.map(|_| ()))?;
        Ok(())
    }

    /// What this is, for the log.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self.backend {
            Backend::Sqlite(_) => "sqlite",
            Backend::Postgres(_) => "postgres",
        }
    }
}

/// A time as it is stored: microseconds since 1970-01-01 UTC.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// Whether the connection is to PostgreSQL, for the few statements that need other words there.
pub(crate) fn is_postgres(conn: &Conn) -> bool {
    matches!(conn, Conn::Postgres(_))
}
