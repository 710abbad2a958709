//! What is written is read, column by column.

use std::sync::Arc;

use difylog::domain::document::PayloadField;
use difylog::domain::query::{Content, MonthCount, Scan};
use difylog::domain::record::RecordKey;
use difylog::domain::{
    BulkAction, Document, JsonText, Kind, NodeStatus, Record, RunStatus, Timestamp, Truncation, Verdict,
};

use crate::contract::subject::Subject;
use crate::support::nodes::nodes_of_run;
use crate::support::records::{self, app, app_log, at, id, json, later, node, offload, run, sha256, tenant};

const NOW: &str = "2026-11-23T15:28:34.729072";

pub async fn every_kind_with_every_column(subject: &Subject) {
    let (tenant, app, start) = (tenant(), app(), at(NOW));
    let mut run = records::ended(run(tenant, app, start), 12_345_678);
    run.error = Some("boom".into());
    run.total_steps = 7;
    run.exceptions_count = 2;
    let mut node = node(tenant, app, run.id, 3, later(start, 1));
    node.predecessor_node_id = Some("1733478262178".into());
    node.inputs = json(r#"{"b": 1, "a": [1, 2.50, 1e-09]}"#);
    node.process_data = json(r#"{"usage":{"total_price":"0.01"}}"#);
    node.outputs = json(r#"{"text": "你好，世界 🦀"}"#);
    node.execution_metadata = json(r#"{"total_tokens": 12, "iteration_id": null}"#);
    node.error = Some("timed out".into());
    node.status = NodeStatus::Exception;
    node.elapsed_time = 0.123_456_789;
    node.finished_at = Some(later(start, 999));
    subject.round_trip(Record::AppLog(Box::new(app_log(tenant, app, run.id, at("2026-11-23T15:28:34"))))).await;
    subject.round_trip(Record::Offload(Box::new(offload(tenant, app, Some(node.id), start)))).await;
    subject.round_trip(Record::Node(Box::new(node))).await;
    subject.round_trip(Record::Run(Box::new(run))).await;
}

pub async fn nulls_and_empty_texts(subject: &Subject) {
    let (tenant, app, start) = (tenant(), app(), at(NOW));
    let mut bare_run = run(tenant, app, start);
    bare_run.graph = None;
    bare_run.inputs = None;
    bare_run.version = "".into();
    bare_run.error = Some("".into());
    let mut bare_node = node(tenant, app, bare_run.id, 1, start);
    bare_node.workflow_run_id = None;
    bare_node.node_execution_id = None;
    bare_node.title = "".into();
    bare_node.predecessor_node_id = Some("".into());
    bare_node.inputs = json("{}");
    subject.round_trip(Record::Run(Box::new(bare_run))).await;
    subject.round_trip(Record::Node(Box::new(bare_node))).await;
    subject.round_trip(Record::Offload(Box::new(offload(tenant, app, None, start)))).await;
}

pub async fn extremes(subject: &Subject) {
    let (tenant, app) = (tenant(), app());
    let mut large = run(tenant, app, at("2026-11-30T23:59:59.999999"));
    large.status = RunStatus::from("a-status-of-a-newer-version");
    large.total_tokens = i64::MAX;
    large.total_steps = 9_007_199_254_740_993;
    large.elapsed_time = 1e-9;
    large.finished_at = Some(Timestamp::MAX);
    large.inputs = json(&format!(r#"{{"a": "{}", "big": 123456789012345678901234567890}}"#, "漢字🦀é".repeat(100_000)));
    large.outputs = json(r#"{"nul": "\u0000", "quote": "\"", "deep": [[[[[[[[]]]]]]]]}"#);
    subject.round_trip(Record::Run(Box::new(large))).await;

    let mut small = run(tenant, app, at("2026-11-01T00:00:00"));
    small.total_tokens = 3_000_000_000;
    small.exceptions_count = -1;
    subject.round_trip(Record::Run(Box::new(small))).await;

    let mut odd = node(tenant, app, id(), 2_147_483_648, at("2026-11-01T00:00:00.000001"));
    odd.status = NodeStatus::from("另一个");
    odd.node_type = "some-plugin/tool@1".into();
    odd.node_execution_id = Some("not a uuid".into());
    odd.title = "标题 🦀 Ünïcödé".into();
    odd.process_data = json(&format!(r#""{}""#, "x".repeat(1 << 20)));
    subject.round_trip(Record::Node(Box::new(odd))).await;
}

pub async fn hostile_texts_are_data(subject: &Subject) {
    let tenant = tenant();
    for text in [
        "'; DROP TABLE workflow_runs; --",
        "\"},{\"index\":{\"_index\":\"x\"}}\n{",
        "%_\\*?",
        "a\u{0}b",
        "\r\n\t\u{1b}[31m",
    ] {
        let mut node = node(tenant, app(), id(), 1, at(NOW));
        node.title = text.into();
        node.node_id = text.into();
        node.error = Some(text.into());
        node.inputs = Some(JsonText::from_clean(serde_json::json!({ text: text }).to_string()));
        subject.round_trip(Record::Node(Box::new(node))).await;
    }
}

pub async fn truncation_marks(subject: &Subject) {
    let mark = |field, original_bytes| Truncation { field, original_bytes, sha256: sha256("the full text") };
    let start = run(tenant(), app(), at(NOW));
    let truncated_node = node(start.tenant_id, start.app_id, start.id, 1, at(NOW));
    let (tenant, app) = (start.tenant_id, start.app_id);
    let beside = || vec![mark(PayloadField::Extra, 1 << 20)];
    for (record, marks) in [
        (Record::AppLog(Box::new(app_log(tenant, app, start.id, at(NOW)))), beside()),
        (Record::Offload(Box::new(offload(tenant, app, Some(truncated_node.id), at(NOW)))), beside()),
        (Record::Run(Box::new(start)), vec![mark(PayloadField::Inputs, 5_242_880), mark(PayloadField::Graph, 1 << 40)]),
        (Record::Node(Box::new(truncated_node)), vec![mark(PayloadField::ProcessData, 1)]),
    ] {
        let (document, graph) = records::split(record.clone());
        let document = Document { truncated: marks.clone(), ..document };
        let graph = graph.map(|graph| BulkAction::Graph(Arc::new(graph)));
        let actions: Vec<_> = graph.into_iter().chain([BulkAction::Document(Arc::new(document))]).collect();
        assert!(subject.apply(&actions).await.iter().all(|verdict| *verdict == Verdict::Stored));
        subject.refresh().await;
        assert_eq!(subject.read(record.key()).await.unwrap().truncated, marks);
        let named = subject.store.texts_of(tenant, record.kind(), &[record.id()]).await.unwrap();
        assert_eq!(named, [(at(NOW).month(), sha256("the full text"))], "{}", record.kind());
    }
}

/// Every kind carries it; light reads leave it out, and a later snapshot takes its place.
pub async fn what_a_row_has_beside_its_record(subject: &Subject) {
    let run = run(tenant(), app(), at(NOW));
    let (tenant, app) = (run.tenant_id, run.app_id);
    let node = node(tenant, app, run.id, 1, at(NOW));
    let records = [
        Record::Offload(Box::new(offload(tenant, app, Some(node.id), at(NOW)))),
        Record::AppLog(Box::new(app_log(tenant, app, run.id, at(NOW)))),
        Record::Node(Box::new(node)),
        Record::Run(Box::new(run)),
    ];
    for record in records {
        for text in [
            r#"{"columns":{"note":"kept 'by' \"hand\" 🦀"}}"#,
            &format!(r#"{{"columns":{{"a":"{}"}}}}"#, "x".repeat(9_000)),
        ] {
            let (document, _) = records::split(record.clone());
            let document = Document { extra: json(text), ..document };
            subject.apply(&[BulkAction::Document(Arc::new(document))]).await;
            subject.refresh().await;
            assert_eq!(subject.read(record.key()).await.unwrap().extra, json(text));
            let scan = Scan { tenants: vec![tenant], ..Scan::all(record.kind(), 10) };
            let light = Scan { content: Content::Light, ..scan.clone() };
            let found =
                |documents: Vec<Document>| documents.into_iter().map(|document| document.extra).collect::<Vec<_>>();
            assert_eq!(found(subject.store.scan(&scan).await.unwrap()), [json(text)]);
            assert_eq!(found(subject.store.scan(&light).await.unwrap()), [None]);
        }
        subject.round_trip(record).await;
    }
}

pub async fn a_graph_is_stored_once_and_put_back(subject: &Subject) {
    let (tenant, app, month) = (tenant(), app(), at("2017-08-01T10:00:00"));
    let graph = json(&format!(r#"{{"nodes": [{}0], "edges": [], "name": "图"}}"#, "1, ".repeat(20_000)));
    let runs: Vec<Record> = (0..5)
        .map(|number| {
            let mut run = run(tenant, app, later(month, number));
            run.graph.clone_from(&graph);
            Record::Run(Box::new(run))
        })
        .collect();
    let before = graphs_of(&subject.store.counts().await.unwrap(), month);
    subject.store(runs.clone()).await;
    subject.refresh().await;
    for run in &runs {
        assert_eq!(subject.read(run.key()).await, Some(records::whole(run.clone())));
    }
    let after = graphs_of(&subject.store.counts().await.unwrap(), month);
    assert_eq!(after - before, 1);
}

fn graphs_of(counts: &[MonthCount], month: Timestamp) -> u64 {
    counts.iter().find(|count| count.month == month.month() && count.kind == "graph").map_or(0, |count| count.documents)
}

pub async fn unknown_ids_are_none(subject: &Subject) {
    let known = run(tenant(), app(), at(NOW));
    let key = Record::Run(Box::new(known.clone())).key();
    subject.store([Record::Run(Box::new(known))]).await;
    subject.refresh().await;
    assert!(subject.read(key).await.is_some());
    for unknown in [
        RecordKey { id: id(), ..key },
        RecordKey { tenant_id: tenant(), ..key },
        RecordKey { kind: Kind::NodeExecution, ..key },
    ] {
        assert_eq!(subject.read(unknown).await, None);
    }
    assert_eq!(nodes_of_run(&*subject.store, key.tenant_id, id()).await, Ok(Vec::new()));
}
