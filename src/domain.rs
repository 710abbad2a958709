//! The vocabulary: records as Dify keeps them, their identity, place and order, and what a store says of them.
//!
//! Pure data and pure functions. Nothing here reads a clock, does I/O, or knows a wire format or a server.

pub mod address;
pub mod app_log;
pub mod document;
pub mod extra;
pub mod id;
pub mod json;
pub mod node;
pub mod offload;
pub mod open_enum;
pub mod printable;
pub mod query;
pub mod record;
pub mod revision;
pub mod run;
pub mod schema;
pub mod tenants;
pub mod time;
pub mod verdict;

pub use address::{Address, InvalidAddress};
pub use app_log::AppLog;
pub use document::{BulkAction, Document, Graph, GraphHash, Origin, Truncation};
pub use extra::Extra;
pub use id::{AppId, RecordId, TenantId};
pub use json::JsonText;
pub use node::{NodeExecution, NodeStatus};
pub use offload::Offload;
pub use printable::{printable, printable_block, printable_json, printable_lines};
pub use record::{Kind, Record};
pub use revision::{Precedence, Revision};
pub use run::{RunStatus, WorkflowRun};
pub use tenants::TenantSet;
pub use time::{Month, Timestamp};
pub use verdict::{Disposition, FaultKind, Refusal, RefusalClass, RetryCause, SinkFault, Verdict};
