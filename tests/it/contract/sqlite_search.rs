//! The search index of SQLite while rows come, change and go: at every moment a keyword finds exactly what holds it.

use std::collections::{BTreeMap, BTreeSet};

use difylog::domain::query::{Keyword, Page, RunQuery, TextField, TextFilter};
use difylog::domain::{JsonText, Record, RecordId, TenantId, Verdict, WorkflowRun};
use difylog::store::sqlite::{SqliteSettings, SqliteStore};
use difylog::store::{BulkSink as _, Eraser as _, Erasure, LogReader as _, Remains, StoreAdmin as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use crate::support::records::{actions, app, at, ended, later, run, tenant};

const TEXTS: [&str; 10] =
    ["refund 17", "Rückfrage", "订单编号", "订", "id", "x", "refund", "\\u0000 nul", "🦀 crab", "REFUNDABLE"];
const KEYWORDS: [&str; 14] =
    ["refund", "fund", "d 1", "rück", "订单", "订", "单编", "id", "x", "nul", "🦀", "refundable", "e", "nowhere"];

fn text(rng: &mut StdRng) -> JsonText {
    let words: Vec<_> = (0..rng.random_range(0..3)).map(|_| TEXTS[rng.random_range(0..TEXTS.len())]).collect();
    JsonText::from_clean(format!(r#"{{"q": "{}"}}"#, words.join(" ")))
}

/// What the store should hold, and where a keyword is to be found in it.
#[derive(Default)]
struct Kept(BTreeMap<RecordId, WorkflowRun>);

impl Kept {
    fn holding(&self, fields: &[TextField], keyword: &str) -> BTreeSet<RecordId> {
        let keyword = Keyword::new(keyword);
        let is_in = |text: &Option<JsonText>| text.as_ref().is_some_and(|text| keyword.is_in_json(text.as_str()));
        let holds = |run: &&WorkflowRun| {
            fields.iter().any(|field| match field {
                TextField::Inputs => is_in(&run.inputs),
                TextField::Outputs => is_in(&run.outputs),
                _ => run.error.as_ref().is_some_and(|error| keyword.is_in_text(error)),
            })
        };
        self.0.values().filter(holds).map(|run| run.id).collect()
    }

    fn some(&self, rng: &mut StdRng) -> Option<WorkflowRun> {
        let place = rng.random_range(0..self.0.len().max(1));
        self.0.values().nth(place).cloned()
    }
}

async fn write(store: &SqliteStore, run: &WorkflowRun) {
    let actions = actions(Record::Run(Box::new(run.clone())));
    assert_eq!(store.apply(&actions).await.unwrap(), vec![Verdict::Stored; actions.len()]);
}

async fn found(store: &SqliteStore, tenant: TenantId, fields: &[TextField], keyword: &str) -> BTreeSet<RecordId> {
    let text = TextFilter { keyword: keyword.into(), fields: fields.into() };
    let filter = RunQuery { text: Some(text), ..RunQuery::default() }.within(tenant);
    let found = store.search_runs(&filter, &Page::newest(1_000), Some(1_000)).await.unwrap();
    assert_eq!(found.total.value, found.rows.len() as u64);
    found.rows.into_iter().map(|row| row.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyword_finds_what_holds_it_at_every_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::new(SqliteSettings { dir: dir.path().into(), ..SqliteSettings::default() }).unwrap();
    store.install().await.unwrap();
    let (tenant, start) = (tenant(), at("2026-10-31T23:59:00"));
    let mut rng = StdRng::seed_from_u64(11);
    let mut kept = Kept::default();
    let mut hits = 0;
    for step in 0..400 {
        match rng.random_range(0..10) {
            0..5 => {
                // Some fall into the next month.
                let mut new = run(tenant, app(), later(start, step * 400_000));
                new.id = RecordId::new(Uuid::from_u128(rng.random()));
                new.inputs = Some(text(&mut rng));
                write(&store, &new).await;
                kept.0.insert(new.id, new);
            }
            5..7 => {
                let Some(old) = kept.some(&mut rng) else { continue };
                let mut new = ended(old, 1_000 * (step + 1));
                new.outputs = Some(text(&mut rng));
                new.error = (step % 3 == 0).then(|| "Refund 订 failed".into());
                write(&store, &new).await;
                kept.0.insert(new.id, new);
            }
            7..9 => {
                // Often the last row: the next one gets its rowid.
                let newest = kept.0.values().max_by_key(|run| run.created_at).cloned();
                let gone = if rng.random_bool(0.5) { newest } else { kept.some(&mut rng) };
                let Some(gone) = gone else { continue };
                let key = Record::Run(Box::new(gone.clone())).key();
                store.erase(&[Erasure { key, revision: None }], Remains::Nothing).await.unwrap();
                kept.0.remove(&gone.id);
            }
            _ => store.catch_up().await.unwrap(),
        }
        for fields in [&[TextField::Inputs, TextField::Outputs][..], &[TextField::Error], &[TextField::Outputs]] {
            let keyword = KEYWORDS[rng.random_range(0..KEYWORDS.len())];
            let expected = kept.holding(fields, keyword);
            hits += expected.len();
            assert_eq!(found(&store, tenant, fields, keyword).await, expected, "step {step}: {keyword} in {fields:?}");
        }
    }
    assert!(hits > 1_000, "the keywords find next to nothing: {hits}");
}

/// What an index knows that was made before texts were folded as they are now: other spellings, and no name of its folding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_another_folding_is_not_asked_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let settings = SqliteSettings { dir: dir.path().into(), ..SqliteSettings::default() };
    let (tenant, fields) = (tenant(), [TextField::Inputs]);
    let mut held = run(tenant, app(), at("2026-10-01T00:00:00"));
    held.inputs = Some(JsonText::from_clean("{\"q\": \"cafe\u{301} \u{ff01}\"}"));
    {
        let store = SqliteStore::new(settings.clone()).unwrap();
        store.install().await.unwrap();
        write(&store, &held).await;
        store.catch_up().await.unwrap();
    }
    let file = rusqlite::Connection::open(dir.path().join("difylog-2026-10.db")).unwrap();
    let forget = "INSERT INTO workflow_runs_search (workflow_runs_search) VALUES ('delete-all');
        DELETE FROM search_indexed WHERE of = 'folding';";
    file.execute_batch(forget).unwrap();
    let store = SqliteStore::new(settings).unwrap();
    store.install().await.unwrap();
    let expected = BTreeSet::from([held.id]);
    assert_eq!(found(&store, tenant, &fields, "CAF\u{c9} !").await, expected);
    // The writer looks after files once it has the directory.
    write(&store, &run(tenant, app(), at("2026-11-01T00:00:00"))).await;
    store.catch_up().await.unwrap();
    assert_eq!(found(&store, tenant, &fields, "CAF\u{c9} !").await, expected);
    let known = |sql: &str| file.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(known("SELECT count(*) FROM search_indexed WHERE of = 'folding'"), 1);
    assert_eq!(known("SELECT count(*) FROM workflow_runs_search"), 1);
}
