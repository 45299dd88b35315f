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
            match pool.acquire().await {
                Ok(conn) => transact(Conn::Postgres(conn), work).await,
                Err(error) => drop(work.failed.send(error.into())),
            }
        });
    }

    pub(super) async fn read(&self) -> Result<Conn, StoreError> {
        Ok(Conn::Postgres(self.pool.acquire().await?))
    }
}

async fn transact(mut conn: Conn, work: Work) {
    if let Err(error) = execute(&mut conn, "BEGIN").await {
        let _ = work.failed.send(error);
        return discard(conn).await;
    }
    let settled = AssertUnwindSafe((work.run)(&mut conn)).catch_unwind().await;
    let keep = settled.as_ref().is_ok_and(|one| one.keep);
    let ended = execute(&mut conn, if keep { "COMMIT" } else { "ROLLBACK" }).await;
    let broken = ended.is_err();
    match settled {
        Ok(Settled { answer, .. }) => answer(if keep { ended } else { Ok(()) }),
        Err(_) => drop(work.failed.send(StoreError::Defect)),
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
