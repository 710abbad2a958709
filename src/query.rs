//! The read path as a library: everything Dify asks of its log tables, search, and the deletes, over any store.
//!
//! The tenant is in the type: [`LogService::tenant`] answers a [`TenantLogs`] whose methods take none, so that a question
//! without a tenant, or with another's, cannot be asked. What crosses tenants is on [`AdminLogs`], and only there. Nothing
//! here knows a wire format or a server; nothing here is held between two questions.

mod admin;
mod admin_errors;
mod app_logs;
pub mod columns;
mod compare;
mod conversations;
mod cursor;
mod delete;
mod dify_directory;
mod directory;
mod durations;
mod errors;
mod export;
mod full;
mod kept_directory;
mod models;
mod names;
mod nodes;
mod reader;
mod runs;
mod seam;
mod search;
mod snippet;
mod statistics;

use std::sync::Arc;

pub use self::admin::{AdminLogs, RunBatch, Shard};
pub use self::admin_errors::{AdminErrorGroup, AdminErrors, TenantErrors};
pub use self::app_logs::{AppLogList, AppLogQuery, KEYWORD_CHARS};
pub use self::compare::{Change, Comparison, NodePair};
pub use self::conversations::{MOST_TURNS, Turn};
pub use self::cursor::InvalidCursor;
pub use self::delete::Related;
pub use self::dify_directory::DifyDirectory;
pub use self::directory::{
    Account, Answered, App, Creator, Creators, Directory, DirectoryError, EndUser, KnownNames, Matches, NoDirectory,
    Workspace,
};
pub use self::durations::Durations;
pub use self::errors::{ErrorGroup, ErrorGroups};
pub use self::kept_directory::KeptDirectory;
pub use self::models::{ModelKey, ModelUsage, ModelUsages};
pub use self::names::{AppNames, CrossTenantNames, WorkspaceNames};
use self::reader::TenantReader;
pub use self::runs::{After, RunCounts, RunList, RunPage, last};
pub use self::search::{COUNT_TO, Hits, SearchHit, SearchPage};
pub use self::snippet::Snippet;
pub use self::statistics::{DailyQuery, interactions, local_instant};
use crate::codec::mask::Mask;
pub use crate::domain::query::{AppScope, NodeQuery, RunQuery};
use crate::domain::{Document, TenantId, Timestamp};
use crate::store::payload::{PayloadError, PayloadStore};
use crate::store::{Eraser, LogReader, StoreError};
use crate::telemetry::Clock;

/// What the answers are made of.
pub struct ServicePorts {
    pub logs: Arc<dyn LogReader>,
    pub eraser: Arc<dyn Eraser>,
    pub payloads: Arc<PayloadStore>,
    pub directory: Arc<dyn Directory>,
    pub clock: Clock,
}

/// The entrance. Cheap to clone; holds no state.
#[derive(Clone)]
pub struct LogService(Arc<ServicePorts>);

impl LogService {
    #[must_use]
    pub fn new(ports: ServicePorts) -> Self {
        Self(Arc::new(ports))
    }

    /// Returns the logs of one tenant.
    #[must_use]
    pub fn tenant(&self, tenant_id: TenantId) -> TenantLogs {
        TenantLogs { reader: TenantReader::new(Arc::clone(&self.0), tenant_id), mask: None }
    }

    /// Returns the instant that questions such as "the last day" are asked at.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Returns what that instant is read from.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Arc::clone(&self.0.clock)
    }

    /// Returns the calls that cross tenants. Whoever hands this out has checked that the caller may.
    #[must_use]
    pub fn admin(&self) -> AdminLogs {
        AdminLogs::new(self.clone())
    }
}

/// The logs of one tenant. No method can reach another tenant's.
#[derive(Clone)]
pub struct TenantLogs {
    reader: TenantReader,
    mask: Option<Arc<Mask>>,
}

impl TenantLogs {
    /// Returns the same logs as somebody sees them who may not see what `mask` masks.
    #[must_use]
    pub fn masked(self, mask: Option<Arc<Mask>>) -> Self {
        Self { mask, ..self }
    }

    /// Returns the same logs, as far as they belong to `apps`: what belongs to others is as if it were not there, for every question and
    /// every delete.
    #[must_use]
    pub fn held_to(self, apps: AppScope) -> Self {
        Self { reader: self.reader.held_to(apps), ..self }
    }

    /// Returns a document on its way out.
    fn shown(&self, mut document: Document) -> Document {
        if let Some(mask) = &self.mask {
            mask.apply(&mut document);
        }
        document
    }

    /// Returns the tenant.
    #[must_use]
    pub const fn tenant_id(&self) -> TenantId {
        self.reader.tenant_id()
    }

    /// Returns the apps whose records can be seen here.
    #[must_use]
    pub const fn apps(&self) -> &AppScope {
        self.reader.apps()
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Dify's own words for a `last_id` that is not in the list.
    #[error("Last workflow run not exists")]
    LastRunNotExists,
    #[error("{0}")]
    Cursor(#[from] InvalidCursor),
    /// Dify's own words.
    #[error("Account not found: {0}")]
    AccountNotFound(String),
    #[error("names of accounts and end users: {0}")]
    Directory(#[from] DirectoryError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Payload(#[from] PayloadError),
    /// A truncated payload whose full text is gone.
    #[error("the full text of {0} is not in the payload store; read it without asking for the full text")]
    PayloadMissing(&'static str),
}

impl QueryError {
    /// Returns whether the same question may be answered later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Store(StoreError::Unavailable(_) | StoreError::Closed(_)) | Self::Directory(_) => true,
            Self::Payload(error) => error.is_retriable(),
            _ => false,
        }
    }
}
