//! Walks over Dify's tables that read no payload: by (`created_at`, `id`) where an index has it, else by primary key, so
//! that PostgreSQL never sorts. Every step is bounded, whatever it finds.

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use uuid::Uuid;

use super::catalogue::{Catalogue, CatalogueTable};
use super::error::PostgresError;
use super::pool::Client;
use crate::domain::query::TimeRange;
use crate::domain::{Kind, NodeStatus, RecordId, RunStatus, TenantId, Timestamp};

/// Returns the condition that a row, aliased `t`, has ended, by the rule of [`Record::has_ended`].
///
/// [`Record::has_ended`]: crate::domain::Record::has_ended
pub(super) fn has_ended(kind: Kind) -> String {
    let (ended, open): (&[&str], &[&str]) = match kind {
        Kind::WorkflowRun => (&RunStatus::ENDED, &RunStatus::OPEN),
        Kind::NodeExecution => (&NodeStatus::ENDED, &NodeStatus::OPEN),
        Kind::AppLog | Kind::Offload => return "true".to_owned(),
    };
    let list = |statuses: &[&str]| statuses.iter().map(|status| format!("'{status}'")).collect::<Vec<_>>().join(", ");
    let (ended, open) = (list(ended), list(open));
    format!("(t.status IN ({ended}) OR (t.finished_at IS NOT NULL AND t.status NOT IN ({open})))")
}

/// A row met by a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub id: RecordId,
    pub tenant_id: TenantId,
    /// A node's or an app log's run, an offload's node.
    pub parent: Option<RecordId>,
    /// `None`: an instant that no record can have.
    pub created_at: Option<Timestamp>,
    /// It lies in the walk's span.
    pub is_in_span: bool,
    /// Always so of what is neither a run nor a node.
    pub has_ended: bool,
}

/// A walk over one kind, without payloads.
#[derive(Debug, Clone)]
pub struct CandidateWalk {
    kind: Kind,
    statement: String,
    keyset: bool,
    created: TimeRange,
    after: (NaiveDateTime, Uuid),
    done: bool,
}

impl CandidateWalk {
    /// `None` if the database has no such table.
    ///
    /// # Errors
    /// [`PostgresError::Schema`] if the table lacks columns.
    pub fn new(catalogue: &Catalogue, kind: Kind, created: TimeRange) -> Result<Option<Self>, PostgresError> {
        let Some(table) = catalogue.table_of(kind)? else { return Ok(None) };
        let keyset = table.index_on(&["created_at", "id"]).is_some();
        let (start, _) = bounds(created);
        Ok(Some(Self {
            kind,
            statement: candidates(table, kind, keyset),
            keyset,
            created,
            after: (start, Uuid::nil()),
            done: false,
        }))
    }

    /// Returns which way it goes, for people.
    #[must_use]
    pub fn plan(&self) -> String {
        let order = if self.keyset { "by (created_at, id)" } else { "by primary key" };
        format!("{}: {order}", super::row::table_of(self.kind))
    }

    /// Returns the statement: `$1` and `$2` where to go on, `$3` and `$4` the span, `$5` how many rows.
    #[must_use]
    pub fn statement(&self) -> &str {
        &self.statement
    }

    /// Returns the next rows, wanted or not; none means the end.
    ///
    /// # Errors
    /// [`PostgresError`] if they cannot be read; the walk stands where it stood.
    pub async fn next(&mut self, client: &Client, limit: u32) -> Result<Vec<Candidate>, PostgresError> {
        if self.done {
            return Ok(Vec::new());
        }
        let (from, until) = bounds(self.created);
        let (at, id) = self.after;
        let rows = client.query(&self.statement, &[&at, &id, &from, &until, &i64::from(limit)]).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let parent: Option<Uuid> = row.try_get(2)?;
            found.push(Candidate {
                id: RecordId::new(row.try_get(0)?),
                tenant_id: TenantId::new(row.try_get(1)?),
                parent: parent.map(RecordId::new),
                is_in_span: row.try_get(3)?,
                has_ended: row.try_get(4)?,
                created_at: row.try_get::<_, Option<NaiveDateTime>>(5)?.and_then(instant),
            });
        }
        if let Some(last) = rows.last() {
            let at = if self.keyset { last.try_get(6)? } else { at };
            self.after = (at, last.try_get(0)?);
        }
        self.done = rows.is_empty();
        Ok(found)
    }
}

/// Every placeholder is named in both forms, so that both take the same parameters.
fn candidates(table: &CatalogueTable, kind: Kind, keyset: bool) -> String {
    let parent = match kind {
        Kind::WorkflowRun => "NULL::uuid",
        Kind::NodeExecution | Kind::AppLog => "t.workflow_run_id",
        Kind::Offload => "t.node_execution_id",
    };
    // A node that is met alone has no run that could be resumed: its finish time is its end, a pause or not.
    let ended = match kind {
        Kind::NodeExecution => format!("(t.finished_at IS NOT NULL OR {})", has_ended(kind)),
        _ => has_ended(kind),
    };
    // The type of the answer holds no `infinity`.
    let created = "CASE WHEN t.created_at >= '1970-01-01' AND t.created_at < '2262-04-11' THEN t.created_at END";
    let span = "t.created_at >= $3::timestamp AND t.created_at < $4::timestamp";
    let (walk, order) = if keyset {
        (format!("(t.created_at, t.id) > ($1::timestamp, $2::uuid) AND {span}"), "t.created_at, t.id")
    } else {
        ("$1::timestamp IS NOT NULL AND t.id > $2::uuid".to_owned(), "t.id")
    };
    format!(
        "SELECT t.id, t.tenant_id, {parent}, ({span}) AS in_span, {ended} AS ended, {created} AS since, t.created_at FROM {name} t WHERE {walk} \
         ORDER BY {order} LIMIT $5",
        name = table.name,
    )
}

/// Returns the ends of a span. An open end lies beyond what a [`Timestamp`] can hold, so that rows with impossible
/// dates are met.
pub(super) fn bounds(created: TimeRange) -> (NaiveDateTime, NaiveDateTime) {
    let year = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default().and_time(NaiveTime::MIN);
    (created.from.map_or_else(|| year(-4_712), naive), created.until.map_or_else(|| year(262_000), naive))
}

fn instant(at: NaiveDateTime) -> Option<Timestamp> {
    Timestamp::from_micros(at.and_utc().timestamp_micros()).ok()
}

pub(super) fn naive(at: Timestamp) -> NaiveDateTime {
    // The range of the type lies well inside chrono's.
    DateTime::from_timestamp_micros(at.micros()).unwrap_or_default().naive_utc()
}

pub(super) fn bytes_of(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

/// Bytes of the texts of a row as they are stored; no text is read for it.
pub(super) fn size_of(table: &CatalogueTable) -> String {
    let texts = table.columns.iter().filter(|(_, r#type)| matches!(r#type.as_str(), "text" | "character varying"));
    let mut sum = String::from("(100");
    for (column, _) in texts {
        // Writing to a String cannot fail.
        let _ = write!(sum, " + coalesce(pg_column_size(t.\"{column}\"), 0)");
    }
    sum.push_str(")::bigint");
    sum
}
