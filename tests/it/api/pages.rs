//! Pages by both sorts of cursor, request ids, compression, the OpenAPI document.

use difylog::domain::{Record, RecordId};

use crate::api::harness::Server;
use crate::support::records;

#[tokio::test]
async fn both_cursors_meet_every_run_once_even_with_one_timestamp() {
    let server = Server::new();
    let app = records::app();
    let runs: Vec<_> =
        (0..25).map(|_| records::run(server.tenant_id, app, records::at("2025-12-01T00:00:00Z"))).collect();
    let mut expected: Vec<_> = runs.iter().map(|run| run.id).collect();
    expected.sort_unstable_by(|one, other| other.cmp(one));
    server.store(runs.into_iter().map(|run| Record::Run(Box::new(run)))).await;
    for by_cursor in [true, false] {
        let (mut met, mut after) = (Vec::new(), String::new());
        loop {
            let page = server.ok(&format!("/apps/{app}/workflow-runs?limit=10{after}")).await;
            met.extend(page["data"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()));
            if page["has_more"] == false {
                assert!(page["next"].is_null());
                break;
            }
            after = if by_cursor {
                format!("&cursor={}", page["next"].as_str().unwrap())
            } else {
                format!("&last_id={}", met.last().unwrap())
            };
        }
        assert_eq!(met.iter().map(|id| id.parse::<RecordId>().unwrap()).collect::<Vec<_>>(), expected);
    }
    let page = server.ok(&format!("/apps/{app}/workflow-runs?limit=10")).await;
    let cursor = page["next"].as_str().unwrap();
    let foreign = server.get(&format!("/apps/{app}/workflow-runs?status=failed&cursor={cursor}")).await;
    assert_eq!((foreign.status, foreign.problem().as_str()), (400, "invalid_cursor"));
}

#[tokio::test]
async fn without_names_logs_are_found_by_the_creator_that_they_carry() {
    let server = Server::new();
    let app = records::app();
    let of = |role: &str, creator: Option<&str>| {
        let start = records::at("2025-12-01T00:00:00Z");
        let mut log = records::app_log(server.tenant_id, app, records::id(), start);
        (log.created_by_role, log.creator) = (role.into(), creator.map(Into::into));
        log
    };
    let logs = [of("end_user", Some("visitor-7")), of("account", Some("a@b.c")), of("account", Some("visitor-7"))];
    let unknown = of("end_user", None);
    server.store(logs.iter().chain([&unknown]).map(|log| Record::AppLog(Box::new(log.clone())))).await;
    for (asked, expected) in [
        ("created_by_end_user_session_id=visitor-7", vec![&logs[0]]),
        ("created_by_end_user_session_id=visitor", vec![]),
        ("created_by_account=a@b.c", vec![&logs[1]]),
        ("created_by_account=a@b.c&created_by_end_user_session_id=visitor-7", vec![]),
    ] {
        let page = server.ok(&format!("/apps/{app}/workflow-app-logs?{asked}")).await;
        let found: Vec<_> = page["data"].as_array().unwrap().iter().map(|log| log["id"].as_str().unwrap()).collect();
        assert_eq!(found, expected.iter().map(|log| log.id.to_string()).collect::<Vec<_>>(), "{asked}");
    }
    // Logs that carry nothing are not found, and the answer says so.
    let page = server.ok(&format!("/apps/{app}/workflow-app-logs?created_by_account=a@b.c")).await;
    assert_eq!(page["incomplete"], true);
    assert_eq!(page["data"][0]["created_by_account"]["email"], "a@b.c");
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = Server::new();
    let id = server.get("/runs").await.headers["x-request-id"].clone();
    assert_eq!(id.len(), 36);
    assert_ne!(server.get("/nowhere").await.headers["x-request-id"], id);
}

#[tokio::test]
async fn nothing_on_the_way_keeps_an_answer() {
    let server = Server::new();
    for (path, status) in [("/runs", 200), ("/runs?nobody=knows", 400)] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.headers["cache-control"].to_str().unwrap()), (status, "no-store"), "{path}");
    }
    let path = format!("/v1/tenants/{}/runs", server.tenant_id);
    let refused = server.ask("GET", &path, None, None).await;
    assert_eq!((refused.status, refused.headers["cache-control"].to_str().unwrap()), (401, "no-store"));
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let server = Server::new();
    let document = server.ask("GET", "/openapi.json", None, None).await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["paths"].as_object().unwrap().len(), 38);
    assert_eq!(server.ask("GET", "/healthz", None, None).await.text, "ok\n");
    assert_eq!(server.ask("GET", "/readyz", None, None).await.text, "ready\n");
    let page = server.ask("GET", "/docs/", None, None).await;
    assert_eq!(page.status, 200);
    assert!(!page.text.contains("https://"), "the page needs nothing from elsewhere");
}
