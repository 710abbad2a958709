//! The bridge between Dify's console and the store, over a stand-in for Dify's API server that answers as the real one.

mod dify;
mod errors;
mod kept;
mod nginx;
mod origins;
mod place;
mod probe;
mod seam;
mod service;
mod strangers;
mod wire;
