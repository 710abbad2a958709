//! A local directory that keeps what it was told to keep, for its owner alone. The file store of the `object_store` crate
//! writes and renames, but syncs nothing: after a power cut a name could stand for an empty file, and be taken for the
//! payload. Here the bytes are durable before the file gets its name, and the name before the caller goes on.
//!
//! Files are made with mode 0600 and folders with 0700, whatever the umask is: they hold all tenants' payloads. No symbolic
//! link below the directory is followed by a write, a listing or a deletion.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use uuid::Uuid;

use super::{PayloadError, blocking};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Read and written by others than the owner.
const OTHERS: u32 = 0o077;

/// The objects of a directory.
#[derive(Clone)]
pub struct LocalDirectory {
    objects: Arc<LocalFileSystem>,
    root: PathBuf,
    /// The setting that names it.
    setting: Arc<str>,
}

/// The end of the names of unfinished files.
pub const PART: &str = ".part";

impl LocalDirectory {
    /// Opens a directory, which is created if it is not there.
    pub fn open(dir: &FilePath, setting: &str) -> Result<Self, PayloadError> {
        let invalid = |text: String| PayloadError::Settings(format!("{setting} = {}: {text}", dir.display()));
        make_folder(dir).map_err(|error| invalid(error.to_string()))?;
        // The directory itself may be a link: the operator put it there.
        let root = dir.canonicalize().map_err(|error| invalid(error.to_string()))?;
        // An empty directory is not deleted with its last file: another put may be about to write into it.
        let objects = LocalFileSystem::new_with_prefix(&root).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { objects: Arc::new(objects), root, setting: setting.into() })
    }

    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects) as Arc<dyn ObjectStore>
    }

    pub fn root(&self) -> &FilePath {
        &self.root
    }

    /// Returns the mode of the directory if others than its owner may look into it.
    pub fn open_to_others(&self) -> Option<u32> {
        let mode = fs::metadata(&self.root).ok()?.permissions().mode() & 0o7777;
        (mode & OTHERS != 0).then_some(mode)
    }

    /// Writes a file that is durable, whole and under its name, or not there.
    pub async fn put_durably(&self, key: &Path, content: Bytes) -> Result<(), PayloadError> {
        let (path, root) = (self.path(key), self.root.clone());
        self.work(path.clone(), move || {
            let folder = path.parent().unwrap_or(&root);
            make_folders(&root, folder)?;
            let mut name = path.file_name().unwrap_or_default().to_owned();
            // Not of the process: in containers each is the first, and they share the folder.
            name.push(format!(".{}{PART}", Uuid::new_v4().simple()));
            let unfinished = folder.join(name);
            let written = write_new(&unfinished, &content).and_then(|()| fs::rename(&unfinished, &path));
            if written.is_err() {
                // What a full disk left must not keep it full. If this fails too, a sweep removes it.
                let _ = fs::remove_file(&unfinished);
            }
            written.and_then(|()| sync_name(&root, &path))
        })
        .await
    }

    /// Makes the name of a file durable, with the directories that lead to it.
    pub async fn sync_name(&self, key: &Path) -> Result<(), PayloadError> {
        let (path, root) = (self.path(key), self.root.clone());
        self.work(path.clone(), move || sync_name(&root, &path)).await
    }

    /// Deletes a file; a link is deleted itself. Returns whether there was one.
    pub async fn delete(&self, key: &Path) -> Result<bool, PayloadError> {
        let (path, root) = (self.path(key), self.root.clone());
        self.work(path.clone(), move || {
            refuse_links(&root, path.parent().unwrap_or(&root))?;
            absent_is(false, fs::remove_file(&path).map(|()| true))
        })
        .await
    }

    /// Fails if a link leads to a folder.
    pub async fn refuse_links(&self, folder: &Path) -> Result<(), PayloadError> {
        let (path, root) = (self.path(folder), self.root.clone());
        self.work(path.clone(), move || refuse_links(&root, &path)).await
    }

    /// Returns the folders of a folder, links left out; none if it is not there.
    pub async fn folders(&self, folder: &Path) -> Result<Vec<String>, PayloadError> {
        let (path, root) = (self.path(folder), self.root.clone());
        self.work(path.clone(), move || {
            refuse_links(&root, &path)?;
            let mut folders = Vec::new();
            for entry in absent_is(None, fs::read_dir(&path).map(Some))?.into_iter().flatten() {
                let entry = entry?;
                let kind = absent_is(None, entry.file_type().map(Some))?;
                if kind.is_some_and(|kind| kind.is_dir()) {
                    folders.extend(entry.file_name().into_string());
                }
            }
            Ok(folders)
        })
        .await
    }

    /// Every part of a key is a plain name: it is made of typed ids.
    fn path(&self, key: &Path) -> PathBuf {
        key.parts().fold(self.root.clone(), |path, part| path.join(part.as_ref()))
    }

    async fn work<T: Send + 'static>(
        &self,
        path: PathBuf,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, PayloadError> {
        blocking(work).await?.map_err(|error| {
            let detail = format!("{}: {}: {error}", self.setting, path.display());
            match error.kind() {
                io::ErrorKind::PermissionDenied => PayloadError::Unauthorized(detail),
                _ => PayloadError::Unavailable(detail),
            }
        })
    }
}

/// Creates a folder, and those that lead to it.
fn make_folder(dir: &FilePath) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(dir)
}

/// Creates the folders between the root and a folder, where they are not there.
fn make_folders(root: &FilePath, folder: &FilePath) -> io::Result<()> {
    for folder in below(root, folder) {
        match DirBuilder::new().mode(FOLDER_MODE).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => done?,
        }
    }
    refuse_links(root, folder)
}

/// Folders between the root and a folder, which is the last of them.
fn below(root: &FilePath, folder: &FilePath) -> Vec<PathBuf> {
    let mut folders: Vec<_> =
        folder.ancestors().take_while(|ancestor| *ancestor != root).map(FilePath::to_path_buf).collect();
    folders.reverse();
    folders
}

/// A user who could put a link there could have files elsewhere written and deleted.
fn refuse_links(root: &FilePath, folder: &FilePath) -> io::Result<()> {
    for folder in below(root, folder) {
        let is_link = absent_is(false, fs::symlink_metadata(&folder).map(|found| found.file_type().is_symlink()))?;
        if is_link {
            let detail =
                format!("{} is a symbolic link, which is not followed: move the folder itself", folder.display());
            return Err(io::Error::other(detail));
        }
    }
    Ok(())
}

fn write_new(path: &FilePath, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_name(root: &FilePath, path: &FilePath) -> io::Result<()> {
    let directories = path.ancestors().skip(1).take_while(|directory| directory.starts_with(root));
    directories.map(File::open).try_for_each(|directory| directory?.sync_all())
}

fn absent_is<T>(value: T, found: io::Result<T>) -> io::Result<T> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(value),
        found => found,
    }
}
