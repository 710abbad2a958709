//! What follows from an error of SQLite: the one table from error codes to faults, and the texts for operators.

use std::io;
use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::domain::verdict::bounded;
use crate::domain::{FaultKind, SinkFault};
use crate::store::StoreError;

/// What went wrong with a file or the directory, sorted by what follows. The texts name the file and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqliteFault {
    /// Full, locked, read-only, an I/O error: the same may succeed later. Holds every request that touches the file; where
    /// another month's file is written to beside it, only the actions of its month.
    Unavailable(String),
    /// The content of this one file cannot be used. Holds the actions of its month; other months go on.
    Damaged(String),
    /// The directory is not there.
    NotSetUp(String),
    /// The value itself is refused. Concerns one action only.
    Refused(String),
    /// A file came, went or was written to while it was read: the question is asked again, and the asker does not notice.
    Moved,
    /// The answer is no longer waited for.
    GivenUp,
}

impl SqliteFault {
    /// Sorts an error by its code.
    pub fn of(error: &Error, path: &Path) -> Self {
        let text = |turn: &str| bounded(format!("{}: {error}; {turn}", path.display()));
        match error {
            Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged(text(DAMAGED)),
                ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
                | ErrorCode::ParameterOutOfRange => Self::Refused(bounded(error.to_string())),
                code => Self::Unavailable(text(turn(code))),
            },
            Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..) => Self::Damaged(text(DAMAGED)),
            _ => Self::Unavailable(text(turn(ErrorCode::Unknown))),
        }
    }

    /// Returns an error of the file system.
    pub fn of_io(error: &io::Error, path: &Path) -> Self {
        let text = format!("{}: {error}; check the directory's disk and its rights", path.display());
        Self::Unavailable(bounded(text))
    }

    pub fn detail(self) -> String {
        match self {
            Self::Unavailable(detail) | Self::Damaged(detail) | Self::NotSetUp(detail) | Self::Refused(detail) => {
                detail
            }
            Self::Moved => String::from("files changed while they were read; try again"),
            Self::GivenUp => String::from("the question was given up"),
        }
    }
}

const DAMAGED: &str = "the file is damaged: restore or move it away, with its -wal and -shm";

/// Returns what the operator can turn.
const fn turn(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::DiskFull => "free disk space, drop old months or raise max_file_bytes",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another program holds the file: end it",
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => "make the file and its directory writable",
        ErrorCode::CannotOpen => "check that the directory exists, is writable and that files may be opened",
        ErrorCode::SystemIoFailure => "check the disk and the system's log",
        ErrorCode::OutOfMemory => "give the process more memory",
        _ => "see the error's text",
    }
}

impl From<SqliteFault> for SinkFault {
    fn from(fault: SqliteFault) -> Self {
        let kind = match fault {
            SqliteFault::NotSetUp(_) => FaultKind::NotSetUp,
            _ => FaultKind::Storage,
        };
        Self::new(kind, fault.detail())
    }
}

impl From<SqliteFault> for StoreError {
    fn from(fault: SqliteFault) -> Self {
        match fault {
            SqliteFault::NotSetUp(detail) => Self::NotSetUp(detail),
            SqliteFault::Damaged(detail) => Self::Corrupt(detail),
            other => Self::Unavailable(other.detail()),
        }
    }
}
