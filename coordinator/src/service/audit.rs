//! The audit: who did what. Every use case writes its own line; here they are read.

use super::{Result, Services};
use crate::access::{Administer, Permit};
use crate::domain::event::AuditLine;
use crate::domain::page::Found;
use crate::store;
pub use crate::store::records::AuditFilter;

impl Services {
    /// A page of the audit, newest first.
    pub async fn audit_list(
        &self,
        _permit: &Permit<Administer>,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Found<AuditLine, i64>> {
        Ok(store::records::list_audit(&mut self.store.read().await?, filter, limit).await?)
    }
}
