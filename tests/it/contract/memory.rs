//! The contract over the store in memory, which other suites are tried over.

use std::future::{Ready, ready};
use std::sync::Arc;

use crate::contract::subject::Subject;
use crate::support::memory::MemoryStore;

fn subject() -> Ready<Subject> {
    ready(Subject { store: Arc::new(MemoryStore::default()), _guard: Box::new(()) })
}

crate::contract::contract!(subject());
