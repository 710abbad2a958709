//! Numbers about rows: how many there are, per value, per span of time, per local day. Each record counts once, in its
//! newest revision.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use chrono::DateTime;
use chrono_tz::Tz;
use rusqlite::Row;

use super::filters::Rows;
use crate::domain::query::{Day, Facet, FacetCount, HistogramBucket, RunFilter, Total};
use crate::domain::record::RecordKey;
use crate::domain::{Kind, Precedence, Revision, Timestamp};
use crate::store::Subject;
use crate::store::sqlite::conditions::Conditions;
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::newest::{self, Superseded};
use crate::store::sqlite::question::OpenMonth;
use crate::store::sqlite::{decode, tables};

/// Counts rows up to a bound. Those that may be superseded are looked up for all months together.
pub fn up_to(months: &[OpenMonth], rows: &Rows, bound: u64) -> Result<Total, Fault> {
    let table = tables::of(rows.kind).name;
    let mut total = Total { value: 0, exact: true };
    let mut changing = Vec::new();
    for file in months.iter().filter(|file| file.overlaps(rows.created)) {
        let conditions = rows.conditions_in(file)?;
        let sql = format!("SELECT id, revision FROM {table} {}", conditions.clause());
        file.each_row(&sql, conditions.values(), |row| {
            let copy = || Ok((decode::id(row, 0)?, Revision::from_stored(row.get(1)?)));
            let (id, revision) = copy().map_err(|error| file.fault(&error))?;
            let copy = Precedence::new(revision, file.month);
            if copy.is_final() {
                add(&mut total, 1, bound);
            } else {
                changing.push((RecordKey { tenant_id: rows.tenant_id, kind: rows.kind, id }, copy));
            }
            if changing.len() >= newest::CHANGING {
                add(&mut total, newest_among(months, rows.kind, &mut changing)?, bound);
            }
            Ok(if total.exact { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        if !total.exact {
            return Ok(total);
        }
    }
    add(&mut total, newest_among(months, rows.kind, &mut changing)?, bound);
    Ok(total)
}

fn add(total: &mut Total, more: u64, bound: u64) {
    let sum = total.value + more;
    *total = Total { value: sum.min(bound), exact: total.exact && sum <= bound };
}

/// How many copies no other month has newer. Takes them.
fn newest_among(months: &[OpenMonth], kind: Kind, copies: &mut Vec<newest::Copy>) -> Result<u64, Fault> {
    let copies = std::mem::take(copies);
    let superseded = newest::superseded(months, kind, &copies)?;
    Ok((copies.len() - superseded.len()) as u64)
}

/// The months that may have such rows, newest first, each with conditions that leave older copies out.
pub fn newest_only<'m>(months: &'m [OpenMonth], rows: &Rows) -> Result<Vec<(&'m OpenMonth, Conditions)>, Fault> {
    let superseded = Superseded::find(months, rows.kind, Some(rows.tenant_id), rows.created)?;
    let in_range = months.iter().filter(|file| file.overlaps(rows.created));
    in_range
        .map(|file| {
            let mut conditions = rows.conditions_in(file)?;
            if let Some((condition, value)) = superseded.condition(file.month) {
                conditions.add(condition, [value]);
            }
            Ok((file, conditions))
        })
        .collect()
}

/// Reads columns of all rows, or of groups of them.
fn each(
    months: &[OpenMonth],
    rows: &Rows,
    (columns, grouping): (&str, &str),
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), Fault> {
    let table = tables::of(rows.kind).name;
    for (file, conditions) in newest_only(months, rows)? {
        let sql = format!("SELECT {columns} FROM {table} {} {grouping}", conditions.clause());
        file.each_row(&sql, conditions.values(), |row| {
            file.ask(|_| read(row))?;
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}

/// What one local day has seen so far.
#[derive(Default)]
struct Seen {
    runs: u64,
    users: HashSet<[u8; 16]>,
    tokens: i128,
}

/// See [`LogQueries::daily`](crate::store::LogQueries::daily).
pub fn daily(months: &[OpenMonth], filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, Fault> {
    let mut days: BTreeMap<_, Seen> = BTreeMap::new();
    each(months, &Rows::of_runs(filter), ("created_at, created_by, total_tokens", ""), |row| {
        let micros = row.get(0)?;
        let Some(at) = DateTime::from_timestamp_micros(micros) else {
            return Err(rusqlite::Error::IntegralValueOutOfRange(0, micros));
        };
        let day = days.entry(at.with_timezone(&zone).date_naive()).or_default();
        day.runs += 1;
        day.users.insert(row.get(1)?);
        day.tokens += i128::from(row.get::<_, i64>(2)?);
        Ok(())
    })?;
    let day =
        |(date, seen): (_, Seen)| Day { date, runs: seen.runs, users: seen.users.len() as u64, tokens: seen.tokens };
    Ok(days.into_iter().map(day).collect())
}

/// See [`LogQueries::facet`](crate::store::LogQueries::facet).
pub fn facet(months: &[OpenMonth], subject: &Subject, facet: Facet, limit: usize) -> Result<Vec<FacetCount>, Fault> {
    let rows = Rows::of(subject);
    let Some(column) = column(rows.kind, facet) else { return Ok(Vec::new()) };
    let is_id = matches!(facet, Facet::AppId | Facet::CreatedBy);
    let mut counts: HashMap<Box<str>, u64> = HashMap::new();
    each(months, &rows, (&format!("{column}, count(*)"), &format!("GROUP BY {column}")), |row| {
        let value = if is_id { decode::id(row, 0)?.to_string().into() } else { row.get(0)? };
        *counts.entry(value).or_default() += row.get::<_, i64>(1)?.unsigned_abs();
        Ok(())
    })?;
    let mut counts: Vec<_> = counts.into_iter().map(|(value, count)| FacetCount { value, count }).collect();
    counts.sort_unstable_by(|one, other| other.count.cmp(&one.count).then_with(|| one.value.cmp(&other.value)));
    counts.truncate(limit);
    Ok(counts)
}

/// `None`: the kind has no such values.
fn column(kind: Kind, facet: Facet) -> Option<&'static str> {
    match facet {
        Facet::Status => Some("status"),
        Facet::AppId => Some("app_id"),
        Facet::TriggeredFrom => Some("triggered_from"),
        Facet::CreatedBy => Some("created_by"),
        Facet::NodeType => (kind == Kind::NodeExecution).then_some("node_type"),
    }
}

/// See [`LogQueries::histogram`](crate::store::LogQueries::histogram).
pub fn histogram(months: &[OpenMonth], subject: &Subject, seconds: u32) -> Result<Vec<HistogramBucket>, Fault> {
    // A span of no length would hold nothing.
    let span = i64::from(seconds.max(1)) * 1_000_000;
    let columns = format!("created_at - created_at % {span} AS start, count(*)");
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    each(months, &Rows::of(subject), (&columns, "GROUP BY start"), |row| {
        *counts.entry(row.get(0)?).or_default() += row.get::<_, i64>(1)?.unsigned_abs();
        Ok(())
    })?;
    let bucket = |(micros, count)| {
        let from = Timestamp::from_micros(micros);
        from.map(|from| HistogramBucket { from, count }).map_err(|error| Fault::Damaged(error.to_string()))
    };
    counts.into_iter().map(bucket).collect()
}
