use super::*;

/// Returns a value of the column's type that differs from a blank record's, as PostgreSQL writes it and as a record
/// takes it.
pub(crate) fn example(column: &Column) -> (&'static str, Given) {
    match column.r#type {
        Type::Id => (
            "669dd85a-0949-4cda-99c9-4984b192aea0",
            Given::Id(Uuid::from_u128(0x669d_d85a_0949_4cda_99c9_4984_b192_aea0)),
        ),
        Type::Varchar(_) | Type::Text => ("你好", Given::Text("你好".into())),
        Type::Integer | Type::Count => ("7", Given::Integer(7)),
        Type::Seconds => ("1.5", Given::Seconds(1.5)),
        Type::Instant => {
            let at = "2026-11-23T15:28:34.72Z".parse().unwrap();
            ("2026-11-23 15:28:34.72", Given::Instant(at))
        }
        Type::Json => ("[7]", Given::Json(JsonText::from_clean("[7]"))),
    }
}

fn given(column: &Column) -> Given {
    example(column).1
}

#[test]
fn what_newer_versions_brought_may_be_missing_and_is_read_from_the_text_that_it_was() {
    assert_eq!(Kind::ALL.into_iter().flat_map(columns).filter(|column| column.is_newer).count(), newer_columns());
    for column in Kind::ALL.into_iter().flat_map(columns).filter(|column| column.is_newer) {
        assert!(column.is_nullable, "{}", column.name);
        let (text, given) = example(column);
        let read = Given::of_sql_text(column.r#type, text);
        assert!(read == Some(given) || column.r#type == Type::Json, "{}", column.name);
    }
}

#[test]
fn each_column_is_a_field_of_its_own_with_its_type_and_takes_null_only_where_it_says_so() {
    for kind in Kind::ALL {
        let blank = Record::blank(kind);
        assert_eq!(columns(kind)[0].name, "id");
        for column in columns(kind) {
            let mut record = blank.clone();
            assert!(column.set(&mut record, given(column)), "{kind}.{}", column.name);
            let changed = record.columns().zip(blank.columns()).filter(|((_, new), (_, old))| new != old);
            let changed: Vec<_> = changed.map(|((column, _), _)| column.name).collect();
            assert_eq!(changed, [column.name], "{kind}");
            assert_eq!(column.set(&mut record, Given::Null), column.is_nullable, "{kind}.{}", column.name);
            assert!(column.is_nullable || column.role == Role::Summary, "{kind}.{}", column.name);
            let other = if column.r#type == Type::Id { Given::Integer(1) } else { Given::Id(Uuid::nil()) };
            assert!(!column.set(&mut record, other), "{kind}.{}", column.name);
        }
    }
}

#[test]
fn every_field_of_a_record_is_a_column() {
    for kind in Kind::ALL {
        let mut record = Record::blank(kind);
        for column in columns(kind) {
            assert!(column.set(&mut record, given(column)));
        }
        // As `Debug` of the struct lists its fields.
        let shown = format!("{record:#?}");
        let fields =
            shown.lines().filter(|line| line.starts_with("        ") && line.as_bytes()[8].is_ascii_lowercase());
        let fields: Vec<_> = fields.filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name).collect();
        assert_eq!(fields, columns(kind).iter().map(|column| column.name).collect::<Vec<_>>(), "{shown}");
    }
}

#[test]
fn what_a_name_holds_is_the_same_kind_of_value_in_all_tables() {
    for (kind, other) in Kind::ALL.into_iter().flat_map(|kind| Kind::ALL.map(|other| (kind, other))) {
        for column in columns(kind) {
            let namesakes = columns(other).iter().filter(|namesake| namesake.name == column.name);
            for namesake in namesakes {
                assert_eq!(namesake.r#type == Type::Json, column.r#type == Type::Json, "{}", column.name);
            }
        }
    }
}
