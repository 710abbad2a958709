//! The full texts of truncated payloads, kept beside the documents in an object store: a local directory or S3. It alone
//! names `object_store`.
//!
//! An object is named by its content, per tenant and month: `{tenant}/{YYYY-MM}/{sha256}.json.zst`. Writing it twice is
//! writing it once. It goes with its month, or once no document of the month names it (`unnamed`). [`PayloadStore::put`] answers when the object is durable, so that an ack
//! may follow. It never retries for the pipeline, and never reads an object that it does not verify.

mod copy;
mod dify;
mod folder;
mod local;
mod objects;
mod settings;
mod unnamed;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

pub use self::copy::Copied;
pub use self::dify::DifyStorage;
pub use self::folder::Folder;
use self::local::LocalDirectory;
pub use self::settings::{PayloadSettings, S3Settings};
pub use self::unnamed::{Removed, Younger};
use crate::domain::document::ContentHash;
use crate::domain::verdict::bounded;
use crate::domain::{JsonText, Month, TenantId};
use crate::telemetry::how_it_ended;

/// Level of the frames: written once, read rarely.
const LEVEL: i32 = 3;

/// Largest text that is read back, in bytes: what a hostile frame may unfold to.
const MAX_TEXT: u64 = 1 << 30;

const SUFFIX: &str = ".json.zst";

/// An object of this age is written again by the next put of the same text. Every document is stored within this time
/// after its texts were put, so an object that is much older and that no document names belongs to none under way.
pub const REWRITE_AFTER: Duration = Duration::from_hours(1);

/// Objects of one request for their deletion, at most: S3's bound.
const DELETED_AT_ONCE: usize = 1_000;

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
    /// Returns whether the caller should hold and try again.
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
    /// The setting that says where it is, and what it says: for errors.
    place: Arc<str>,
}

impl PayloadStore {
    /// Opens the store of the section `[payloads]`. A local directory is created if it is not there; S3 is not called yet.
    ///
    /// # Errors
    /// [`PayloadError::Settings`] that names what cannot be used.
    pub fn open(settings: &PayloadSettings) -> Result<Self, PayloadError> {
        Self::open_of("payloads", settings)
    }

    /// As [`Self::open`], of another section of the settings: errors name its keys.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_of(section: &str, settings: &PayloadSettings) -> Result<Self, PayloadError> {
        if let Some(s3) = &settings.s3 {
            let place = format!("{section}.s3 ({})", s3.place()).into();
            let prefix = Path::from(s3.prefix.as_str());
            return Ok(Self { objects: Arc::new(s3.client(&format!("{section}.s3"))?), local: None, prefix, place });
        }
        let setting = format!("{section}.dir");
        let local = LocalDirectory::open(&settings.dir, &setting)?;
        let place = format!("{setting} ({})", local.root().display()).into();
        Ok(Self { objects: local.objects(), local: Some(local), prefix: Path::default(), place })
    }

    /// Keeps a text, shared and not copied, under its hash; durable when it answers. A text that is already there is not
    /// sent again, unless it is older than [`REWRITE_AFTER`].
    ///
    /// A removal of what no document names can come between this call and the document that names the text. A caller that
    /// stores that document asks [`Self::has`] after it is stored, and begins again where the text has gone.
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
        // One that is written again is as young as the document that is about to name it: a sweep leaves it alone.
        if self.head(&key).await?.is_none_or(|object| object.age >= REWRITE_AFTER) {
            let frame = blocking(move || zstd::bulk::compress((*text).as_ref().as_bytes(), LEVEL)).await?;
            let frame = frame.map_err(|error| PayloadError::Unavailable(format!("compression failed: {error}")))?;
            return self.write(&key, frame.into()).await;
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

    /// Returns whether a text is there; it is not read.
    ///
    /// # Errors
    /// [`PayloadError`] if the store cannot be asked.
    pub async fn has(&self, tenant_id: TenantId, month: Month, sha256: ContentHash) -> Result<bool, PayloadError> {
        Ok(self.head(&self.key(tenant_id, month, sha256)).await?.is_some())
    }

    /// Deletes a month of all tenants. Returns how many objects went.
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

    /// Deletes a month of one tenant. Returns how many objects went; what is not named as an object of ours stays.
    ///
    /// # Errors
    /// [`PayloadError`]; some of it may be gone then, and a second call continues.
    pub async fn drop_tenant_month(&self, tenant_id: TenantId, month: Month) -> Result<usize, PayloadError> {
        let mut deleted = 0;
        let mut objects = self.objects_of(tenant_id, month).await?.try_chunks(DELETED_AT_ONCE);
        while let Some(chunk) = objects.next().await {
            let chunk = chunk.map_err(|error| error.1)?;
            deleted += self.delete_all(chunk.into_iter().map(|object| object.key).collect()).await?;
        }
        Ok(deleted)
    }

    /// Returns whether a write could succeed now: writes a small object and deletes it.
    ///
    /// # Errors
    /// The error that a write would meet.
    pub async fn probe(&self) -> Result<(), PayloadError> {
        let key = self.prefix.clone().join("difylog.probe");
        self.write(&key, "probe".into()).await?;
        // Another process may probe at the same moment and have deleted it first.
        self.delete(&key).await.map(|_| ())
    }

    /// Returns where the payloads are, after a look that the place answers. Writes nothing.
    ///
    /// # Errors
    /// The error that a read would meet.
    pub async fn look(&self) -> Result<String, PayloadError> {
        let tenants = self.tenants().await?.len();
        Ok(format!("{}: full texts of {tenants} tenants", self.place))
    }

    /// Returns the name of a text's object, below the folder or in the bucket.
    #[must_use]
    pub fn object_name(&self, tenant_id: TenantId, month: Month, sha256: ContentHash) -> String {
        self.key(tenant_id, month, sha256).to_string()
    }

    fn key(&self, tenant_id: TenantId, month: Month, sha256: ContentHash) -> Path {
        self.folder(tenant_id, month).join(format!("{sha256}{SUFFIX}"))
    }

    fn folder(&self, tenant_id: TenantId, month: Month) -> Path {
        self.prefix.clone().join(tenant_id.to_string()).join(month.to_string())
    }
}

/// Returns the text of a frame, if it has that hash.
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
    task.await.map_err(|error| PayloadError::Unavailable(format!("work ended early: {}", how_it_ended(&error))))
}

#[cfg(test)]
mod tests;
