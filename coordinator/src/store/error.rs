//! What can go wrong with the database, and the one place where names of constraints become rules. What the database
//! itself fails in is counted here, where it becomes an error of ours.

use crate::domain::Kind;
use crate::metrics::{self, DatabaseFailure};

/// A rule that the database holds and that a caller can run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// A name is taken among its owner's things of this kind.
    Name(Kind),
    /// Another request with the same Idempotency-Key was faster.
    IdempotencyKey,
    /// A thing that it names is not there any more.
    Reference,
}

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A rule of the schema that a caller can run into.
    #[error("the change runs into {0:?}")]
    Constraint(Constraint),
    /// A stored value is not what it must be: the database was changed by something else.
    #[error("the database holds a value of {column} that cannot be: {value}")]
    Corrupt {
        /// Of which column.
        column: &'static str,
        /// What is there.
        value: String,
    },
    /// The disk that holds the database is full.
    #[error("the database's disk is full")]
    Full,
    /// The database does not answer, or answers with an error.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The SQLite library is one that can corrupt databases.
    #[error("SQLite {0} can corrupt a database in WAL mode; 3.51.3 or newer is needed")]
    OldSqlite(String),
    /// The database's file, or the folder that it is in.
    #[error("cannot make {path}")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A transaction panicked; what it did is undone.
    #[error("a change of the database failed by a defect of this program")]
    Defect,
    /// The coordinator is shutting down.
    #[error("the database is closed")]
    Stopped,
}

/// What each constraint is called: PostgreSQL says its name, SQLite the columns of a unique one.
const NAMED: &[(&str, &str, Constraint)] = &[
    ("users_name_key", "users.name", Constraint::Name(Kind::User)),
    ("tokens_user_name_key", "tokens.user_id, tokens.name", Constraint::Name(Kind::Token)),
    ("hosts_user_name_key", "hosts.user_id, hosts.name", Constraint::Name(Kind::Host)),
    ("templates_user_name_key", "templates.user_id, templates.name", Constraint::Name(Kind::Template)),
    (
        "configurations_user_name_key",
        "configurations.user_id, configurations.name",
        Constraint::Name(Kind::Configuration),
    ),
    ("images_user_name_key", "images.user_id, images.name", Constraint::Name(Kind::Image)),
    ("containers_user_name_key", "containers.user_id, containers.name", Constraint::Name(Kind::Container)),
    ("idempotency_pkey", "idempotency.user_id, idempotency.key_hash", Constraint::IdempotencyKey),
];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(db) = error.as_database_error() else {
            metrics::database_failed(DatabaseFailure::Other);
            return Self::Database(error);
        };
        if db.is_foreign_key_violation() {
            return Self::Constraint(Constraint::Reference);
        }
        if db.is_unique_violation() {
            let message = db.message();
            let named = NAMED.iter().find(|(name, columns, _)| {
                db.constraint() == Some(name) || message.ends_with(&format!("failed: {columns}"))
            });
            if let Some((_, _, constraint)) = named {
                return Self::Constraint(*constraint);
            }
        }
        // SQLITE_FULL; PostgreSQL 53100 disk_full.
        if matches!(db.code().as_deref(), Some("13" | "53100")) {
            metrics::database_failed(DatabaseFailure::Full);
            return Self::Full;
        }
        metrics::database_failed(DatabaseFailure::Other);
        Self::Database(error)
    }
}

impl StoreError {
    pub(super) fn corrupt(column: &'static str, value: impl Into<String>) -> Self {
        Self::Corrupt { column, value: value.into() }
    }
}
