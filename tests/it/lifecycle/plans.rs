//! The plan of every statement, on both generations of Dify's indexes: look-ups and walks by an index, never a sort and
//! never a sequential scan of a big table.

use difylog::domain::Kind;
use difylog::domain::query::TimeRange;
use difylog::postgres::{
    CandidateWalk, Catalogue, Client, alone_statement, children_statement, lookup, nodes_statement, runs_statement,
};

use crate::support::postgres::{Postgres, Schema};

const IDS: &str = "ARRAY['23b8c1e9-3924-46de-beb1-3b9046685257', 'bd9c66b3-ad3c-4d6d-9a3d-1fa7bc8960a9']::uuid[]";

/// Explains a statement as the server will run it when it has seen it often: with parameters that it does not know.
async fn plan(client: &Client, statement: &str, parameters: &[&str]) -> String {
    let prepare = format!("SET plan_cache_mode = force_generic_plan; PREPARE s AS {statement}");
    client.batch_execute(&prepare).await.unwrap();
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE s({})", parameters.join(", "));
    let lines = client.query(&explain, &[]).await.unwrap();
    client.batch_execute("DEALLOCATE s").await.unwrap();
    lines.iter().map(|line| line.get::<_, String>(0) + "\n").collect()
}

/// Enough rows that the planner has a reason to use an index: three thousand runs of two nodes on top of the sample.
fn database(schema: Schema) -> Postgres {
    let postgres = Postgres::sample(schema);
    postgres.sql(
        "INSERT INTO workflow_runs SELECT p.* FROM (SELECT * FROM workflow_runs LIMIT 500) r, generate_series(1, 6) i, \
           LATERAL jsonb_populate_record(NULL::workflow_runs, to_jsonb(r) || jsonb_build_object('id', uuid_generate_v4(), \
           'created_at', r.created_at + i * interval '1 second')) p;
         INSERT INTO workflow_node_executions SELECT p.* FROM (SELECT * FROM workflow_node_executions LIMIT 2) n, \
           workflow_runs r, LATERAL jsonb_populate_record(NULL::workflow_node_executions, to_jsonb(n) || \
           jsonb_build_object('id', uuid_generate_v4(), 'workflow_run_id', r.id, 'app_id', r.app_id, \
           'tenant_id', r.tenant_id, 'workflow_id', r.workflow_id)) p;
         INSERT INTO workflow_app_logs SELECT p.* FROM (SELECT * FROM workflow_app_logs LIMIT 1) l, workflow_runs r, \
           LATERAL jsonb_populate_record(NULL::workflow_app_logs, to_jsonb(l) || \
           jsonb_build_object('id', uuid_generate_v4(), 'workflow_run_id', r.id)) p;
         INSERT INTO workflow_node_execution_offload (tenant_id, app_id, node_execution_id, type, file_id) \
           SELECT tenant_id, app_id, id, 'process_data', uuid_generate_v4() FROM workflow_node_executions n WHERE NOT EXISTS \
           (SELECT FROM workflow_node_execution_offload o WHERE o.node_execution_id = n.id AND o.type = 'process_data');
         VACUUM ANALYZE",
    );
    postgres
}

/// Pauses and creators are few in the sample: reading their tables whole is the better plan there.
const SMALL: [&str; 3] = ["workflow_pauses", "end_users", "accounts"];

fn judge(what: &str, plan: &str) {
    let wrong: Vec<_> = plan
        .lines()
        .filter(|line| line.contains("Sort") || line.contains("Seq Scan"))
        .filter(|line| !SMALL.iter().any(|table| line.contains(table)))
        .collect();
    assert!(wrong.is_empty(), "{what}: {wrong:?} in\n{plan}");
}

#[tokio::test]
async fn every_statement_uses_an_index() {
    for schema in [Schema::V10, Schema::V12] {
        let postgres = database(schema);
        let database = postgres.database();
        let client = database.client().await.unwrap();
        let catalogue = Catalogue::read(&client).await.unwrap();
        for kind in Kind::ALL {
            {
                let walk = CandidateWalk::new(&catalogue, kind, TimeRange::default()).unwrap().unwrap();
                let parameters =
                    ["'2025-01-01'", "'23b8c1e9-3924-46de-beb1-3b9046685257'", "'2025-01-01'", "'2025-06-01'", "100"];
                let plan = plan(&client, walk.statement(), &parameters).await;
                judge(&format!("{schema:?}, walk of {kind}"), &plan);
                let by_time = kind == Kind::WorkflowRun && schema == Schema::V12;
                let index = if by_time { "workflow_run_created_at_id_idx" } else { "_pkey" };
                assert!(plan.contains(index), "{schema:?} {kind}:\n{plan}");
            }
            let rows = lookup::rows_statement(&catalogue, kind).unwrap().unwrap();
            judge(&format!("{schema:?}, rows of {kind}"), &plan(&client, &rows, &[IDS]).await);
            for lock in [false, true] {
                let alone = alone_statement(&catalogue, kind, lock).unwrap().unwrap();
                judge(&format!("{schema:?}, {kind} alone"), &plan(&client, &alone, &[IDS]).await);
            }
        }
        for lock in [false, true] {
            let runs = runs_statement(&catalogue, lock).unwrap();
            let parameters = [IDS, "'2025-01-01'", "'2025-06-01'", "'2024-01-01'"];
            judge(&format!("{schema:?}, runs"), &plan(&client, &runs, &parameters).await);
            for kind in [Kind::AppLog, Kind::Offload] {
                let children = children_statement(&catalogue, kind, lock).unwrap().unwrap();
                judge(&format!("{schema:?}, {kind} of parents"), &plan(&client, &children, &[IDS]).await);
            }
            let nodes = nodes_statement(&catalogue, lock).unwrap();
            let parameters = [IDS, IDS, IDS, "ARRAY['workflow-run', 'rag-pipeline-run']", IDS];
            let plan = plan(&client, &nodes, &parameters).await;
            judge(&format!("{schema:?}, nodes of runs"), &plan);
            let condition = plan.lines().find(|line| line.contains("Index Cond")).unwrap();
            assert!(condition.contains("workflow_run_id"), "{schema:?}: the run is no part of the look-up:\n{plan}");
        }
    }
}
