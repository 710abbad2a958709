//! A database and a site that migrate together, and what must be stored of each row.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};

use difylog::domain::{Kind, Record};
use difylog::postgres::{Catalogue, record_of, select_list};
use difylog::store::Store;
use serde_json::Value;

use crate::support::postgres::Postgres;
use crate::support::server::Killed;
use crate::support::site::{Site, StoreUnderTest};
use crate::support::stored::documents;

/// Nobody listens there: migrations need no broker.
pub const NO_BROKER: &str = "amqp://guest:guest@127.0.0.1:1/%2f";

/// A site that knows a database. `more` are lines of the section `[migrate]`.
pub fn site(store: &StoreUnderTest, postgres: &Postgres, more: &str) -> Site {
    site_on(NO_BROKER, store, postgres, more)
}

/// As [`site`], with a lease of a minute instead of a second: what runs is not taken over, however slow the machine is.
pub fn site_that_keeps_its_lease(store: &StoreUnderTest, postgres: &Postgres) -> Site {
    with_lease(60, NO_BROKER, store, postgres, "")
}

pub fn site_on(amqp_url: &str, store: &StoreUnderTest, postgres: &Postgres, more: &str) -> Site {
    with_lease(1, amqp_url, store, postgres, more)
}

fn with_lease(seconds: u64, amqp_url: &str, store: &StoreUnderTest, postgres: &Postgres, more: &str) -> Site {
    let rejects = std::env::temp_dir().join(format!("difylog-rejects-{}", uuid::Uuid::new_v4()));
    let text = format!(
        "[postgres]\nurl = \"{}\"\n[migrate]\nlease_seconds = {seconds}\nrejects_dir = \"{}\"\n{more}",
        postgres.url(),
        rejects.display()
    );
    Site::with(store, amqp_url, &text)
}

/// The report of a migration that must succeed.
pub fn migrate(site: &Site, arguments: &[&str]) -> Value {
    let mut all = vec!["migrate", "--json"];
    all.extend(arguments);
    let printed = site.ok(&all);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

/// What a migration that must fail says, and its exit code.
pub fn failure(output: &Output) -> (String, i32) {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code().unwrap())
}

/// A migration as a process of its own; killed when dropped.
pub struct Running(pub Killed);

impl Running {
    pub fn start(site: &Site, arguments: &[&str]) -> Self {
        let mut all = vec!["migrate", "--json"];
        all.extend(arguments);
        let mut command = site.command(&all);
        Self(Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn interrupt(&self) {
        let status = std::process::Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub async fn finish(mut self) -> Output {
        let (mut out, mut err) = (self.0.stdout.take().unwrap(), self.0.stderr.take().unwrap());
        let read = tokio::task::spawn_blocking(move || {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            std::io::Read::read_to_end(&mut out, &mut stdout).unwrap();
            std::io::Read::read_to_end(&mut err, &mut stderr).unwrap();
            (stdout, stderr)
        });
        let (stdout, stderr) = read.await.unwrap();
        Output { status: self.0.wait().unwrap(), stdout, stderr }
    }
}

/// The records that the rows of a kind are; rows that can be none are left out.
pub async fn records(postgres: &Postgres, kind: Kind) -> Vec<Record> {
    let client = postgres.database().client().await.unwrap();
    let catalogue = Catalogue::read(&client).await.unwrap();
    let table = catalogue.table_of(kind).unwrap().unwrap();
    let select = format!("SELECT {} FROM {} t ORDER BY t.id", select_list(kind, &catalogue), table.name);
    let rows = client.query(&select, &[]).await.unwrap();
    rows.iter().filter_map(|row| record_of(kind, row).record.ok()).collect()
}

/// Documents per kind, over all months.
pub async fn counts(store: &dyn Store) -> BTreeMap<Kind, u64> {
    store.refresh().await.unwrap();
    let mut counts = BTreeMap::new();
    for month in store.counts().await.unwrap() {
        if let Ok(kind) = month.kind.parse() {
            *counts.entry(kind).or_default() += month.documents;
        }
    }
    counts
}

/// Compares every row with its document, and the number of documents with that of rows; answers the first things
/// that differ.
pub async fn differences(postgres: &Postgres, store: &dyn Store) -> Vec<String> {
    let stored = counts(store).await;
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        let records = records(postgres, kind).await;
        let count = stored.get(&kind).copied().unwrap_or_default();
        if count != records.len() as u64 {
            wrong.push(format!("{kind}: {} rows, {count} documents", records.len()));
        }
        let documents = documents(store, records.iter().map(Record::key)).await;
        wrong.extend(records.iter().filter_map(|record| {
            let key = record.key();
            match documents.get(&key) {
                None => Some(format!("{key:?} is missing")),
                Some(document) if document.record != *record => Some(format!("{key:?} differs")),
                Some(_) => None,
            }
        }));
    }
    wrong.truncate(5);
    wrong
}
