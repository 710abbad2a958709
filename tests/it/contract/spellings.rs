//! Keywords are found whichever way Unicode lets them be spelled, in the texts and in the question.

use difylog::domain::query::{AppLogFilter, LogKeyword, NodeQuery, Page, RunQuery, TextField, TextFilter};
use difylog::domain::{AppId, JsonText, Record, RecordId, TenantId};

use crate::contract::subject::Subject;
use crate::support::records::{app, app_log, at, id, node, run, tenant};

/// Spellings of one word each, which all find each other.
const WORDS: [&[&str]; 12] = [
    &["caf\u{e9}", "cafe\u{301}", "CAFE\u{301}", "ｃａｆé"],
    &["vi\u{1ec7}t", "vi\u{ea}\u{323}t", "vie\u{302}\u{323}t", "VIE\u{323}\u{302}T"],
    &["ＯＲＤＥＲ－１７", "order-17"],
    &["你好，世界！", "你好,世界!"],
    &["ｶﾞｲﾄﾞ", "ガイド", "カ\u{3099}イト\u{3099}"],
    &["Straße", "STRASSE", "STRAẞE"],
    &["İstanbul", "istanbul", "ISTANBUL", "ıstanbul"],
    &["ΣΊΣΥΦΟΣ", "σίσυφος"],
    &["한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"],
    &["❤\u{fe0f}👩\u{200d}💻", "❤👩💻"],
    &["ﬁscal", "FISCAL", "fi\u{ad}scal"],
    &["é", "e\u{301}", "É"],
];

/// What is near, and another word.
const OTHERS: [(&str, &str); 5] =
    [("cafe\u{301}", "cafe"), ("が", "か"), ("か\u{3099}", "か"), ("naïve", "naive"), ("e\u{301}", "e")];

fn text(keyword: &str, field: TextField) -> TextFilter {
    TextFilter { keyword: keyword.into(), fields: vec![field] }
}

/// Asks for a keyword in each field that is searched, of one app.
async fn found(subject: &Subject, tenant_id: TenantId, app_id: AppId, keyword: &str) -> Vec<(TextField, RecordId)> {
    let app_id = Some(app_id);
    let mut found = Vec::new();
    for field in [TextField::Inputs, TextField::Outputs, TextField::Error] {
        let filter = RunQuery { app_id, text: Some(text(keyword, field)), ..RunQuery::default() }.within(tenant_id);
        let hits = subject.store.search_runs(&filter, &Page::newest(100), Some(100)).await.unwrap();
        assert_eq!(hits.total.value, hits.rows.len() as u64);
        found.extend(hits.rows.into_iter().map(|row| (field, row.id)));
    }
    for field in [TextField::Title, TextField::ProcessData] {
        let filter = NodeQuery { app_id, text: Some(text(keyword, field)), ..NodeQuery::default() }.within(tenant_id);
        let rows = subject.store.nodes(&filter, &Page::newest(100)).await.unwrap();
        found.extend(rows.into_iter().map(|row| (field, row.id)));
    }
    found.sort_unstable();
    found
}

/// A run and a node that hold a text in every field that is searched.
fn holding(tenant_id: TenantId, app_id: AppId, text: &str) -> (Vec<Record>, Vec<(TextField, RecordId)>) {
    let created_at = at("2026-07-01T00:00:00");
    let json = Some(JsonText::from_clean(format!("{{\"q\": \"<{text}>\"}}")));
    let mut run = run(tenant_id, app_id, created_at);
    run.inputs.clone_from(&json);
    run.outputs.clone_from(&json);
    run.error = Some(format!("<{text}>").into());
    let mut node = node(tenant_id, app_id, run.id, 1, created_at);
    node.title = format!("<{text}>").into();
    node.process_data = json;
    let of_run = [TextField::Inputs, TextField::Outputs, TextField::Error].map(|field| (field, run.id));
    let of_node = [TextField::Title, TextField::ProcessData].map(|field| (field, node.id));
    (vec![Record::Run(Box::new(run)), Record::Node(Box::new(node))], [&of_run[..], &of_node].concat())
}

pub async fn equal_spellings_find_each_other(subject: &Subject) {
    // One tenant and an app for each word: a tenant's indices cost an engine more than the questions.
    let tenant_id = tenant();
    for spellings in WORDS {
        let app_id = app();
        let mut expected = Vec::new();
        for spelling in spellings {
            let (records, places) = holding(tenant_id, app_id, spelling);
            subject.store(records).await;
            expected.extend(places);
        }
        expected.sort_unstable();
        subject.refresh().await;
        for spelling in spellings {
            for keyword in [(*spelling).to_owned(), format!("<{spelling}>")] {
                assert_eq!(found(subject, tenant_id, app_id, &keyword).await, expected, "{keyword:?} of {spellings:?}");
            }
        }
    }
}

pub async fn an_accent_makes_another_letter(subject: &Subject) {
    let tenant_id = tenant();
    for (held, asked) in OTHERS {
        let app_id = app();
        subject.store(holding(tenant_id, app_id, held).0).await;
        subject.refresh().await;
        assert_eq!(found(subject, tenant_id, app_id, &format!("<{asked}>")).await, [], "{asked} in {held}");
    }
}

pub async fn creators_of_logs_are_found_by_any_spelling(subject: &Subject) {
    let (tenant_id, app_id) = (tenant(), app());
    let mut log = app_log(tenant_id, app_id, id(), at("2026-07-01T00:00:00"));
    log.creator = Some("Jose\u{301} Ｔａｎａｋａ".into());
    log.created_by_role = "end_user".into();
    subject.store([Record::AppLog(Box::new(log.clone()))]).await;
    subject.refresh().await;
    for (keyword, total) in [("JOSÉ tanaka", 1), ("jose tanaka", 0)] {
        let keyword = LogKeyword { keyword: keyword.into(), run_id: None, end_users: Vec::new() };
        let filter = AppLogFilter { keyword: Some(keyword), ..AppLogFilter::all(tenant_id, app_id) };
        assert_eq!(subject.store.app_logs(&filter, 0, 10).await.unwrap().total, total, "{filter:?}");
    }
}
