//! One row as it came: a cell per column, read in any order, then taken out with the checks of the column's type.
//!
//! What a field is called in the message is the source's business: it comes in as [`ColumnNames`], so that a refusal names
//! the field as its sender knows it. A refusal never repeats a value.

mod cell;

use std::borrow::Cow;
use std::sync::LazyLock;

use super::cleaned::Cleaned;
use super::python_json::{Scalar, Scanner, Syntax};
pub(super) use cell::{Cell, payload_of_text};

use crate::domain::schema::{self, Column, Given, Type};
use crate::domain::time::InvalidTimestamp;
use crate::domain::{JsonText, Kind, Record, RecordId, Refusal, RefusalClass, Timestamp};

/// The place of a column's cell. Columns of the same name in several tables share one: what a name holds is read alike in
/// all of them, so that a row can be read before its kind is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CellPlace {
    index: usize,
    is_payload: bool,
}

/// The places of all kinds' columns, each kind's in the order of its columns.
static PLACES: LazyLock<[Vec<CellPlace>; 4]> = LazyLock::new(|| {
    let mut names: Vec<&str> = Vec::new();
    Kind::ALL.map(|kind| {
        let place = |column: &Column| {
            let index = names.iter().position(|name| *name == column.name).unwrap_or_else(|| {
                names.push(column.name);
                names.len() - 1
            });
            CellPlace { index, is_payload: column.r#type == Type::Json }
        };
        schema::columns(kind).iter().map(place).collect()
    })
});

/// Returns each column of a kind with the place of its cell.
pub(super) fn places(kind: Kind) -> impl Iterator<Item = (&'static Column, CellPlace)> {
    let [runs, nodes, logs, offloads] = &*PLACES;
    let places = match kind {
        Kind::WorkflowRun => runs,
        Kind::NodeExecution => nodes,
        Kind::AppLog => logs,
        Kind::Offload => offloads,
    };
    schema::columns(kind).iter().zip(places.iter().copied())
}

/// What a source calls the columns within one object of its message.
pub(super) struct ColumnNames {
    /// Path of the object, as in `record.`.
    pub prefix: String,
    pub columns: Vec<(&'static str, CellPlace)>,
}

impl ColumnNames {
    pub(super) fn place(&self, name: &str) -> Option<CellPlace> {
        self.columns.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
    }

    fn path(&self, wanted: CellPlace) -> Option<String> {
        let (name, _) = self.columns.iter().find(|(_, place)| *place == wanted)?;
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

/// Names of the four tables' columns, about.
const CELLS: usize = 36;

/// The cells of one row.
pub(super) struct RowCells<'a> {
    cells: Vec<Cell<'a>>,
    names: &'static [ColumnNames],
    payloads: PayloadForm,
    /// What taking the cells out has changed.
    pub cleaned: Cleaned,
}

impl<'a> RowCells<'a> {
    pub(super) fn new(names: &'static [ColumnNames], payloads: PayloadForm) -> Self {
        Self { cells: Vec::with_capacity(CELLS), names, payloads, cleaned: Cleaned::default() }
    }

    /// Reads the value of a column; the last of several wins, as in Python.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'a>, place: CellPlace) -> Result<(), Syntax> {
        let cell = if place.is_payload {
            Cell::read_payload(scanner, self.payloads)?
        } else {
            Cell::Scalar(scanner.scalar()?)
        };
        self.set(place, cell);
        Ok(())
    }

    /// Puts a cell in its place.
    pub(super) fn set(&mut self, place: CellPlace, cell: Cell<'a>) {
        if self.cells.len() <= place.index {
            self.cells.resize_with(place.index + 1, Cell::default);
        }
        if let Some(slot) = self.cells.get_mut(place.index) {
            *slot = cell;
        }
    }

    /// Forgets the cells of one object of the message: it came a second time.
    pub(super) fn clear(&mut self, names: &ColumnNames) {
        for (_, place) in &names.columns {
            self.take(*place);
        }
    }

    /// Takes the record out: what is needed and not there, or not of its column's type, refuses it.
    pub(super) fn take_record(&mut self, kind: Kind) -> Result<Record, Refusal> {
        let mut record = Record::blank(kind);
        for (column, place) in places(kind) {
            let given = self.given(column, place)?;
            if !column.set(&mut record, given) {
                return Err(Refusal::new(RefusalClass::MissingField, self.path(place)));
            }
        }
        Ok(record)
    }

    fn given(&mut self, column: &Column, place: CellPlace) -> Result<Given, Refusal> {
        let given = match column.r#type {
            Type::Id => self.id(place)?,
            Type::Varchar(longest) => self.short_text(place, longest)?.map(Given::Text),
            Type::Text => self.long_text(place)?.map(Given::Text),
            Type::Integer => self.integer(place)?.map(Given::Integer),
            Type::Count => self.integer(place)?.or(Some(0)).map(Given::Integer),
            Type::Seconds => Some(Given::Seconds(self.seconds(place)?)),
            Type::Instant => self.timestamp(place)?.map(Given::Instant),
            Type::Json => self.payload(place)?.map(Given::Json),
        };
        Ok(given.unwrap_or(Given::Null))
    }

    fn take(&mut self, place: CellPlace) -> Cell<'a> {
        self.cells.get_mut(place.index).map(std::mem::take).unwrap_or_default()
    }

    fn path(&self, place: CellPlace) -> String {
        self.names.iter().find_map(|names| names.path(place)).unwrap_or_default()
    }

    fn invalid(&self, place: CellPlace, expected: &str) -> Refusal {
        Refusal::new(RefusalClass::InvalidField, format!("{}: expected {expected}", self.path(place)))
    }

    fn scalar_text(&mut self, place: CellPlace) -> Result<Option<Cow<'a, str>>, Refusal> {
        let cell = self.take(place);
        self.text_of(place, cell)
    }

    fn text_of(&self, place: CellPlace, cell: Cell<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
        match cell {
            Cell::Absent | Cell::Scalar(Scalar::Null) => Ok(None),
            Cell::Scalar(Scalar::Text(text)) => Ok(Some(text)),
            _ => Err(self.invalid(place, "a string")),
        }
    }

    /// Returns a `text` column: of any length.
    fn long_text(&mut self, place: CellPlace) -> Result<Option<Box<str>>, Refusal> {
        let Some(text) = self.scalar_text(place)? else {
            return Ok(None);
        };
        let nuls = text.matches('\0').count();
        if nuls == 0 {
            return Ok(Some(text.into()));
        }
        self.cleaned.nul += nuls as u64;
        Ok(Some(text.replace('\0', "\u{fffd}").into()))
    }

    fn short_text(&mut self, place: CellPlace, longest: usize) -> Result<Option<Box<str>>, Refusal> {
        let text = self.long_text(place)?;
        if text.as_deref().is_some_and(|text| text.len() > longest && text.chars().count() > longest) {
            return Err(self.invalid(place, &format!("at most {longest} characters")));
        }
        Ok(text)
    }

    fn id(&mut self, place: CellPlace) -> Result<Option<Given>, Refusal> {
        let text = match self.take(place) {
            Cell::Uuid(uuid) => return Ok(Some(Given::Id(uuid))),
            other => self.text_of(place, other)?,
        };
        let Some(text) = text else { return Ok(None) };
        let refuse = |error| Refusal::new(RefusalClass::InvalidId, format!("{}: {error}", self.path(place)));
        text.parse::<RecordId>().map(|id| Some(Given::Id(id.uuid()))).map_err(refuse)
    }

    fn timestamp(&mut self, place: CellPlace) -> Result<Option<Timestamp>, Refusal> {
        let parsed = match self.take(place) {
            Cell::Instant(micros) => Timestamp::from_micros(micros),
            other => match self.text_of(place, other)? {
                None => return Ok(None),
                Some(text) => text.parse(),
            },
        };
        let class = |error| match error {
            InvalidTimestamp::Malformed => RefusalClass::InvalidField,
            InvalidTimestamp::OutOfRange => RefusalClass::DateOutOfRange,
        };
        let refuse = |error| Refusal::new(class(error), format!("{}: {error}", self.path(place)));
        parsed.map(Some).map_err(refuse)
    }

    fn integer(&mut self, place: CellPlace) -> Result<Option<i64>, Refusal> {
        match self.take(place) {
            Cell::Absent | Cell::Scalar(Scalar::Null) => Ok(None),
            Cell::Integer(integer) => Ok(Some(integer)),
            Cell::Scalar(Scalar::Number(number)) => match integer_of(&number) {
                Some(integer) => Ok(Some(integer)),
                None => Err(self.invalid(place, "an integer of 64 bits")),
            },
            _ => Err(self.invalid(place, "an integer")),
        }
    }

    /// Seconds; 0 if there are none, as the table's default.
    fn seconds(&mut self, place: CellPlace) -> Result<f64, Refusal> {
        match self.take(place) {
            Cell::Absent | Cell::Scalar(Scalar::Null) => Ok(0.0),
            Cell::Float(seconds) if seconds.is_finite() => Ok(seconds),
            Cell::Float(_) => {
                self.cleaned.nan += 1;
                Ok(0.0)
            }
            Cell::Integer(seconds) => Ok(seconds as f64),
            Cell::Scalar(Scalar::Number(number)) => match number.parse::<f64>() {
                Ok(seconds) if seconds.is_finite() => Ok(seconds),
                _ => Err(self.invalid(place, "a finite number")),
            },
            _ => Err(self.invalid(place, "a number")),
        }
    }

    fn payload(&mut self, place: CellPlace) -> Result<Option<JsonText>, Refusal> {
        match self.take(place) {
            Cell::Absent | Cell::Scalar(Scalar::Null) => Ok(None),
            Cell::Payload(text) => Ok(text),
            _ => Err(self.invalid(place, "an object")),
        }
    }
}

/// Returns an integer as JSON writes it: digits, or a float without a fraction.
fn integer_of(number: &str) -> Option<i64> {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if let Ok(integer) = number.parse() {
        return Some(integer);
    }
    let float: f64 = number.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "the range and the fraction are checked")]
    (float.fract() == 0.0 && (-END..END).contains(&float)).then_some(float as i64)
}
