//! One question: which months it looks into, the connections that it has open, and whether it is still wanted.
//!
//! A month is opened when the question first asks it something, so months that it does not need cost it nothing. It is
//! then read in one snapshot to the question's end: whatever is written meanwhile, a record that lies in two months is met
//! in the same two revisions. Where connections are short, a month that is not being read is closed; opened again, it must
//! be as it was, else the question is asked anew.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use tokio::sync::OwnedSemaphorePermit;

use super::connect::Connected;
use super::fault::SqliteFault;
use super::months::Stamp;
use super::pool::ReadPool;
use crate::domain::Month;
use crate::domain::query::TimeRange;

/// How often a question is asked again because files changed under it.
const ATTEMPTS: usize = 3;

/// Whether the asker has gone away or waited long enough.
#[derive(Debug, Clone, Default)]
pub struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A question, on the thread that answers it.
pub struct SqliteQuestion {
    pool: Arc<ReadPool>,
    given_up: GivenUp,
    /// One of so many questions at once; kept until the thread has ended, whether or not anybody still waits for it.
    _permit: Option<OwnedSemaphorePermit>,
}

impl SqliteQuestion {
    pub fn new(pool: Arc<ReadPool>, given_up: GivenUp, permit: OwnedSemaphorePermit) -> Self {
        Self { pool, given_up, _permit: Some(permit) }
    }

    /// Of the writer's own thread, which waits for no other.
    pub fn of_writer(pool: Arc<ReadPool>) -> Self {
        Self { pool, given_up: GivenUp::default(), _permit: None }
    }

    /// Returns the months there are, newest first.
    pub fn months(&self) -> Result<Vec<Month>, SqliteFault> {
        self.pool.months()
    }

    /// Runs a question on all months, newest first. It may run again if files change meanwhile.
    pub fn ask<T>(&self, question: impl Fn(&[OpenMonth]) -> Result<T, SqliteFault>) -> Result<T, SqliteFault> {
        self.attempt(|| self.months(), question)
    }

    /// Runs a question on one month; `None` if the month has gone, or has nothing in it yet.
    pub fn read<T>(
        &self,
        month: Month,
        question: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, SqliteFault> {
        self.attempt(|| Ok(vec![month]), |files| files.first().map(|file| file.ask(&question)).transpose())
    }

    fn attempt<T>(
        &self,
        months: impl Fn() -> Result<Vec<Month>, SqliteFault>,
        question: impl Fn(&[OpenMonth]) -> Result<T, SqliteFault>,
    ) -> Result<T, SqliteFault> {
        let _undeleted = self.pool.share();
        let mut absent: Vec<Month> = Vec::new();
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            let through_log = attempts + 1 == ATTEMPTS;
            let opened = Rc::new(Shelf::new(Arc::clone(&self.pool), self.given_up.clone(), through_log));
            let wanted = months()?.into_iter().filter(|month| !absent.contains(month));
            let files: Vec<_> = wanted.map(|month| OpenMonth::new(month, Rc::clone(&opened))).collect();
            let answer = question(&files);
            drop(files);
            if self.given_up.is_set() {
                return Err(SqliteFault::GivenUp);
            }
            // A month that turned out to have nothing in it is left out; there are only so many of them.
            if let Some(month) = opened.absent.take() {
                absent.push(month);
                continue;
            }
            // Another process wrote or dropped a month meanwhile: what was read may be of two states.
            if matches!(answer, Err(SqliteFault::Moved)) || !opened.is_current() {
                attempts += 1;
                continue;
            }
            // After an error the connections are closed: the next question meets the files as they are then.
            let answer = answer?;
            opened.put_back()?;
            return Ok(answer);
        }
        let dir = self.pool.dir().display();
        Err(SqliteFault::Unavailable(format!("{dir}: files change faster than they can be read")))
    }
}

/// The connections of one attempt.
struct Shelf {
    pool: Arc<ReadPool>,
    given_up: GivenUp,
    /// Whether files may be written to meanwhile, whatever they look like: a writer that goes through all months (a
    /// migration) would let a long question begin anew again and again. One that was closed in between may then be in
    /// another state when it is opened again.
    through_log: bool,
    /// The one asked last is last.
    open: RefCell<Vec<Rc<Connected>>>,
    first: RefCell<HashMap<Month, First>>,
    /// The month that turned out to have nothing in it.
    absent: RefCell<Option<Month>>,
}

/// How a month was when it was first opened.
#[derive(Clone, Copy, PartialEq, Eq)]
struct First {
    stamp: Stamp,
    /// Whether no process had it open to write.
    is_tidy: bool,
}

impl Shelf {
    fn new(pool: Arc<ReadPool>, given_up: GivenUp, through_log: bool) -> Self {
        Self {
            pool,
            given_up,
            through_log,
            open: RefCell::default(),
            first: RefCell::default(),
            absent: RefCell::default(),
        }
    }

    fn get(&self, month: Month) -> Result<Rc<Connected>, SqliteFault> {
        if self.given_up.is_set() {
            return Err(SqliteFault::GivenUp);
        }
        if let Some(found) = self.take(month) {
            self.open.borrow_mut().push(Rc::clone(&found));
            return Ok(found);
        }
        let opened = self.pool.open(month, self.through_log, || self.let_go())?;
        let Some(mut opened) = opened else {
            self.absent.replace(Some(month));
            return Err(SqliteFault::Moved);
        };
        opened.begin(&self.pool.path(month), &self.given_up)?;
        let first = First { stamp: opened.stamp, is_tidy: opened.is_tidy };
        if *self.first.borrow_mut().entry(month).or_insert(first) != first && !self.through_log {
            return Err(SqliteFault::Moved);
        }
        let opened = Rc::new(opened);
        self.open.borrow_mut().push(Rc::clone(&opened));
        Ok(opened)
    }

    fn take(&self, month: Month) -> Option<Rc<Connected>> {
        let mut open = self.open.borrow_mut();
        let index = open.iter().rposition(|connected| connected.month == month)?;
        Some(open.remove(index))
    }

    /// Closes the connection that was asked longest ago and is not being asked now; one of a month that is being
    /// written to only where there is no other, since it will have changed when it is opened again. Returns whether
    /// there was one.
    fn let_go(&self) -> bool {
        let mut open = self.open.borrow_mut();
        let is_idle = |connected: &Rc<Connected>| Rc::strong_count(connected) == 1;
        let idle = open.iter().position(|connected| connected.is_tidy && is_idle(connected));
        let idle = idle.or_else(|| open.iter().position(is_idle));
        idle.map(|index| open.remove(index)).is_some()
    }

    fn is_current(&self) -> bool {
        let first = self.first.borrow();
        first.iter().all(|(month, first)| {
            let path = self.pool.path(*month);
            if first.is_tidy { first.stamp.is_current(&path) } else { first.stamp.identity.is_still_at(&path) }
        })
    }

    fn put_back(&self) -> Result<(), SqliteFault> {
        for connected in self.open.take() {
            let Ok(mut connected) = Rc::try_unwrap(connected) else { continue };
            connected.end().map_err(|error| SqliteFault::of(&error, &self.pool.path(connected.month)))?;
            self.pool.put_back(connected);
        }
        Ok(())
    }
}

/// A month's file, as a question sees it: opened when it is first asked.
pub struct OpenMonth {
    pub month: Month,
    path: PathBuf,
    shelf: Rc<Shelf>,
}

impl OpenMonth {
    fn new(month: Month, shelf: Rc<Shelf>) -> Self {
        Self { month, path: shelf.pool.path(month), shelf }
    }

    /// Runs a part of a question on this month; its error names the file.
    pub fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, SqliteFault> {
        let connected = self.shelf.get(self.month)?;
        question(&connected.connection).map_err(|error| self.fault(&error))
    }

    /// Returns what an error in reading this month's rows means.
    pub fn fault(&self, error: &rusqlite::Error) -> SqliteFault {
        SqliteFault::of(error, &self.path)
    }

    /// Goes over the rows of a statement until `each` breaks.
    pub fn each_row(
        &self,
        sql: &str,
        values: &[Value],
        mut each: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, SqliteFault>,
    ) -> Result<(), SqliteFault> {
        let connected = self.shelf.get(self.month)?;
        let mut statement = connected.connection.prepare_cached(sql).map_err(|error| self.fault(&error))?;
        let mut rows = statement.query(params_from_iter(values)).map_err(|error| self.fault(&error))?;
        while let Some(row) = rows.next().map_err(|error| self.fault(&error))? {
            if each(row)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the month has an instant of the range.
    pub fn overlaps(&self, range: TimeRange) -> bool {
        range.from.is_none_or(|from| from < self.month.end())
            && range.until.is_none_or(|until| self.month.start() < until)
    }
}
