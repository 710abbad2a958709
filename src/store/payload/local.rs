//! A local directory that keeps what it was told to keep. The file store of the `object_store` crate writes and renames,
//! but syncs nothing: after a power cut a name could stand for an empty file, and be taken for the payload. Here the
//! bytes are durable before the file gets its name, and the name before the caller goes on.

use std::fs::{self, File};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

use super::{PayloadError, blocking};

/// The objects of a directory.
#[derive(Clone)]
pub struct LocalDirectory {
    objects: Arc<LocalFileSystem>,
    root: PathBuf,
}

/// Makes the names of unfinished files differ within the process.
static UNFINISHED: AtomicU64 = AtomicU64::new(0);

impl LocalDirectory {
    pub fn open(dir: &FilePath) -> Result<Self, PayloadError> {
        let settings = |text: String| PayloadError::Settings(format!("dir {}: {text}", dir.display()));
        fs::create_dir_all(dir).map_err(|error| settings(error.to_string()))?;
        let root = dir.canonicalize().map_err(|error| settings(error.to_string()))?;
        // An empty directory is not deleted with its last file: another put may be about to write into it.
        let objects = LocalFileSystem::new_with_prefix(&root).map_err(|error| settings(error.to_string()))?;
        Ok(Self { objects: Arc::new(objects), root })
    }

    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects) as Arc<dyn ObjectStore>
    }

    /// Writes a file that is durable, whole and under its name, or not there.
    pub async fn put_durably(&self, key: &Path, content: PutPayload) -> Result<(), PayloadError> {
        let number = UNFINISHED.fetch_add(1, Ordering::Relaxed);
        let unfinished = Path::from(format!("{key}.{}-{number}.part", std::process::id()));
        let written = self.write_and_rename(&unfinished, key, content).await;
        if written.is_err() {
            // What a full disk left must not keep it full. If this fails too, it goes with its month.
            let _ = self.objects.delete(&unfinished).await;
        }
        written
    }

    async fn write_and_rename(&self, unfinished: &Path, key: &Path, content: PutPayload) -> Result<(), PayloadError> {
        self.objects.put(unfinished, content).await?;
        let path = self.path(unfinished)?;
        sync(path.clone(), move || File::open(path)?.sync_all()).await?;
        self.objects.rename(unfinished, key).await?;
        self.sync_name(key).await
    }

    /// Makes the name of a file durable, with the directories that lead to it.
    pub async fn sync_name(&self, key: &Path) -> Result<(), PayloadError> {
        let path = self.path(key)?;
        let root = self.root.clone();
        sync(path.clone(), move || {
            let directories = path.ancestors().skip(1).take_while(|directory| directory.starts_with(&root));
            directories.map(File::open).try_for_each(|directory| directory?.sync_all())
        })
        .await
    }

    fn path(&self, key: &Path) -> Result<PathBuf, PayloadError> {
        Ok(self.objects.path_to_filesystem(key)?)
    }
}

async fn sync(path: PathBuf, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), PayloadError> {
    let done = blocking(work).await?;
    done.map_err(|error| PayloadError::Unavailable(format!("{}: {error}", path.display())))
}
