//! The database of a coordinator under test: a file of its own, or a PostgreSQL database of its own that is dropped
//! afterwards.

use crate::env;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::path::Path;

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

    /// Reads it beside its coordinator, whose folder this is.
    pub async fn reader(&self, data: &Path) -> Reader {
        match &self.url {
            None => {
                let options = SqliteConnectOptions::new().filename(data.join("dockerforge.db")).read_only(true);
                Reader::Sqlite(SqliteConnection::connect_with(&options).await.expect("the database can be read"))
            }
            Some(url) => Reader::Postgres(PgConnection::connect(url).await.expect("the database can be read")),
        }
    }

    /// Breaks something in the embedded one on purpose, so that a check of it can be seen to find it.
    pub async fn change(&self, data: &Path, sql: &'static str) {
        let options = SqliteConnectOptions::new().filename(data.join("dockerforge.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.expect("the database can be opened");
        sqlx::query(sql).execute(&mut connection).await.unwrap();
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

/// A connection that only looks.
pub enum Reader {
    /// To a file.
    Sqlite(SqliteConnection),
    /// To a server.
    Postgres(PgConnection),
}

impl Reader {
    /// To which of them.
    pub const fn backend(&self) -> Backend {
        match self {
            Self::Sqlite(_) => Backend::Sqlite,
            Self::Postgres(_) => Backend::Postgres,
        }
    }

    /// The one column of text that a query gives.
    pub async fn texts(&mut self, query: &str) -> Vec<String> {
        let sql = AssertSqlSafe(query.to_owned());
        let found = match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_all(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_all(connection).await,
        };
        found.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The tables in which a text is, as text or as bytes. Of a file nothing is said: whoever has it can look for himself.
    pub async fn tables_with(&mut self, text: &str) -> Vec<String> {
        if self.backend() == Backend::Sqlite {
            return Vec::new();
        }
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let text = text.replace('\'', "''");
        let mut found = Vec::new();
        for table in self.texts("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").await {
            let rows = format!(
                "SELECT '{table}' FROM {table} r WHERE POSITION('{text}' IN r::text) > 0 OR POSITION('{hex}' IN r::text) > 0 LIMIT 1"
            );
            found.extend(self.texts(&rows).await);
        }
        found
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
