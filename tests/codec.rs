//! The codec from outside: Dify's captured messages, the table of refusals, native events and their schema, hostile input.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::float_cmp, reason = "decoding must answer the very number")]

#[path = "codec/celery.rs"]
mod celery;
#[path = "codec/corpus_rows.rs"]
mod corpus_rows;
#[path = "codec/fit.rs"]
mod fit;
#[path = "codec/generate.rs"]
mod generate;
#[path = "codec/hostile.rs"]
mod hostile;
#[path = "codec/native.rs"]
mod native;
#[path = "codec/refusals.rs"]
mod refusals;
#[path = "codec/schema.rs"]
mod schema;

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/expected_rows.rs"]
mod expected_rows;
