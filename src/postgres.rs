//! Dify's PostgreSQL: the connection, what the catalogue says is there, and rows as records. It alone names the driver.
//!
//! Every session runs with `timezone=UTC`, as Dify's own do: the columns are `timestamp without time zone` and hold UTC.
//! Nothing here decides what becomes of a row, and nothing writes unless its caller asks for just that.

pub mod apps;
mod candidates;
mod catalogue;
pub mod conversations;
mod error;
mod family;
mod insert;
pub mod lookup;
pub mod names;
pub mod people;
mod pool;
mod row;
mod settings;
mod tls;
mod url;
mod walk;

pub use candidates::{Candidate, CandidateWalk};
pub use catalogue::{Catalogue, CatalogueTable, Index, Reference, Writable};
pub use error::PostgresError;
pub use family::{Batch, LockedRun, Member, alone_statement, children_statement, nodes_statement, runs_statement};
pub use insert::{NamedRow, insert};
pub use pool::{Client, Database};
pub use row::{RowRecord, record_of, select_list, table_of};
pub use settings::{PostgresSettings, PostgresUrl};
pub use walk::{Range, RowSelection, TableWalk, WalkOrder, WalkPlace, WalkRow};
