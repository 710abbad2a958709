//! Lists, counts and batches of runs.

use difylog::domain::query::{Cursor, Direction, TimeRange};
use difylog::domain::{Document, RecordId};
use difylog::query::{After, LogService, NodeQuery, QueryError, RunBatch, RunList, RunQuery};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::golden::Case;
use crate::golden::class::{Class, Outcome};
use crate::golden::load::Loaded;

fn texts(value: &Value) -> Vec<Box<str>> {
    match value {
        Value::String(text) => vec![text.as_str().into()],
        Value::Array(values) => values.iter().map(|value| value.as_str().unwrap().into()).collect(),
        _ => Vec::new(),
    }
}

fn list(case: &Case) -> RunList {
    RunList {
        app_id: case.id("app_id"),
        triggered_from: texts(&case.args()["triggered_from"]),
        status: case.text("status").map(Into::into),
        after: case.text("last_id").map_or(After::Start, |id| After::LastId(id.parse().unwrap())),
        limit: case.args()["limit"].as_u64().map_or(20, |limit| usize::try_from(limit).unwrap()),
    }
}

/// Ids, timestamps and whether there is more.
async fn ask(service: &LogService, case: &Case) -> Result<(Vec<String>, Vec<String>, bool), QueryError> {
    let page = service.tenant(case.id("tenant_id")).run_page(&list(case)).await?;
    let ids = page.runs.iter().map(|run| run.id.to_string()).collect();
    let times = page.runs.iter().map(|run| run.created_at.to_string()).collect();
    Ok((ids, times, page.has_more))
}

pub async fn page(loaded: &Loaded, case: &Case) -> Outcome {
    let answer = ask(&loaded.service, case).await;
    if let Some(message) = case.error() {
        case.same(&answer.unwrap_err().to_string().as_str(), &message);
        return Outcome::Equal;
    }
    let (ids, times, has_more) = answer.unwrap();
    let difys: Vec<_> =
        case.result()["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    if ids == difys && Some(has_more) == case.result()["has_more"].as_bool() {
        return Outcome::Equal;
    }
    // Only rows of one timestamp may differ, and then the order is the obvious one.
    assert!(case.is_of_1_10(), "case {} {}", case.number, case.args());
    case.same(&(ids, times.clone(), has_more), &ask(&loaded.obvious, case).await.unwrap());
    if !case.value["chain"].as_str().unwrap_or_default().starts_with("ties/") {
        let logs = loaded.service.tenant(case.id("tenant_id"));
        let mut of_difys = Vec::new();
        for id in &difys {
            let run = logs.run(None, id.parse().unwrap()).await.unwrap().unwrap();
            of_difys.push(run.record.created_at().to_string());
        }
        case.same(&times, &of_difys);
    }
    Outcome::Class(Class::Ties)
}

pub async fn counts(loaded: &Loaded, case: &Case) -> Outcome {
    let logs = loaded.service.tenant(case.id("tenant_id"));
    let status = case.text("status").map(Into::into);
    let triggered_from = texts(&case.args()["triggered_from"]);
    let counts = logs.run_counts(case.id("app_id"), triggered_from, status, case.text("time_range")).await.unwrap();
    let ours = json!({
        "total": counts.total, "running": counts.running, "succeeded": counts.succeeded, "failed": counts.failed,
        "stopped": counts.stopped, "partial-succeeded": counts.partial_succeeded,
    });
    case.same(&ours, case.result());
    Outcome::Equal
}

pub async fn batch(loaded: &Loaded, case: &Case) -> Outcome {
    let args = case.args();
    let types = args.get("run_types").filter(|types| !types.is_null()).map(texts);
    let last_seen = args["last_seen"].as_array().map(|seen| Cursor {
        created_at: seen[0].as_str().unwrap().parse().unwrap(),
        id: seen[1].as_str().unwrap().parse().unwrap(),
    });
    let batch = RunBatch {
        created: TimeRange { from: case.instant("start_from"), until: case.instant("end_before") },
        last_seen,
        limit: usize::try_from(args["batch_size"].as_u64().unwrap()).unwrap(),
        types,
        tenants: texts(&args["tenant_ids"]).iter().map(|id| id.parse().unwrap()).collect(),
        ..RunBatch::default()
    };
    let found = loaded.service.admin().run_batch(&batch).await.unwrap();
    let ours: Vec<_> = found.iter().map(|document| (document.record.created_at(), document.record.id())).collect();
    let difys: Vec<_> = case
        .result()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[0].as_str().unwrap().parse().unwrap(), row[1].as_str().unwrap().parse::<RecordId>().unwrap()))
        .collect();
    case.same(&ours, &difys);

    Outcome::Equal
}

pub async fn expired(loaded: &Loaded, case: &Case) -> Outcome {
    let logs = loaded.service.tenant(case.id("tenant_id"));
    let before = case.instant("before_date").unwrap();
    let limit = usize::try_from(case.args()["batch_size"].as_u64().unwrap()).unwrap();
    let created = TimeRange { from: None, until: Some(before) };
    let id = |document: Result<Document, QueryError>| document.unwrap().record.id().to_string();
    let mut ours: Vec<String> = if case.method() == "get_expired_runs_batch" {
        let query = RunQuery { created, ..RunQuery::default() };
        logs.export(&query, Direction::Ascending).take(limit).map(id).collect().await
    } else {
        let query = NodeQuery { created, ..NodeQuery::default() };
        logs.export(&query, Direction::Ascending).take(limit).map(id).collect().await
    };
    match case.result() {
        Value::Array(difys) => {
            let mut difys: Vec<String> = difys.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
            ours.sort_unstable();
            difys.sort_unstable();
            case.same(&ours, &difys);
        }
        length => case.same(&json!(ours.len()), length),
    }
    Outcome::Equal
}
