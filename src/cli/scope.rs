//! What the commands over Dify's rows have in common: which rows, how far they are, and how they are ended.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;
use crate::domain::query::TimeRange;
use crate::domain::time::InvalidTimestamp;
use crate::domain::{Kind, TenantId, Timestamp};

/// Which rows.
#[derive(Debug, Args)]
pub(super) struct ScopeArguments {
    /// Only rows of this tenant; can be given several times
    #[arg(long = "tenant-id", value_name = "UUID")]
    pub tenants: Vec<TenantId>,
    /// Only rows created on this day or at this instant (UTC) or later
    #[arg(long, value_name = "DATE", value_parser = instant)]
    from: Option<Timestamp>,
    /// Only rows created before this day or instant (UTC)
    #[arg(long, value_name = "DATE", value_parser = instant)]
    to: Option<Timestamp>,
    /// Which tables; all of them if it is left out
    #[arg(long = "kind", value_enum, value_delimiter = ',', value_name = "KIND,…")]
    kinds: Vec<KindName>,
}

impl ScopeArguments {
    pub fn created(&self) -> Result<TimeRange, Failure> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(Failure::Other("--from must be before --to".into()));
        }
        Ok(TimeRange { from: self.from, until: self.to })
    }

    pub fn kinds(&self) -> Vec<Kind> {
        let asked_for = |kind: &Kind| self.kinds.is_empty() || self.kinds.iter().any(|name| Kind::from(*name) == *kind);
        Kind::ALL.into_iter().filter(asked_for).collect()
    }
}

/// What rows are called on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KindName {
    Runs,
    Nodes,
    AppLogs,
    Offloads,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Runs => Self::WorkflowRun,
            KindName::Nodes => Self::NodeExecution,
            KindName::AppLogs => Self::AppLog,
            KindName::Offloads => Self::Offload,
        }
    }
}

/// Returns a date argument of any command: `2025-12-01`, which is its first instant in UTC, or an instant as the log
/// rows have it.
pub(super) fn instant(text: &str) -> Result<Timestamp, InvalidDate> {
    let parsed = text.parse().or_else(|error| match error {
        InvalidTimestamp::Malformed => format!("{text}T00:00:00").parse(),
        InvalidTimestamp::OutOfRange => Err(error),
    });
    parsed.map_err(|error| match error {
        InvalidTimestamp::Malformed => InvalidDate::Malformed,
        InvalidTimestamp::OutOfRange => InvalidDate::OutOfRange,
    })
}

/// A text that is no date argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidDate {
    #[error("neither a date such as 2025-12-01 nor an ISO 8601 date and time")]
    Malformed,
    #[error("outside 1970-01-01 to 2262-04-11")]
    OutOfRange,
}

/// Returns a line on the terminal that says how far it is; nothing elsewhere.
pub(super) fn spinner() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.set_style(
        ProgressStyle::with_template("{spinner} {elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_first_instant() {
        assert_eq!(instant("2025-12-01").ok(), "2025-12-01T00:00:00Z".parse().ok());
        assert_eq!(instant("2025-12-01 10:00:00.5").ok(), "2025-12-01T10:00:00.5Z".parse().ok());
        assert_eq!(instant("2025-13-01"), Err(InvalidDate::Malformed));
        assert_eq!(instant("1960-01-01"), Err(InvalidDate::OutOfRange));
        assert_eq!(instant("yesterday"), Err(InvalidDate::Malformed));
    }
}
