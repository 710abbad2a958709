//! Keyword search over an engine: every answer is that of a plain scan of the decoded texts.

use std::sync::Arc;

use difylog::domain::document::{PayloadField, Truncation};
use difylog::domain::query::{AppLogFilter, Keyword, LogKeyword, NodeQuery, Page, RunQuery, TextField, TextFilter};
use difylog::domain::{BulkAction, JsonText, Record, RecordId, TenantId, WorkflowRun};
use difylog::store::elastic::{ElasticSettings, ElasticStore, SearchedTexts, Tenancy};
use difylog::store::{BulkSink as _, LogReader as _, StoreAdmin as _, StoreError, StoreOverview as _};

use crate::support::namespace::Namespace;
use crate::support::records::{self, app, app_log, at, id, node, run, tenant};

/// Decoded texts of an input.
const TEXTS: [&str; 9] = [
    "hello World",
    "say \"hi\" \\ to C:\\new\\table",
    "line one\nline two\tend\u{1}",
    "你好，世界。流水线",
    "ÜBER Straße ΣΊΣΥΦΟΣ naïve",
    "crab 🦀 and 👩‍💻",
    "100% of a_b * ? [x] AND (y) OR \"z\"~2",
    "aaaa aaab abab",
    "x",
];

const KEYWORDS: [&str; 38] = [
    "h",
    "H",
    "x",
    "z",
    "你",
    "，",
    "🦀",
    "%",
    "_",
    "*",
    "\\",
    "\"",
    "}",
    "\n",
    "\u{1}",
    "ü",
    "Σ",
    "hello",
    "O w",
    "orl",
    "好，世",
    "über",
    "STRASSE",
    "straße",
    "σίσυφος",
    "\"hi\"",
    "C:\\n",
    "\\new",
    "one\nline",
    "two\tend",
    "🦀 a",
    "👩‍💻",
    "a_b",
    "AND (y)",
    "aab a",
    "aaaaa",
    "\"text\":",
    "nothing of it",
];

async fn store(change: impl FnOnce(&mut ElasticSettings)) -> (Arc<ElasticStore>, Namespace) {
    let namespace = Namespace::new();
    let mut settings = namespace.settings(Tenancy::Dedicated);
    change(&mut settings);
    let store = ElasticStore::new(settings).unwrap();
    store.install().await.unwrap();
    (Arc::new(store), namespace)
}

async fn write(store: &ElasticStore, records: impl IntoIterator<Item = Record>) {
    let actions: Vec<_> = records.into_iter().flat_map(records::actions).collect();
    store.apply(&actions).await.unwrap();
    store.refresh().await.unwrap();
}

fn text(keyword: &str, field: TextField) -> TextFilter {
    TextFilter { keyword: keyword.into(), fields: vec![field] }
}

fn input(text: &str) -> Option<JsonText> {
    records::json(&format!("{{\"text\": {}}}", serde_json::to_string(text).unwrap()))
}

fn runs(tenant_id: TenantId) -> Vec<WorkflowRun> {
    let (app_id, created_at) = (app(), at("2026-07-01T00:00:00"));
    let of = |text: &&str| WorkflowRun {
        inputs: input(text),
        error: Some((*text).into()),
        ..run(tenant_id, app_id, created_at)
    };
    TEXTS.iter().map(of).collect()
}

fn sorted(ids: impl IntoIterator<Item = RecordId>) -> Vec<RecordId> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn keywords_are_substrings_of_decoded_text() {
    let (store, _namespace) = store(|_| ()).await;
    let tenant_id = tenant();
    let runs = runs(tenant_id);
    write(&store, runs.iter().map(|run| Record::Run(Box::new(run.clone())))).await;
    for keyword in KEYWORDS {
        for (field, around) in [(TextField::Inputs, ("{\"text\": \"", "\"}")), (TextField::Error, ("", ""))] {
            let holds = |text: &str| Keyword::new(keyword).is_in_text(&format!("{}{text}{}", around.0, around.1));
            let expected = runs.iter().zip(TEXTS).filter(|(_, text)| holds(text)).map(|(run, _)| run.id);
            let filter = RunQuery { text: Some(text(keyword, field)), ..RunQuery::default() }.within(tenant_id);
            let found = store.search_runs(&filter, &Page::newest(50), Some(100)).await.unwrap();
            let total = found.total.value;
            assert_eq!(sorted(found.rows.iter().map(|run| run.id)), sorted(expected), "{keyword:?} in {field:?}");
            assert_eq!(total, found.rows.len() as u64);
        }
    }
}

#[tokio::test]
async fn what_is_not_indexed_is_said() {
    let (off, _namespace) = store(|settings| settings.search = SearchedTexts::Off).await;
    let filter = RunQuery { text: Some(text("x", TextField::Inputs)), ..RunQuery::default() }.within(tenant());
    let refused = off.runs(&filter, &Page::newest(1)).await.unwrap_err();
    assert_eq!(refused, StoreError::NotIndexed("runs"));
    assert!(refused.to_string().contains("store.elastic.search = \"runs\""), "{refused}");

    let (some, _namespace) = store(|_| ()).await;
    let (tenant_id, run_id) = (tenant(), id());
    let mut ran = node(tenant_id, app(), run_id, 1, at("2026-07-01T00:00:00"));
    ran.title = "你".into();
    write(&some, [Record::Node(Box::new(ran))]).await;
    let of = |field| NodeQuery { text: Some(text("你", field)), ..NodeQuery::default() }.within(tenant_id);
    assert_eq!(some.nodes(&of(TextField::Title), &Page::newest(5)).await.unwrap().len(), 1);
    let refused = some.nodes(&of(TextField::Outputs), &Page::newest(1)).await;
    assert_eq!(refused, Err(StoreError::NotIndexed("all")));
}

#[tokio::test]
async fn a_cut_text_is_told() {
    let (store, _namespace) = store(|_| ()).await;
    let tenant_id = tenant();
    let (mut document, _) = records::split(Record::Run(Box::new(runs(tenant_id).remove(0))));
    let sha256 = records::sha256("the whole text");
    document.truncated = vec![Truncation { field: PayloadField::Inputs, original_bytes: 1 << 20, sha256 }];
    store.apply(&[BulkAction::Document(Arc::new(document))]).await.unwrap();
    store.refresh().await.unwrap();
    for (field, is_cut) in [(TextField::Inputs, true), (TextField::Error, false)] {
        let filter = RunQuery { text: Some(text("nothing of it", field)), ..RunQuery::default() }.within(tenant_id);
        assert_eq!(store.search_runs(&filter, &Page::newest(1), Some(10)).await.unwrap().text_truncated, is_cut);
    }
}

#[tokio::test]
async fn logs_are_found_by_their_runs_text_or_by_their_creator() {
    let (store, _namespace) = store(|_| ()).await;
    let tenant_id = tenant();
    let mut runs = runs(tenant_id);
    runs.truncate(3);
    let app_id = runs[0].app_id;
    let mut logs: Vec<_> = runs.iter().map(|run| app_log(tenant_id, app_id, run.id, run.created_at)).collect();
    logs[1].creator = Some("Session-WORLD-7".into());
    logs[2].creator = logs[1].creator.clone();
    logs[2].created_by_role = "account".into();
    write(&store, runs.iter().map(|run| Record::Run(Box::new(run.clone())))).await;
    write(&store, logs.iter().map(|log| Record::AppLog(Box::new(log.clone())))).await;
    let found = async |keyword: &str, run_id, end_users, status: Option<&str>| {
        let keyword = LogKeyword { keyword: keyword.into(), run_id, end_users };
        let filter = AppLogFilter {
            run_status: status.map(Into::into),
            keyword: Some(keyword),
            ..AppLogFilter::all(tenant_id, app_id)
        };
        let page = store.app_logs(&filter, 0, 10).await.unwrap();
        assert_eq!(page.total, page.rows.len() as u64);
        sorted(page.rows.iter().map(|row| row.log.id))
    };
    assert_eq!(found("world", None, Vec::new(), None).await, sorted([logs[0].id, logs[1].id]));
    assert_eq!(found("world", None, Vec::new(), Some("running")).await, sorted([logs[0].id, logs[1].id]));
    assert_eq!(found("world", None, Vec::new(), Some("failed")).await, []);
    assert_eq!(found("none", Some(runs[2].id), Vec::new(), None).await, [logs[2].id]);
    assert_eq!(found("none", None, vec![logs[0].created_by, logs[2].created_by], None).await, [logs[0].id]);
}

/// An index that was made before texts were folded knows how they were spelled, and nothing of the column for the rest.
#[tokio::test]
async fn an_index_of_an_earlier_version_finds_texts_as_they_were_spelled() {
    let namespace = Namespace::new();
    let settings = namespace.settings(Tenancy::Dedicated);
    let (tenant_id, client) = (tenant(), reqwest::Client::new());
    let store = ElasticStore::new(settings.clone()).unwrap();
    let pairs = serde_json::json!({ "type": "custom", "tokenizer": "difylog_pairs", "filter": ["lowercase"] });
    let keyword = serde_json::json!({ "type": "keyword" });
    let instant = serde_json::json!({ "type": "date_nanos" });
    let body = serde_json::json!({
        "settings": { "number_of_replicas": "0", "analysis": {
            "tokenizer": { "difylog_pairs": { "type": "ngram", "min_gram": "2", "max_gram": "2" } },
            "analyzer": { "difylog_json": pairs, "difylog_plain": pairs, "difylog_keyword": pairs },
        } },
        "mappings": { "dynamic": false, "_meta": { "difylog": { "version": 3 } }, "properties": {
            "id": keyword, "tenant_id": keyword, "app_id": keyword, "created_at": instant,
            "inputs": { "type": "text", "norms": false, "analyzer": "difylog_json", "search_analyzer": "difylog_keyword" },
        } },
    });
    let index = format!("{}/{}-workflow-runs-{tenant_id}-2026.07", settings.hosts[0], settings.prefix);
    let made = client.put(&index).json(&body).send().await.unwrap();
    assert_eq!(made.status().as_u16(), 200, "{}", made.text().await.unwrap());
    store.install().await.unwrap();
    let mut held = runs(tenant_id).remove(0);
    held.inputs = input("你好，Cafe\u{301}");
    write(&store, [Record::Run(Box::new(held.clone()))]).await;
    let mappings = client.get(format!("{index}/_mapping")).send().await.unwrap().text().await.unwrap();
    assert!(!mappings.contains("\"folded\""), "another index was made: {mappings}");
    for keyword in ["你好，", "，c", "CAFE\u{301}", "你"] {
        let filter = RunQuery { text: Some(text(keyword, TextField::Inputs)), ..RunQuery::default() }.within(tenant_id);
        let found = store.runs(&filter, &Page::newest(5)).await.unwrap();
        assert_eq!(found.iter().map(|run| run.id).collect::<Vec<_>>(), [held.id], "{keyword}");
    }
}
