//! `restore-pg`: documents of the store written back as rows of PostgreSQL, where they are absent; a row that is there is
//! never touched.
//!
//! A payload that difylog truncated comes back in full from the payload store. One that Dify truncated itself comes back
//! as the document has it, with the offload row that leads to its file. Texts come back byte for byte where the document was
//! copied from a row; what came live comes back as Python writes it. Children go in before the runs that show them.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;

use serde_json::Value;

use super::canonical::{CanonicalCell, columns};
use super::compare::extra_of;
use super::validate::cursor;
use super::{LifeError, StoreSide};
use crate::codec::spelling::row_text;
use crate::domain::document::PayloadField;
use crate::domain::query::{Scan, TimeRange};
use crate::domain::schema;
use crate::domain::{Document, Extra, Kind, RecordId, TenantId, Timestamp};
use crate::postgres::{Catalogue, Client, Database, NamedRow, insert, lookup};
use crate::rate::RateLimit;

/// Offloads before the nodes that ask for them, app logs after the runs that they show.
const ORDER: [Kind; 4] = [Kind::Offload, Kind::NodeExecution, Kind::WorkflowRun, Kind::AppLog];
/// An offload is written when its node ends: so much later than the node's start at most. Microseconds.
const OFFLOAD_LAG: i64 = 24 * 3600 * 1_000_000;
/// Bytes of texts in one statement.
const STATEMENT_BYTES: usize = 8 << 20;
/// Most rows that could not be restored and are named.
const MAX_NAMED: usize = 1_000;

/// What is to come back, and how.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// Empty: all tenants.
    pub tenants: Vec<TenantId>,
    pub kinds: Vec<Kind>,
    pub created: TimeRange,
    /// Rows per statement.
    pub batch: usize,
    /// Rows per second.
    pub rate: Option<NonZeroU32>,
    /// `false`: only count what is absent.
    pub execute: bool,
}

/// Documents of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Documents met.
    pub documents: u64,
    /// Of these: rows that were there.
    pub present: u64,
    /// Rows that were written, or would be.
    pub inserted: u64,
    /// Rows that could not be written.
    pub failed: u64,
}

/// A row that could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub kind: Kind,
    pub tenant_id: TenantId,
    pub id: RecordId,
    pub reason: String,
}

/// What a restore did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    pub restored: BTreeMap<Kind, Restored>,
    /// The first 1,000.
    pub named: Vec<Failed>,
    /// Unknown columns that documents have and this database does not, with how many rows came back without them.
    pub left_out: BTreeMap<String, u64>,
    /// It went to the end.
    pub complete: bool,
}

impl RestoreOutcome {
    fn fail(&mut self, document: &Document, reason: String) {
        let key = document.key();
        self.restored.entry(key.kind).or_default().failed += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(Failed { kind: key.kind, tenant_id: key.tenant_id, id: key.id, reason });
        }
    }
}

/// A restore under way.
pub struct Restore<'a> {
    pub database: &'a Database,
    pub store: StoreSide<'a>,
    pub plan: &'a RestorePlan,
    /// Told after each statement.
    pub progress: &'a (dyn Fn(&RestoreOutcome) + Sync),
    /// Asked before each page; `true` ends the restore there.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Restore<'_> {
    /// Writes back, or says what it would write.
    ///
    /// # Errors
    /// [`LifeError`] if either side cannot be used; another call goes on.
    pub async fn run(&self) -> Result<RestoreOutcome, LifeError> {
        self.store.overview.refresh().await?;
        let mut outcome = RestoreOutcome::default();
        let rate = RateLimit::new(self.plan.rate);
        let mut client = self.database.client().await?;
        let catalogue = Catalogue::read(&client).await?;
        for kind in ORDER.into_iter().filter(|kind| self.plan.kinds.contains(kind)) {
            let mut scan = Scan {
                tenants: self.plan.tenants.clone(),
                created: span(kind, self.plan.created),
                ..Scan::all(kind, self.plan.batch.max(1))
            };
            loop {
                if (self.stop)() {
                    return Ok(outcome);
                }
                let page = self.store.reader.scan(&scan).await?;
                let Some(last) = page.last() else { break };
                scan.after = Some(cursor(&last.record));
                let before = written(&outcome, kind);
                self.page(&mut client, &catalogue, kind, &page, &mut outcome).await?;
                (self.progress)(&outcome);
                rate.pass_unless(written(&outcome, kind) - before, self.stop).await;
            }
        }
        outcome.complete = true;
        Ok(outcome)
    }

    async fn page(
        &self,
        client: &mut Client,
        catalogue: &Catalogue,
        kind: Kind,
        page: &[Document],
        outcome: &mut RestoreOutcome,
    ) -> Result<(), LifeError> {
        let ids: Vec<RecordId> = page.iter().map(|document| document.record.id()).collect();
        let present: HashSet<RecordId> =
            lookup::present(&*client, catalogue, kind, &ids).await?.into_iter().map(|(_, id)| id).collect();
        let absent: Vec<&Document> = page.iter().filter(|document| !present.contains(&document.record.id())).collect();
        let restored = outcome.restored.entry(kind).or_default();
        restored.documents += page.len() as u64;
        restored.present += (page.len() - absent.len()) as u64;
        if !self.plan.execute {
            restored.inserted += absent.len() as u64;
            return Ok(());
        }
        let offloaded = offloaded(client, catalogue, &absent).await?;
        let (mut rows, mut documents, mut bytes) = (Vec::new(), Vec::new(), 0);
        for document in absent {
            match self.row(document, &offloaded).await? {
                Ok(row) => {
                    note_left_out(catalogue, kind, &row, outcome);
                    bytes += bytes_of(&row);
                    rows.push(row);
                    documents.push(document);
                }
                Err(reason) => outcome.fail(document, reason),
            }
            if bytes >= STATEMENT_BYTES {
                write(client, catalogue, kind, &rows, &documents, outcome).await?;
                (rows, documents, bytes) = (Vec::new(), Vec::new(), 0);
            }
        }
        write(client, catalogue, kind, &rows, &documents, outcome).await
    }

    /// Returns the row of a document, its truncated payloads in full; or why there can be none.
    async fn row(
        &self,
        document: &Document,
        offloaded: &HashSet<(RecordId, String)>,
    ) -> Result<Result<NamedRow, String>, LifeError> {
        let Some(extra) = extra_of(document, self.store.texts).await? else {
            return Ok(Err("what its row had beside the record is not in the payload store, or damaged".to_owned()));
        };
        let mut row: NamedRow = columns(&document.record)
            .map(|cell| (cell.column.name.to_owned(), value(cell, &extra)))
            .chain(extra.columns.iter().map(|(name, text)| (name.to_string(), Value::from(text.as_deref()))))
            .collect();
        for mark in document.truncated.iter().filter(|mark| mark.field != PayloadField::Extra) {
            let column = mark.field.as_str();
            let is_kept = extra.original(column).is_some();
            if is_kept || offloaded.contains(&(document.record.id(), column.to_owned())) {
                continue;
            }
            let full = self.store.texts.full_text(document.tenant_id(), document.month(), mark.sha256).await?;
            let Some(full) = full else {
                return Ok(Err(format!("the full text of {column} ({}) is not in the payload store", mark.sha256)));
            };
            let full = match mark.field {
                PayloadField::Error => serde_json::from_str(full.as_str()).unwrap_or(Value::Null),
                _ => row_text(column, Some(full.as_str()), &extra).into(),
            };
            row.insert(column.to_owned(), full);
        }
        Ok(Ok(row))
    }
}

/// Returns the payloads among these documents that Dify truncated itself.
async fn offloaded(
    client: &Client,
    catalogue: &Catalogue,
    documents: &[&Document],
) -> Result<HashSet<(RecordId, String)>, LifeError> {
    let marked = documents.iter().filter(|document| !document.truncated.is_empty());
    let ids: Vec<RecordId> =
        marked.filter(|document| document.kind() == Kind::NodeExecution).map(|document| document.record.id()).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let offloaded = lookup::offloaded(client, catalogue, &ids, false).await?;
    Ok(offloaded.into_iter().map(|payload| (payload.node_id, payload.column)).collect())
}

/// Writes rows in one statement; if the server refuses it, one by one, so that only the guilty ones fail.
async fn write(
    client: &mut Client,
    catalogue: &Catalogue,
    kind: Kind,
    rows: &[NamedRow],
    documents: &[&Document],
    outcome: &mut RestoreOutcome,
) -> Result<(), LifeError> {
    if rows.is_empty() {
        return Ok(());
    }
    match insert(client, catalogue, kind, rows).await {
        Ok(inserted) => {
            let restored = outcome.restored.entry(kind).or_default();
            restored.inserted += inserted;
            // Another session wrote them in the meantime, or another unique index has them.
            restored.present += (rows.len() as u64).saturating_sub(inserted);
            Ok(())
        }
        Err(error) if error.is_retriable() => Err(error.into()),
        Err(_) => {
            for (row, document) in rows.iter().zip(documents) {
                match insert(client, catalogue, kind, std::slice::from_ref(row)).await {
                    Ok(inserted) => outcome.restored.entry(kind).or_default().inserted += inserted,
                    Err(error) if error.is_retriable() => return Err(error.into()),
                    Err(error) => outcome.fail(document, error.to_string()),
                }
            }
            Ok(())
        }
    }
}

/// Counts what a row has and its table does not.
fn note_left_out(catalogue: &Catalogue, kind: Kind, row: &NamedRow, outcome: &mut RestoreOutcome) {
    let Some(table) = catalogue.table(crate::postgres::table_of(kind)) else { return };
    let is_known = |name: &str| schema::columns(kind).iter().any(|column| column.name == name);
    // Older databases lack columns of newer versions, which have nothing to say there.
    let says = |(name, value): &(&String, &Value)| !value.is_null() || !is_known(name);
    let lacks = |named: &(&String, &Value)| says(named) && !table.columns.contains_key(named.0);
    for (name, _) in row.iter().filter(lacks) {
        *outcome.left_out.entry(format!("{}.{name}", crate::postgres::table_of(kind))).or_default() += 1;
    }
}

fn written(outcome: &RestoreOutcome, kind: Kind) -> u64 {
    outcome.restored.get(&kind).map_or(0, |restored| restored.inserted)
}

/// Returns the span in which the documents of a kind lie.
fn span(kind: Kind, created: TimeRange) -> TimeRange {
    if kind != Kind::Offload {
        return created;
    }
    let later =
        |at: Timestamp| Timestamp::from_micros(at.micros().saturating_add(OFFLOAD_LAG)).unwrap_or(Timestamp::MAX);
    TimeRange { until: created.until.map(later), ..created }
}

/// Returns a cell as the server's JSON functions take it.
fn value(cell: CanonicalCell<'_>, extra: &Extra) -> Value {
    let name = cell.column.name;
    if let Some(original) = extra.original(name) {
        return original.into();
    }
    match cell.value {
        schema::Value::Null => Value::Null,
        schema::Value::Id(id) => id.to_string().into(),
        schema::Value::Text(text) => text.into(),
        schema::Value::Integer(integer) => integer.into(),
        schema::Value::Seconds(seconds) => seconds.into(),
        schema::Value::Instant(at) => at.to_string().into(),
        schema::Value::Json(json) => row_text(name, Some(json.as_str()), extra).into(),
    }
}

fn bytes_of(row: &NamedRow) -> usize {
    row.values().map(|value| value.as_str().map_or(8, str::len)).sum()
}
