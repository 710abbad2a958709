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
    #[error("no broker of amqp.urls answers; {broker} said: {said}; {remedy}")]
    Unreachable { broker: String, said: String, remedy: &'static str },
    #[error("{broker} refuses access: {said}; {remedy}")]
    AccessRefused { broker: String, said: String, remedy: &'static str },
    /// The user lacks a right.
    #[error("{doing}: {said}; give the user the right to {right} there (rabbitmqctl set_permissions)")]
    Forbidden { doing: &'static str, said: String, right: &'static str },
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
    /// The broker takes nothing from publishers, because it is short of memory or disk.
    #[error(
        "{broker} blocks publishers ({said}): nothing can be published until it has memory and disk space again; look at \
         `rabbitmq-diagnostics alarms`"
    )]
    Blocked { broker: String, said: String },
    /// A line that is no captured message.
    #[error("not a captured message: {0}")]
    Captured(String),
}

impl AmqpError {
    pub(super) fn broker(doing: &'static str) -> impl FnOnce(lapin::Error) -> Self {
        move |error| match reply(&error) {
            Reply::AccessRefused => Self::forbidden(doing, &error),
            _ => Self::Broker { doing, said: error.to_string() },
        }
    }

    /// Names the right that is missing for what was done.
    pub(super) fn forbidden(doing: &'static str, error: &lapin::Error) -> Self {
        let right = match doing {
            "declaring" => "configure",
            "publishing" => "write",
            "binding a queue" => "write (of the queue) and read (of the exchange)",
            _ => "read",
        };
        Self::Forbidden { doing, said: error.to_string(), right }
    }

    /// Returns the error of a connection that did not come about.
    pub(super) fn connecting(broker: String, is_tls: bool, error: &lapin::Error) -> Self {
        let said = error.to_string();
        let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if reply(error) == Reply::AccessRefused {
            let remedy = if has(&["vhost"]) && has(&["not found"]) {
                "make the virtual host (rabbitmqctl add_vhost), or change the path of amqp.urls"
            } else if has(&["vhost"]) {
                "give the user rights in the virtual host (rabbitmqctl set_permissions -p), or change the path of amqp.urls"
            } else {
                "check the user and the password in amqp.urls (guest may log in from the broker's own host only)"
            };
            return Self::AccessRefused { broker, said, remedy };
        }
        let remedy = if has(&["UnknownIssuer"]) {
            "name the file of the authority that signed the broker's certificate in amqp.ca_file"
        } else if has(&["certificate"]) {
            "the broker's certificate must be valid and name the host that stands in amqp.urls"
        } else if has(&["refused"]) {
            "check that it runs, and host and port in amqp.urls"
        } else if has(&["lookup", "resolve", "Name or service"]) {
            "check the host in amqp.urls"
        } else if is_tls {
            "does the port speak TLS? amqps:// needs the port for TLS (5671 as a rule), and the other port amqp://"
        } else {
            "does an AMQP broker listen there, without TLS? The port for TLS (5671 as a rule) needs amqps://"
        };
        Self::Unreachable { broker, said, remedy }
    }

    pub(super) fn setting(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), problem: problem.into() }
    }
}

/// Returns whether the broker closed a channel or a connection because of a message that it was sent, and not of what
/// it is sent to or of its own state.
pub(super) fn is_of_a_message(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else {
        return false;
    };
    matches!(
        error.kind(),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::CONTENTTOOLARGE)
            | AMQPErrorKind::Hard(
                AMQPHardError::FRAMEERROR
                    | AMQPHardError::SYNTAXERROR
                    | AMQPHardError::UNEXPECTEDFRAME
                    | AMQPHardError::NOTIMPLEMENTED
                    | AMQPHardError::INTERNALERROR
            )
    )
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
