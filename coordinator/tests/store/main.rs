//! The contract of the store, run on SQLite and on PostgreSQL: what the layers above rely on, whichever database is
//! configured. `DOCKERFORGE_TEST_POSTGRES` names a cluster where each test makes a database of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test may; the lint spares only the functions marked as tests"
)]

mod bed;
mod converge;
mod ends;
mod events;
mod grants;
mod lists;
mod placement;
mod queue;
mod registry;
mod retention;
mod share;
mod tenancy;
mod transactions;

/// Makes two tests of each rule: one a database.
#[macro_export]
macro_rules! on_both {
    ($($name:ident)*) => {
        mod sqlite { $(#[tokio::test] async fn $name() { let bed = $crate::bed::Bed::sqlite().await; super::$name(&bed).await; bed.remove().await; })* }
        mod postgres { $(#[tokio::test] async fn $name() { let bed = $crate::bed::Bed::postgres().await; super::$name(&bed).await; bed.remove().await; })* }
    };
}
