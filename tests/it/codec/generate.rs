//! Generated records: any value that a decoder can answer.

use difylog::domain::schema::{Column, Given, Type, columns};
use difylog::domain::{JsonText, Kind, Record, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

fn instant() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MAX.micros()).prop_map(|micros| Timestamp::from_micros(micros).unwrap())
}

/// Any text but U+0000, which a text column cannot hold.
fn text() -> impl Strategy<Value = Box<str>> {
    vec(any::<char>().prop_filter("no NUL", |character| *character != '\0'), 0..20)
        .prop_map(|characters| characters.into_iter().collect::<String>().into())
}

fn seconds() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1e6, any::<f64>().prop_filter("finite", |number| number.is_finite())]
}

/// Any clean JSON value but null, in any spelling of white space.
pub fn payload() -> impl Strategy<Value = JsonText> {
    let leaf = prop_oneof![
        Just("1e-09".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let value = leaf.prop_recursive(4, 24, 6, |value| {
        prop_oneof![
            vec(value.clone(), 0..6).prop_map(|elements| format!("[ {}]", elements.join(","))),
            vec((text(), value), 0..6).prop_map(|members| {
                let member = |(key, value): &(Box<str>, String)| format!("{} : {value}", serde_json::json!(key));
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
            }),
        ]
    });
    value.prop_map(JsonText::from_clean)
}

fn given(column: &Column) -> BoxedStrategy<Given> {
    let value = match column.r#type {
        Type::Id => any::<u128>().prop_map(|bits| Given::Id(Uuid::from_u128(bits))).boxed(),
        Type::Varchar(_) | Type::Text => text().prop_map(Given::Text).boxed(),
        Type::Integer | Type::Count => any::<i64>().prop_map(Given::Integer).boxed(),
        Type::Seconds => seconds().prop_map(Given::Seconds).boxed(),
        Type::Instant => instant().prop_map(Given::Instant).boxed(),
        Type::Json => payload().prop_map(Given::Json).boxed(),
    };
    if column.is_nullable { prop_oneof![Just(Given::Null), value].boxed() } else { value }
}

/// A record of any kind.
pub fn record() -> impl Strategy<Value = Record> {
    let of_kind = |kind: Kind| {
        columns(kind).iter().map(given).collect::<Vec<_>>().prop_map(move |values| {
            let mut record = Record::blank(kind);
            for (column, value) in columns(kind).iter().zip(values) {
                assert!(column.set(&mut record, value), "{}", column.name);
            }
            record
        })
    };
    prop_oneof![of_kind(Kind::WorkflowRun), of_kind(Kind::NodeExecution), of_kind(Kind::AppLog), of_kind(Kind::Offload)]
}
