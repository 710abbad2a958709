//! What several suites use: stores and servers under test, makers of records, stand-ins.

pub mod app_records;
pub mod client;
pub mod corpus;
pub mod effort;
pub mod engine;
pub mod engine_proxy;
pub mod expected_rows;
pub mod keys;
pub mod load;
pub mod memory;
pub mod model;
pub mod namespace;
pub mod nodes;
pub mod postgres;
pub mod rabbit;
pub mod records;
pub mod scripted_engine;
pub mod server;
pub mod service;
pub mod site;
pub mod stored;
pub mod toy_store;
pub mod walking;
pub mod world;
