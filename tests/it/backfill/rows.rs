//! Rows of both schema generations become records.

use difylog::domain::{Kind, Record};
use difylog::postgres::{Catalogue, PostgresError};

use crate::backfill::place::records;
use crate::support::postgres::{Postgres, Schema};

#[tokio::test]
async fn every_row_of_the_sample_is_a_record() {
    for schema in [Schema::V10, Schema::V12] {
        let postgres = Postgres::sample(schema);
        let mut counts = Vec::new();
        for kind in Kind::ALL {
            let records = records(&postgres, kind).await;
            for record in &records {
                match record {
                    Record::AppLog(log) => {
                        assert!(log.creator.is_some() || log.created_by_role.is_empty(), "{:?}", log.id);
                    }
                    Record::Run(run) => assert!(run.finished_at.is_none_or(|at| at >= run.created_at)),
                    _ => {}
                }
            }
            counts.push(records.len());
        }
        assert_eq!(counts, [2184, 3031, 1198, 16], "{schema:?}");
    }
}

#[tokio::test]
async fn instants_are_utc_whatever_the_server_s_zone() {
    let postgres = Postgres::sample(Schema::V10);
    postgres.sql("ALTER ROLE ALL SET timezone TO 'Asia/Shanghai'");
    let first = postgres
        .sql("SELECT to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM workflow_runs ORDER BY id LIMIT 1");
    let run = records(&postgres, Kind::WorkflowRun).await.remove(0);
    postgres.sql("ALTER ROLE ALL RESET timezone");
    assert_eq!(run.created_at().to_string(), first.trim());
}

#[tokio::test]
async fn what_is_not_dify_s_database_is_said() {
    let postgres = Postgres::empty(Schema::V10);
    postgres.sql("ALTER TABLE workflow_runs DROP COLUMN exceptions_count; DROP TABLE workflow_app_logs, workflow_node_execution_offload");
    let client = postgres.database().client().await.unwrap();
    let catalogue = Catalogue::read(&client).await.unwrap();
    assert!(catalogue.table_of(Kind::WorkflowRun).unwrap_err().to_string().contains("exceptions_count"));
    assert!(catalogue.table_of(Kind::AppLog).unwrap_err().to_string().contains("no table workflow_app_logs"));
    assert_eq!(catalogue.table_of(Kind::Offload), Ok(None));
}

#[tokio::test]
async fn refusals_and_absence_are_told_apart() {
    let postgres = Postgres::empty(Schema::V10);
    let (_, place) = postgres.url().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let open = async |url: String| {
        let settings = difylog::postgres::PostgresSettings { url: url.parse().unwrap(), ..postgres.settings() };
        difylog::postgres::Database::open(&settings).unwrap().client().await.err().unwrap()
    };
    let wrong = open(format!("postgres://difylog:wrong@{place}")).await;
    assert!(matches!(&wrong, PostgresError::Refused { .. }), "{wrong}");
    assert!(wrong.to_string().contains("postgres.password") && !wrong.to_string().contains("wrong@"), "{wrong}");
    let none = open(format!("postgres://difylog@{place}")).await;
    assert!(matches!(&none, PostgresError::Refused { .. }), "{none}");
    let absent = open("postgres://difylog@127.0.0.1:1/dify".into()).await;
    assert!(matches!(&absent, PostgresError::Unreachable { .. }) && absent.is_retriable(), "{absent}");
}
