//! The questions of Dify's pages and of search, asked of PostgreSQL by Dify's own SQL, of SQLite and of an engine, over the
//! same rows in the same run.
//!
//! `scripts/bench-queries` makes the rows, migrates them and runs this. `DIFYLOG_BENCH_PG`, `DIFYLOG_BENCH_SQLITE`,
//! `DIFYLOG_BENCH_ENGINE` and `DIFYLOG_BENCH_PREFIX` say where they are. Totals of the three must agree.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench"
)]

#[path = "queries/clients.rs"]
mod clients;
#[path = "queries/ours.rs"]
mod ours;
#[path = "queries/postgres.rs"]
mod postgres;

use std::sync::Arc;
use std::time::{Duration, Instant};

use difylog::domain::{AppId, RecordId, TenantId};
use difylog::store::Store;
use difylog::store::elastic::{ElasticSettings, ElasticStore};
use difylog::store::sqlite::{SqliteSettings, SqliteStore};

use self::ours::Ours;
use self::postgres::Dify;

/// Times a question is asked, or as often as fits the budget.
const TIMES: usize = 200;
const BUDGET: Duration = Duration::from_secs(4);

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// A page of an app's runs, newest first.
    Runs,
    /// All nodes of a run, payloads included.
    Nodes,
    /// A page of an app's logs of one status, with their number.
    Logs,
    /// Runs per day of a month.
    Daily,
    /// A page of an app's logs by keyword, with their number.
    LogsHolding(&'static str),
    /// A page of a tenant's runs by keyword, with their number.
    RunsHolding(&'static str),
}

const QUESTIONS: [(&str, Question); 12] = [
    ("page of runs", Question::Runs),
    ("nodes of a run", Question::Nodes),
    ("page of logs by status, total", Question::Logs),
    ("statistics of a month", Question::Daily),
    ("logs: common word", Question::LogsHolding("refund")),
    ("logs: rare word", Question::LogsHolding("RARE")),
    ("logs: one CJK character", Question::LogsHolding("退")),
    ("logs: no hit", Question::LogsHolding("zzqqzz")),
    ("runs: common word", Question::RunsHolding("refund")),
    ("runs: rare word", Question::RunsHolding("RARE")),
    ("runs: one CJK character", Question::RunsHolding("退")),
    ("runs: no hit", Question::RunsHolding("zzqqzz")),
];

/// Whom the questions are about: the app with a sixth of all runs.
#[derive(Debug, Clone)]
pub struct Subject {
    pub tenant_id: TenantId,
    pub app_id: AppId,
    /// Runs whose nodes are asked for.
    pub runs: Vec<RecordId>,
    /// A word that one run of the app holds.
    pub rare: String,
}

impl Subject {
    pub fn keyword(&self, keyword: &'static str) -> String {
        if keyword == "RARE" { self.rare.clone() } else { keyword.to_owned() }
    }
}

fn needed(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run scripts/bench-queries"))
}

/// Milliseconds of the middle one and of the slowest but one in a hundred.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

impl Latency {
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
        Self { p50: at(0.5), p99: at(0.99) }
    }
}

/// Asks until there are enough answers; the first two warm up. Answers the last number as well.
async fn measured(mut ask: impl AsyncFnMut(usize) -> u64) -> (Latency, u64) {
    let (mut times, mut answer) = (Vec::new(), 0);
    let begin = Instant::now();
    for time in 0..TIMES + 2 {
        let asked = Instant::now();
        answer = ask(time).await;
        if time >= 2 || asked.elapsed() > BUDGET {
            times.push(asked.elapsed());
        }
        if begin.elapsed() > BUDGET && !times.is_empty() {
            break;
        }
    }
    (Latency::of(times), answer)
}

#[tokio::main]
async fn main() {
    let sqlite_dir = needed("DIFYLOG_BENCH_SQLITE");
    let sqlite =
        SqliteStore::new(SqliteSettings { dir: sqlite_dir.clone().into(), ..SqliteSettings::default() }).unwrap();
    let (host, prefix) = (needed("DIFYLOG_BENCH_ENGINE"), needed("DIFYLOG_BENCH_PREFIX"));
    let settings = ElasticSettings { hosts: vec![host], prefix, replicas: 0, ..ElasticSettings::default() };
    let engine = ElasticStore::new(settings).unwrap();
    let dify = Dify::connect(&needed("DIFYLOG_BENCH_PG"));
    let subject = dify.subject().await;
    let ours: Vec<Ours> = [Arc::new(sqlite) as Arc<dyn Store>, Arc::new(engine)].into_iter().map(Ours::new).collect();

    println!("milliseconds, p50 / p99; in brackets: how many times as fast as PostgreSQL");
    println!("{:<32} {:>19} {:>30} {:>30}", "", "PostgreSQL", "SQLite", "engine");
    for (name, question) in QUESTIONS {
        let (base, expected) = measured(async |time| dify.ask(&question, &subject, time).await).await;
        print!("{name:<32} {:>8.2} / {:>8.2}", base.p50, base.p99);
        for store in &ours {
            let (latency, answer) = measured(async |time| store.ask(&question, &subject, time).await).await;
            assert_eq!(answer, expected, "{name}: the stores do not agree");
            print!("   {:>8.2} / {:>8.2} ({:>6.1})", latency.p50, latency.p99, base.p50 / latency.p50);
        }
        println!("   {expected} found");
    }
    clients::serve(&sqlite_dir, &subject).await;
}
