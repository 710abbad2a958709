//! Removal of full texts that no document names.
//!
//! A document may be on its way that names a text: its worker has put the text, or found it there, and stores the document
//! a moment later. No lock spans the two stores, so each side looks again after it has acted:
//!
//! ```text
//! writer   put the text → store the document → is the text still there? no: begin again
//! removal  which are named? → delete the others → is one of them named now? yes: put it back
//! ```
//!
//! Whichever order the steps of two processes fall into, one of them sees what the other did. What is put back is kept in
//! memory until then. An object older than [`SETTLED`] need not be: a put would have written it again
//! ([`super::REWRITE_AFTER`]), so no document under way relies on it.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use tracing::{error, info};

use super::objects::Object;
use super::{PayloadError, PayloadStore, REWRITE_AFTER};
use crate::backoff::Backoff;
use crate::domain::document::ContentHash;
use crate::domain::{Month, TenantId};
use crate::store::{LogReader, StoreError};

/// Objects of which one question asks whether they are named.
const ASKED: usize = 500;

/// Objects that are looked at again right before they are deleted, and how many at once.
const BATCH: usize = 64;
const CONCURRENCY: usize = 8;

/// The age from which on an object is deleted without its bytes being kept for a moment.
const SETTLED: Duration = Duration::from_secs(2 * REWRITE_AFTER.as_secs());

/// Bytes of deleted objects that are kept until the second look; a single object may be larger.
const HELD_BYTES: usize = 32 << 20;

/// How often an object is written back at most, after the first time, and when.
const WRITTEN_BACK: u32 = 6;
const PAUSES: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(2) };

/// What is done with objects that were written a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Younger {
    /// Those younger than this stay: the document that names them may not be stored yet.
    Stay(Duration),
    /// They go as well, and come back should a document name them meanwhile.
    Go,
}

/// What a removal did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub objects: u64,
    /// As they are stored: compressed.
    pub bytes: u64,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

/// An object that was deleted, with its bytes where it may have to come back.
struct Gone {
    sha256: ContentHash,
    frame: Option<Bytes>,
    bytes: u64,
}

impl PayloadStore {
    /// Removes those of some texts of a tenant and month that no document names. Returns what went.
    ///
    /// # Errors
    /// If either store cannot be used; what is kept in memory is put back then, and a second call continues.
    pub async fn remove_unnamed<E: From<StoreError> + From<PayloadError>>(
        &self,
        documents: &dyn LogReader,
        tenant_id: TenantId,
        month: Month,
        texts: &[ContentHash],
        younger: Younger,
    ) -> Result<Removed, E> {
        let mut removed = Removed::default();
        for texts in texts.chunks(ASKED) {
            let named = documents.named_texts(tenant_id, month, texts).await?;
            let unnamed: Vec<ContentHash> = texts.iter().filter(|text| !named.contains(text)).copied().collect();
            for batch in unnamed.chunks(BATCH) {
                removed += self.remove_batch::<E>(documents, tenant_id, month, batch, younger).await?;
            }
        }
        Ok(removed)
    }

    async fn remove_batch<E: From<StoreError> + From<PayloadError>>(
        &self,
        documents: &dyn LogReader,
        tenant_id: TenantId,
        month: Month,
        texts: &[ContentHash],
        younger: Younger,
    ) -> Result<Removed, E> {
        let keys: Vec<_> = texts.iter().map(|text| self.key(tenant_id, month, *text)).collect();
        let heads = stream::iter(keys).map(async |key| self.head(&key).await);
        let found: Vec<Option<Object>> = heads.buffer_unordered(CONCURRENCY).try_collect().await?;
        let goes = |object: &Object| !matches!(younger, Younger::Stay(age) if object.age < age);
        let named = found.into_iter().flatten().filter(goes);
        let objects = named.filter_map(|object| object.sha256.map(|sha256| (sha256, object)));
        let (settled, young): (Vec<_>, Vec<_>) = objects.partition(|(_, object)| object.age >= SETTLED);
        let mut gone: Vec<Gone> =
            settled.iter().map(|(sha256, object)| Gone { sha256: *sha256, frame: None, bytes: object.bytes }).collect();
        // First, right after they were looked at: one that is written again meanwhile would go with its new document stored.
        let mut outcome = self.delete_all(settled.into_iter().map(|(_, object)| object.key).collect()).await.map(drop);
        let (mut removed, mut held) = (Removed::default(), 0);
        for (sha256, object) in young {
            if outcome.is_err() {
                break;
            }
            outcome = self.take(sha256, object, &mut gone).await.map(|bytes| held += bytes);
            if held > HELD_BYTES {
                removed += self.put_back::<E>(documents, tenant_id, month, std::mem::take(&mut gone)).await?;
                held = 0;
            }
        }
        // Also after a fault: what is named by now must come back.
        removed += self.put_back::<E>(documents, tenant_id, month, gone).await?;
        outcome?;
        Ok(removed)
    }

    /// Deletes an object and keeps its bytes. Returns how many.
    async fn take(&self, sha256: ContentHash, object: Object, gone: &mut Vec<Gone>) -> Result<usize, PayloadError> {
        let Some(frame) = self.bytes(&object.key).await? else { return Ok(0) };
        let held = frame.len();
        // Before: an error does not say whether it was deleted.
        gone.push(Gone { sha256, frame: Some(frame), bytes: object.bytes });
        self.delete(&object.key).await?;
        Ok(held)
    }

    /// Returns the second look: what is named by now comes back. Returns what stays away.
    async fn put_back<E: From<StoreError> + From<PayloadError>>(
        &self,
        documents: &dyn LogReader,
        tenant_id: TenantId,
        month: Month,
        gone: Vec<Gone>,
    ) -> Result<Removed, E> {
        if gone.is_empty() {
            return Ok(Removed::default());
        }
        let texts: Vec<ContentHash> = gone.iter().map(|gone| gone.sha256).collect();
        let asked = documents.named_texts(tenant_id, month, &texts).await;
        // While that is not known, each may be named.
        let named: HashSet<ContentHash> = asked.as_ref().map_or_else(|_| texts.iter().copied().collect(), Clone::clone);
        let (mut removed, mut written) = (Removed::default(), Ok(()));
        for Gone { sha256, frame, bytes } in gone {
            if !named.contains(&sha256) {
                removed += Removed { objects: 1, bytes };
                continue;
            }
            match frame {
                Some(frame) => match self.write_back(&self.key(tenant_id, month, sha256), frame).await {
                    Ok(()) => info!(%tenant_id, %month, %sha256, "a full text is kept: a document may name it"),
                    Err(fault) => {
                        error!(%tenant_id, %month, %sha256, %fault, "a full text that a document may name cannot be written back");
                        // The others may be.
                        written = Err(fault);
                    }
                },
                None if asked.is_ok() => {
                    error!(%tenant_id, %month, %sha256, "a full text was removed while a document that names it was stored");
                }
                None => {}
            }
        }
        asked?;
        written?;
        Ok(removed)
    }

    /// Writes an object again that was deleted, for some seconds: nobody else has its bytes.
    async fn write_back(&self, key: &Path, frame: Bytes) -> Result<(), PayloadError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.write(key, frame.clone()).await {
                Err(fault) if fault.is_retriable() && attempt <= WRITTEN_BACK => {
                    let pause = PAUSES.pause(attempt, &mut rand::rng());
                    tokio::time::sleep(pause).await;
                }
                written => return written,
            }
        }
    }

    /// Goes over all objects of a tenant and month, and removes those that no document names and that are at least
    /// `min_age` old, or only counts them. Memory is bounded, however many there are.
    ///
    /// # Errors
    /// As [`Self::remove_unnamed`].
    pub async fn sweep_month<E: From<StoreError> + From<PayloadError>>(
        &self,
        documents: &dyn LogReader,
        tenant_id: TenantId,
        month: Month,
        min_age: Duration,
        execute: bool,
    ) -> Result<Removed, E> {
        let mut removed = Removed::default();
        let mut objects = self.objects_of(tenant_id, month).await?.try_chunks(ASKED);
        while let Some(chunk) = objects.next().await {
            let mut old = chunk.map_err(|error| error.1)?;
            old.retain(|object| object.age >= min_age);
            let texts: Vec<ContentHash> = old.iter().filter_map(|object| object.sha256).collect();
            // What a process left that ended while it wrote: nothing ever names it.
            let unfinished: Vec<_> = old.iter().filter(|object| object.sha256.is_none()).collect();
            for object in &unfinished {
                removed += Removed { objects: 1, bytes: object.bytes };
            }
            if execute {
                self.delete_all(unfinished.into_iter().map(|object| object.key.clone()).collect()).await?;
                let younger = Younger::Stay(min_age);
                removed += self.remove_unnamed::<E>(documents, tenant_id, month, &texts, younger).await?;
                continue;
            }
            let named = documents.named_texts(tenant_id, month, &texts).await?;
            for object in old.iter().filter(|object| object.sha256.is_some_and(|text| !named.contains(&text))) {
                removed += Removed { objects: 1, bytes: object.bytes };
            }
        }
        Ok(removed)
    }
}
