//! One row as it came: a cell per column, read in any order, then taken out with the checks of the column's type.
//!
//! What a field is called in the message is the source's business: it comes in as [`Names`], so that a refusal names
//! the field as its sender knows it. A refusal never repeats a value.

mod cell;
mod record;

use std::borrow::Cow;
use std::str::FromStr;

use uuid::Uuid;

use super::cleaned::Cleaned;
use super::python_json::{Scalar, Scanner, Syntax};
pub(super) use cell::{Cell, payload_of_text};

use crate::domain::id::InvalidId;
use crate::domain::time::InvalidTimestamp;
use crate::domain::{JsonText, Refusal, RefusalClass, Timestamp};

/// Every column of the four tables, each name once: what a name holds is read alike in all tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    TenantId,
    AppId,
    WorkflowId,
    WorkflowRunId,
    NodeExecutionId,
    FileId,
    Type,
    TriggeredFrom,
    Version,
    Graph,
    Inputs,
    ProcessData,
    Outputs,
    ExecutionMetadata,
    Status,
    Error,
    ElapsedTime,
    TotalTokens,
    TotalSteps,
    ExceptionsCount,
    Index,
    PredecessorNodeId,
    NodeId,
    NodeType,
    Title,
    CreatedFrom,
    CreatedByRole,
    CreatedBy,
    Creator,
    CreatedAt,
    FinishedAt,
}

impl Column {
    const COUNT: usize = Self::FinishedAt as usize + 1;

    pub(super) const fn is_payload(self) -> bool {
        matches!(self, Self::Graph | Self::Inputs | Self::ProcessData | Self::Outputs | Self::ExecutionMetadata)
    }
}

/// What a source calls the columns within one object of its message.
pub(super) struct Names {
    /// Path of the object, as in `record.`.
    pub prefix: &'static str,
    pub columns: &'static [(&'static str, Column)],
}

impl Names {
    pub(super) fn column(&self, name: &str) -> Option<Column> {
        self.columns.iter().find(|(known, _)| *known == name).map(|(_, column)| *column)
    }

    fn path(&self, wanted: Column) -> Option<String> {
        let (name, _) = self.columns.iter().find(|(_, column)| *column == wanted)?;
        Some(format!("{}{name}", self.prefix))
    }
}

/// What a payload column may hold in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadForm {
    /// An object or null.
    Object,
    /// Any value, or JSON as text, as the table has it.
    ValueOrText,
}

/// The cells of one row.
pub(super) struct Row<'a> {
    cells: [Cell<'a>; Column::COUNT],
    names: &'static [&'static Names],
    payloads: PayloadForm,
    /// What taking the cells out has changed.
    pub cleaned: Cleaned,
}

/// The longest text of a `varchar(255)` column, in characters.
const VARCHAR: usize = 255;

impl<'a> Row<'a> {
    pub(super) fn new(names: &'static [&'static Names], payloads: PayloadForm) -> Self {
        Self { cells: [const { Cell::Absent }; Column::COUNT], names, payloads, cleaned: Cleaned::default() }
    }

    /// Reads the value of a column; the last of several wins, as in Python.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'a>, column: Column) -> Result<(), Syntax> {
        let cell = if column.is_payload() {
            Cell::read_payload(scanner, self.payloads)?
        } else {
            Cell::Scalar(scanner.scalar()?)
        };
        self.set(column, cell);
        Ok(())
    }

    /// Puts a cell in its place.
    pub(super) fn set(&mut self, column: Column, cell: Cell<'a>) {
        if let Some(slot) = self.cells.get_mut(column as usize) {
            *slot = cell;
        }
    }

    /// Forgets the cells of one object of the message: it came a second time.
    pub(super) fn clear(&mut self, names: &Names) {
        for (_, column) in names.columns {
            self.take(*column);
        }
    }

    fn take(&mut self, column: Column) -> Cell<'a> {
        self.cells.get_mut(column as usize).map(std::mem::take).unwrap_or_default()
    }

    fn path(&self, column: Column) -> String {
        self.names.iter().find_map(|names| names.path(column)).unwrap_or_default()
    }

    fn missing(&self, column: Column) -> Refusal {
        Refusal::new(RefusalClass::MissingField, self.path(column))
    }

    fn invalid(&self, column: Column, expected: &str) -> Refusal {
        Refusal::new(RefusalClass::InvalidField, format!("{}: expected {expected}", self.path(column)))
    }

    fn needed<T>(&self, column: Column, value: Option<T>) -> Result<T, Refusal> {
        value.ok_or_else(|| self.missing(column))
    }

    fn scalar_text(&mut self, column: Column) -> Result<Option<Cow<'a, str>>, Refusal> {
        let cell = self.take(column);
        self.text_of(column, cell)
    }

    fn text_of(&self, column: Column, cell: Cell<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
        match cell {
            Cell::Absent | Cell::Scalar(Scalar::Null) => Ok(None),
            Cell::Scalar(Scalar::Text(text)) => Ok(Some(text)),
            _ => Err(self.invalid(column, "a string")),
        }
    }

    /// A `text` column: of any length.
    fn long_text(&mut self, column: Column) -> Result<Option<Box<str>>, Refusal> {
        let Some(text) = self.scalar_text(column)? else {
            return Ok(None);
        };
        let nuls = text.matches('\0').count();
        if nuls == 0 {
            return Ok(Some(text.into()));
        }
        self.cleaned.nul += nuls as u64;
        Ok(Some(text.replace('\0', "\u{fffd}").into()))
    }

    fn optional_text(&mut self, column: Column, longest: usize) -> Result<Option<Box<str>>, Refusal> {
        let text = self.long_text(column)?;
        if text.as_deref().is_some_and(|text| text.len() > longest && text.chars().count() > longest) {
            return Err(self.invalid(column, &format!("at most {longest} characters")));
        }
        Ok(text)
    }

    fn text(&mut self, column: Column) -> Result<Box<str>, Refusal> {
        let text = self.optional_text(column, VARCHAR)?;
        self.needed(column, text)
    }

    fn optional_id<T: FromStr<Err = InvalidId> + From<Uuid>>(&mut self, column: Column) -> Result<Option<T>, Refusal> {
        let text = match self.take(column) {
            Cell::Uuid(uuid) => return Ok(Some(uuid.into())),
            other => self.text_of(column, other)?,
        };
        let Some(text) = text else { return Ok(None) };
        let refuse = |error| Refusal::new(RefusalClass::InvalidId, format!("{}: {error}", self.path(column)));
        text.parse().map(Some).map_err(refuse)
    }

    fn id<T: FromStr<Err = InvalidId> + From<Uuid>>(&mut self, column: Column) -> Result<T, Refusal> {
        let id = self.optional_id(column)?;
        self.needed(column, id)
    }

    fn optional_timestamp(&mut self, column: Column) -> Result<Option<Timestamp>, Refusal> {
        let parsed = match self.take(column) {
            Cell::Instant(micros) => Timestamp::from_micros(micros),
            other => match self.text_of(column, other)? {
                None => return Ok(None),
                Some(text) => text.parse(),
            },
        };
        let class = |error| match error {
            InvalidTimestamp::Malformed => RefusalClass::InvalidField,
            InvalidTimestamp::OutOfRange => RefusalClass::DateOutOfRange,
        };
        let refuse = |error| Refusal::new(class(error), format!("{}: {error}", self.path(column)));
        parsed.map(Some).map_err(refuse)
    }

    fn timestamp(&mut self, column: Column) -> Result<Timestamp, Refusal> {
        let timestamp = self.optional_timestamp(column)?;
        self.needed(column, timestamp)
    }

    fn optional_integer(&mut self, column: Column) -> Result<Option<i64>, Refusal> {
        match self.take(column) {
            Cell::Absent | Cell::Scalar(Scalar::Null) => Ok(None),
            Cell::Integer(integer) => Ok(Some(integer)),
            Cell::Scalar(Scalar::Number(number)) => match integer_of(&number) {
                Some(integer) => Ok(Some(integer)),
                None => Err(self.invalid(column, "an integer of 64 bits")),
            },
            _ => Err(self.invalid(column, "an integer")),
        }
    }

    fn count(&mut self, column: Column) -> Result<i64, Refusal> {
        self.optional_integer(column).map(Option::unwrap_or_default)
    }

    /// Seconds; 0 if there are none, as the table's default.
    fn seconds(&mut self, column: Column) -> Result<f64, Refusal> {
        match self.take(column) {
            Cell::Absent | Cell::Scalar(Scalar::Null) => Ok(0.0),
            Cell::Float(seconds) if seconds.is_finite() => Ok(seconds),
            Cell::Float(_) => {
                self.cleaned.nan += 1;
                Ok(0.0)
            }
            Cell::Integer(seconds) => Ok(seconds as f64),
            Cell::Scalar(Scalar::Number(number)) => match number.parse::<f64>() {
                Ok(seconds) if seconds.is_finite() => Ok(seconds),
                _ => Err(self.invalid(column, "a finite number")),
            },
            _ => Err(self.invalid(column, "a number")),
        }
    }

    fn payload(&mut self, column: Column) -> Result<Option<JsonText>, Refusal> {
        match self.take(column) {
            Cell::Absent | Cell::Scalar(Scalar::Null) => Ok(None),
            Cell::Payload(text) => Ok(text),
            _ => Err(self.invalid(column, "an object")),
        }
    }
}

/// An integer as JSON writes it: digits, or a float without a fraction.
fn integer_of(number: &str) -> Option<i64> {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if let Ok(integer) = number.parse() {
        return Some(integer);
    }
    let float: f64 = number.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "the range and the fraction are checked")]
    (float.fract() == 0.0 && (-END..END).contains(&float)).then_some(float as i64)
}
