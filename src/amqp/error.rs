//! What can go wrong with the broker, in the operator's terms. No error text holds a password or a payload.

use std::path::PathBuf;

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

/// A fault of the broker or of its settings.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AmqpError {
    /// A setting that cannot be.
    #[error("{key}: {problem}")]
    Setting { key: String, problem: String },
    #[error("amqp.ca_file: cannot read {}: {said}", path.display())]
    CaFile { path: PathBuf, said: String },
    #[error("no broker of amqp.urls answers; {broker} said: {said}")]
    Unreachable { broker: String, said: String },
    #[error("{broker} refuses the user, the password or the virtual host in amqp.urls: {said}")]
    AccessRefused { broker: String, said: String },
    /// Something of that name exists and is different. The broker names the property.
    #[error("{what} exists with other properties than difylog needs ({said}); {remedy}")]
    Mismatch { what: String, said: String, remedy: &'static str },
    #[error("{0} does not exist on the broker")]
    Missing(String),
    /// The connection or channel broke, or the broker refused a step.
    #[error("{doing}: {said}")]
    Broker { doing: &'static str, said: String },
    /// The broker did not take a message over.
    #[error("a message was not taken over by the broker: {0}")]
    NotTakenOver(String),
    /// A line that is no captured message.
    #[error("not a captured message: {0}")]
    Captured(String),
}

impl AmqpError {
    pub(super) fn broker(doing: &'static str) -> impl FnOnce(lapin::Error) -> Self {
        move |error| Self::Broker { doing, said: error.to_string() }
    }

    pub(super) fn setting(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), problem: problem.into() }
    }
}

/// The answers of a broker that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    AccessRefused,
    NotFound,
    PreconditionFailed,
    Other,
}

pub(super) fn reply(error: &lapin::Error) -> Reply {
    let ErrorKind::ProtocolError(error) = error.kind() else {
        return Reply::Other;
    };
    match error.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
            Reply::AccessRefused
        }
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Reply::NotFound,
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => Reply::PreconditionFailed,
        _ => Reply::Other,
    }
}
