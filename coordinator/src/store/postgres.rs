//! PostgreSQL: a pool; each transaction in a task of its own, so that a caller that goes away never leaves one open.

use super::{Conn, Settled, StoreError, Work};
use crate::tasks::Tasks;
use futures_util::FutureExt;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

const CONNECTIONS: u32 = 16;

#[derive(Clone)]
pub(super) struct Postgres {
    pool: PgPool,
    tasks: Tasks,
}

impl Postgres {
    pub(super) async fn open(url: &str, tasks: &Tasks) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(Duration::from_secs(5))
            .connect(url)
            .await?;
        // sqlx holds an advisory lock meanwhile: of several replicas that start at once, one migrates.
        sqlx::migrate!("../migrations/postgres").run(&pool).await.map_err(StoreError::Migrate)?;
        Ok(Self { pool, tasks: tasks.clone() })
    }

    pub(super) fn submit(&self, work: Work) {
        let pool = self.pool.clone();
        self.tasks.spawn("store.transaction", async move {
            // On a failure before the work ran there is nobody to tell but through the dropped answer.
            match pool.acquire().await.map_err(StoreError::from) {
                Ok(conn) => transact(Conn::Postgres(conn), work).await,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no database connection");
                }
            }
        });
    }

    pub(super) async fn read(&self) -> Result<Conn, StoreError> {
        Ok(Conn::Postgres(self.pool.acquire().await?))
    }
}

async fn transact(mut conn: Conn, work: Work) {
    if let Err(error) = execute(&mut conn, "BEGIN").await {
        tracing::warn!(%error, "a transaction could not begin");
        return discard(conn).await;
    }
    let settled = AssertUnwindSafe(work(&mut conn)).catch_unwind().await;
    let keep = settled.as_ref().is_ok_and(|one| one.keep);
    let ended = execute(&mut conn, if keep { "COMMIT" } else { "ROLLBACK" }).await;
    let broken = ended.is_err();
    if let Ok(Settled { answer, .. }) = settled {
        answer(if keep { ended } else { Ok(()) });
    }
    if broken {
        // Its state is unknown: it must not serve another caller.
        discard(conn).await;
    }
}

async fn discard(conn: Conn) {
    if let Conn::Postgres(conn) = conn {
        let _ = conn.close().await;
    }
}

async fn execute(conn: &mut Conn, sql: &'static str) -> Result<(), StoreError> {
    let Conn::Postgres(conn) = conn else { return Err(StoreError::Defect) };
    sqlx::raw_sql(sql).execute(&mut **conn).await?;
    Ok(())
}
