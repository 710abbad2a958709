//! What the administrator asks of the files: what is there, is it sound, how much is in it. Changes nothing.

use std::fs;

use rusqlite::Connection;

use super::fault::SqliteFault;
use super::question::SqliteQuestion;
use super::{SqliteSettings, months, schema, tables};
use crate::domain::query::{MonthCount, MonthSize};

/// Returns how many month files there are, after a first look at the tables of each, and a line for each that is empty.
/// Reading whole files would take minutes; `PRAGMA integrity_check` of the `sqlite3` program does that.
pub fn check(settings: &SqliteSettings, question: &SqliteQuestion) -> Result<Vec<String>, SqliteFault> {
    let months = question.months()?;
    let count = months.len();
    let mut empty = Vec::new();
    for month in months {
        if question.read(month, look)?.is_none() {
            empty.push(format!("{}: empty", months::path(&settings.dir, month).display()));
        }
    }
    let bytes: u64 = sizes(settings, question)?.iter().map(|size| size.bytes).sum();
    let line =
        format!("{}: {count} month files of schema {}, {} KiB", settings.dir.display(), schema::VERSION, bytes / 1024);
    let sqlite = format!("SQLite {}", rusqlite::version());
    Ok([sqlite, line].into_iter().chain(empty).collect())
}

/// Looks into the newest month.
pub fn ready(question: &SqliteQuestion) -> Result<(), SqliteFault> {
    let Some(newest) = question.months()?.into_iter().next() else { return Ok(()) };
    question.read(newest, |connection| connection.query_row("SELECT 1", (), |_| Ok(())))?;
    Ok(())
}

/// Documents per month and kind, oldest month first.
pub fn counts(question: &SqliteQuestion) -> Result<Vec<MonthCount>, SqliteFault> {
    let mut counts = Vec::new();
    for month in question.months()?.into_iter().rev() {
        for (kind, table) in tables::COUNTED {
            if let Some(documents) = question.read(month, |connection| count(connection, table))? {
                counts.push(MonthCount { month, kind, documents });
            }
        }
    }
    Ok(counts)
}

/// Returns what the files of each month take, oldest month first; tables share them.
pub fn sizes(settings: &SqliteSettings, question: &SqliteQuestion) -> Result<Vec<MonthSize>, SqliteFault> {
    let months = question.months()?.into_iter().rev();
    let size = |month| {
        let files = months::paths(&settings.dir, month);
        // A file beside the database comes and goes with its connections.
        let bytes = files.iter().filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum();
        MonthSize { month, kind: None, bytes, shards: 1 }
    };
    Ok(months.map(size).collect())
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
