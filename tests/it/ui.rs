//! The log explorer, asked over real connections as a browser asks, and in a real browser.

mod admin_errors;
mod apps;
mod axe;
mod browser;
mod compare;
mod dead_letters;
mod forward;
pub mod harness;
mod hostile;
mod leads;
mod models;
mod names;
mod numbers;
mod pages;
mod people;
mod screens;
mod script;
mod sign_in;
