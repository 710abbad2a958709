//! Dify's own answers: every case of `tests/corpus/golden.json.gz`, recorded from the real repositories and services of
//! Dify 1.10.1 and 1.12.1 over the sample database, asked of the read path over each store.
//!
//! A case is equal, or belongs to a named class of differences; a class says what the answer must be instead, and that
//! is checked too (`golden/class.rs`). The rows come from a real PostgreSQL.

mod class;
mod deletes;
pub mod load;
mod logs;
mod reads;
mod runs;
mod statistics;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::golden::class::{Class, Outcome};
use crate::golden::load::Loaded;
use crate::support::site::{Site, StoreUnderTest};

/// One answer of Dify's.
struct Case {
    number: usize,
    value: Value,
}

impl Case {
    fn method(&self) -> &str {
        self.value["method"].as_str().unwrap()
    }

    fn args(&self) -> &Value {
        &self.value["args"]
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.args()[name].as_str()
    }

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, name: &str) -> T {
        self.text(name).unwrap_or_else(|| panic!("case {} has no {name}", self.number)).parse().unwrap()
    }

    fn instant(&self, name: &str) -> Option<difylog::domain::Timestamp> {
        self.text(name).map(|text| text.parse().unwrap())
    }

    fn result(&self) -> &Value {
        &self.value["result"]
    }

    fn error(&self) -> Option<&str> {
        self.value["error"]["message"].as_str()
    }

    fn is_of_1_10(&self) -> bool {
        self.value["dify"] == "1.10.1"
    }

    /// Fails unless both are the same.
    fn same<T: PartialEq + std::fmt::Debug>(&self, ours: &T, difys: &T) {
        assert!(ours == difys, "case {} {}\nours  {ours:?}\nDify's {difys:?}", self.number, self.args());
    }
}

async fn answer(loaded: &Loaded, case: &Case) -> Outcome {
    match case.method() {
        "get_paginated_workflow_runs" => runs::page(loaded, case).await,
        "get_workflow_runs_count" => runs::counts(loaded, case).await,
        "get_workflow_run_by_id" | "get_workflow_run_by_id_without_tenant" => reads::run(loaded, case).await,
        "get_runs_batch_by_time_range" => runs::batch(loaded, case).await,
        "get_expired_runs_batch" | "get_expired_executions_batch" => runs::expired(loaded, case).await,
        "get_execution_by_id" | "get_node_last_execution" => reads::node(loaded, case).await,
        "get_executions_by_workflow_run" | "core.get_by_workflow_run" | "get_by_run" => {
            reads::nodes_of_run(loaded, case).await
        }
        "load_full" => reads::full(loaded, case).await,
        "get_offloads_by_execution_ids" => reads::offloads(loaded, case).await,
        "get_app_logs_by_run_id" => reads::app_logs_of_run(loaded, case).await,
        "get_paginate_workflow_app_logs" => logs::page(loaded, case).await,
        "get_daily_runs_statistics"
        | "get_daily_terminals_statistics"
        | "get_daily_token_cost_statistics"
        | "get_average_app_interaction_statistics" => statistics::daily(loaded, case).await,
        "count_runs_with_related" | "count_by_runs" => deletes::count(loaded, case).await,
        "create_archive_logs" | "get_archived_run_ids" | "get_paginate_workflow_archive_logs" => {
            Outcome::Class(Class::NotInTheStore)
        }
        method if method.starts_with("delete_") => deletes::delete(loaded, case).await,
        method if method.starts_with("http:") => Outcome::Class(Class::AskedOverHttp),
        method => panic!("case {}: nobody answers {method}", case.number),
    }
}

/// Every case in the order of the file: deletes come last there. Answers how many were equal or of which class.
async fn every_case(loaded: &Loaded) -> BTreeMap<&'static str, usize> {
    let mut outcomes = BTreeMap::new();
    for (number, value) in load::cases().into_iter().enumerate() {
        let outcome = answer(loaded, &Case { number, value }).await;
        *outcomes.entry(outcome.name()).or_default() += 1;
    }
    println!("{outcomes:?}");
    outcomes
}

/// The classes are few and their sizes known: a case that changes sides is a change of behaviour.
fn assert_outcomes(outcomes: &BTreeMap<&'static str, usize>) {
    assert_eq!(outcomes.values().sum::<usize>(), 1017);
    let expected: BTreeMap<_, _> = class::SIZES.iter().copied().collect();
    assert_eq!(*outcomes, expected);
}

/// Over a real store that the settings of a site name.
async fn over_a_store(store: &StoreUnderTest) -> Loaded {
    let site = Site::with(store, "amqp://guest:guest@127.0.0.1:5672/%2f", "");
    let store = difylog::app::open_stores(&site.settings).unwrap().store;
    store.install().await.unwrap();
    let loaded = load::over(store.clone(), Box::new(site)).await;
    store.refresh().await.unwrap();
    loaded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_sqlite() {
    assert_outcomes(&every_case(&over_a_store(&StoreUnderTest::Sqlite).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_engine() {
    assert_outcomes(&every_case(&over_a_store(&StoreUnderTest::engine("dedicated")).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_engine_shared() {
    assert_outcomes(&every_case(&over_a_store(&StoreUnderTest::engine("shared")).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_double() {
    assert_outcomes(&every_case(&load::double().await).await);
}
