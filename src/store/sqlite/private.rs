//! Files and folders that only their owner may read, whatever the umask says: they hold what all tenants wrote. What is
//! there already keeps its rights, which may have been given on purpose.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Rights of a new file, and of a new folder.
const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;

/// Creates a folder and those above it, where they are not there.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(dir)
}

/// Creates an empty file where there is none: SQLite then opens it, and gives the files beside it the same rights.
pub fn create_file(path: &Path) -> io::Result<()> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop),
    }
}

/// Creates a file. One of that name must not be there, nor a link.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(FILE).open(path)
}

/// Opens a file to read and write it, or creates it. A link of that name is refused: what it points to may be another's.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Removes a file or a link, if there is one.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
