//! The ports to what keeps documents. One contract, several stores.
//!
//! A store never acks, never retries for the pipeline and never decides what becomes of a delivery: it answers each
//! action with a verdict, or the whole request with a fault.
//!
//! ```text
//! port.rs    what a store does: write, set up, remove, remember          capability.rs  what it may lack
//! reader.rs  what a store answers: three questions, and the faster ways to the others
//! shared/    the other questions, asked by way of those three             sqlite/, elastic/, payload/  the stores
//! ```

mod capability;
pub mod copies;
pub mod elastic;
mod error;
pub mod kept_names;
pub mod lease;
pub mod memory;
pub mod payload;
mod port;
mod reader;
mod shared;
pub mod sqlite;

pub use self::capability::Capability;
pub use self::error::StoreError;
pub use self::port::{
    BulkSink, Eraser, Erasure, ReadStore, Remains, StateEntry, StateReader, StateStore, StateVersion, Store,
    StoreAdmin, StoreOverview,
};
pub use self::reader::{LogReader, STRETCH_BYTES};
