use super::*;
use crate::domain::{AppId, NodeExecution, NodeStatus, RecordId, TenantId, Timestamp};
use uuid::Uuid;

pub fn node() -> NodeExecution {
    let id = |n| RecordId::new(Uuid::from_u128(n));
    NodeExecution {
        id: id(1),
        tenant_id: TenantId::new(Uuid::from_u128(2)),
        app_id: AppId::new(Uuid::from_u128(3)),
        workflow_id: id(4),
        triggered_from: "workflow-run".into(),
        workflow_run_id: Some(id(5)),
        index: 1,
        node_execution_id: Some("1".into()),
        node_id: "start".into(),
        node_type: "start".into(),
        title: "開始".into(),
        inputs: Some(JsonText::from_clean("{\"a\":1,\"b\":\"é\"}")),
        status: NodeStatus::Succeeded,
        elapsed_time: 0.25,
        created_at: Timestamp::from_micros(1_700_000_000_000_001).unwrap(),
        created_by_role: "account".into(),
        created_by: id(6),
        finished_at: Some(Timestamp::from_micros(1_700_000_000_250_001).unwrap()),
        ..NodeExecution::default()
    }
}

fn hash(node: &NodeExecution) -> [u8; 32] {
    Hasher::default().hash(&Record::Node(Box::new(node.clone())), &Extra::default(), None)
}

#[test]
fn spellings_do_not_count() {
    let mut other = node();
    other.inputs = Some(JsonText::from_clean("{\"b\": \"\\u00e9\", \"a\": 1.0}"));
    other.outputs = Some(JsonText::from_clean("{ }"));
    other.execution_metadata = Some(JsonText::from_clean("{}"));
    other.process_data = Some(JsonText::from_clean("null"));
    other.error = Some("".into());
    other.elapsed_time = 0.250_000_000_1;
    assert_eq!(hash(&node()), hash(&other));
}

#[test]
fn every_column_counts() {
    let changes: [fn(&mut NodeExecution); 13] = [
        |node| node.id = RecordId::new(Uuid::from_u128(9)),
        |node| node.workflow_run_id = None,
        |node| node.index = 2,
        |node| node.predecessor_node_id = Some("".into()),
        |node| node.title = "开始".into(),
        |node| node.inputs = Some(JsonText::from_clean("{\"a\":1,\"b\":\"e\"}")),
        |node| node.outputs = Some(JsonText::from_clean("{\"a\":{}}")),
        |node| node.outputs = Some(JsonText::from_clean("[]")),
        |node| node.status = NodeStatus::Failed,
        |node| node.error = Some(" ".into()),
        |node| node.elapsed_time = 0.250_01,
        |node| node.created_at = Timestamp::from_micros(node.created_at.micros() + 1).unwrap(),
        |node| node.finished_at = None,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut other = node();
        change(&mut other);
        assert_ne!(hash(&node()), hash(&other), "change {number}");
    }
}

#[test]
fn the_seconds_of_what_has_not_ended_do_not_count() {
    let (mut one, mut other) = (node(), node());
    one.finished_at = None;
    other.finished_at = None;
    other.elapsed_time = 77.0;
    assert_eq!(hash(&one), hash(&other));
}

#[test]
fn what_stands_beside_a_record_counts_as_far_as_its_value_goes() {
    let record = Record::Node(Box::new(node()));
    let hash = |extra: &Extra| Hasher::default().hash(&record, extra, None);
    let texts = |text: &str| crate::domain::extra::ColumnTexts::from([("inputs".into(), Some(text.into()))]);
    let plain = hash(&Extra::default());
    assert_ne!(plain, hash(&Extra { columns: texts("a"), ..Extra::default() }));
    assert_ne!(plain, hash(&Extra { changed: texts("{\"a\": NaN}"), ..Extra::default() }));
    assert_eq!(plain, hash(&Extra { spelled: texts(" {}"), verbatim: ["outputs".into()].into(), ..Extra::default() }));
}

/// Reports and manifests of backups hold sums that were made when the column was unknown.
#[test]
fn a_column_of_newer_versions_counts_as_the_unknown_one_that_it_was() {
    let mut seen = 0;
    for kind in crate::domain::Kind::ALL {
        for column in crate::domain::schema::columns(kind).iter().filter(|column| column.is_newer) {
            let (text, given) = crate::domain::schema::tests::example(column);
            let mut unknown = Extra::default();
            unknown.columns.insert("a".into(), Some("1".into()));
            unknown.columns.insert("zz".into(), None);
            let (blank, mut record, known) = (Record::blank(kind), Record::blank(kind), unknown.clone());
            unknown.columns.insert(column.name.into(), Some(text.into()));
            assert!(column.set(&mut record, given));
            let hash = |record, extra| Hasher::default().hash(record, extra, None);
            assert_eq!(hash(&record, &known), hash(&blank, &unknown), "{}", column.name);
            assert_ne!(hash(&record, &known), hash(&blank, &known), "{}", column.name);
            seen += 1;
        }
    }
    assert_eq!(seen, crate::domain::schema::newer_columns());
}
