//! Numbers about rows: how many there are, per value, per span of time, per local day. Each record counts once, in its
//! newest revision.

use std::ops::ControlFlow;

use chrono::DateTime;
use chrono_tz::Tz;
use rusqlite::Row;

use super::filters::Rows;
use crate::domain::query::{
    Day, DayTallies, Facet, FacetCount, HistogramBucket, ListFilter, RunFilter, SpanCounts, Total, ValueCounts,
};
use crate::domain::record::RecordKey;
use crate::domain::{Kind, Precedence, Revision};
use crate::store::sqlite::conditions::Conditions;
use crate::store::sqlite::fault::SqliteFault;
use crate::store::sqlite::newest::{self, Superseded};
use crate::store::sqlite::question::OpenMonth;
use crate::store::sqlite::{decode, tables};

/// Counts rows up to a bound. Those that may be superseded are looked up for all months together.
pub fn up_to(months: &[OpenMonth], rows: &Rows, bound: u64) -> Result<Total, SqliteFault> {
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

/// Returns how many copies no other month has newer. Takes them.
fn newest_among(months: &[OpenMonth], kind: Kind, copies: &mut Vec<newest::NewestCopy>) -> Result<u64, SqliteFault> {
    let copies = std::mem::take(copies);
    let superseded = newest::superseded(months, kind, &copies)?;
    Ok((copies.len() - superseded.len()) as u64)
}

/// Returns the months that may have such rows, newest first, each with conditions that leave older copies out.
pub fn newest_only<'m>(months: &'m [OpenMonth], rows: &Rows) -> Result<Vec<(&'m OpenMonth, Conditions)>, SqliteFault> {
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
) -> Result<(), SqliteFault> {
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

/// See [`LogReader::daily`](crate::store::LogReader::daily).
pub fn daily(months: &[OpenMonth], filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, SqliteFault> {
    let mut days = DayTallies::default();
    each(months, &Rows::of_runs(filter), ("created_at, created_by, total_tokens", ""), |row| {
        let micros = row.get(0)?;
        let Some(at) = DateTime::from_timestamp_micros(micros) else {
            return Err(rusqlite::Error::IntegralValueOutOfRange(0, micros));
        };
        let date = at.with_timezone(&zone).date_naive();
        days.add_runs(date, decode::id(row, 1)?, 1);
        days.add_tokens(date, row.get::<_, i64>(2)?.into());
        Ok(())
    })?;
    Ok(days.finish())
}

/// See [`LogReader::facet`](crate::store::LogReader::facet).
pub fn facet(
    months: &[OpenMonth],
    list: &ListFilter,
    facet: Facet,
    limit: usize,
) -> Result<Vec<FacetCount>, SqliteFault> {
    let rows = Rows::of(list);
    let Some(column) = column(rows.kind, facet) else { return Ok(Vec::new()) };
    let is_id = matches!(facet, Facet::AppId | Facet::CreatedBy);
    let mut counts = ValueCounts::default();
    each(months, &rows, (&format!("{column}, count(*)"), &format!("GROUP BY {column}")), |row| {
        let value: Box<str> = if is_id { decode::id(row, 0)?.to_string().into() } else { row.get(0)? };
        counts.add(value, row.get::<_, i64>(1)?.unsigned_abs());
        Ok(())
    })?;
    Ok(counts.most_frequent(limit))
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

/// See [`LogReader::histogram`](crate::store::LogReader::histogram).
pub fn histogram(months: &[OpenMonth], list: &ListFilter, seconds: u32) -> Result<Vec<HistogramBucket>, SqliteFault> {
    let mut spans = SpanCounts::new(seconds);
    let columns = format!("created_at - created_at % {} AS start, count(*)", spans.length());
    each(months, &Rows::of(list), (&columns, "GROUP BY start"), |row| {
        spans.add(row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs());
        Ok(())
    })?;
    spans.finish().map_err(|error| SqliteFault::Damaged(error.to_string()))
}
