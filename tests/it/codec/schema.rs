//! `config/event.schema.json` and the parser agree: what one accepts the other accepts, what one refuses for its shape
//! the other refuses.

use std::path::Path;
use std::sync::LazyLock;

use difylog::codec::{DecodeLimits, decode, encode_native};
use difylog::domain::schema::{Column, Type, columns};
use difylog::domain::{Kind, RefusalClass};
use proptest::prelude::*;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::DFA;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use serde_json::Value;

use crate::codec::generate;
use crate::codec::native;
use crate::codec::refusals;

/// A walk over the keywords that the schema uses; any other keyword fails the test, so none is ignored by accident.
struct Schema(Value);

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::load);

impl Schema {
    fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/event.schema.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    fn accepts(&self, value: &Value) -> bool {
        self.valid(&self.0, value)
    }

    fn valid(&self, schema: &Value, value: &Value) -> bool {
        schema.as_object().unwrap().iter().all(|(keyword, wanted)| self.keyword(keyword, wanted, value))
    }

    fn keyword(&self, keyword: &str, wanted: &Value, value: &Value) -> bool {
        let count_valid = || wanted.as_array().unwrap().iter().filter(|schema| self.valid(schema, value)).count();
        match keyword {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "$ref" => self.valid(self.0.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap(), value),
            "anyOf" => count_valid() > 0,
            "oneOf" => count_valid() == 1,
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "type" => match wanted {
                Value::String(name) => has_type(name, value),
                names => names.as_array().unwrap().iter().any(|name| has_type(name.as_str().unwrap(), value)),
            },
            "required" => value.as_object().is_none_or(|object| {
                wanted.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|object| {
                let properties = wanted.as_object().unwrap();
                properties.iter().all(|(name, schema)| object.get(name).is_none_or(|value| self.valid(schema, value)))
            }),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| self.valid(wanted, item))),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= wanted.as_u64().unwrap()),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| matches(wanted.as_str().unwrap(), text)),
            other => panic!("the schema uses {other}, which this test does not know"),
        }
    }
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("the schema uses the type {other}, which this test does not know"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let config = syntax::Config::new().unicode(false).utf8(false);
    let dfa = DFA::builder().syntax(config).build(pattern).unwrap();
    let input = Input::new(text).anchored(Anchored::Yes);
    dfa.try_search_fwd(&input).unwrap().is_some_and(|found| found.offset() == text.len())
}

#[test]
fn what_the_parser_refuses_the_schema_refuses() {
    for (body, class, detail, by_schema) in refusals::native_cases() {
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(SCHEMA.accepts(&event), !by_schema, "{class}: {detail}");
        assert!(by_schema || matches!(class, RefusalClass::DateOutOfRange | RefusalClass::InvalidField));
    }
    let many = |count| Value::Array(vec![serde_json::from_str(&native::run_event("")).unwrap(); count]);
    assert!(SCHEMA.accepts(&many(2)) && SCHEMA.accepts(&many(0)) && !SCHEMA.accepts(&many(10_001)));
}

/// What the schema says of a column's values.
fn declared(column: &Column) -> Value {
    let name = match column.r#type {
        Type::Varchar(longest) if longest != 255 => {
            return serde_json::json!({ "type": "string", "maxLength": longest });
        }
        Type::Id => "uuid",
        Type::Varchar(_) => "varchar",
        Type::Text => "text",
        Type::Instant => "timestamp",
        Type::Integer => "integer",
        Type::Count => "count",
        Type::Seconds => "seconds",
        Type::Json => "payload",
    };
    let optional = if column.is_nullable && column.r#type != Type::Json { "optional_" } else { "" };
    serde_json::json!({ "$ref": format!("#/$defs/{optional}{name}") })
}

#[test]
fn the_schema_lists_the_columns_of_each_kind() {
    for kind in Kind::ALL {
        let of_kind = SCHEMA.0.pointer(&format!("/$defs/{kind}")).unwrap();
        assert_eq!(of_kind["properties"].as_object().unwrap().len(), columns(kind).len(), "{kind}");
        for column in columns(kind) {
            let mut property = of_kind["properties"][column.name].clone();
            assert!(property.is_object(), "{kind}.{} is not in config/event.schema.json", column.name);
            property.as_object_mut().unwrap().remove("description");
            assert_eq!(property, declared(column), "{kind}.{}", column.name);
            let is_required = !column.is_nullable && !column.is_zero_by_default();
            let required = of_kind["required"].as_array().unwrap();
            assert_eq!(required.iter().any(|name| *name == column.name), is_required, "{kind}.{}", column.name);
        }
    }
}

#[test]
fn every_spelling_of_an_instant_is_in_the_schema() {
    for instant in [
        "2026-11-23T15:28:34",
        "2026-11-23 15:28:34.729072",
        "2026-11-23T15:28:34.729072Z",
        "2026-11-23T17:28:34.729072+02:00",
        "2026-11-23 15:28:34.729072+00",
    ] {
        let body = native::run_event(&format!(r#", "finished_at": "{instant}""#));
        assert!(SCHEMA.accepts(&serde_json::from_str(&body).unwrap()), "{instant}");
        assert!(decode(&native::message(body), DecodeLimits::default()).is_ok(), "{instant}");
    }
}

proptest! {
    #[test]
    fn what_the_parser_writes_and_reads_the_schema_accepts(record in generate::record()) {
        let event: Value = serde_json::from_slice(&encode_native(&record)).unwrap();
        prop_assert!(SCHEMA.accepts(&event));
    }
}
