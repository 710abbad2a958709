//! Numbers about rows: how many there are, per value, per span of time, per local day. Each record counts once, in its
//! newest revision.

use std::collections::HashMap;
use std::ops::ControlFlow;

use chrono::DateTime;
use chrono_tz::Tz;
use rusqlite::Row;

use super::filters::Rows;
use crate::domain::query::{
    Breakdown, BreakdownCounts, BreakdownTally, Day, DayTallies, Facet, ListFilter, RunFilter, Total,
};
use crate::domain::record::RecordKey;
use crate::domain::{Kind, Precedence, RecordId, Revision};
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

/// Reads columns of all rows.
fn each(
    months: &[OpenMonth],
    rows: &Rows,
    columns: &str,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), SqliteFault> {
    let table = tables::of(rows.kind).name;
    for (file, conditions) in newest_only(months, rows)? {
        let sql = format!("SELECT {columns} FROM {table} {}", conditions.clause());
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
    each(months, &Rows::of_runs(filter), "created_at, created_by, total_tokens", |row| {
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

/// See [`LogReader::break_down`](crate::store::LogReader::break_down).
pub fn break_down(months: &[OpenMonth], list: &ListFilter, by: &Breakdown) -> Result<BreakdownCounts, SqliteFault> {
    let rows = Rows::of(list);
    let facets = by.facets.iter().copied().enumerate();
    let facets: Vec<_> = facets.filter_map(|(place, facet)| Some((place, facet, facet.column(rows.kind)?))).collect();
    let mut columns: Vec<_> = facets.iter().map(|(_, _, column)| *column).collect();
    columns.extend(["status", "created_at"]);
    let mut tally = BreakdownTally::new(by);
    // Written out once for each, not once for each row.
    let mut ids = HashMap::<(usize, RecordId), u64>::new();
    each(months, &rows, &columns.join(", "), |row| {
        for (column, (place, facet, _)) in facets.iter().enumerate() {
            match facet {
                Facet::AppId | Facet::CreatedBy => *ids.entry((*place, decode::id(row, column)?)).or_default() += 1,
                Facet::Status | Facet::TriggeredFrom | Facet::NodeType => {
                    tally.add_value(*place, row.get_ref(column)?.as_str()?, 1);
                }
            }
        }
        if by.seconds.is_some() {
            tally.add_span(row.get_ref(facets.len())?.as_str()?, row.get(facets.len() + 1)?, 1);
        }
        Ok(())
    })?;
    for ((place, id), count) in ids {
        tally.add_value(place, &id.to_string(), count);
    }
    tally.finish().map_err(|error| SqliteFault::Damaged(error.to_string()))
}
