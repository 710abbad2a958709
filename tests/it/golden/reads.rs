//! Single records, the nodes of a run, full payloads.

use difylog::domain::document::PayloadField;
use difylog::domain::{Document, Kind, RecordId};
use difylog::query::columns;
use futures::TryStreamExt as _;
use serde_json::Value;

use crate::golden::Case;
use crate::golden::class::Outcome;
use crate::golden::load::Loaded;

/// The columns of a document.
fn row(document: &Document) -> Value {
    serde_json::from_str(&columns::document(document).unwrap()).unwrap()
}

/// Fails unless every column of Dify's row is the same in ours: payloads as JSON values, instants as instants.
fn same_row(case: &Case, document: &Document, difys: &Value) {
    let ours = row(document);
    for (column, value) in difys.as_object().unwrap() {
        let (ours, column) = match column.as_str() {
            truncated if truncated.ends_with("_truncated") => {
                let field = PayloadField::from_column(truncated.trim_end_matches("_truncated")).unwrap();
                (Value::Bool(document.truncated.iter().any(|mark| mark.field == field)), truncated)
            }
            "workflow_execution_id" => (ours["workflow_run_id"].clone(), "workflow_run_id"),
            "metadata" => (ours["execution_metadata"].clone(), "execution_metadata"),
            other => (ours[other].clone(), other),
        };
        assert!(
            same_value(column, &ours, value),
            "case {} {}: {column}\nours   {ours}\nDify's {value}",
            case.number,
            case.args()
        );
    }
}

fn same_value(column: &str, ours: &Value, difys: &Value) -> bool {
    if ours == difys {
        return true;
    }
    match column {
        "created_at" | "finished_at" => {
            let instant =
                |value: &Value| value.as_str().and_then(|text| text.parse::<difylog::domain::Timestamp>().ok());
            instant(ours) == instant(difys)
        }
        "graph" | "inputs" | "outputs" | "process_data" | "execution_metadata" => match difys {
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(value) => value == *ours,
                // An empty text stays one, and Python's NaN and lone surrogates are cleaned on the way in.
                Err(_) => {
                    text.is_empty() && matches!(ours.as_str(), None | Some(""))
                        || text.contains("NaN")
                        || text.contains("Infinity")
                        || text.contains("\\ud")
                }
            },
            // The domain's objects of Dify take an absent metadata for an empty one.
            Value::Object(map) if map.is_empty() => ours.is_null(),
            _ => false,
        },
        _ => false,
    }
}

fn same_found(case: &Case, found: Option<&Document>) -> Outcome {
    match (found, case.result()) {
        (None, Value::Null) => {}
        (Some(document), difys) if !difys.is_null() => same_row(case, document, difys),
        (found, _) => panic!("case {} {}: ours {:?}", case.number, case.value, found.map(Document::key)),
    }
    Outcome::Equal
}

pub async fn run(loaded: &Loaded, case: &Case) -> Outcome {
    let id: RecordId = case.id("run_id");
    let found = match case.text("tenant_id") {
        Some(tenant) => loaded.service.tenant(tenant.parse().unwrap()).run(Some(case.id("app_id")), id).await.unwrap(),
        None => loaded.service.admin().records(Kind::WorkflowRun, id).await.unwrap().pop(),
    };
    same_found(case, found.as_ref())
}

pub async fn node(loaded: &Loaded, case: &Case) -> Outcome {
    let found = match (case.method(), case.text("tenant_id")) {
        ("get_node_last_execution", Some(tenant)) => {
            let logs = loaded.service.tenant(tenant.parse().unwrap());
            logs.last_node(case.id("app_id"), case.id("workflow_id"), case.text("node_id").unwrap()).await.unwrap()
        }
        (_, Some(tenant)) => {
            loaded.service.tenant(tenant.parse().unwrap()).node(case.id("execution_id")).await.unwrap()
        }
        (_, None) => loaded.service.admin().records(Kind::NodeExecution, case.id("execution_id")).await.unwrap().pop(),
    };
    same_found(case, found.as_ref())
}

pub async fn nodes_of_run(loaded: &Loaded, case: &Case) -> Outcome {
    let run_id: RecordId = case.text("workflow_run_id").or(case.text("run_id")).unwrap().parse().unwrap();
    let admin = loaded.service.admin();
    let tenant_id = match case.text("tenant_id") {
        Some(tenant) => tenant.parse().unwrap(),
        None => admin.records(Kind::WorkflowRun, run_id).await.unwrap().pop().unwrap().tenant_id(),
    };
    let logs = loaded.service.tenant(tenant_id);
    let app_id = case.text("app_id").map(|id| id.parse().unwrap());
    let mut found: Vec<_> = logs.run_nodes(app_id, run_id).try_collect().await.unwrap();
    if case.method() == "core.get_by_workflow_run" {
        // Its callers get domain objects with the full texts, in the order that they name.
        for document in &mut found {
            *document = logs.full(document.clone()).await.unwrap();
        }
        found.sort_by_key(|document| row(document)["index"].as_i64());
        if case.text("order_direction") == Some("desc") {
            found.reverse();
        }
    }
    let difys = case.result().as_array().unwrap();
    case.same(&found.len(), &difys.len());
    if case.value["compare"] == "set" || case.value["ties"] == true {
        let key = |value: &Value| value.as_str().or(value["id"].as_str()).unwrap().to_owned();
        for document in &found {
            let id = document.record.id().to_string();
            let difys = difys.iter().find(|row| key(row) == id).unwrap_or_else(|| panic!("case {}: {id}", case.number));
            if difys.is_object() {
                same_row(case, document, difys);
            }
        }
    } else {
        found.iter().zip(difys).for_each(|(document, difys)| same_row(case, document, difys));
    }
    Outcome::Equal
}

pub async fn full(loaded: &Loaded, case: &Case) -> Outcome {
    let found =
        loaded.service.admin().records(Kind::NodeExecution, case.id("execution_id")).await.unwrap().pop().unwrap();
    let found = loaded.service.tenant(found.tenant_id()).full(found).await.unwrap();
    assert_eq!(found.truncated, vec![]);
    same_row(case, &found, case.result());
    Outcome::Equal
}

pub async fn offloads(loaded: &Loaded, case: &Case) -> Outcome {
    let run_id: RecordId = case.id("run_id");
    let run = loaded.service.admin().records(Kind::WorkflowRun, run_id).await.unwrap().pop().unwrap();
    let logs = loaded.service.tenant(run.tenant_id());
    let nodes: Vec<_> = logs.run_nodes(None, run_id).try_collect().await.unwrap();
    let mut ours = Vec::new();
    for node in &nodes {
        for mark in &node.truncated {
            ours.push((node.record.id().to_string(), mark.field.as_str().to_owned()));
        }
    }
    // The file is Dify's; ours is the full text behind the mark.
    let difys: Vec<_> = case
        .result()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_str().unwrap().to_owned()))
        .collect();
    case.same(&ours, &difys);
    Outcome::Equal
}

pub async fn app_logs_of_run(loaded: &Loaded, case: &Case) -> Outcome {
    let run_id: RecordId = case.id("run_id");
    let mut found = Vec::new();
    for run in loaded.service.admin().records(Kind::WorkflowRun, run_id).await.unwrap() {
        found.extend(loaded.service.tenant(run.tenant_id()).app_logs_of_run(run_id).await.unwrap());
    }
    case.same(&found.len(), &case.result().as_array().unwrap().len());
    Outcome::Equal
}
