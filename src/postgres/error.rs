//! Why PostgreSQL did not do what was asked, as far as the reaction differs.

use tokio_postgres::error::SqlState;

use crate::domain::verdict::bounded;

/// A question to PostgreSQL failed. No text of it holds a value of a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresError {
    /// The settings cannot be used.
    #[error("postgres.{0}")]
    Settings(String),
    #[error("PostgreSQL at {server} cannot be reached: {said}; check postgres.url, and that the server runs")]
    Unreachable { server: String, said: String },
    #[error(
        "the certificate of PostgreSQL at {server} is not accepted: {said}; name the authority that signed it in \
         postgres.ca_file, or leave it unchecked by sslmode=require in postgres.url"
    )]
    Certificate { server: String, said: String },
    /// Something between does not keep the settings of a session.
    #[error(
        "{server} is a connection pooler (it said: {said}): it does not keep the settings of a session (UTC, time limits, \
         plans), and others would get them; set postgres.url to the address of PostgreSQL itself, not of PgBouncer or another \
         pooler before it"
    )]
    Pooler { server: String, said: String },
    #[error(
        "PostgreSQL at {server} refused access: {said}; check postgres.url, postgres.password and the role's rights"
    )]
    Refused { server: String, said: String },
    /// The connection broke, or the server ended the statement: the same call may succeed later.
    #[error("PostgreSQL broke off: {0}")]
    Interrupted(String),
    /// The database is not one of Dify's that is understood.
    #[error("{0}")]
    Schema(String),
    #[error("PostgreSQL: {0}")]
    Failed(String),
}

impl PostgresError {
    /// Returns whether the same call may succeed later without anybody's help.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Interrupted(_))
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    /// Of a session that was open.
    fn from(error: tokio_postgres::Error) -> Self {
        let said = words(&error);
        let Some(state) = error.code() else {
            // The client's own errors are about the connection, but for values of a type it did not expect.
            return if error.is_closed() || is_io(&error) { Self::Interrupted(said) } else { Self::Failed(said) };
        };
        let class = state.code().get(..2).unwrap_or_default();
        match class {
            // Connection, resources, operator intervention (shutdown, timeouts), system, and lock or serialization.
            "08" | "53" | "57" | "58" | "40" | "55" => Self::Interrupted(said),
            _ if *state == SqlState::INSUFFICIENT_PRIVILEGE => Self::Failed(format!("{said}; {}", grant(&said))),
            _ => Self::Failed(said),
        }
    }
}

/// Returns what to grant: the server names the table, not the right.
fn grant(said: &str) -> String {
    let table = said.strip_prefix("permission denied for table ").and_then(|rest| rest.split_whitespace().next());
    let table = table.unwrap_or("the table");
    format!(
        "let the table's owner run GRANT SELECT ON {table} TO the role of postgres.url (cleanup-pg needs DELETE and UPDATE as \
         well, restore-pg INSERT)"
    )
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// Returns what the server or the client said; details of a server's error may hold values of a row and are left out.
fn words(error: &tokio_postgres::Error) -> String {
    let said = match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    };
    bounded(said)
}

/// Returns the error of a session that could not be opened.
pub(super) fn connecting(server: String, error: &tokio_postgres::Error) -> PostgresError {
    let said = words(error);
    match error.code() {
        Some(_) if said.contains("unsupported startup parameter") => PostgresError::Pooler { server, said },
        Some(state) if is_refusal(state) => PostgresError::Refused { server, said },
        None if said.contains("password missing") => PostgresError::Refused { server, said },
        None if is_of_certificate(error) => PostgresError::Certificate { server, said },
        _ => PostgresError::Unreachable { server, said },
    }
}

fn is_of_certificate(error: &tokio_postgres::Error) -> bool {
    let handshake = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    let said = handshake.and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(said, Some(rustls::Error::InvalidCertificate(_)))
}

fn is_refusal(state: &SqlState) -> bool {
    [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ]
    .contains(state)
}
