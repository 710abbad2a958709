//! The columns of each kind, written once. A kind's list stands beside its struct (`run.rs`, `node.rs`, `app_log.rs`,
//! `offload.rs`), in the order of the fields; codecs, both stores, the canonical form, what programs get and the check of
//! `config/event.schema.json` are made of the lists.
//!
//! A column is what is known of it, and two functions that read and write its field, so that the fields stay typed.

use uuid::Uuid;

use super::{AppLog, JsonText, Kind, NodeExecution, Offload, Record, Timestamp, WorkflowRun};

/// One column of one of Dify's log tables.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name in Dify's table, in native events, in both stores and for programs.
    pub name: &'static str,
    pub r#type: Type,
    /// Whether a record may lack its value.
    pub is_nullable: bool,
    pub role: Role,
    /// What Dify's Celery messages call it; `None` where they do not have it.
    pub celery: Option<Celery>,
    /// Whether Dify's table has no such column.
    pub is_ours: bool,
    /// Whether only newer versions of Dify have it: databases, files and indices may lack it. Nullable.
    pub is_newer: bool,
    get: for<'r> fn(RecordRef<'r>) -> Value<'r>,
    set: fn(&mut Record, Given) -> bool,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Id,
    /// A text of at most so many characters.
    Varchar(usize),
    /// A text of any length.
    Text,
    Integer,
    /// An integer that is 0 where nothing is given.
    Count,
    /// Of 64 bits; 0 where nothing is given.
    Seconds,
    Instant,
    /// A payload.
    Json,
}

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Lists show it.
    Summary,
    /// May be large: lists and light documents leave it out.
    Payload,
    /// A payload that is stored once per content; the document holds its hash.
    Graph,
}

/// Where a Celery message has a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Celery {
    /// Among the keyword arguments of the task.
    Argument(&'static str),
    /// In `execution_data`.
    Data(&'static str),
}

/// A value of a column, in its record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'r> {
    Null,
    Id(&'r Uuid),
    Text(&'r str),
    Integer(i64),
    Seconds(f64),
    Instant(Timestamp),
    Json(&'r JsonText),
}

/// A value for a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    Null,
    Id(Uuid),
    Text(Box<str>),
    Integer(i64),
    Seconds(f64),
    Instant(Timestamp),
    Json(JsonText),
}

/// A record of any kind, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum RecordRef<'r> {
    Run(&'r WorkflowRun),
    Node(&'r NodeExecution),
    AppLog(&'r AppLog),
    Offload(&'r Offload),
}

/// Returns the columns of a kind, in the order of its fields; `id` is the first.
#[must_use]
pub const fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::WorkflowRun => WorkflowRun::COLUMNS,
        Kind::NodeExecution => NodeExecution::COLUMNS,
        Kind::AppLog => AppLog::COLUMNS,
        Kind::Offload => Offload::COLUMNS,
    }
}

/// Returns how many columns are [`Column::is_newer`]: the stores' own versions of their schemas grow with each.
#[must_use]
pub const fn newer_columns() -> usize {
    const fn among(mut columns: &[Column]) -> usize {
        let mut newer = 0;
        while let [column, rest @ ..] = columns {
            newer += column.is_newer as usize;
            columns = rest;
        }
        newer
    }
    among(WorkflowRun::COLUMNS) + among(NodeExecution::COLUMNS) + among(AppLog::COLUMNS) + among(Offload::COLUMNS)
}

impl Column {
    pub(super) const fn new(
        name: &'static str,
        r#type: Type,
        get: for<'r> fn(RecordRef<'r>) -> Value<'r>,
        set: fn(&mut Record, Given) -> bool,
    ) -> Self {
        let role = if matches!(r#type, Type::Json | Type::Text) { Role::Payload } else { Role::Summary };
        Self { name, r#type, is_nullable: false, role, celery: None, is_ours: false, is_newer: false, get, set }
    }

    pub(super) const fn nullable(self) -> Self {
        Self { is_nullable: true, ..self }
    }

    pub(super) const fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    pub(super) const fn celery(self, name: &'static str) -> Self {
        Self { celery: Some(Celery::Data(name)), ..self }
    }

    pub(super) const fn argument(self, name: &'static str) -> Self {
        Self { celery: Some(Celery::Argument(name)), ..self }
    }

    pub(super) const fn newer(self) -> Self {
        Self { is_newer: true, ..self.nullable() }
    }

    pub(super) const fn ours(self) -> Self {
        Self { is_ours: true, ..self }
    }

    /// Returns the column's value; `Null` also for a record of another kind.
    #[must_use]
    pub fn get<'r>(&self, record: impl Into<RecordRef<'r>>) -> Value<'r> {
        (self.get)(record.into())
    }

    /// Gives the record a value. Returns whether it took it: not `Null` if the column is not nullable, and nothing of
    /// another type or kind.
    #[must_use]
    pub fn set(&self, record: &mut Record, value: Given) -> bool {
        (self.set)(record, value)
    }

    /// Returns whether 0 stands for what is not given.
    #[must_use]
    pub const fn is_zero_by_default(&self) -> bool {
        matches!(self.r#type, Type::Count | Type::Seconds)
    }
}

impl Value<'_> {
    /// Returns the bytes of a text or payload; 0 for all others.
    #[must_use]
    pub fn text_bytes(self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Json(json) => json.len(),
            _ => 0,
        }
    }
}

impl Given {
    /// Returns the value that a text of PostgreSQL's says; `None` if it is none of the type, or a payload, which only the
    /// codec reads.
    #[must_use]
    pub fn of_sql_text(r#type: Type, text: &str) -> Option<Self> {
        match r#type {
            Type::Id => Uuid::parse_str(text).ok().map(Self::Id),
            Type::Varchar(_) | Type::Text => Some(Self::Text(text.into())),
            Type::Integer | Type::Count => text.parse().ok().map(Self::Integer),
            Type::Seconds => text.parse().ok().map(Self::Seconds),
            Type::Instant => text.parse().ok().map(Self::Instant),
            Type::Json => None,
        }
    }
}

impl<'r> RecordRef<'r> {
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Run(_) => Kind::WorkflowRun,
            Self::Node(_) => Kind::NodeExecution,
            Self::AppLog(_) => Kind::AppLog,
            Self::Offload(_) => Kind::Offload,
        }
    }

    /// Returns each column with its value, in the order of [`columns`].
    pub fn columns(self) -> impl Iterator<Item = (&'static Column, Value<'r>)> {
        columns(self.kind()).iter().map(move |column| (column, column.get(self)))
    }
}

impl<'r> From<&'r Record> for RecordRef<'r> {
    fn from(record: &'r Record) -> Self {
        match record {
            Record::Run(run) => Self::Run(run),
            Record::Node(node) => Self::Node(node),
            Record::AppLog(log) => Self::AppLog(log),
            Record::Offload(offload) => Self::Offload(offload),
        }
    }
}

impl Record {
    /// Returns a record whose columns are yet to be set: empty texts, zeros, no payloads.
    #[must_use]
    pub fn blank(kind: Kind) -> Self {
        match kind {
            Kind::WorkflowRun => Self::Run(Box::default()),
            Kind::NodeExecution => Self::Node(Box::default()),
            Kind::AppLog => Self::AppLog(Box::default()),
            Kind::Offload => Self::Offload(Box::default()),
        }
    }

    /// Returns each column with its value, in the order of [`columns`].
    pub fn columns(&self) -> impl Iterator<Item = (&'static Column, Value<'_>)> {
        RecordRef::from(self).columns()
    }
}

/// A type that a field can have.
pub(super) trait Field: Sized {
    fn value(&self) -> Value<'_>;
    fn of(given: Given) -> Option<Self>;

    /// Returns whether the value was of the field's type.
    fn take(&mut self, given: Given) -> bool {
        Self::of(given).map(|value| *self = value).is_some()
    }
}

impl<T: Field> Field for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, Field::value)
    }

    fn of(given: Given) -> Option<Self> {
        if given == Given::Null { Some(None) } else { T::of(given).map(Some) }
    }
}

/// `field!(type, variant of the values, to a value, from one)`.
macro_rules! field {
    ($type:ty, $variant:ident, |$field:ident| $value:expr, $of:expr) => {
        impl Field for $type {
            fn value(&self) -> Value<'_> {
                let $field = self;
                Value::$variant($value)
            }

            fn of(given: Given) -> Option<Self> {
                let Given::$variant(given) = given else { return None };
                Some($of(given))
            }
        }
    };
}

field!(super::RecordId, Id, |id| id.as_uuid(), Self::new);
field!(super::TenantId, Id, |id| id.as_uuid(), Self::new);
field!(super::AppId, Id, |id| id.as_uuid(), Self::new);
field!(Box<str>, Text, |text| text, std::convert::identity);
field!(super::RunStatus, Text, |status| status.as_str(), |text: Box<str>| Self::from(&*text));
field!(super::NodeStatus, Text, |status| status.as_str(), |text: Box<str>| Self::from(&*text));
field!(i64, Integer, |integer| *integer, std::convert::identity);
field!(f64, Seconds, |seconds| *seconds, std::convert::identity);
field!(Timestamp, Instant, |at| *at, std::convert::identity);
field!(JsonText, Json, |text| text, std::convert::identity);

/// `column!(kind of record, name, field, type)`: the column of that name, kept in that field.
macro_rules! column {
    ($kind:ident, $name:literal, $field:ident, $type:expr) => {
        $crate::domain::schema::Column::new(
            $name,
            $type,
            |record| match record {
                $crate::domain::schema::RecordRef::$kind(record) => {
                    $crate::domain::schema::Field::value(&record.$field)
                }
                _ => $crate::domain::schema::Value::Null,
            },
            |record, given| match record {
                $crate::domain::Record::$kind(record) => $crate::domain::schema::Field::take(&mut record.$field, given),
                _ => false,
            },
        )
    };
}

pub(super) use column;

#[cfg(test)]
pub(crate) mod tests;
