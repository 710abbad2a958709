//! Clients that are slow, idle or greedy: each costs its own key and its own connection only.

use std::time::Duration;

use difylog::domain::Record;
use difylog::http::ConnectionSettings;
use difylog::http::api::ServeSettings;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::api::harness::{ADMIN_KEY, READ_KEY, Server, TENANT_KEY};
use crate::support::records;

/// Reads until the server closes; fails if it does not.
async fn closed(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut read)).await;
    // A reset closes as well.
    let _ = end.unwrap_or_else(|_| panic!("the server keeps the connection open"));
    String::from_utf8_lossy(&read).into_owned()
}

fn bounded(connections: ConnectionSettings) -> ServeSettings {
    ServeSettings { connections, ..ServeSettings::default() }
}

#[tokio::test]
async fn a_connection_without_a_whole_request_is_closed() {
    let server = Server::with(bounded(ConnectionSettings { idle_seconds: 1, ..ConnectionSettings::default() }));
    let mut silent = server.open("").await;
    let mut half = server.open("GET /healthz HTTP/1.1\r\nHost: x\r\n").await;
    let mut kept = server.open("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(closed(&mut silent).await, "");
    closed(&mut half).await;
    assert!(closed(&mut kept).await.starts_with("HTTP/1.1 200"), "answered, then closed");
}

#[tokio::test]
async fn idle_connections_make_room_for_requests() {
    let server = Server::with(bounded(ConnectionSettings { max: 4, ..ConnectionSettings::default() }));
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(server.open("GET /healthz HTTP/1.1\r\n").await);
    }
    assert_eq!(server.ask("GET", "/healthz", None, None).await.status, 200);
    closed(&mut idle[0]).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_holds_up_no_question() {
    let settings =
        ServeSettings { concurrency: 1, concurrency_per_key: 1, body_seconds: 6, ..ServeSettings::default() };
    let server = Server::with(settings);
    let path = format!("/v1/tenants/{}/deletions", server.tenant_id);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TENANT_KEY}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: 100\r\n\r\n{{"
    );
    let mut unfinished = server.open(&head).await;
    // Another body of the key is refused while the first is awaited, so the server is at it.
    let body = r#"{"run_ids": []}"#;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while server.ask("POST", &path, Some(TENANT_KEY), Some(body)).await.status != 429 {
        assert!(tokio::time::Instant::now() < deadline, "the unfinished body was never read");
    }
    assert_eq!(server.get("/runs").await.status, 200, "the key's own questions");
    assert_eq!(server.ask("POST", &path, Some(ADMIN_KEY), Some(body)).await.status, 200, "another key's bodies");
    let answer = closed(&mut unfinished).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("serve.body_seconds"), "{answer}");
}

fn unfinished_form(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nk"
    )
}

#[tokio::test]
async fn a_form_that_does_not_come_is_given_up_where_nobody_has_signed_in() {
    let server = Server::with(ServeSettings { body_seconds: 1, ..ServeSettings::default() });
    for path in ["/ui/sign-in", "/ui/look", "/ui/sign-out"] {
        let answer = closed(&mut server.open(&unfinished_form(path)).await).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("serve.body_seconds"), "{path}: {answer}");
    }
    // One byte too many, so that nothing is left unread that would reset the connection before its answer is.
    let large = unfinished_form("/ui/look").replace("100", "100000") + &"x".repeat(16 << 10);
    let answer = closed(&mut server.open(&large).await).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn forms_that_do_not_come_make_room_for_requests() {
    let connections = ConnectionSettings { max: 4, ..ConnectionSettings::default() };
    let server = Server::with(ServeSettings { body_seconds: 600, connections, ..ServeSettings::default() });
    let mut unfinished = Vec::new();
    for number in 0..20 {
        unfinished.push(server.open(&unfinished_form(["/ui/sign-in", "/ui/look"][number % 2])).await);
    }
    assert_eq!(server.ask("GET", "/healthz", None, None).await.status, 200);
    closed(&mut unfinished[0]).await;
}

#[tokio::test]
async fn unread_exports_of_one_key_leave_the_others_answered_and_are_cut_off() {
    let connections = ConnectionSettings { write_seconds: 5, ..ConnectionSettings::default() };
    let server =
        Server::with(ServeSettings { concurrency: 4, concurrency_per_key: 2, connections, ..ServeSettings::default() });
    let app = records::app();
    let large = json!({ "q": "x".repeat(1 << 20) }).to_string();
    server
        .store((0..40).map(|_| {
            let mut run = records::run(server.tenant_id, app, records::at("2025-12-01T00:00:00Z"));
            run.inputs = records::json(&large);
            Record::Run(Box::new(run))
        }))
        .await;
    let export = format!(
        "GET /v1/tenants/{}/export/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {READ_KEY}\r\n\
         Connection: close\r\n\r\n",
        server.tenant_id
    );
    let mut unread = [server.open(&export).await, server.open(&export).await];
    let refused = server.until("/runs?limit=1", READ_KEY, 429).await;
    assert!(refused.text.contains("serve.concurrency_per_key"), "{}", refused.text);
    assert_eq!(server.get("/runs?limit=1").await.status, 200, "another key");
    server.until("/runs?limit=1", READ_KEY, 200).await;
    let mut whole = Vec::new();
    for stream in &mut unread {
        whole.push(closed(stream).await.ends_with("0\r\n\r\n"));
    }
    assert!(whole.contains(&false), "an answer that nobody reads was cut off");
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_refused() {
    let server = Server::new();
    for path in ["/healthz".to_owned(), "/nowhere".into(), format!("/v1/tenants/{}/runs", server.tenant_id)] {
        for method in ["ATTACK1".to_owned(), "get".into(), "A".repeat(10_000), "TRACE".into()] {
            let answer = server.ask(&method, &path, Some(TENANT_KEY), None).await;
            assert_eq!((answer.status, answer.problem().as_str()), (405, "method_not_allowed"), "{path}");
        }
    }
}

#[tokio::test]
async fn every_answer_tells_browsers_to_do_nothing_with_it() {
    let server = Server::new();
    let runs = format!("/v1/tenants/{}/runs", server.tenant_id);
    for (path, key) in
        [("/docs/", None), ("/openapi.json", None), ("/healthz", None), (&runs, None), (&runs, Some(TENANT_KEY))]
    {
        let headers = server.ask("GET", path, key, None).await.headers;
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src"), "{path}: {policy}");
        assert_eq!(headers.get("cache-control").is_some_and(|value| value == "no-store"), path != "/docs/", "{path}");
    }
}

#[tokio::test]
async fn a_body_says_what_it_is() {
    let server = Server::new();
    let url = server.url(&format!("/v1/tenants/{}/deletions", server.tenant_id));
    let client = reqwest::Client::new();
    let body = r#"{"run_ids": []}"#;
    for (content_type, coding, body, status, detail) in [
        ("application/json; charset=utf-8", "", body.as_bytes().to_vec(), 200, ""),
        ("application/json", "", [b"\xef\xbb\xbf", body.as_bytes()].concat(), 200, ""),
        ("text/plain", "", body.into(), 415, "content-type is text/plain; expected application/json"),
        ("application/json", "gzip", vec![0x1f, 0x8b], 415, "content-encoding is gzip"),
        ("application/json", "", b"\xff\xfe{\0".to_vec(), 400, "UTF-16"),
    ] {
        let mut request = client.post(&url).bearer_auth(TENANT_KEY).header("content-type", content_type).body(body);
        if !coding.is_empty() {
            request = request.header("content-encoding", coding);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{content_type} {coding}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(detail), "{text}");
    }
}

#[tokio::test]
async fn a_dry_run_counts_what_is_there_and_once() {
    let server = Server::new();
    let run = records::run(server.tenant_id, records::app(), records::at("2025-12-01T00:00:00Z"));
    let node = records::node(server.tenant_id, run.app_id, run.id, 1, run.created_at);
    let ids = [run.id, run.id, records::id()].map(|id| id.to_string());
    server.store([Record::Run(Box::new(run)), Record::Node(Box::new(node))]).await;
    let path = format!("/v1/tenants/{}/deletions", server.tenant_id);
    let expected = json!({"runs": 1, "node_executions": 1, "offloads": 0, "app_logs": 0});
    for dry_run in [true, false] {
        let body = json!({"run_ids": ids, "related": true, "dry_run": dry_run}).to_string();
        assert_eq!(
            server.ask("POST", &path, Some(TENANT_KEY), Some(&body)).await.json(),
            expected,
            "dry run: {dry_run}"
        );
    }
}
