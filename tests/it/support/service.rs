//! The library over a store in memory.

use std::path::Path;
use std::sync::Arc;

use difylog::query::{Directory, LogService, ServicePorts};
use difylog::store::payload::{PayloadSettings, PayloadStore};

use crate::support::memory::MemoryStore;
use crate::support::records;

/// Answers from a store in memory, with its payloads in a folder, and a clock that stands still.
pub fn service(double: &Arc<MemoryStore>, folder: &Path, directory: impl Directory + 'static) -> LogService {
    let payloads = PayloadSettings { dir: folder.join("payloads"), ..PayloadSettings::default() };
    LogService::new(ServicePorts {
        logs: double.clone(),
        eraser: double.clone(),
        payloads: Arc::new(PayloadStore::open(&payloads).unwrap()),
        directory: Arc::new(directory),
        clock: Arc::new(|| records::at("2025-12-20T12:00:00Z")),
    })
}
