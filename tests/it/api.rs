//! The HTTP API, asked over a real connection: Dify's recorded answers in their shapes, keys and scopes, hostile input,
//! a store that is down, exports; and the commands that read, as programs.

mod access;
mod apps;
mod bounds;
mod command_names;
mod commands;
mod conformance;
mod deletions;
mod exports;
mod forward;
mod golden;
mod greedy;
mod harness;
mod hostile;
mod kept_names;
mod keys;
mod limits;
mod mask;
mod names;
mod pages;
mod serving;
