//! One verdict per action, from that item's own status.

use difylog::domain::{RefusalClass, Verdict};
use difylog::store::BulkSink as _;

use crate::elastic::BULK;
use crate::elastic::app_logs;
use crate::elastic::store;
use crate::support::scripted_engine::{Recorded, Reply, ScriptedEngine};

/// Status and fate, as text, to compare at a glance.
fn fate(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Stored => "stored".to_owned(),
        Verdict::Superseded => "superseded".to_owned(),
        Verdict::Retry(cause) => format!("retry {:?}", cause.status.unwrap_or(0)),
        Verdict::Refused(refusal) => format!("refused {} {}", refusal.status.unwrap_or(0), refusal.class),
    }
}

fn fates(verdicts: &[Verdict]) -> Vec<String> {
    verdicts.iter().map(fate).collect()
}

#[tokio::test]
async fn every_item_has_its_own_fate() {
    let engine = ScriptedEngine::start().await;
    engine.script(BULK, Reply::items("index", &[201, 409, 429, 400, 404, 413, 503, 200, 401, 403]));
    engine.script(BULK, Reply::items("index", &[404]));
    let verdicts = store(&engine).apply(&app_logs(10)).await.unwrap();
    let expected = [
        "stored",
        "superseded",
        "retry 429",
        "refused 400 refused-by-store",
        "retry 404",
        "refused 413 too-large",
        "retry 503",
        "stored",
        "retry 401",
        "retry 403",
    ];
    assert_eq!(fates(&verdicts), expected);
    // Only the action whose index was missing was sent again, and only once.
    let sent: Vec<_> = engine.requests(BULK).iter().map(Recorded::lines).collect();
    assert_eq!(sent, [20, 2]);
}

/// The engine refuses the revision of a deleted document for a while as if a newer one were there.
#[tokio::test]
async fn a_conflict_with_nothing_is_no_reason_to_ack() {
    let engine = ScriptedEngine::start().await;
    engine.script(BULK, Reply::items("index", &[409, 201, 409]));
    let there = r#"{"docs":[{"_id":"1","found":false},{"_id":"2","found":true}]}"#;
    engine.script("POST /_mget", Reply::text(200, there));
    let store = store(&engine);
    assert_eq!(fates(&store.apply(&app_logs(3)).await.unwrap()), ["retry 409", "stored", "superseded"]);
    // Where that cannot be asked, nothing is acked either.
    engine.script(BULK, Reply::items("index", &[409]));
    engine.script("POST /_mget", Reply::text(503, ""));
    assert_eq!(fates(&store.apply(&app_logs(1)).await.unwrap()), ["retry 409"]);
}

#[tokio::test]
async fn an_index_that_vanished_is_created_and_its_actions_sent_again() {
    let engine = ScriptedEngine::start().await;
    let store = store(&engine);
    let actions = app_logs(3);
    let index = "PUT /dify-workflow-app-logs-";
    store.apply(&actions).await.unwrap();
    assert_eq!(engine.requests(index).len(), 1, "created on first use");
    engine.forget_indices();
    engine.script(BULK, Reply::items("index", &[404, 201, 404]));
    assert_eq!(fates(&store.apply(&actions).await.unwrap()), ["stored"; 3]);
    assert_eq!(engine.requests(index).len(), 2, "created again");
    store.apply(&actions).await.unwrap();
    let looks = engine.requests("GET /dify-workflow-app-logs-");
    let looks = looks.iter().filter(|request| request.target.ends_with("/_mapping")).count();
    assert_eq!(looks, 2, "an index that is known is not looked at before a write");
}

#[tokio::test]
async fn the_errors_flag_is_not_asked() {
    let engine = ScriptedEngine::start().await;
    engine.script(BULK, Reply::text(200, r#"{"errors":false,"items":[{"index":{"status":429}}]}"#));
    engine.script(BULK, Reply::text(200, r#"{"errors":true,"items":[{"index":{"status":201}}]}"#));
    let (store, actions) = (store(&engine), app_logs(1));
    assert_eq!(fates(&store.apply(&actions).await.unwrap()), ["retry 429"]);
    assert_eq!(fates(&store.apply(&actions).await.unwrap()), ["stored"]);
}

#[tokio::test]
async fn refusals_quote_no_values() {
    let engine = ScriptedEngine::start().await;
    engine.script(BULK, Reply::items("index", &[400]));
    let verdicts = store(&engine).apply(&app_logs(1)).await.unwrap();
    let Verdict::Refused(refusal) = &verdicts[0] else { panic!("{verdicts:?}") };
    assert_eq!(refusal.class, RefusalClass::RefusedByStore);
    let expected = "mapper_parsing_exception: failed to parse field [x] of type [long] in document with id '…'";
    assert_eq!(refusal.detail, expected);
}

#[tokio::test]
async fn large_batches_are_sent_in_several_requests_with_verdicts_in_order() {
    let engine = ScriptedEngine::start().await;
    let settings =
        difylog::store::elastic::ElasticSettings { max_request_bytes: 65_536, ..crate::elastic::settings(&engine) };
    let store = difylog::store::elastic::ElasticStore::new(settings).unwrap();
    let actions = app_logs(300);
    store.apply(&actions).await.unwrap();
    let requests = engine.requests(BULK);
    let sizes: Vec<_> = requests.iter().map(|request| request.body.len()).collect();
    assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= 65_536), "{sizes:?}");
    let lines: usize = requests.iter().map(Recorded::lines).sum();
    assert_eq!(lines, 600);
    // The first request of the next batch refuses its last action, the second its first.
    let count = |index: usize| requests[index].lines() / 2;
    let statuses = |number, at| (0..number).map(|i| if i == at { 400 } else { 201 }).collect::<Vec<u16>>();
    engine.script(BULK, Reply::items("index", &statuses(count(0), count(0) - 1)));
    engine.script(BULK, Reply::items("index", &statuses(count(1), 0)));
    let verdicts = store.apply(&actions).await.unwrap();
    let refused: Vec<_> = (0..300).filter(|i| matches!(verdicts[*i], Verdict::Refused(_))).collect();
    assert_eq!(refused, [count(0) - 1, count(0)]);
}
