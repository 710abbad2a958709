//! Whether the files that were written are still there. An operator may remove or replace a month's file under a running
//! process: what was stored in it is stored no more, and documents that come again must not be taken for known.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use super::months::{self, FileIdentity};
use crate::domain::Month;

/// How often the files are looked at. It costs a system call for each month that this process wrote to.
const LOOK: Duration = Duration::from_millis(100);

/// The files that this process wrote into.
pub struct FileWatch {
    dir: PathBuf,
    seen: Mutex<Seen>,
}

struct Seen {
    files: HashMap<Month, FileIdentity>,
    generation: u64,
    looked: Instant,
}

impl FileWatch {
    pub fn new(dir: &Path) -> Self {
        let seen = Seen { files: HashMap::new(), generation: 0, looked: Instant::now() };
        Self { dir: dir.to_owned(), seen: Mutex::new(seen) }
    }

    /// Notes where a month was written.
    pub fn note(&self, month: Month, identity: FileIdentity) {
        let mut seen = self.lock();
        if seen.files.insert(month, identity).is_some_and(|known| known != identity) {
            seen.generation += 1;
        }
    }

    /// Notes that a month was dropped.
    pub fn forget(&self, month: Month) {
        let mut seen = self.lock();
        if seen.files.remove(&month).is_some() {
            seen.generation += 1;
        }
    }

    /// See [`BulkSink::generation`](crate::store::BulkSink::generation).
    pub fn generation(&self) -> u64 {
        let mut seen = self.lock();
        if seen.looked.elapsed() >= LOOK {
            seen.looked = Instant::now();
            self.look(&mut seen);
        }
        seen.generation
    }

    fn look(&self, seen: &mut Seen) {
        let before = seen.files.len();
        seen.files.retain(|month, identity| {
            let path = months::path(&self.dir, *month);
            let stays = identity.is_still_at(&path);
            if !stays {
                warn!(
                    "{}: removed or replaced while this process used it; what comes again is stored anew",
                    path.display()
                );
            }
            stays
        });
        if seen.files.len() < before {
            seen.generation += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
