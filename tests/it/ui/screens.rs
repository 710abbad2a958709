//! Every screen in a real browser over both kinds of store: Dify's captured runs, a run of 1,200 nodes, large and hostile payloads,
//! another tenant, a key that has ended, and a store that goes away under the reader.

use difylog::domain::{Record, RecordId, TenantId};
use difylog::http::api::{ApiKey, Right};
use serde_json::json;

use super::browser::{Browser, filled};
use super::harness::{Beside, OPERATE_KEY, Place, TENANT_KEY, keys, now};
use super::pages::long_run;
use crate::support::engine_proxy::{EngineProxy, Mode};
use crate::support::keys::key;
use crate::support::site::needed;
use crate::support::{corpus, records};

const ENDED_KEY: &str = "key-that-has-ended";

struct Scene {
    /// Dify's captured runs, by their newest snapshots.
    captured: usize,
    hostile: difylog::domain::WorkflowRun,
    long: RecordId,
    large: RecordId,
}

/// The tenant of the captured runs, and the keys of people who look at them.
fn people() -> (TenantId, Vec<ApiKey>) {
    let tenant_id = corpus::records("celery_messages.jsonl")[0].tenant_id();
    let mut all = keys(tenant_id);
    let ended = key("ended", ENDED_KEY, vec![tenant_id.to_string()], &[Right::Read]);
    all.push(ApiKey { expires: Some("2020-01-01".into()), ..ended });
    (tenant_id, all)
}

async fn scene(place: &Place) -> Scene {
    let captured = corpus::records("celery_messages.jsonl");
    let is_ours = |record: &&Record| matches!(record, Record::Run(_)) && record.tenant_id() == place.tenant_id;
    let mut runs: Vec<_> = captured.iter().filter(is_ours).map(Record::id).collect();
    runs.sort_unstable();
    runs.dedup();
    place.store(captured).await;
    let (long, _) = long_run(place).await;
    let mut large = records::ended(records::run(place.tenant_id, records::app(), now()), 1_000_000);
    large.outputs = records::json(&json!({ "answer": "包裹 ".repeat(150_000) }).to_string());
    assert!(large.outputs.as_ref().unwrap().len() > 1 << 20);
    place.store([Record::Run(Box::new(large.clone()))]).await;
    let hostile = filled(place).await;
    Scene { captured: runs.len(), hostile, long: long.id, large: large.id }
}

async fn type_key(browser: &Browser, place: &Place, key: &str) {
    browser.open(place, "/ui/sign-in").await;
    let field = browser.there("#key").await;
    field.send_keys(key).await.unwrap();
    browser.press("\u{e007}").await;
}

/// What is wrong with the page that is open.
async fn wrong(browser: &Browser) -> serde_json::Value {
    browser
        .says(
            "const said = document.querySelector('main')?.innerText ?? ''; return { hacked: window.hacked ?? null, \
             heading: Boolean(document.querySelector('main h1, main h2')), empty: said.trim().length < 10, \
             wide: document.documentElement.scrollWidth > innerWidth };",
        )
        .await
}

async fn looks_at_every_screen(browser: &Browser, place: &Place, scene: &Scene) {
    let Scene { captured, hostile, long, large } = scene;
    browser.open(place, &place.path("runs?range=all")).await;
    browser.there(".rows.runs a.whole").await;
    let found = browser.says("return document.querySelectorAll('.rows.runs a.whole').length").await;
    assert_eq!(found, json!((captured + 3).min(50)), "the runs of the first page");
    let app = hostile.app_id;
    for path in [
        "runs?range=all&q=parcel".to_owned(),
        "runs?range=all&sort=elapsed_time".into(),
        format!("runs/{}", hostile.id),
        format!("runs/{}?view=transcript", hostile.id),
        format!("runs/{}?view=payloads", hostile.id),
        format!("runs/{long}"),
        format!("runs/{long}?view=transcript"),
        format!("runs/{long}?view=graph"),
        format!("runs/{long}?view=compare&with={large}"),
        format!("runs/{large}?view=payloads"),
        "nodes?range=all".into(),
        "nodes?range=all&status=failed".into(),
        "errors?range=all".into(),
        format!("statistics?range=all&app_id={app}"),
        "app-logs".into(),
        format!("app-logs?range=all&app_id={app}"),
        format!("people/{}", hostile.created_by),
    ] {
        browser.open(place, &place.path(&path)).await;
        browser.there("main h1, main h2").await;
        let sane = json!({ "hacked": null, "heading": true, "empty": false, "wide": false });
        assert_eq!(wrong(browser).await, sane, "{path}");
    }
    browser.open(place, &place.path(&format!("runs/{long}"))).await;
    let reason = browser.there(".timeline li.bad details[open] .part").await;
    assert!(reason.text().await.unwrap().contains("division by <zero>"));
}

async fn signs_in_only_with_a_key_that_holds(browser: &Browser, place: &Place) {
    for key in [ENDED_KEY, "a-guess"] {
        type_key(browser, place, key).await;
        browser.there("p.alert[role=alert]").await;
        assert!(browser.says("return location.pathname").await.as_str().unwrap().contains("sign-in"));
    }
    type_key(browser, place, TENANT_KEY).await;
    browser.there("main h1, main h2").await;
    let other = records::tenant();
    browser.open(place, &format!("/ui/t/{other}/runs?range=all")).await;
    let said = browser.there("main").await.text().await.unwrap();
    assert!(said.contains("Nothing here") || said.contains("may not do that"), "{said}");
}

async fn drive(place: Place, away: impl Fn(), back: impl Fn()) {
    let scene = scene(&place).await;
    let browser = Browser::new(1280, "UTC").await;
    signs_in_only_with_a_key_that_holds(&browser, &place).await;
    looks_at_every_screen(&browser, &place, &scene).await;
    type_key(&browser, &place, OPERATE_KEY).await;
    for path in ["/ui/workspaces", "/ui/system", "/ui/errors?range=all"] {
        browser.open(&place, path).await;
        browser.there("main h1, main h2").await;
        assert_eq!(wrong(&browser).await["empty"], json!(false), "{path}");
    }

    let runs = place.path("runs?range=all");
    browser.open(&place, &runs).await;
    browser.there(".rows.runs").await;
    place.store.close().await;
    away();
    let says_so = "document.querySelector('main')?.innerText.includes('The store does not answer')";
    loop_until(&browser, &place, &runs, says_so).await;
    back();
    loop_until(&browser, &place, &runs, "document.querySelector('.rows.runs a.whole')").await;
    browser.end().await;
}

/// Opens a page again and again until something holds there.
async fn loop_until(browser: &Browser, place: &Place, path: &str, expression: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        browser.open(place, path).await;
        browser.there("main").await;
        if browser.says(&format!("return Boolean({expression})")).await == json!(true) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{expression}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_screen_over_sqlite() {
    let (tenant_id, keys) = people();
    let place = Place::of(tenant_id, keys, Beside::default()).await;
    let (files, away) = (place.folder.path().join("sqlite"), place.folder.path().join("away"));
    let gone = || {
        std::fs::rename(&files, &away).unwrap();
        std::fs::write(&files, "no folder").unwrap();
    };
    let back = || {
        std::fs::remove_file(&files).unwrap();
        std::fs::rename(&away, &files).unwrap();
    };
    Box::pin(drive(place, gone, back)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_screen_over_the_engine() {
    let proxy = EngineProxy::start(needed("DIFYLOG_TEST_ENGINE_URL")).await;
    let (tenant_id, keys) = people();
    let place = Place::over_engine_at(proxy.url.clone(), tenant_id, keys).await;
    Box::pin(drive(place, || proxy.set(Mode::Gone), || proxy.set(Mode::Pass))).await;
}
