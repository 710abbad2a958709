//! A cleanup deletes what is proved to be in the store, whole runs at a time, and nothing else.

use difylog::backfill::cleanup::{self, Stay};
use difylog::domain::query::TimeRange;
use difylog::domain::{Kind, Record};

use crate::lifecycle::harness::{Pair, now};
use crate::support::postgres::Schema;

/// Rows that a cleanup of everything leaves: those of runs that have not ended or have a pause.
const OPEN_RUNS: &str = "FROM workflow_runs r WHERE r.status IN ('running', 'paused') \
     OR EXISTS (SELECT FROM workflow_pauses p WHERE p.workflow_run_id = r.id)";

fn freed(outcome: &cleanup::CleanupOutcome) -> [u64; 4] {
    Kind::ALL.map(|kind| outcome.freed.get(&kind).map_or(0, |freed| freed.rows))
}

#[tokio::test]
async fn ended_runs_go_with_all_that_is_theirs_and_open_ones_stay() {
    for schema in [Schema::V10, Schema::V12] {
        let pair = Pair::sample(schema).await;
        let before = pair.counts();
        let files = pair.postgres.number("SELECT count(*) FROM upload_files");
        let open = pair.postgres.number(&format!("SELECT count(*) {OPEN_RUNS}"));
        let open_nodes = pair.postgres.number(&format!(
            "SELECT count(*) FROM workflow_node_executions n WHERE n.workflow_run_id IN (SELECT r.id {OPEN_RUNS}) \
             OR (n.workflow_run_id IS NULL AND n.finished_at IS NULL)"
        ));
        let open_logs = pair.postgres.number(&format!(
            "SELECT count(*) FROM workflow_app_logs l WHERE l.workflow_run_id IN (SELECT r.id {OPEN_RUNS})"
        ));

        let dry = pair.clean(&Pair::plan(false)).await;
        assert_eq!(pair.counts(), before, "a dry run deletes nothing");
        let outcome = pair.clean(&Pair::plan(true)).await;
        assert_eq!(freed(&dry), freed(&outcome), "a dry run foretells what goes");
        let after = pair.counts();
        assert_eq!([after[0], after[1], after[2]], [open, open_nodes, open_logs], "{outcome:?}");
        assert_eq!(freed(&outcome), [0, 1, 2, 3].map(|kind| before[kind] - after[kind]));
        assert_eq!(outcome.stayed.keys().collect::<Vec<_>>(), Vec::<&Stay>::new());
        assert_eq!(outcome.files_left, before[3] - after[3]);
        assert!(outcome.freed[&Kind::NodeExecution].bytes > 100_000);
        assert_eq!(pair.postgres.number("SELECT count(*) FROM upload_files"), files);
        assert_eq!(pair.postgres.number("SELECT count(*) FROM workflow_pauses"), 2);

        let again = pair.clean(&Pair::plan(true)).await;
        assert_eq!(freed(&again), [0; 4]);
    }
}

#[tokio::test]
async fn an_ended_run_with_a_pause_stays() {
    let pair = Pair::sample(Schema::V12).await;
    pair.postgres.sql(
        "UPDATE workflow_pauses SET workflow_run_id = (SELECT r.id FROM workflow_runs r JOIN \
         workflow_node_executions n ON n.workflow_run_id = r.id WHERE r.status = 'succeeded' LIMIT 1) \
         WHERE id = (SELECT min(id::text)::uuid FROM workflow_pauses)",
    );
    let outcome = pair.clean(&Pair::plan(true)).await;
    assert_eq!(outcome.stayed.into_iter().collect::<Vec<_>>(), [(Stay::Paused, 1)]);
    let left = "SELECT count(*) FROM workflow_runs r JOIN workflow_pauses p ON p.workflow_run_id = r.id \
         WHERE r.status = 'succeeded' AND EXISTS (SELECT FROM workflow_node_executions n WHERE n.workflow_run_id = r.id)";
    assert_eq!(pair.postgres.number(left), 1);
}

#[tokio::test]
async fn a_family_stays_if_one_row_of_it_is_not_proved() {
    let pair = Pair::sample(Schema::V10).await;
    let find = |sql: &str| pair.postgres.sql(sql).trim().parse::<difylog::domain::RecordId>().unwrap();
    let of_ended = "FROM workflow_runs r JOIN workflow_node_executions n ON n.workflow_run_id = r.id \
         WHERE r.status = 'succeeded' ORDER BY n.id";
    let missing = find(&format!("SELECT n.id {of_ended} OFFSET 10 LIMIT 1"));
    let changed = find(&format!("SELECT n.id {of_ended} OFFSET 900 LIMIT 1"));
    pair.store.take(|document| document.record.id() == missing);
    pair.store.change_each(|document| match &mut document.record {
        Record::Node(node) if node.id == changed => node.index += 1,
        _ => {}
    });
    let unreadable = find(
        "UPDATE workflow_app_logs SET created_from = repeat('x', 255), created_at = 'infinity' WHERE id = \
         (SELECT l.id FROM workflow_app_logs l JOIN workflow_runs r ON r.id = l.workflow_run_id WHERE r.status = 'failed' \
          ORDER BY l.id LIMIT 1) RETURNING id",
    );
    let rows_of = |id| {
        format!(
            "SELECT count(*) FROM workflow_node_executions WHERE workflow_run_id = \
             (SELECT workflow_run_id FROM workflow_node_executions WHERE id = '{id}')"
        )
    };
    let expected = [pair.postgres.number(&rows_of(missing)), pair.postgres.number(&rows_of(changed))];
    let outcome = pair.clean(&Pair::plan(true)).await;
    let mut kept: Vec<_> = outcome.kept.iter().map(|kept| (kept.stay.clone(), kept.kind, kept.id)).collect();
    kept.sort();
    let logs = Kind::AppLog;
    let nodes = Kind::NodeExecution;
    assert_eq!(
        kept,
        [(Stay::Missing, nodes, missing), (Stay::Different, nodes, changed), (Stay::Unreadable, logs, unreadable)]
    );
    assert_eq!([pair.postgres.number(&rows_of(missing)), pair.postgres.number(&rows_of(changed))], expected);
    for kept in outcome.kept {
        let run = pair.postgres.number(&format!("SELECT count(*) FROM workflow_runs WHERE id = '{}'", kept.family));
        assert_eq!(run, 1, "{kept:?}");
    }
}

#[tokio::test]
async fn rows_that_another_session_holds_are_passed_over() {
    let pair = Pair::sample(Schema::V12).await;
    let id =
        pair.postgres.sql("SELECT id FROM workflow_runs WHERE status = 'succeeded' ORDER BY created_at, id LIMIT 1");
    let node = pair.postgres.sql(
        "SELECT n.id FROM workflow_node_executions n JOIN workflow_runs r ON r.id = n.workflow_run_id \
         WHERE r.status = 'failed' ORDER BY r.created_at DESC LIMIT 1",
    );
    let mut other = pair.database.client().await.unwrap();
    let holding = other.transaction().await.unwrap();
    let lock = |table: &str, id: &str| format!("SELECT id FROM {table} WHERE id = '{}' FOR UPDATE", id.trim());
    holding.batch_execute(&lock("workflow_runs", &id)).await.unwrap();
    holding.batch_execute(&lock("workflow_node_executions", &node)).await.unwrap();
    let outcome = pair.clean(&cleanup::CleanupPlan { batch: 5, ..Pair::plan(true) }).await;
    let held = outcome.stayed[&Stay::Held];
    assert!((2..=6).contains(&held), "{:?}", outcome.stayed);
    assert_eq!(pair.postgres.number(&format!("SELECT count(*) FROM workflow_runs WHERE id = '{}'", id.trim())), 1);
    holding.rollback().await.unwrap();
    drop(other);
    let rest = pair.clean(&Pair::plan(true)).await;
    assert_eq!(rest.freed[&Kind::WorkflowRun].rows, held);
    assert!(rest.stayed.is_empty());
}

#[tokio::test]
async fn tenant_and_span_are_kept_to_and_a_stop_is_heeded() {
    let pair = Pair::sample(Schema::V12).await;
    let tenant = "bd9c66b3-ad3c-4d6d-9a3d-1fa7bc8960a9";
    let until = "2025-11-01T00:00:00Z".parse().unwrap();
    let plan = cleanup::CleanupPlan {
        tenants: vec![tenant.parse().unwrap()],
        created: TimeRange { from: None, until: Some(until) },
        ..Pair::plan(true)
    };
    let outside =
        format!("SELECT count(*) FROM workflow_runs WHERE tenant_id <> '{tenant}' OR created_at >= '2025-11-01'");
    let before = pair.postgres.number(&outside);
    let outcome = pair.clean(&plan).await;
    assert!(outcome.freed[&Kind::WorkflowRun].rows > 0);
    assert_eq!(pair.postgres.number(&outside), before);

    let rows = pair.counts();
    let stopped = cleanup::Cleanup {
        database: &pair.database,
        store: pair.store.side(),
        plan: &Pair::plan(true),
        progress: &|_| {},
        stop: &|| true,
    };
    assert_eq!(stopped.run().await.unwrap().rows(), 0);
    assert_eq!(pair.counts(), rows);
    assert!(now() > until);
}

#[tokio::test]
async fn what_draft_variables_refer_to_stays() {
    for schema in [Schema::V10, Schema::V12] {
        let pair = Pair::sample(schema).await;
        pair.postgres.sql("CREATE TABLE workflow_draft_variables (id uuid, node_execution_id uuid)");
        // A node of a run, and a single step.
        let find = |sql: &str| pair.postgres.sql(sql).trim().to_owned();
        let of_run = find(
            "SELECT n.id FROM workflow_node_executions n JOIN workflow_runs r ON r.id = n.workflow_run_id \
             WHERE r.status = 'succeeded' ORDER BY n.id OFFSET 50 LIMIT 1",
        );
        let alone = find(
            "SELECT id FROM workflow_node_executions WHERE workflow_run_id IS NULL AND finished_at IS NOT NULL ORDER BY id LIMIT 1",
        );
        pair.postgres.sql(&format!(
            "INSERT INTO workflow_draft_variables VALUES (gen_random_uuid(), '{of_run}'), (gen_random_uuid(), '{of_run}'), \
             (gen_random_uuid(), '{alone}'), (gen_random_uuid(), NULL)"
        ));
        let outcome = pair.clean(&Pair::plan(true)).await;
        assert_eq!(outcome.stayed.into_iter().collect::<Vec<_>>(), [(Stay::Referenced, 2)]);
        assert_eq!(outcome.referenced.into_iter().collect::<Vec<_>>(), [("workflow_draft_variables".to_owned(), 2)]);
        assert!(outcome.plans.iter().any(|plan| plan.contains("workflow_draft_variables")), "{:?}", outcome.plans);
        let left = |id: &str| {
            pair.postgres.number(&format!("SELECT count(*) FROM workflow_node_executions WHERE id = '{id}'"))
        };
        assert_eq!((left(&of_run), left(&alone)), (1, 1));
        let run = format!(
            "SELECT count(*) FROM workflow_runs r JOIN workflow_node_executions n ON n.workflow_run_id = r.id WHERE n.id = '{of_run}'"
        );
        assert_eq!(pair.postgres.number(&run), 1, "a run goes with all its nodes or not at all");
        let mut plan = Pair::plan(true);
        plan.ignored_references.push("workflow_draft_variables".into());
        let rest = pair.clean(&plan).await;
        assert!(rest.stayed.is_empty(), "{:?}", rest.stayed);
        assert_eq!((left(&of_run), left(&alone)), (0, 0));
    }
}
