//! One chunk: the rows of a range, prepared where they are read, sent into the flow, and waited for until each is settled.
//! What is in flight is bounded by bytes: a row is read when there is room for it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use tokio::sync::mpsc::{self, UnboundedReceiver, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::error::MigrateError;
use super::rejects::Reject;
use super::tally::{Activity, Progress, Spent, Tally};
use crate::codec::truncate::Cut;
use crate::codec::{Cleaned, PayloadPolicy, decode_payload};
use crate::domain::document::PayloadField;
use crate::domain::{Disposition, Kind, Origin, Record, Revision};
use crate::pipeline::prepare::{Prepared, prepare_record};
use crate::pipeline::receipt::{LedgerAction, Receipt, Settlement, Settlements};
use crate::pipeline::{Delivery, DeliveryContent};
use crate::postgres::{Database, Range, TableWalk, WalkRow};
use crate::rate::RateLimit;
use crate::store::LogReader;
use crate::store::payload::DifyStorage;

/// Where prepared rows go.
#[derive(Clone)]
pub enum Tail {
    /// The flow that live messages take as well.
    Flow(mpsc::Sender<Delivery>),
    /// Nowhere: a dry run.
    Nowhere,
}

impl Tail {
    async fn send(&self, prepared: Prepared, receipt: Receipt) -> Result<(), MigrateError> {
        match self {
            Self::Nowhere => receipt.settle(&Disposition::Ack),
            Self::Flow(flow) => {
                let delivery = Delivery { content: DeliveryContent::Prepared(Box::new(prepared)), receipt };
                flow.send(delivery).await.map_err(|_| MigrateError::Closed("the flow has ended".into()))?;
            }
        }
        Ok(())
    }
}

/// What all chunks share.
pub(super) struct Copier {
    pub database: Database,
    pub tail: Tail,
    /// Looks up records that may lie in another month already; `None`: a dry run.
    pub stored: Option<Arc<dyn LogReader>>,
    /// Where Dify put full texts; `None`: not looked for.
    pub storage: Option<DifyStorage>,
    pub policy: PayloadPolicy,
    pub origin: Option<Origin>,
    pub rate: RateLimit,
    pub budget: RowBudget,
    pub spent: Arc<Spent>,
}

/// Bytes of rows in flight.
pub(super) struct RowBudget {
    kibibytes: Arc<Semaphore>,
    all: u32,
}

impl RowBudget {
    pub fn new(bytes: NonZeroU32) -> Self {
        let all = (bytes.get() / 1024).max(1);
        Self { kibibytes: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Room for a row; one that is larger than everything takes everything.
    async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.all);
        // The semaphore is never closed.
        Arc::clone(&self.kibibytes).acquire_many_owned(wanted).await.ok()
    }
}

/// A row in flight.
struct Pending {
    id: String,
    _room: Option<OwnedSemaphorePermit>,
}

/// What became of a chunk whose every row is settled.
#[derive(Debug)]
pub(super) struct Chunk {
    pub range: Range,
    pub tally: Tally,
    pub rejects: Vec<Reject>,
}

/// Rows in flight by their number within the chunk.
type InFlight = Mutex<HashMap<u64, Pending>>;

impl Copier {
    /// Copies the rows of a range.
    pub async fn copy(
        self: Arc<Self>,
        walk: Arc<TableWalk>,
        range: Range,
        progress: Arc<Progress>,
    ) -> Result<Chunk, MigrateError> {
        let (settlements, settled) = unbounded_channel();
        let in_flight = InFlight::default();
        let mut chunk = Chunk { range, tally: Tally::default(), rejects: Vec::new() };
        let reading = self.read(&walk, settlements, &in_flight, &mut chunk, &progress);
        let (read, settled) = tokio::join!(reading, settle(walk.kind(), settled, &in_flight, &progress));
        read?;
        if settled.given_back > 0 {
            return Err(MigrateError::GivenBack);
        }
        chunk.tally.copied += settled.copied;
        for reject in settled.rejects {
            chunk.tally.reject(reject.reason);
            chunk.rejects.push(reject);
        }
        Ok(chunk)
    }

    /// Sends every row of the range; the sender of settlements goes with it, so that settling ends.
    async fn read(
        &self,
        walk: &TableWalk,
        settlements: Settlements,
        in_flight: &InFlight,
        chunk: &mut Chunk,
        progress: &Progress,
    ) -> Result<(), MigrateError> {
        let mut since = Instant::now();
        let mut spend = |activity| {
            let now = Instant::now();
            self.spent.add(activity, now - since);
            since = now;
        };
        let client = self.database.client().await?;
        let mut rows = std::pin::pin!(walk.read(&client, chunk.range).await?);
        let mut number = 0;
        while let Some(row) = rows.next().await {
            spend(Activity::Reading);
            let WalkRow { row, full_texts } = row?;
            number += 1;
            chunk.tally.read += 1;
            chunk.tally.row_bytes += row.bytes as u64;
            chunk.tally.cleaned(&row.cleaned);
            let record = match row.record {
                Ok(record) => record,
                Err(refusal) => {
                    chunk.tally.reject(refusal.class.as_str());
                    chunk.rejects.push(Reject::row(walk.kind(), row.key, &refusal));
                    progress.rejected.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            };
            if !record.has_ended() {
                chunk.tally.unended(record.created_at());
            }
            if self.is_stored_elsewhere(&record).await? {
                chunk.tally.copied += 1;
                progress.done.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let full = self.full_texts(walk.kind(), &row.key, full_texts, chunk).await?;
            let known = full.len();
            let prepared = prepare_record(record, row.extra.to_json(), full, self.origin, &self.policy, Instant::now());
            chunk.tally.truncated += (prepared.offloads.len() - known) as u64;
            chunk.tally.document_bytes += prepared.document.footprint() as u64;
            spend(Activity::Preparing);
            self.rate.pass(1).await;
            spend(Activity::Throttled);
            // A row exists several times on its way: as it came, as a document, as part of a request.
            let room = self.budget.room(prepared.bytes.saturating_mul(3)).await;
            lock(in_flight).insert(number, Pending { id: row.key, _room: room });
            self.tail.send(prepared, Receipt::new(number, settlements.clone())).await?;
            spend(Activity::Waiting);
        }
        spend(Activity::Reading);
        Ok(())
    }

    /// Returns whether the store has this snapshot or a newer one in another month. Dify's Celery tasks and its newer
    /// versions keep the first start of a run that was resumed, and the live message has the later one; each start
    /// leads to a month of its own. A record that ended in the month of its start cannot have started again in another.
    async fn is_stored_elsewhere(&self, record: &Record) -> Result<bool, MigrateError> {
        let Some(stored) = &self.stored else { return Ok(false) };
        if record.event_time().month() == record.month() {
            return Ok(false);
        }
        let found = stored.record(record.key()).await?;
        Ok(found.is_some_and(|found| found.month() != record.month() && found.revision >= Revision::of(record)))
    }

    /// Returns the full texts of a node's truncated payloads.
    async fn full_texts(
        &self,
        kind: Kind,
        id: &str,
        places: Vec<(String, String)>,
        chunk: &mut Chunk,
    ) -> Result<Vec<Cut>, MigrateError> {
        let Some(storage) = &self.storage else { return Ok(Vec::new()) };
        let mut cuts: Vec<Cut> = Vec::new();
        for (column, key) in places {
            let Some(field) = PayloadField::from_column(&column) else { continue };
            let object = storage.get(&key).await.map_err(MigrateError::Storage)?;
            let mut cleaned = Cleaned::default();
            let text = object.and_then(|object| decode_payload(&object, &mut cleaned));
            chunk.tally.cleaned(&cleaned);
            let Some(text) = text else {
                chunk.tally.missing_objects += 1;
                let file = if key.is_empty() { "no row in upload_files" } else { &key };
                chunk.rejects.push(Reject::object(kind, id.to_owned(), format!("{column}: {file}")));
                continue;
            };
            chunk.tally.full_texts += 1;
            cuts.push(Cut::of_full_text(field, text));
        }
        Ok(cuts)
    }
}

/// What the flow made of the rows.
#[derive(Default)]
struct Settled {
    copied: u64,
    given_back: u64,
    rejects: Vec<Reject>,
}

async fn settle(
    kind: Kind,
    mut settlements: UnboundedReceiver<Settlement>,
    in_flight: &InFlight,
    progress: &Progress,
) -> Settled {
    let mut settled = Settled::default();
    while let Some(Settlement { tag, outcome }) = settlements.recv().await {
        let row = lock(in_flight).remove(&tag);
        match outcome {
            LedgerAction::Ack => {
                settled.copied += 1;
                progress.done.fetch_add(1, Ordering::Relaxed);
            }
            LedgerAction::Requeue => settled.given_back += 1,
            LedgerAction::DeadLetter(letters) => {
                let id = row.map(|row| row.id).unwrap_or_default();
                settled.rejects.extend(letters.iter().map(|letter| Reject::row(kind, id.clone(), &letter.refusal)));
                progress.rejected.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    settled
}

fn lock(in_flight: &InFlight) -> std::sync::MutexGuard<'_, HashMap<u64, Pending>> {
    in_flight.lock().unwrap_or_else(PoisonError::into_inner)
}
