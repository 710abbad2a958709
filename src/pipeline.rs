//! The flow from deliveries to settled receipts.

pub mod receipt;
