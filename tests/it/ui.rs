//! The log explorer, asked over real connections as a browser asks, and in a real browser.

mod browser;
mod harness;
mod hostile;
mod pages;
mod sign_in;
