//! Payloads from one store into another, as they lie there, and the notes that a backup keeps beside its payloads.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;

use super::objects::Object;
use super::{PayloadError, PayloadStore, REWRITE_AFTER};
use crate::domain::document::ContentHash;
use crate::domain::{Month, TenantId};
use crate::store::{LogReader, StoreError};

/// Objects on their way at once.
const CONCURRENCY: usize = 4;

/// Texts of which one question asks whether they are named.
const ASKED: usize = 500;

/// What became of one payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    Now,
    /// It was there already.
    Before,
    /// The source does not have it.
    Absent,
}

impl PayloadStore {
    /// Copies one payload; durable when it answers.
    ///
    /// # Errors
    /// [`PayloadError`] of either store.
    pub async fn copy_to(
        &self,
        target: &Self,
        tenant_id: TenantId,
        month: Month,
        sha256: ContentHash,
    ) -> Result<Copied, PayloadError> {
        self.copy_unless(target, tenant_id, month, sha256, |_| true).await
    }

    /// Copies one payload, over one that is there where that is not good enough. Returns [`Copied::Before`] wherever one was
    /// there.
    async fn copy_unless(
        &self,
        target: &Self,
        tenant_id: TenantId,
        month: Month,
        sha256: ContentHash,
        is_good: impl Fn(&Object) -> bool + Send,
    ) -> Result<Copied, PayloadError> {
        let there = target.key(tenant_id, month, sha256);
        let found = target.head(&there).await?;
        if found.as_ref().is_some_and(is_good) {
            return Ok(Copied::Before);
        }
        match self.bytes(&self.key(tenant_id, month, sha256)).await? {
            Some(frame) => target.write(&there, frame).await?,
            None => return Ok(Copied::Absent),
        }
        Ok(if found.is_some() { Copied::Before } else { Copied::Now })
    }

    /// Copies those texts of a month that some document names, and no other. One that is there, but long ago written, is
    /// written again: a removal of what no document names, which began before the documents were there, then leaves it
    /// alone. Returns how many were not there.
    ///
    /// # Errors
    /// If either store or the documents cannot be read; a second call continues.
    pub async fn copy_named_to<E: From<StoreError> + From<PayloadError>>(
        &self,
        target: &Self,
        documents: &dyn LogReader,
        month: Month,
    ) -> Result<u64, E> {
        let mut copied = 0;
        for tenant_id in self.tenants().await? {
            let objects = self.objects_of(tenant_id, month).await?;
            let texts = objects.try_filter_map(async |object| Ok(object.sha256));
            let mut portions = std::pin::pin!(texts.try_chunks(ASKED));
            while let Some(texts) = portions.next().await {
                let texts = texts.map_err(|error| error.1)?;
                let named = documents.named_texts(tenant_id, month, &texts).await?;
                let is_young = |object: &Object| object.age < REWRITE_AFTER;
                let under_way =
                    stream::iter(named).map(|sha256| self.copy_unless(target, tenant_id, month, sha256, is_young));
                let done = under_way.buffer_unordered(CONCURRENCY);
                copied += done.try_fold(0, async |sum, one| Ok(sum + u64::from(one == Copied::Now))).await?;
            }
        }
        Ok(copied)
    }

    /// Writes a note, whole and durable, over one that may be there. `name`: `a-z`, `0-9` and `-`.
    ///
    /// # Errors
    /// [`PayloadError`]; the note is as it was before, or written.
    pub async fn put_note(&self, folder: &str, name: &str, text: String) -> Result<(), PayloadError> {
        self.write(&self.note_key(folder, name), text.into()).await
    }

    /// Reads a note.
    ///
    /// # Errors
    /// [`PayloadError`] if the store cannot be read.
    pub async fn note(&self, folder: &str, name: &str) -> Result<Option<Bytes>, PayloadError> {
        self.bytes(&self.note_key(folder, name)).await
    }

    /// Returns the names of a folder's notes, in order.
    ///
    /// # Errors
    /// [`PayloadError`] if the store cannot be read.
    pub async fn notes(&self, folder: &str) -> Result<Vec<String>, PayloadError> {
        let prefix = self.prefix.clone().join(folder);
        let objects: Vec<_> =
            self.objects.list(Some(&prefix)).try_collect().await.map_err(|error| self.fault(error))?;
        let name = |object: &object_store::ObjectMeta| {
            object.location.filename().and_then(|name| name.strip_suffix(".json")).map(str::to_owned)
        };
        let mut names: Vec<_> = objects.iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Deletes a note, if it is there.
    ///
    /// # Errors
    /// [`PayloadError`] if the store refuses.
    pub async fn delete_note(&self, folder: &str, name: &str) -> Result<(), PayloadError> {
        self.delete(&self.note_key(folder, name)).await.map(|_| ())
    }

    fn note_key(&self, folder: &str, name: &str) -> Path {
        self.prefix.clone().join(folder).join(format!("{name}.json"))
    }
}
