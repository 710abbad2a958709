//! Input that is wrong, hostile, or too much; a store that is down.

use std::sync::atomic::Ordering;

use difylog::codec::truncate::Limits;
use difylog::domain::{Kind, Record};
use difylog::http::api::ServeSettings;

use crate::api::harness::{Server, TENANT_KEY};
use crate::support::records;
use crate::support::site::eventually;

#[tokio::test]
async fn a_wrong_parameter_is_named_with_what_it_may_be() {
    let server = Server::new();
    let app = records::app();
    for (path, detail) in [
        (format!("/apps/{app}/workflow-runs?limit=0"), "limit: expected 1 to 100"),
        (format!("/apps/{app}/workflow-runs?limit=ten"), "limit: invalid digit found in string"),
        (format!("/apps/{app}/workflow-runs?last_id=.."), "last_id: expected a uuid"),
        (format!("/apps/{app}/workflow-runs?last_id={}", records::id()), "Last workflow run not exists"),
        (format!("/apps/{app}/workflow-runs/count?time_range=soon"), "time_range: expected a number"),
        (format!("/apps/{app}/workflow-app-logs?page=100000"), "page: expected 1 to 99999"),
        (format!("/apps/{app}/workflow-app-logs?created_at__after=yesterday"), "created_at__after: not an ISO 8601"),
        (format!("/apps/{app}/workflow/statistics/token-costs?timezone=Mars"), "timezone: expected an IANA name"),
        (format!("/apps/{app}/workflow/statistics/token-costs?start=2025"), "start: expected YYYY-MM-DD HH:MM"),
        ("/apps/*/workflow-runs".into(), "app_id: expected a uuid"),
        ("/runs?stauts=failed".into(), "stauts: unknown parameter; there are: q, in, app_id"),
        ("/runs?in=graph".into(), "in: expected any of inputs, outputs, error"),
        ("/runs?sort=id".into(), "sort: expected created_at or elapsed_time"),
        ("/runs/facets?by=inputs".into(), "by: expected status"),
        ("/runs/histogram?seconds=0".into(), "seconds: expected 1 to 31536000"),
        (format!("/runs?q={}", "x".repeat(1001)), "q: expected at most 1000 characters"),
        ("/runs?cursor=AAAA".into(), "this cursor is of another version"),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        answer.problem();
        let json = answer.json();
        assert!(json["detail"].as_str().unwrap().contains(detail), "{path}: {}", json["detail"]);
    }
    assert_eq!(server.get("/nowhere").await.problem(), "not_found");
    let wrong = server.ask("PUT", &format!("/v1/tenants/{}/runs", server.tenant_id), Some(TENANT_KEY), None).await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (405, "method_not_allowed"));
}

#[tokio::test]
async fn texts_are_plain_texts() {
    let server = Server::new();
    let mut run = records::run(server.tenant_id, records::app(), records::at("2025-12-01T00:00:00Z"));
    run.inputs = records::json(r#"{"q": "50% of \"C:\\temp\" (a+)+$ *:* _id"}"#);
    server.store([Record::Run(Box::new(run))]).await;
    for (keyword, found) in [
        ("50%25", 1),
        ("%25%25", 0),
        ("_id", 1),
        ("__", 0),
        ("(a%2B)%2B$", 1),
        ("*:*", 1),
        ("a*", 0),
        ("%22C:%5Ctemp%22", 1),
        ("%00", 0),
        ("%ED%A0%BD", 0),
        ("..%2F", 0),
        ("'%20OR%20''='", 0),
        ("%F0%9F%98%80", 0),
    ] {
        let json = server.ok(&format!("/runs?q={keyword}")).await;
        assert_eq!(json["total"]["value"], found, "{keyword}");
        for hit in json["data"].as_array().unwrap() {
            assert_eq!(hit["snippets"].as_array().unwrap().len(), 1);
            assert_eq!(hit["row"]["tenant_id"], server.tenant_id.to_string());
        }
    }
}

#[tokio::test]
async fn bodies_are_checked_and_bounded() {
    let server = Server::new();
    let path = format!("/v1/tenants/{}/deletions", server.tenant_id);
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 422),
        (r#"{"run_ids": [1]}"#, 422),
        (r#"{"run_ids": [], "x": 1}"#, 422),
        (r#"{"run_ids": ["*"]}"#, 400),
        (r#"{"run_ids": []}"#, 200),
        (&"x".repeat(2 << 20), 413),
    ] {
        let answer = server.ask("POST", &path, Some(TENANT_KEY), Some(body)).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        if status != 200 {
            answer.problem();
        }
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_too_many_requests_are_429() {
    let server = Server::new();
    server.double.down.store(true, Ordering::Relaxed);
    for path in ["/runs", "/export/runs", "/export/app-logs"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (503, "store_unavailable"), "{path}");
        assert_eq!(answer.headers["retry-after"], "5");
    }
    server.double.down.store(false, Ordering::Relaxed);
    assert_eq!(server.get("/runs").await.status, 200);

    let narrow = Server::with(ServeSettings { concurrency: 1, ..ServeSettings::default() });
    let held = narrow.double.hold().await;
    let (first, second) = tokio::join!(narrow.get("/runs"), async {
        narrow.double.held().await;
        let answer = narrow.get("/runs").await;
        drop(held);
        answer
    });
    assert_eq!((second.status, second.problem().as_str()), (429, "too_many_requests"));
    assert_eq!(second.headers["retry-after"], "1");
    assert_eq!(first.status, 200);
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_given_up() {
    let server = Server::with(ServeSettings { query_seconds: 1, ..ServeSettings::default() });
    let _held = server.double.hold().await;
    let answer = server.get("/runs").await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "query_timeout"));
}

#[tokio::test]
async fn a_deletion_goes_to_its_end_whatever_becomes_of_its_request() {
    let server = Server::with(ServeSettings { query_seconds: 1, ..ServeSettings::default() });
    let mut run =
        records::ended(records::run(server.tenant_id, records::app(), records::at("2025-12-01T00:00:00Z")), 7);
    run.error = Some("no ".repeat(2_000).into());
    let app = run.app_id;
    let limits = Limits { field_bytes: 1_000, ..Limits::default() };
    server.store_cut(Record::Run(Box::new(run)), &limits).await;
    assert_eq!(server.texts().len(), 1);
    let held = server.double.hold().await;
    let path = format!("/v1/tenants/{}/apps/{app}/workflow-runs", server.tenant_id);
    let answer = server.ask("DELETE", &path, Some(TENANT_KEY), None).await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "query_timeout"));
    drop(held);
    let is_gone = async || server.double.ids(Kind::WorkflowRun).is_empty() && server.texts().is_empty();
    eventually(30, "the run and its full text go", is_gone).await;
}
