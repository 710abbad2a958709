//! What was cleaned up comes back equal, and what is there is never touched.

use difylog::backfill::restore::{Restore, RestoreOutcome, RestorePlan};
use difylog::codec::truncate::Limits;
use difylog::domain::Kind;
use difylog::domain::query::TimeRange;

use crate::lifecycle::harness::Pair;
use crate::support::postgres::{Postgres, Schema};

fn plan(execute: bool) -> RestorePlan {
    RestorePlan {
        tenants: Vec::new(),
        kinds: Kind::ALL.to_vec(),
        created: TimeRange::default(),
        batch: 200,
        rate: None,
        execute,
    }
}

async fn restore(pair: &Pair, plan: &RestorePlan) -> RestoreOutcome {
    let restore =
        Restore { database: &pair.database, store: pair.store.side(), plan, progress: &|_| {}, stop: &|| false };
    restore.run().await.unwrap()
}

/// Every row of every table, its texts as JSON values where they are JSON, empty ones alike.
fn contents(postgres: &Postgres) -> Vec<String> {
    postgres.sql(
        "CREATE OR REPLACE FUNCTION pg_temp.value(t text) RETURNS text LANGUAGE plpgsql AS $$
         BEGIN RETURN nullif(nullif(t, '')::jsonb::text, '{}'); EXCEPTION WHEN OTHERS THEN RETURN t; END $$;
         SELECT 'run', id, tenant_id, app_id, workflow_id, type, triggered_from, version, pg_temp.value(graph),
           pg_temp.value(inputs), status, pg_temp.value(outputs), nullif(error, ''), elapsed_time, total_tokens,
           coalesce(total_steps, 0), created_by_role, created_by, created_at, finished_at, coalesce(exceptions_count, 0)
         FROM workflow_runs ORDER BY id;
         SELECT 'node', id, tenant_id, app_id, workflow_id, triggered_from, workflow_run_id, index, predecessor_node_id,
           node_execution_id, node_id, node_type, title, pg_temp.value(inputs), pg_temp.value(process_data),
           pg_temp.value(outputs), status, nullif(error, ''), elapsed_time, pg_temp.value(execution_metadata), created_at,
           created_by_role, created_by, finished_at FROM workflow_node_executions ORDER BY id;
         SELECT 'log', * FROM workflow_app_logs ORDER BY id;
         SELECT 'offload', id, created_at, tenant_id, app_id, node_execution_id, type, file_id
         FROM workflow_node_execution_offload ORDER BY id;",
    )
    .lines()
    .map(str::to_owned)
    .collect()
}

/// Values that no JSON of PostgreSQL's can hold: the validation at the end compares them by the codec's rules.
const CLEANED: &str = "inputs LIKE '%NaN%' OR outputs LIKE '%NaN%' OR inputs LIKE '%\\\\ud8%' OR outputs LIKE '%\\\\ud8%' \
     OR inputs LIKE '%Infinity%' OR outputs LIKE '%Infinity%' OR inputs LIKE '%\\\\u0000%' OR outputs LIKE '%\\\\u0000%'";

#[tokio::test]
async fn cleaned_rows_come_back_equal() {
    for schema in [Schema::V10, Schema::V12] {
        // The four nodes that these limits cut have no offload; those that have one are cut a second time, and come back so.
        let limits = Limits { field_bytes: 1_024, document_bytes: 4_096 };
        let postgres = Postgres::sample(schema);
        let odd = postgres.sql(&format!(
            "SELECT id FROM workflow_runs WHERE {CLEANED} UNION SELECT node_execution_id FROM workflow_node_execution_offload"
        ));
        let pair = Pair::with(postgres, limits).await;
        let before = contents(&pair.postgres);
        let rows = pair.counts();
        pair.clean(&Pair::plan(true)).await;
        assert_ne!(pair.counts(), rows);
        let dry = restore(&pair, &plan(false)).await;
        let outcome = restore(&pair, &plan(true)).await;
        assert_eq!(dry.restored, outcome.restored);
        assert_eq!(outcome.named, []);
        assert_eq!(pair.counts(), rows);
        let differing: Vec<_> = contents(&pair.postgres)
            .into_iter()
            .zip(before)
            .filter(|(after, before)| after != before && !odd.lines().any(|id| before.contains(id)))
            .collect();
        assert!(differing.is_empty(), "{} rows differ, such as {:#?}", differing.len(), differing.first());
        let report = pair.validate(Pair::request()).await;
        assert!(report.passed, "{:?}", report.findings);
        let again = restore(&pair, &plan(true)).await;
        assert!(
            again.restored.values().all(|restored| restored.inserted == 0 && restored.present == restored.documents)
        );
    }
}

#[tokio::test]
async fn rows_that_are_there_stay_as_they_are() {
    let pair = Pair::sample(Schema::V12).await;
    pair.postgres
        .sql("UPDATE workflow_runs SET error = 'mine'; DELETE FROM workflow_app_logs WHERE created_from = 'web-app'");
    let outcome = restore(&pair, &plan(true)).await;
    assert_eq!(outcome.restored[&Kind::WorkflowRun].inserted, 0);
    assert!(outcome.restored[&Kind::AppLog].inserted > 0);
    assert_eq!(pair.postgres.number("SELECT count(*) FROM workflow_runs WHERE error IS DISTINCT FROM 'mine'"), 0);
    assert_eq!(pair.counts()[2], 1_198);
}

#[tokio::test]
async fn what_cannot_come_back_whole_is_named_and_the_rest_comes() {
    let limits = Limits { field_bytes: 1_024, document_bytes: 4_096 };
    let pair = Pair::with(Postgres::sample(Schema::V10), limits).await;
    let offloaded: Vec<_> = pair
        .store
        .copies_of_all()
        .iter()
        .filter_map(|document| match &document.record {
            difylog::domain::Record::Offload(offload) => offload.node_execution_id,
            _ => None,
        })
        .collect();
    // Where Dify keeps the full text itself, its truncated one is what comes back.
    let is_lost = |document: &&difylog::domain::Document| {
        !document.truncated.is_empty() && !offloaded.contains(&document.record.id())
    };
    let lost = pair.store.copies_of_all().iter().filter(is_lost).count() as u64;
    assert!(lost > 0);
    let too_wide = pair.store.ids(Kind::NodeExecution)[0];
    pair.store.change_each(|document| match &mut document.record {
        difylog::domain::Record::Node(node) if node.id == too_wide => node.index = i64::from(i32::MAX) + 1,
        _ => {}
    });
    pair.postgres
        .sql("TRUNCATE workflow_runs, workflow_node_executions, workflow_app_logs, workflow_node_execution_offload");
    pair.store.lose_full_texts();
    let outcome = restore(&pair, &plan(true)).await;
    assert_eq!(outcome.named.len() as u64, lost + 1, "{:?}", outcome.named);
    let wide = outcome.named.iter().find(|failed| failed.id == too_wide).unwrap();
    assert!(wide.reason.contains("out of range"), "{}", wide.reason);
    let total: u64 = pair.counts().iter().sum();
    assert_eq!(total, 2_184 + 3_031 + 1_198 + 16 - lost - 1);
}
