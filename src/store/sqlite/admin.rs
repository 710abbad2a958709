//! What the administrator asks of the files: what is there, is it sound, how much is in it. Changes nothing.

use std::fs;

use rusqlite::Connection;

use super::fault::Fault;
use super::pool::ReadPool;
use super::{SqliteSettings, months, schema, tables};
use crate::domain::query::MonthCount;

/// A line per month file: its schema, size and a first look at its tables. Reading a whole file would take minutes;
/// `PRAGMA integrity_check` of the `sqlite3` program does that.
pub fn check(settings: &SqliteSettings, pool: &ReadPool) -> Result<Vec<String>, Fault> {
    let months = pool.months()?;
    let mut lines = vec![format!("{}: {} month files", settings.dir.display(), months.len())];
    for month in months {
        let path = months::path(&settings.dir, month);
        if pool.read(month, look)?.is_none() {
            lines.push(format!("{}: empty", path.display()));
            continue;
        }
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        lines.push(format!("{}: schema {}, {} KiB, readable", path.display(), schema::VERSION, bytes / 1024));
    }
    Ok(lines)
}

/// Documents per month and kind, oldest month first.
pub fn counts(pool: &ReadPool) -> Result<Vec<MonthCount>, Fault> {
    let mut counts = Vec::new();
    for month in pool.months()?.into_iter().rev() {
        for (kind, table) in tables::COUNTED {
            if let Some(documents) = pool.read(month, |connection| count(connection, table))? {
                counts.push(MonthCount { month, kind, documents });
            }
        }
    }
    Ok(counts)
}

fn count(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    let documents: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0))?;
    Ok(documents.unsigned_abs())
}

/// Walks from the root of every table to its first and its last row.
fn look(connection: &Connection) -> rusqlite::Result<()> {
    for (_, table) in tables::COUNTED {
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT * FROM {table} ORDER BY rowid {order} LIMIT 1");
            connection.prepare(&sql)?.query(())?.next()?;
        }
    }
    Ok(())
}
