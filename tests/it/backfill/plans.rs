//! The plan of every statement of every walk: by an index, without a sort, without a scan of a table.

use difylog::domain::query::TimeRange;
use difylog::domain::{Kind, TenantId};
use difylog::postgres::{Catalogue, Database, RowSelection, TableWalk, WalkOrder};

use crate::support::postgres::{Postgres, Schema};

/// Nodes of a plan, outermost first.
async fn plan(database: &Database, statement: &str) -> Vec<String> {
    let client = database.client().await.unwrap();
    // The generic plan of a prepared statement is what serves all but its first executions.
    client
        .batch_execute(&format!("SET plan_cache_mode = force_generic_plan; PREPARE walk AS {statement}"))
        .await
        .unwrap();
    let parameters = (1..=9).rev().find(|number| statement.contains(&format!("${number}"))).unwrap_or_default();
    let arguments = if parameters == 0 { String::new() } else { format!("({})", vec!["NULL"; parameters].join(", ")) };
    let rows = client.simple_query(&format!("EXPLAIN EXECUTE walk{arguments}")).await.unwrap();
    client.batch_execute("DEALLOCATE walk; RESET plan_cache_mode").await.unwrap();
    rows.iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn no_statement_sorts_or_scans_a_table() {
    for schema in [Schema::V10, Schema::V12] {
        let postgres = Postgres::sample(schema);
        let database = Database::for_walks(&postgres.settings()).unwrap();
        let catalogue = Catalogue::read(&database.client().await.unwrap()).await.unwrap();
        let tenant: TenantId = postgres.sql("SELECT tenant_id FROM workflow_runs LIMIT 1").trim().parse().unwrap();
        let span = TimeRange {
            from: Some("2025-03-01T00:00:00".parse().unwrap()),
            until: Some("2025-04-01T00:00:00".parse().unwrap()),
        };
        let selections = [
            RowSelection::default(),
            RowSelection { ids: None, tenants: vec![tenant], created: span, changed_since: None },
            RowSelection { ids: None, changed_since: span.from, ..RowSelection::default() },
        ];
        for (kind, selection) in
            Kind::ALL.into_iter().flat_map(|kind| selections.clone().map(|selection| (kind, selection)))
        {
            let walk = TableWalk::plan(kind, &catalogue, selection, true).unwrap().unwrap();
            let by_time = schema == Schema::V12 && kind == Kind::WorkflowRun;
            assert_eq!(walk.order(), if by_time { WalkOrder::CreatedAt } else { WalkOrder::PrimaryKey });
            for statement in walk.statements() {
                let plan = plan(&database, &statement).await;
                let text = plan.join("\n");
                assert!(
                    !text.contains("Sort") && !text.contains("Seq Scan") && !text.contains("Bitmap"),
                    "{statement}\n{text}"
                );
                assert!(!text.contains("Hash") && !text.contains("Gather"), "{statement}\n{text}");
                assert!(
                    text.contains("Index Scan using") || text.contains("Index Only Scan using"),
                    "{statement}\n{text}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_operator_s_own_index_is_used() {
    let postgres = Postgres::empty(Schema::V10);
    postgres.sql(
        "CREATE INDEX mine ON workflow_node_executions (created_at, id);
         CREATE INDEX partial ON workflow_app_logs (created_at, id) WHERE created_from = 'web-app';
         CREATE INDEX descending ON workflow_runs (created_at DESC, id)",
    );
    let client = postgres.database().client().await.unwrap();
    let catalogue = Catalogue::read(&client).await.unwrap();
    let order = |kind| TableWalk::plan(kind, &catalogue, RowSelection::default(), false).unwrap().unwrap().order();
    assert_eq!(order(Kind::NodeExecution), WalkOrder::CreatedAt);
    assert_eq!((order(Kind::AppLog), order(Kind::WorkflowRun)), (WalkOrder::PrimaryKey, WalkOrder::PrimaryKey));
}
