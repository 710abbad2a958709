//! Single objects: what is there, how old it is, its writing and deletion, over a folder and a bucket alike.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};

use super::local::PART;
use super::{PayloadError, PayloadStore, SUFFIX};
use crate::domain::document::ContentHash;
use crate::domain::verdict::bounded;
use crate::domain::{Month, TenantId};
use crate::telemetry::system_clock;

/// An object that is there.
pub(super) struct Object {
    pub(super) key: Path,
    /// The text that it is of; `None`: an unfinished file that a process left.
    pub(super) sha256: Option<ContentHash>,
    pub(super) bytes: u64,
    /// Since it was last written, by this machine's clock; 0 if that is ahead of it.
    pub(super) age: Duration,
}

impl Object {
    fn of(meta: ObjectMeta) -> Self {
        let name = meta.location.filename().unwrap_or_default();
        let sha256 = name.strip_suffix(SUFFIX).and_then(|name| name.parse().ok());
        // The ages of files are told by the clock that dates them, whatever clock the caller's logic runs on.
        let age = system_clock()().micros() - meta.last_modified.timestamp_micros();
        let age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
        Self { sha256, bytes: meta.size, age, key: meta.location }
    }

    /// Returns whether its name is one that this program gives.
    fn is_ours(&self) -> bool {
        self.sha256.is_some() || self.key.filename().is_some_and(|name| name.ends_with(PART))
    }
}

impl PayloadStore {
    /// Returns the objects of a tenant and month, streamed, in no order. Names that are not ours are left out.
    pub(super) async fn objects_of(
        &self,
        tenant_id: TenantId,
        month: Month,
    ) -> Result<BoxStream<'_, Result<Object, PayloadError>>, PayloadError> {
        let folder = self.folder(tenant_id, month);
        if let Some(local) = &self.local {
            local.refuse_links(&folder).await?;
        }
        let depth = folder.parts_count() + 1;
        let found = self.objects.list(Some(&folder)).map_err(|error| self.fault(error)).map_ok(Object::of);
        // What lies in folders below is not ours.
        Ok(found
            .try_filter(move |object| std::future::ready(object.key.parts_count() == depth && object.is_ours()))
            .boxed())
    }

    pub(super) async fn head(&self, key: &Path) -> Result<Option<Object>, PayloadError> {
        match self.objects.head(key).await {
            Ok(meta) => Ok(Some(Object::of(meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fault(error)),
        }
    }

    pub(super) async fn bytes(&self, key: &Path) -> Result<Option<Bytes>, PayloadError> {
        match self.objects.get(key).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(|error| self.fault(error))?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// Writes an object, whole and durable, over one that may be there.
    pub(super) async fn write(&self, key: &Path, content: Bytes) -> Result<(), PayloadError> {
        match &self.local {
            Some(local) => local.put_durably(key, content).await,
            None => self.objects.put(key, content.into()).await.map(|_| ()).map_err(|error| self.fault(error)),
        }
    }

    /// Returns whether there was one; S3 does not tell.
    pub(super) async fn delete(&self, key: &Path) -> Result<bool, PayloadError> {
        if let Some(local) = &self.local {
            return local.delete(key).await;
        }
        match self.objects.delete(key).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// Deletes objects, many with one request where the server can. Returns how many; those that another process deleted
    /// first count where the server does not tell.
    pub(super) async fn delete_all(&self, keys: Vec<Path>) -> Result<usize, PayloadError> {
        let mut deleted = 0;
        if self.local.is_some() {
            for key in &keys {
                deleted += usize::from(self.delete(key).await?);
            }
            return Ok(deleted);
        }
        let mut deletions = self.objects.delete_stream(stream::iter(keys).map(Ok).boxed());
        while let Some(deletion) = deletions.next().await {
            match deletion {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => deleted += 1,
                Err(error) => return Err(self.fault(error)),
            }
        }
        Ok(deleted)
    }

    /// Returns the tenants that have objects, in order.
    ///
    /// # Errors
    /// [`PayloadError`] if the store cannot be read.
    pub async fn tenants(&self) -> Result<Vec<TenantId>, PayloadError> {
        self.folders_of(&self.prefix).await
    }

    /// Returns the months of which a tenant has objects, in order.
    ///
    /// # Errors
    /// [`PayloadError`] if the store cannot be read.
    pub async fn months_of(&self, tenant_id: TenantId) -> Result<Vec<Month>, PayloadError> {
        self.folders_of(&self.prefix.clone().join(tenant_id.to_string())).await
    }

    async fn folders_of<T: std::str::FromStr + Ord>(&self, folder: &Path) -> Result<Vec<T>, PayloadError> {
        let names = if let Some(local) = &self.local {
            local.folders(folder).await?
        } else {
            let found = self.objects.list_with_delimiter(Some(folder)).await.map_err(|error| self.fault(error))?;
            found.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned)).collect()
        };
        let mut folders: Vec<T> = names.iter().filter_map(|name| name.parse().ok()).collect();
        folders.sort_unstable();
        Ok(folders)
    }

    /// Returns an error of the server or the disk, with the setting that names the place. Its text holds no secret.
    pub(super) fn fault(&self, error: object_store::Error) -> PayloadError {
        match PayloadError::from(error) {
            PayloadError::Unauthorized(detail) => {
                PayloadError::Unauthorized(bounded(format!("{}: {detail}", self.place)))
            }
            PayloadError::Unavailable(detail) => {
                PayloadError::Unavailable(bounded(format!("{}: {detail}", self.place)))
            }
            other => other,
        }
    }
}
