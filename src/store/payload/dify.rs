//! Dify's own storage, to read the full texts of the payloads that Dify truncated. Nothing is ever written to it.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::{PayloadError, S3Settings};

/// Largest object that is read, in bytes; Dify's own limit for such files is 15 MB unless it was raised.
const MAX_OBJECT: u64 = 256 << 20;

/// The root of Dify's storage: a folder or a bucket.
#[derive(Clone)]
pub struct DifyStorage {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl DifyStorage {
    /// `STORAGE_LOCAL_PATH` or `OPENDAL_FS_ROOT` of Dify. The folder must be there.
    ///
    /// # Errors
    /// [`PayloadError::Settings`] if it is not.
    pub fn local(dir: &FilePath) -> Result<Self, PayloadError> {
        let objects = LocalFileSystem::new_with_prefix(dir)
            .map_err(|error| PayloadError::Settings(format!("{}: {error}", dir.display())))?;
        Ok(Self { objects: Arc::new(objects), prefix: Path::default() })
    }

    /// `S3_BUCKET_NAME` of Dify. Not called yet.
    ///
    /// # Errors
    /// [`PayloadError::Settings`] that names what cannot be used.
    pub fn s3(settings: &S3Settings) -> Result<Self, PayloadError> {
        Ok(Self {
            objects: Arc::new(settings.client("migrate.dify_s3")?),
            prefix: Path::from(settings.prefix.as_str()),
        })
    }

    /// Returns an object by the key in `upload_files`. `None`: there is none, or the key leads out of the storage.
    ///
    /// # Errors
    /// [`PayloadError`] if the storage cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, PayloadError> {
        let Ok(key) = Path::parse(key) else { return Ok(None) };
        if key.as_ref().is_empty() {
            return Ok(None);
        }
        let key: Path = self.prefix.parts().chain(key.parts()).collect();
        match self.objects.get(&key).await {
            Ok(found) if found.meta.size > MAX_OBJECT => Ok(None),
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_find_objects_and_never_leave_the_storage() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("storage");
        std::fs::create_dir_all(root.join("upload_files/t")).unwrap();
        std::fs::write(root.join("upload_files/t/a.json"), "{}").unwrap();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        let storage = DifyStorage::local(&root).unwrap();
        assert_eq!(storage.get("upload_files/t/a.json").await.unwrap().as_deref(), Some(b"{}".as_slice()));
        for absent in
            ["upload_files/t/b.json", "", "../secret", "/../secret", "upload_files/../../secret", "upload_files"]
        {
            assert!(!matches!(storage.get(absent).await, Ok(Some(_))), "{absent}");
        }
        assert!(DifyStorage::local(&folder.path().join("absent")).is_err());
    }
}
