//! Reading a `_source`: any members in any order, those that no document has passed over.

use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::{AsText, TruncationRow, truncations};
use crate::domain::schema::{Column, Given, Type, columns};
use crate::domain::{Document, JsonText, Kind, NodeExecution, Origin, Record, RecordId, Revision, Timestamp};

/// What was read.
pub(super) struct SourceFields {
    pub document: Document,
    /// As [`NodeExecution::ENCLOSING`].
    pub enclosing: [Option<Box<str>>; NodeExecution::ENCLOSING.len()],
}

impl SourceFields {
    /// Reads a document of a kind; payloads may be left out.
    pub fn of<'de, D: Deserializer<'de>>(kind: Kind, deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfKind(kind))
    }
}

/// A member of a `_source`.
enum Member {
    /// With its place among the kind's columns.
    Column(usize, &'static Column),
    Enclosing(usize),
    Revision,
    GraphHash,
    Truncated,
    Origin,
    Extra,
    Other,
}

#[derive(Clone, Copy)]
struct OfKind(Kind);

impl<'de> Visitor<'de> for OfKind {
    type Value = SourceFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the document of a {}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SourceFields, A::Error> {
        let record = Record::blank(self.0);
        let revision = Revision::from_stored(0);
        let document = Document { record, revision, graph: None, truncated: Vec::new(), origin: None, extra: None };
        let mut source = SourceFields { document, enclosing: Default::default() };
        let (mut seen, mut has_revision) = (0_u64, false);
        while let Some(member) = map.next_key_seed(self)? {
            let document = &mut source.document;
            match member {
                Member::Column(place, column) => {
                    let given = map.next_value_seed(OfType(column.r#type))?;
                    // What is null and must not be counts as missing.
                    if column.set(&mut document.record, given) {
                        seen |= 1 << place;
                    }
                }
                Member::Enclosing(place) => {
                    let text = map.next_value()?;
                    if let Some(slot) = source.enclosing.get_mut(place) {
                        *slot = text;
                    }
                }
                Member::Revision => {
                    document.revision = Revision::from_stored(map.next_value()?);
                    has_revision = true;
                }
                Member::GraphHash => document.graph = map.next_value::<Option<AsText<_>>>()?.map(|hash| hash.0),
                Member::Truncated => {
                    let rows: Vec<TruncationRow<'_>> = map.next_value()?;
                    document.truncated = truncations(rows)?;
                }
                Member::Origin => {
                    let migration = map.next_value::<Option<AsText<Uuid>>>()?;
                    document.origin = migration.map(|migration| Origin::new(migration.0));
                }
                Member::Extra => document.extra = map.next_value::<Option<Box<str>>>()?.map(JsonText::from_clean),
                Member::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let is_missing = |(place, column): &(usize, &Column)| !column.is_nullable && seen & 1 << place == 0;
        match columns(self.0).iter().enumerate().find(is_missing) {
            Some((_, column)) => Err(A::Error::missing_field(column.name)),
            None if !has_revision => Err(A::Error::missing_field("revision")),
            None => {
                source.document.learn_newer_columns();
                Ok(source)
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for OfKind {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_identifier(Name(self.0))
    }
}

/// The name of a member.
struct Name(Kind);

impl Visitor<'_> for Name {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Member, E> {
        if let Some((place, column)) = columns(self.0).iter().enumerate().find(|(_, column)| column.name == name) {
            return Ok(Member::Column(place, column));
        }
        if let Some(place) = NodeExecution::ENCLOSING.iter().position(|enclosing| *enclosing == name) {
            return Ok(Member::Enclosing(place));
        }
        Ok(match name {
            "revision" => Member::Revision,
            "graph_hash" => Member::GraphHash,
            "truncated" => Member::Truncated,
            "origin" => Member::Origin,
            "extra" => Member::Extra,
            _ => Member::Other,
        })
    }
}

/// The value of a column.
struct OfType(Type);

impl<'de> DeserializeSeed<'de> for OfType {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given, D::Error> {
        let given = match self.0 {
            Type::Id => Option::<AsText<RecordId>>::deserialize(deserializer)?.map(|id| Given::Id(id.0.uuid())),
            Type::Varchar(_) | Type::Text => Option::<Box<str>>::deserialize(deserializer)?.map(Given::Text),
            Type::Integer | Type::Count => Option::<i64>::deserialize(deserializer)?.map(Given::Integer),
            Type::Seconds => Option::<f64>::deserialize(deserializer)?.map(Given::Seconds),
            Type::Instant => Option::<AsText<Timestamp>>::deserialize(deserializer)?.map(|at| Given::Instant(at.0)),
            Type::Json => {
                let text = Option::<Box<str>>::deserialize(deserializer)?;
                text.map(|text| Given::Json(JsonText::from_clean(text)))
            }
        };
        Ok(given.unwrap_or(Given::Null))
    }
}
