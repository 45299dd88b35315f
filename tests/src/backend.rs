//! The database of a coordinator under test: a file of its own, or a PostgreSQL database of its own that is dropped
//! afterwards.

use crate::env;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The embedded one.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl Backend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

/// A database that lives as long as this value.
pub struct Database {
    /// The URL to hand to the coordinator; none for the embedded default.
    pub url: Option<String>,
    name: String,
}

impl Database {
    /// Makes one.
    pub async fn create(backend: Backend) -> Self {
        let name = format!("dockerforge_test_{}", uuid::Uuid::new_v4().simple());
        match backend {
            Backend::Sqlite => Self { url: None, name },
            Backend::Postgres => {
                execute(&env::postgres(), format!("CREATE DATABASE {name}")).await.expect("a database for this test");
                Self { url: Some(format!("{}{name}", env::postgres())), name }
            }
        }
    }

    /// Ends every connection to it and lets nobody in, or lets them in again: a database that is gone for a while.
    pub async fn available(&self, available: bool) {
        let admin = env::postgres();
        let allow = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {available}", self.name);
        execute(&admin, allow).await.unwrap();
        if !available {
            let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", self.name);
            execute(&admin, end).await.unwrap();
        }
    }
}

async fn execute(base: &str, sql: String) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(&format!("{base}postgres")).await?;
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.url.is_some() {
            let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            let dropped = crate::docker::block_on(async move { execute(&env::postgres(), sql).await });
            if let Err(error) = dropped {
                eprintln!("database {} stays: {error}", self.name);
            }
        }
    }
}
