//! The full texts of truncated payloads, kept beside the documents in an object store: a local directory or S3. It alone
//! names `object_store`.
//!
//! An object is named by its content, per tenant and month: `{tenant}/{YYYY-MM}/{sha256}.json.zst`. Writing it twice is
//! writing it once, and it goes with its month. [`PayloadStore::put`] answers when the object is durable, so that an ack
//! may follow. It never retries for the pipeline, and never reads an object that it does not verify.

mod copy;
mod dify;
mod local;
mod settings;

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};

pub use self::copy::Copied;
pub use self::dify::DifyStorage;
use self::local::LocalDirectory;
pub use self::settings::{PayloadSettings, S3Settings};
use crate::domain::document::ContentHash;
use crate::domain::verdict::bounded;
use crate::domain::{JsonText, Month, TenantId};

/// Level of the frames: written once, read rarely.
const LEVEL: i32 = 3;

/// Largest text that is read back, in bytes: what a hostile frame may unfold to.
const MAX_TEXT: u64 = 1 << 30;

const SUFFIX: &str = ".json.zst";

/// A payload could not be kept or fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The same call may succeed later.
    #[error("payload store unavailable: {0}")]
    Unavailable(String),
    /// Credentials or rights must be mended; nothing is refused for it.
    #[error("payload store refused access: {0}; check the keys and the bucket's policy, or the directory's rights")]
    Unauthorized(String),
    /// The object is there, but is not the text that its name promises.
    #[error("payload {0} is damaged: restore or delete it")]
    Damaged(String),
    /// The settings cannot be used.
    #[error("payload store settings: {0}")]
    Settings(String),
}

impl PayloadError {
    /// Whether the caller should hold and try again.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unauthorized(_))
    }
}

/// Keeps full texts.
#[derive(Clone)]
pub struct PayloadStore {
    objects: Arc<dyn ObjectStore>,
    /// The same objects as files, where their durability is up to us.
    local: Option<LocalDirectory>,
    prefix: Path,
}

impl PayloadStore {
    /// Opens the store. A local directory is created if it is not there; S3 is not called yet.
    ///
    /// # Errors
    /// [`PayloadError::Settings`] that names what cannot be used.
    pub fn open(settings: &PayloadSettings) -> Result<Self, PayloadError> {
        if let Some(s3) = &settings.s3 {
            return Ok(Self { objects: Arc::new(s3.client()?), local: None, prefix: Path::from(s3.prefix.as_str()) });
        }
        let local = LocalDirectory::open(&settings.dir)?;
        Ok(Self { objects: local.objects(), local: Some(local), prefix: Path::default() })
    }

    /// Keeps a text, shared and not copied, under its hash; durable when it answers. A text that is already there is not sent again.
    ///
    /// # Errors
    /// [`PayloadError`]; the text may or may not be there then.
    pub async fn put(
        &self,
        tenant_id: TenantId,
        month: Month,
        sha256: ContentHash,
        text: Arc<dyn AsRef<str> + Send + Sync>,
    ) -> Result<(), PayloadError> {
        let key = self.key(tenant_id, month, sha256);
        if !self.holds(&key).await? {
            let frame = blocking(move || zstd::bulk::compress((*text).as_ref().as_bytes(), LEVEL)).await?;
            let frame = frame.map_err(|error| PayloadError::Unavailable(format!("compression failed: {error}")))?;
            match &self.local {
                Some(local) => return local.put_durably(&key, frame.into()).await,
                None => self.objects.put(&key, frame.into()).await?,
            };
        }
        match &self.local {
            // A crash may have come between the file's name and its durability.
            Some(local) => local.sync_name(&key).await,
            None => Ok(()),
        }
    }

    /// Fetches a text and verifies it.
    ///
    /// # Errors
    /// [`PayloadError`] if the store cannot be read or the object is not what its name promises.
    pub async fn get(
        &self,
        tenant_id: TenantId,
        month: Month,
        sha256: ContentHash,
    ) -> Result<Option<JsonText>, PayloadError> {
        let key = self.key(tenant_id, month, sha256);
        let Some(frame) = self.bytes(&key).await? else { return Ok(None) };
        match blocking(move || verified(&frame, sha256)).await? {
            Some(text) => Ok(Some(JsonText::from_clean(text))),
            None => Err(PayloadError::Damaged(key.to_string())),
        }
    }

    /// Deletes a month of all tenants. Answers how many objects went.
    ///
    /// # Errors
    /// [`PayloadError`]; some of the month may be gone then, and a second call continues.
    pub async fn drop_month(&self, month: Month) -> Result<usize, PayloadError> {
        let mut deleted = 0;
        for tenant_id in self.tenants().await? {
            deleted += self.drop_tenant_month(tenant_id, month).await?;
        }
        Ok(deleted)
    }

    /// Deletes a month of one tenant. Answers how many objects went.
    ///
    /// # Errors
    /// [`PayloadError`]; some of it may be gone then, and a second call continues.
    pub async fn drop_tenant_month(&self, tenant_id: TenantId, month: Month) -> Result<usize, PayloadError> {
        self.delete_all(self.prefix.clone().join(tenant_id.to_string()).join(month.to_string())).await
    }

    /// Whether a write could succeed now: writes a small object and deletes it.
    ///
    /// # Errors
    /// The error that a write would meet.
    pub async fn probe(&self) -> Result<(), PayloadError> {
        let key = self.prefix.clone().join("difylog.probe");
        self.objects.put(&key, "probe".into()).await?;
        match self.objects.delete(&key).await {
            // Another process probes at the same moment and deleted it first.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn key(&self, tenant_id: TenantId, month: Month, sha256: ContentHash) -> Path {
        let month = self.prefix.clone().join(tenant_id.to_string()).join(month.to_string());
        month.join(format!("{sha256}{SUFFIX}"))
    }

    async fn holds(&self, key: &Path) -> Result<bool, PayloadError> {
        match self.objects.head(key).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn delete_all(&self, prefix: Path) -> Result<usize, PayloadError> {
        let keys = self.objects.list(Some(&prefix)).map_ok(|object| object.location).boxed();
        let mut deletions = self.objects.delete_stream(keys);
        let mut deleted = 0;
        while let Some(deletion) = deletions.next().await {
            match deletion {
                // Another process deletes the same month.
                Ok(_) | Err(object_store::Error::NotFound { .. }) => deleted += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(deleted)
    }
}

/// The text of a frame, if it has that hash.
fn verified(frame: &[u8], sha256: ContentHash) -> Option<String> {
    let size = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
    let size = usize::try_from(size).ok().filter(|_| size <= MAX_TEXT)?;
    let bytes = zstd::bulk::decompress(frame, size).ok()?;
    let hash = ContentHash::new(Sha256::digest(&bytes).into());
    if hash == sha256 { String::from_utf8(bytes).ok() } else { None }
}

impl From<object_store::Error> for PayloadError {
    /// Its text names the object or the server, never a secret.
    fn from(error: object_store::Error) -> Self {
        let detail = bounded(error.to_string());
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Self::Unauthorized(detail)
            }
            _ => Self::Unavailable(detail),
        }
    }
}

/// Runs work that takes the processor or the disk for long.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PayloadError> {
    let task = tokio::task::spawn_blocking(work);
    task.await.map_err(|error| PayloadError::Unavailable(format!("work ended early: {error}")))
}

#[cfg(test)]
mod tests;
