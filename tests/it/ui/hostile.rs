//! Texts that mean harm, and a store that goes away under the reader.

use difylog::domain::query::{ListFilter, RunFilter};
use difylog::domain::{NodeStatus, Record, RunStatus};

use super::harness::{Place, TENANT_KEY};
use crate::support::records;

const HOSTILE: &str =
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}dlrow\u{2066}\u{7}\"'";

#[tokio::test]
async fn no_text_of_a_record_is_markup_or_acts() {
    let place = Place::new().await;
    let mut run = records::run(place.tenant_id, records::app(), records::at("2025-12-20T11:00:00Z"));
    run.status = RunStatus::Failed;
    run.finished_at = Some(records::at("2025-12-20T11:00:01Z"));
    for field in [&mut run.r#type, &mut run.triggered_from, &mut run.version, &mut run.created_by_role] {
        *field = HOSTILE.into();
    }
    run.error = Some(HOSTILE.into());
    let json = serde_json::json!({ HOSTILE: [HOSTILE, {"deep": HOSTILE}], "nul": "\u{0}" }).to_string();
    (run.inputs, run.outputs) = (records::json(&json), records::json(&json));
    let graph = serde_json::json!({ "nodes": [{ "id": HOSTILE, "position": {"x": 1, "y": 1e308}, "data": { "title": HOSTILE, "type": HOSTILE } }] });
    run.graph = records::json(&graph.to_string());
    let mut node = records::node(place.tenant_id, run.app_id, run.id, 1, run.created_at);
    (node.title, node.node_id, node.node_type) = (HOSTILE.into(), HOSTILE.into(), HOSTILE.into());
    (node.status, node.error) = (NodeStatus::from(HOSTILE), Some(HOSTILE.into()));
    (node.inputs, node.elapsed_time) = (records::json(&json), f64::MAX);
    let (id, node_id, app_id) = (run.id, node.id, run.app_id);
    let log = records::app_log(place.tenant_id, app_id, id, run.created_at);
    place.store([Record::Run(Box::new(run)), Record::Node(Box::new(node)), Record::AppLog(Box::new(log))]).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let query = "alert(1)%3C/script%3E";
    for path in [
        "runs".to_owned(),
        format!("runs?q={query}"),
        "runs?q=%22%3E%3Cscript%3Ealert(1)&range=all".to_owned(),
        format!("runs/{id}"),
        format!("runs/{id}?view=transcript"),
        format!("runs/{id}?view=graph"),
        format!("runs/{id}?view=payloads"),
        format!("nodes?q={query}"),
        format!("nodes/{node_id}"),
        "errors".to_owned(),
        format!("statistics?app_id={app_id}"),
        format!("app-logs?app_id={app_id}"),
        "runs?status=%3Cscript%3Ealert(1)".to_owned(),
        "runs?%3Cscript%3Ealert(1)=1".to_owned(),
    ] {
        let page = client.get(&place.path(&path)).await.text;
        let scripts = page.matches("<script").count();
        assert_eq!(scripts, 1, "{path}: the page's own alone: {page}");
        assert!(!page.contains("<img src=x") && !page.contains("</pre></script>"), "{path}");
        for character in ['\u{202e}', '\u{2066}', '\u{7}', '\u{0}'] {
            assert!(!page.contains(character), "{path}: {character:?}");
        }
    }
}

/// A status is any text.
#[tokio::test]
async fn a_status_in_each_record_neither_fills_the_page_nor_hides_a_record() {
    let place = Place::new().await;
    let mut run = records::run(place.tenant_id, records::app(), records::at("2025-12-20T11:00:00Z"));
    let statuses = (0..200).map(|number| {
        (run.id, run.status) = (records::id(), RunStatus::from(format!("status {number:03}").as_str()));
        Record::Run(Box::new(run.clone()))
    });
    place.store(statuses.collect::<Vec<_>>()).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let page = client.page(&place.path("runs?range=all")).await;
    assert!(page.contains("<strong>200</strong>") && page.len() < 100_000, "{}", page.len());
    assert_eq!(page.matches("class=\"key ").count(), 8, "statuses of the histogram");
    let spans = place.store.histogram(&ListFilter::Runs(RunFilter::all(place.tenant_id)), 86_400).await.unwrap();
    assert_eq!(spans.iter().map(|span| span.count).collect::<Vec<_>>(), [200]);
}

#[tokio::test]
async fn a_payload_of_ten_megabytes_is_a_link_and_not_a_page() {
    let place = Place::new().await;
    let mut run = records::run(place.tenant_id, records::app(), records::at("2025-12-20T11:00:00Z"));
    let large = "包裹 ".repeat(3 << 19);
    run.outputs = records::json(&serde_json::json!({ "answer": large }).to_string());
    let whole = run.outputs.as_ref().unwrap().as_str().to_owned();
    assert!(whole.len() > 9 << 20);
    let id = run.id;
    place.store([Record::Run(Box::new(run))]).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let page = client.page(&place.path(&format!("runs/{id}?view=payloads"))).await;
    assert!(page.len() < 60_000 && page.contains("Too large to show as a tree"), "{}", page.len());
    let text = client.get(&format!("/ui/data/{}/runs/{id}/text/outputs", place.tenant_id)).await;
    assert_eq!((text.status, text.text == whole), (200, true));
    assert_eq!(text.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn a_store_that_is_away_is_said_and_the_page_comes_back_with_it() {
    let place = Place::new().await;
    let run = records::run(place.tenant_id, records::app(), records::at("2025-12-20T11:00:00Z"));
    let id = run.id;
    place.store([Record::Run(Box::new(run))]).await;
    place.store.close().await;
    let mut client = place.signed_in(TENANT_KEY).await;
    client.page(&place.path("runs")).await;
    let files = place.folder.path().join("sqlite");
    let away = place.folder.path().join("away");
    // A folder that is a file: as a volume that was unmounted, it cannot be read.
    std::fs::rename(&files, &away).unwrap();
    std::fs::write(&files, "no folder").unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let down = loop {
        let answer = client.get(&place.path("runs")).await;
        if answer.status != 200 || tokio::time::Instant::now() > deadline {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(down.status, 503, "{}", down.text);
    assert!(down.text.contains("The store does not answer") && down.text.contains("Try again"), "{}", down.text);
    assert!(down.headers.contains_key("retry-after"));
    assert!(!down.text.contains(place.folder.path().to_str().unwrap()), "{}", down.text);
    std::fs::remove_file(&files).unwrap();
    std::fs::rename(&away, &files).unwrap();
    assert!(client.page(&place.path("runs")).await.contains(&id.to_string()));
}
