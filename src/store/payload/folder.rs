//! The identity of a local folder: workers on several hosts that each have one of their own keep half of the full texts
//! where the others cannot read them. A file in the folder names it, wherever it is mounted.

use std::path::Path;

use uuid::Uuid;

use super::{PayloadError, PayloadStore};

/// The file that names the folder.
const NAME: &str = "difylog.folder";

/// A local folder of payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder<'s> {
    pub dir: &'s Path,
    /// `None`: no worker has used it yet.
    pub id: Option<Uuid>,
    /// Its mode, where others than its owner may look into it.
    pub open_to_others: Option<u32>,
}

impl PayloadStore {
    /// Returns the local folder, or `None` if payloads are in a bucket. `name`: gives it an id where it has none.
    ///
    /// # Errors
    /// [`PayloadError`] if the folder cannot be read or written.
    pub async fn local_folder(&self, name: bool) -> Result<Option<Folder<'_>>, PayloadError> {
        let Some(local) = &self.local else { return Ok(None) };
        let key = self.prefix.clone().join(NAME);
        let mut id = self.folder_id().await?;
        if id.is_none() && name {
            self.write(&key, Uuid::new_v4().to_string().into()).await?;
            // Of two processes that name it at once, the later one's name stays.
            id = self.folder_id().await?;
        }
        Ok(Some(Folder { dir: local.root(), id, open_to_others: local.open_to_others() }))
    }

    async fn folder_id(&self) -> Result<Option<Uuid>, PayloadError> {
        let text = self.bytes(&self.prefix.clone().join(NAME)).await?;
        Ok(text.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()))
    }
}
