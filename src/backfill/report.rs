//! What a validation found, as a file that a cleanup accepts or refuses.
//!
//! The SHA-256 over the content shows a file that was edited or damaged. It is no protection from malice: who can write
//! the file can compute it too. What protects the rows is that a cleanup compares each of them again before it goes.

mod unended;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::domain::document::ContentHash;
use crate::domain::query::TimeRange;
use crate::domain::{Kind, RecordId, TenantId, Timestamp};
pub use unended::Unended;

/// Most findings of each fault that a report names; beyond them it counts.
pub const MAX_NAMED: usize = 10_000;

/// The layout of the file.
const FORMAT: u32 = 3;

/// A value that stands in a report as its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReportText<T>(pub T);

impl<T: fmt::Display> Serialize for ReportText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for ReportText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// What was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationScope {
    /// Empty: all tenants.
    pub tenants: Vec<ReportText<TenantId>>,
    pub kinds: Vec<ReportText<Kind>>,
    /// First instant of `created_at` inside.
    pub from: Option<ReportText<Timestamp>>,
    /// First instant after it.
    pub until: Option<ReportText<Timestamp>>,
}

impl ValidationScope {
    #[must_use]
    pub fn new(tenants: &[TenantId], kinds: &[Kind], created: TimeRange) -> Self {
        Self {
            tenants: tenants.iter().copied().map(ReportText).collect(),
            kinds: kinds.iter().copied().map(ReportText).collect(),
            from: created.from.map(ReportText),
            until: created.until.map(ReportText),
        }
    }

    #[must_use]
    pub fn created(&self) -> TimeRange {
        TimeRange { from: self.from.map(|at| at.0), until: self.until.map(|at| at.0) }
    }
}

/// Sums of one tenant and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    pub tenant_id: ReportText<TenantId>,
    pub kind: ReportText<Kind>,
    /// Rows of PostgreSQL.
    pub rows: u64,
    /// Documents of the store.
    pub documents: u64,
    /// UTC days with rows or documents, and how many of them had to be looked into.
    pub days: u64,
    pub days_looked_into: u64,
    /// Sum of the hashes of the rows and of the documents: equal if their contents are.
    pub rows_hash: ReportText<ContentHash>,
    pub documents_hash: ReportText<ContentHash>,
}

/// What is wrong with one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RecordFault {
    /// In PostgreSQL only.
    Missing,
    /// In the store only.
    Extra,
    /// In both, and these columns say something else.
    Different { columns: Vec<String> },
    /// In both, and the document has these columns in a changed form only.
    Changed { columns: Vec<String> },
    /// The row cannot be a record.
    Unreadable { reason: String },
    /// No fault: the store has copies in these months, of which the first counts.
    Copies { months: Vec<String> },
}

impl RecordFault {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different { .. } => "different",
            Self::Changed { .. } => "changed",
            Self::Unreadable { .. } => "unreadable",
            Self::Copies { .. } => "copies",
        }
    }

    /// Returns whether copying the row again mends it; of copies, those of a row that its document holds.
    #[must_use]
    pub const fn is_mended_by_copying(&self) -> bool {
        !matches!(self, Self::Extra | Self::Unreadable { .. })
    }

    /// Returns what mends it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Missing => {
                "`difylog migrate` copies it; if it was erased, --from-report REPORT --lift-tombstones does"
            }
            Self::Extra => "no fault after a cleanup: --tolerate extra; `difylog restore-pg` brings the row back",
            Self::Different { .. } => "`difylog migrate --from-report REPORT` copies the row over the document",
            Self::Changed { .. } => {
                "`difylog migrate --from-report REPORT` copies the row over the document; what `redact` masks stays masked: \
                 --tolerate changed"
            }
            Self::Copies { .. } => {
                "no fault, it counts once: `difylog migrate --from-report REPORT` leaves one copy where row and document are \
                 equal; else the older copy goes with its month"
            }
            Self::Unreadable { .. } => "stays in PostgreSQL: mend the row there, or --tolerate unreadable",
        }
    }
}

/// A record that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    pub kind: ReportText<Kind>,
    /// `None` if the row does not say.
    pub tenant_id: Option<ReportText<TenantId>>,
    /// The row's primary key.
    pub id: ReportText<RecordId>,
    pub fault: RecordFault,
}

/// How many there are of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    pub unreadable: u64,
    /// Rows with values that their documents have in a changed form only.
    pub changed: u64,
    /// Rows that have not ended and whose document is newer: no fault.
    pub ahead: u64,
    /// Documents that hold more than the row, in columns that Dify's Celery tasks do not write: no fault.
    pub fuller: u64,
    /// Rows, of those looked into, that say the same as their documents and would come back spelled otherwise: no fault.
    pub spelled: u64,
    /// Ended rows without payloads that their documents have, or with previews of them that Dify left: no fault.
    pub poorer: u64,
    /// Records of which the store has several copies: no fault.
    pub copies: u64,
    /// Records that differed at first and were the same at the second look: no fault.
    pub settled: u64,
}

/// Faults that a validation was told to pass over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Tolerated {
    /// Documents without a row: those of rows that were cleaned up, or that Dify deleted
    Extra,
    /// Rows that cannot be records: they stay in PostgreSQL
    Unreadable,
    /// Rows with values that were changed on the way: they stay in PostgreSQL, unless a cleanup is told otherwise
    Changed,
}

/// The outcome of a validation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationReport {
    pub format: u32,
    /// Version of difylog that wrote it.
    pub version: String,
    pub database: String,
    pub store: String,
    pub started_at: ReportText<Timestamp>,
    pub finished_at: ReportText<Timestamp>,
    pub scope: ValidationScope,
    /// Every n-th row only; `None`: all.
    pub sample: Option<u64>,
    pub tolerated: Vec<Tolerated>,
    /// How the tables were walked.
    pub plans: Vec<String>,
    pub totals: Vec<Totals>,
    pub counts: Counts,
    /// At most [`MAX_NAMED`] of each fault; of those that are tolerated, documents without a row are none.
    pub findings: Vec<Finding>,
    /// Rows that have not ended: a cleanup leaves them.
    pub unended: Vec<Unended>,
    pub passed: bool,
}

/// A report cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    #[error("not a report of `difylog validate`: {0}")]
    Malformed(String),
    #[error("the report was edited or damaged: its sha256 does not fit; run `difylog validate` again")]
    Edited,
    #[error("the report has format {0}, this difylog reads {FORMAT}; run `difylog validate` again")]
    Format(u32),
    #[error(
        "the report says that the validation failed: `difylog migrate --from-report REPORT` copies what differs, then run \
         `difylog validate` again; or clean up all but what differs with --pass-over-faults"
    )]
    Failed,
    #[error("the report is of a sample; run `difylog validate` without --sample")]
    Sample,
    #[error("the report is {hours} hours old; run `difylog validate` again, or raise --max-age")]
    Stale { hours: u64 },
    #[error("the report is of {what} {found}, the settings name {expected}")]
    Elsewhere { what: &'static str, found: String, expected: String },
    #[error("the report does not cover {0}; run `difylog validate` over it")]
    NotCovered(String),
}

/// What a cleanup asks a report to vouch for.
#[derive(Debug, Clone)]
pub struct ReportRequirement<'a> {
    pub database: &'a str,
    pub store: &'a str,
    /// Rows created before this instant are to go.
    pub before: Timestamp,
    /// Empty: every tenant of the report.
    pub tenants: &'a [TenantId],
    pub now: Timestamp,
    pub max_age: Duration,
    /// Whether faults may be in it: what is at fault stays.
    pub pass_over_faults: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    report: ValidationReport,
    sha256: ReportText<ContentHash>,
}

impl ValidationReport {
    /// The layout that this version writes.
    pub const FORMAT: u32 = FORMAT;

    /// Returns whether the counts let it pass.
    #[must_use]
    pub fn verdict(counts: &Counts, tolerated: &[Tolerated]) -> bool {
        let allowed = |fault| tolerated.contains(&fault);
        counts.missing == 0
            && counts.different == 0
            && (counts.extra == 0 || allowed(Tolerated::Extra))
            && (counts.unreadable == 0 || allowed(Tolerated::Unreadable))
            && (counts.changed == 0 || allowed(Tolerated::Changed))
    }

    /// Returns how many rows differ that a copy could mend and that are not named. `changed`: values that were changed on
    /// their way count as well.
    #[must_use]
    pub fn unnamed(&self, changed: bool) -> u64 {
        let Counts { missing, different, .. } = self.counts;
        let counts = [("missing", missing), ("different", different), ("changed", self.counts.changed)];
        let named = |name: &str| self.findings.iter().filter(|found| found.fault.name() == name).count() as u64;
        let meant = counts.into_iter().filter(|(name, _)| changed || *name != "changed");
        meant.map(|(name, count)| count.saturating_sub(named(name))).sum()
    }

    /// Returns the text of the file.
    ///
    /// # Errors
    /// [`ReportError::Malformed`] if it cannot be written as JSON.
    pub fn sign(self) -> Result<String, ReportError> {
        let sha256 = self.digest()?;
        serde_json::to_string_pretty(&Signed { report: self, sha256: ReportText(sha256) }).map_err(malformed)
    }

    /// Reads a file and checks its hash.
    ///
    /// # Errors
    /// [`ReportError`] if it is no report, or not as it was written.
    pub fn read(text: &str) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct OfAnyVersion {
            report: Versioned,
        }
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let OfAnyVersion { report: Versioned { format } } = serde_json::from_str(text).map_err(malformed)?;
        if format != FORMAT {
            return Err(ReportError::Format(format));
        }
        let Signed { report, sha256 } = serde_json::from_str(text).map_err(malformed)?;
        if report.digest()? != sha256.0 {
            return Err(ReportError::Edited);
        }
        Ok(report)
    }

    fn digest(&self) -> Result<ContentHash, ReportError> {
        let bytes = serde_json::to_vec(self).map_err(malformed)?;
        Ok(ContentHash::new(Sha256::digest(bytes).into()))
    }

    /// Returns whether the report is of this database and this store.
    ///
    /// # Errors
    /// [`ReportError::Elsewhere`] that names the other.
    pub fn is_of(&self, database: &str, store: &str) -> Result<(), ReportError> {
        same_place("database", &self.database, database)?;
        same_place("store", &self.store, store)
    }

    /// Returns whether the report vouches for what a cleanup is about to do.
    ///
    /// # Errors
    /// The first reason why it does not.
    pub fn vouches_for(&self, demand: &ReportRequirement<'_>) -> Result<(), ReportError> {
        if !demand.pass_over_faults && (!self.passed || !Self::verdict(&self.counts, &self.tolerated)) {
            return Err(ReportError::Failed);
        }
        if self.sample.is_some() {
            return Err(ReportError::Sample);
        }
        let age = u64::try_from(demand.now.micros() - self.started_at.0.micros()).unwrap_or(0) / 1_000_000;
        if age > demand.max_age.as_secs() {
            return Err(ReportError::Stale { hours: age / 3600 });
        }
        self.is_of(demand.database, demand.store)?;
        self.covers(demand)
    }

    fn covers(&self, demand: &ReportRequirement<'_>) -> Result<(), ReportError> {
        let missing = Kind::ALL.into_iter().find(|kind| !self.scope.kinds.contains(&ReportText(*kind)));
        if let Some(kind) = missing {
            return Err(ReportError::NotCovered(format!("{kind} (a run goes with all that is its own)")));
        }
        let stranger = demand.tenants.iter().find(|tenant| !self.scope.tenants.contains(&ReportText(**tenant)));
        if let Some(tenant) = stranger.filter(|_| !self.scope.tenants.is_empty()) {
            return Err(ReportError::NotCovered(format!("tenant {tenant}")));
        }
        let until = self.scope.until.map_or(self.started_at.0, |until| until.0.min(self.started_at.0));
        if demand.before > until {
            return Err(ReportError::NotCovered(format!("rows created from {until} to {}", demand.before)));
        }
        Ok(())
    }
}

fn same_place(what: &'static str, found: &str, expected: &str) -> Result<(), ReportError> {
    if found == expected {
        return Ok(());
    }
    Err(ReportError::Elsewhere { what, found: found.to_owned(), expected: expected.to_owned() })
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err asks for")]
fn malformed(error: serde_json::Error) -> ReportError {
    ReportError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests;
