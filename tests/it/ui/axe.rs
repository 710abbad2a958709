//! Every screen in both colours, looked at by axe-core (from npm, `tests/servers/install.sh axe`): nothing serious.

use std::path::PathBuf;

use difylog::domain::{NodeStatus, Record, RunStatus};
use serde_json::{Value, json};

use super::browser::Browser;
use super::dead_letters::{letters_of, with_letters};
use super::harness::{OPERATE_KEY, Place, now};
use crate::support::records;

fn axe() -> String {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap();
    let folders = std::fs::read_dir(cache.join("difylog")).into_iter().flatten().flatten();
    let found = folders
        .map(|folder| folder.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("axe-core-")));
    let found = found.expect("axe-core is missing: tests/servers/install.sh axe");
    std::fs::read_to_string(found.join("axe.min.js")).unwrap()
}

/// A failed run with its nodes and log, and one before it.
async fn filled(place: &Place) -> [difylog::domain::WorkflowRun; 2] {
    let app_id = records::app();
    let at = |hours: i64| records::later(now(), -hours * 3_600_000_000);
    let before = records::ended(records::run(place.tenant_id, app_id, at(2)), 1_500_000);
    let mut run = records::ended(records::run(place.tenant_id, app_id, at(1)), 2_000_000);
    run.graph = records::json(
        r#"{"nodes": [{"id": "a", "position": {"x": 0, "y": 0}, "data": {"title": "Start", "type": "start"}},
            {"id": "b", "position": {"x": 400, "y": 0}, "data": {"title": "Never", "type": "llm"}}],
            "edges": [{"source": "a", "target": "b"}]}"#,
    );
    (run.status, run.error) = (RunStatus::Failed, Some("upstream answered 503".into()));
    run.inputs = records::json(r#"{"query": "where is my parcel?", "number": 3}"#);
    let mut nodes = Vec::new();
    for (number, status) in [NodeStatus::Succeeded, NodeStatus::Retry, NodeStatus::Failed].into_iter().enumerate() {
        let number = i64::try_from(number).unwrap();
        let mut node =
            records::node(place.tenant_id, app_id, run.id, number + 1, records::later(run.created_at, number));
        (node.node_id, node.status, node.elapsed_time) = ("a".into(), status, 0.5);
        (node.error, node.finished_at) = (Some("upstream answered 503".into()), Some(run.finished_at.unwrap()));
        nodes.push(Record::Node(Box::new(node)));
    }
    let log = records::app_log(place.tenant_id, app_id, run.id, run.created_at);
    let runs = [before.clone(), run.clone()].map(|run| Record::Run(Box::new(run)));
    place.store(runs.into_iter().chain(nodes).chain([Record::AppLog(Box::new(log))])).await;
    [before, run]
}

/// What axe finds on the page that is open, one line a barrier.
async fn barriers(browser: &Browser, axe: &str) -> Vec<String> {
    browser.client.execute(axe, Vec::new()).await.unwrap();
    let run = "const done = arguments[arguments.length - 1]; axe.run(document, { resultTypes: ['violations'] })\
               .then(({ violations }) => done(violations), (error) => done([{ impact: 'critical', id: String(error), nodes: [] }]))";
    let found = browser.client.execute_async(run, Vec::new()).await.unwrap();
    let serious = |found: &&Value| matches!(found["impact"].as_str(), Some("serious" | "critical"));
    let told = |found: &Value| {
        let nodes = found["nodes"].as_array().into_iter().flatten();
        let where_it_is: Vec<_> =
            nodes.map(|node| format!("{} ({})", node["html"], node["any"][0]["message"])).take(4).collect();
        format!("{}: {}", found["id"], where_it_is.join("; "))
    };
    found.as_array().unwrap().iter().filter(serious).map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_serious_stands_in_the_way_on_any_screen_in_either_theme() {
    let axe = axe();
    let (place, _) = with_letters(3).await;
    let [before, run] = filled(&place).await;
    let letter = letters_of(&place.signed_in(OPERATE_KEY).await.page("/ui/dead-letters").await).remove(0);
    let browser = Browser::new(1280, "UTC").await;
    browser.open(&place, "/ui/sign-in").await;
    assert_eq!(barriers(&browser, &axe).await, Vec::<String>::new(), "the sign-in");
    browser.enter(&place).await;
    let of = |rest: String| place.path(&rest);
    let app_id = run.app_id;
    let screens = [
        "/ui/workspaces".to_owned(),
        "/ui/system".into(),
        "/ui/errors".into(),
        "/ui/dead-letters".into(),
        "/ui/dead-letters?reason=none".into(),
        letter,
        of("runs".into()),
        of(format!("runs?q=parcel&status=failed&app_id={app_id}")),
        of("runs?q=nowhere".into()),
        of("runs?x=1".into()),
        of(format!("runs/{}", run.id)),
        of(format!("runs/{}?view=transcript", run.id)),
        of(format!("runs/{}?view=graph", run.id)),
        of(format!("runs/{}?view=payloads", run.id)),
        of(format!("runs/{}?view=compare", run.id)),
        of(format!("runs/{}?view=compare&with={}", run.id, before.id)),
        of("nodes".into()),
        of("errors".into()),
        of("statistics".into()),
        of(format!("statistics?app_id={app_id}")),
        of("app-logs".into()),
        of(format!("app-logs?app_id={app_id}")),
        of(format!("people/{}", run.created_by)),
    ];
    let mut found = Vec::new();
    for theme in ["light", "dark"] {
        browser.open(&place, "/ui/workspaces").await;
        browser.there(&format!("footer button[value={theme}]")).await.click().await.unwrap();
        browser.until(&format!("document.documentElement.dataset.theme === '{theme}'")).await;
        for screen in &screens {
            browser.open(&place, screen).await;
            browser.there("main h1, main h2").await;
            let barriers = barriers(&browser, &axe).await;
            found.extend(barriers.into_iter().map(|barrier| format!("{screen} in {theme}: {barrier}")));
        }
    }
    browser.end().await;
    assert_eq!(json!(found), json!([]), "{}", found.join("\n"));
}
