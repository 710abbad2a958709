//! The codec from outside: Dify's captured messages, the table of refusals, native events and their schema, hostile input.

mod celery;
mod corpus_rows;
mod fit;
mod generate;
mod hostile;
mod native;
mod refusals;
mod schema;
