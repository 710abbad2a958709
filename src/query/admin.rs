//! The calls that cross tenants: records by id alone, and batches over all tenants for retention work.

use std::sync::Arc;

use super::{LogService, QueryError, Related};
use crate::codec::mask::Mask;
use crate::domain::query::{Content, Cursor, Scan, TimeRange};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Record, RecordId, RunStatus, TenantId};

/// Documents per question of a batch.
const STRETCH: usize = 1000;

/// One share of all runs, by the last hexadecimal digit of their id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub index: u8,
    /// At least 1.
    pub total: u8,
}

/// Ended runs by time, over all tenants, oldest first by (`created_at`, id).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunBatch {
    pub created: TimeRange,
    /// Runs strictly after it follow.
    pub last_seen: Option<Cursor>,
    /// At least 1.
    pub limit: usize,
    /// `None`: all types. An empty list finds nothing, as in Dify.
    pub types: Option<Vec<Box<str>>>,
    /// Empty: all tenants.
    pub tenants: Vec<TenantId>,
    /// First hexadecimal digits of tenant ids, lower case; empty: all.
    pub tenant_prefixes: Vec<Box<str>>,
    /// Empty: all workflows.
    pub workflow_ids: Vec<RecordId>,
    pub shard: Option<Shard>,
}

impl RunBatch {
    fn holds(&self, document: &Document) -> bool {
        let Record::Run(run) = &document.record else { return false };
        let tenant = run.tenant_id.to_string();
        let digit = run.id.as_bytes().last().map_or(0, |byte| byte & 0x0f);
        self.types.as_ref().is_none_or(|types| types.contains(&run.r#type))
            && (self.tenant_prefixes.is_empty()
                || self.tenant_prefixes.iter().any(|prefix| tenant.starts_with(&**prefix)))
            && (self.workflow_ids.is_empty() || self.workflow_ids.contains(&run.workflow_id))
            && self.shard.is_none_or(|shard| digit.checked_rem(shard.total) == Some(shard.index))
    }
}

/// See the module.
#[derive(Clone)]
pub struct AdminLogs(LogService, Option<Arc<Mask>>);

impl AdminLogs {
    pub(super) const fn new(service: LogService) -> Self {
        Self(service, None)
    }

    /// Returns the same as somebody sees it who may not see what `mask` masks.
    #[must_use]
    pub fn masked(self, mask: Option<Arc<Mask>>) -> Self {
        Self(self.0, mask)
    }

    pub(super) const fn service(&self) -> &LogService {
        &self.0
    }

    /// Returns a document on its way out.
    pub(super) fn shown(&self, mut document: Document) -> Document {
        if let Some(mask) = &self.1 {
            mask.apply(&mut document);
        }
        document
    }

    /// Records of one id, whoever they belong to: one, unless two tenants use the same id.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn records(&self, kind: Kind, id: RecordId) -> Result<Vec<Document>, QueryError> {
        let ports = &self.0.0;
        let mut found = Vec::new();
        for tenant_id in ports.logs.owners(kind, id).await? {
            let record = ports.logs.record(RecordKey { tenant_id, kind, id }).await?;
            found.extend(record.map(|document| self.shown(document)));
        }
        Ok(found)
    }

    /// Returns the tenants that have runs in this month or one of the `months` before it, with how many, most first. One
    /// question per month.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn tenants(&self, months: i64) -> Result<Vec<(TenantId, u64)>, QueryError> {
        let this = self.0.now().month();
        let mut runs = std::collections::HashMap::<TenantId, u64>::new();
        for back in 0..=months {
            for found in self.0.0.logs.tenant_counts(this.shifted(-back)).await? {
                if found.kind == Kind::WorkflowRun {
                    *runs.entry(found.tenant_id).or_default() += found.documents;
                }
            }
        }
        let mut runs: Vec<_> = runs.into_iter().collect();
        runs.sort_unstable_by_key(|(tenant_id, runs)| (std::cmp::Reverse(*runs), *tenant_id));
        Ok(runs)
    }

    /// Returns a batch of ended runs without payloads; fewer than its limit only at the end.
    ///
    /// # Errors
    /// A store that cannot be read or written; a second call goes on.
    pub async fn run_batch(&self, batch: &RunBatch) -> Result<Vec<Document>, QueryError> {
        let mut found = Vec::new();
        if batch.types.as_ref().is_some_and(Vec::is_empty) {
            return Ok(found);
        }
        let mut scan = Scan {
            tenants: batch.tenants.clone(),
            created: batch.created,
            statuses: RunStatus::ENDED.map(Into::into).into(),
            after: batch.last_seen,
            content: Content::Light,
            ..Scan::all(Kind::WorkflowRun, batch.limit.clamp(1, STRETCH))
        };
        loop {
            let stretch = self.0.0.logs.scan(&scan).await?;
            let Some(last) = stretch.last() else { return Ok(found) };
            scan.after = Some(last.cursor());
            for document in stretch.into_iter().filter(|document| batch.holds(document)) {
                found.push(document);
                if found.len() >= batch.limit {
                    return Ok(found);
                }
            }
        }
    }

    /// Deletes runs by id alone, with what belongs to them or without. Returns what went.
    ///
    /// # Errors
    /// A store that cannot be read or written; a second call goes on.
    pub async fn delete_runs(&self, run_ids: &[RecordId], with_related: bool) -> Result<Related, QueryError> {
        let mut total = Related::default();
        for id in run_ids {
            for tenant_id in self.0.0.logs.owners(Kind::WorkflowRun, *id).await? {
                let gone = self.0.tenant(tenant_id).delete_runs(&[*id], with_related).await?;
                total.runs += gone.runs;
                total.node_executions += gone.node_executions;
                total.offloads += gone.offloads;
                total.app_logs += gone.app_logs;
            }
        }
        Ok(total)
    }
}
