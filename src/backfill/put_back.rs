//! Documents that were erased because their rows would replace them, or because PostgreSQL had their rows, written again
//! where nothing took their place: the row has gone meanwhile, or could not be copied.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::backoff::Backoff;
use crate::domain::{BulkAction, Document, Kind, RecordId, Verdict};
use crate::store::{BulkSink, LogReader, StoreError};

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(10) };
/// About a minute of pauses.
const ATTEMPTS: u32 = 12;
/// Documents that could not be written and are named.
const NAMED: usize = 20;

const NOT_TAKEN: &str = "the store does not take them; were they erased, or their month dropped, meanwhile?";

/// Writes documents of one kind that were erased, as far as the store has none of the record now. Takes as long as the store
/// is away, up to about a minute.
///
/// # Errors
/// [`StoreError`] that names those that are in the store no more; another call with the same documents goes on.
pub(super) async fn put_back(
    reader: &dyn LogReader,
    sink: &dyn BulkSink,
    kind: Kind,
    erased: Vec<Document>,
) -> Result<(), StoreError> {
    let mut rng = StdRng::from_os_rng();
    let mut left: Vec<Arc<Document>> = erased.into_iter().map(Arc::new).collect();
    let mut problem = None;
    for attempt in 1..=ATTEMPTS {
        problem = match round(reader, sink, kind, &mut left).await {
            Ok(()) if left.is_empty() => return Ok(()),
            Ok(()) => None,
            Err(error) => Some(error),
        };
        tokio::time::sleep(BACKOFF.pause(attempt, &mut rng)).await;
    }
    let names: Vec<String> = left.iter().take(NAMED).map(|document| document.record.id().to_string()).collect();
    let said = problem.map_or_else(|| NOT_TAKEN.to_owned(), |problem| problem.to_string());
    Err(StoreError::Unavailable(format!(
        "{} documents of kind {kind} were erased and could not be written back ({said}): {}; `difylog migrate --restart` \
         copies those whose rows PostgreSQL has",
        left.len(),
        names.join(", ")
    )))
}

/// Takes out of `left` what the store has now. What is superseded is only believed to be there once it is seen: an engine
/// remembers the version of what was just deleted for a while.
async fn round(
    reader: &dyn LogReader,
    sink: &dyn BulkSink,
    kind: Kind,
    left: &mut Vec<Arc<Document>>,
) -> Result<(), StoreError> {
    left.sort_by_key(|document| document.tenant_id());
    let mut absent = Vec::new();
    for of_tenant in left.chunk_by(|one, next| one.tenant_id() == next.tenant_id()) {
        let ids: Vec<RecordId> = of_tenant.iter().map(|document| document.record.id()).collect();
        let Some(tenant_id) = of_tenant.first().map(|document| document.tenant_id()) else { continue };
        let found = reader.records(tenant_id, kind, &ids).await?;
        let is_absent = |document: &&Arc<Document>| !found.iter().any(|one| one.key() == document.key());
        absent.extend(of_tenant.iter().filter(is_absent).cloned());
    }
    *left = absent;
    if left.is_empty() {
        return Ok(());
    }
    let actions: Vec<BulkAction> = left.iter().cloned().map(BulkAction::Document).collect();
    let verdicts = sink.apply(&actions).await?;
    let mut verdicts = verdicts.into_iter();
    left.retain(|_| !matches!(verdicts.next(), Some(Verdict::Stored)));
    Ok(())
}
