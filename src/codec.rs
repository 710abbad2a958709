//! Bytes to records. Pure: no I/O, no clock, no knowledge of who delivered the bytes or where the records go.
//!
//! Whatever is wrong with a message is a [`Refusal`](crate::domain::Refusal) with a reason class; nothing panics and
//! nothing is dropped.

use bytes::Bytes;

/// Which format a queue carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Dify's Celery tasks, message protocol 2.
    Celery,
    /// difylog's own events.
    Native,
}

/// A message as far as decoding needs it.
#[derive(Clone)]
pub struct Message {
    pub source: Source,
    /// The `content_type` property.
    pub content_type: Option<Box<str>>,
    /// Celery: the `compression` header.
    pub compression: Option<Box<str>>,
    /// Celery: the `task` header.
    pub task: Option<Box<str>>,
    pub body: Bytes,
}
