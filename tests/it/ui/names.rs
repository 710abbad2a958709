//! Names on the pages: of the own workspace only, and never a reason to keep a page back.

use std::time::Duration;

use difylog::domain::{AppLog, Record, RunStatus, TenantId};
use difylog::postgres::{Database, PostgresSettings};
use difylog::query::DifyDirectory;

use super::harness::{ADMIN_KEY, Beside, Place, TENANT_KEY, now};
use crate::support::postgres::{NAMES, Postgres, Schema};
use crate::support::records;

async fn failed_run(place: &Place, tenant_id: TenantId) -> difylog::domain::WorkflowRun {
    let created_at = records::later(now(), -3_600_000_000);
    let mut run = records::ended(records::run(tenant_id, records::app(), created_at), 1_000_000);
    (run.status, run.error) = (RunStatus::Failed, Some("upstream hung up".into()));
    let log: AppLog = records::app_log(tenant_id, run.app_id, run.id, created_at);
    let node = records::node(tenant_id, run.app_id, run.id, 1, created_at);
    place
        .store([Record::Run(Box::new(run.clone())), Record::AppLog(Box::new(log)), Record::Node(Box::new(node))])
        .await;
    run
}

fn screens(run: &difylog::domain::WorkflowRun) -> [String; 8] {
    let app_id = run.app_id;
    [
        "runs".into(),
        format!("runs?app_id={app_id}"),
        format!("runs/{}", run.id),
        "nodes".into(),
        "errors".into(),
        "statistics".into(),
        format!("statistics?app_id={app_id}"),
        format!("app-logs?app_id={app_id}"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_and_workspaces_are_called_by_their_names() {
    let postgres = Postgres::empty(Schema::V12);
    postgres.sql(NAMES);
    let directory = DifyDirectory::new(postgres.database()).within(Duration::from_secs(30));
    let place = Place::beside(Beside::directory(directory)).await;
    let foreign = records::tenant();
    let (ours, theirs) = (failed_run(&place, place.tenant_id).await, failed_run(&place, foreign).await);
    postgres.sql(&format!(
        "INSERT INTO apps VALUES ('{}', '{}', 'Parcel <b>desk</b>', 'workflow', 'emoji', '📦'), \
           ('{}', '{foreign}', 'Foreign plan', 'workflow', 'image', 'picture');
         INSERT INTO tenants VALUES ('{}', 'Our & shop'), ('{foreign}', 'Foreign shop')",
        ours.app_id, place.tenant_id, theirs.app_id, place.tenant_id
    ));
    let mut client = place.signed_in(TENANT_KEY).await;
    for screen in screens(&ours) {
        let page = client.page(&place.path(&screen)).await;
        assert!(page.contains("Parcel &lt;b&gt;desk&lt;/b&gt;") && page.contains("Our &amp; shop"), "{screen}: {page}");
        assert!(page.contains("📦") && !page.contains("Foreign"), "{screen}: {page}");
    }
    // A run of this workspace that names another one's app does not learn its name.
    let mut run = records::run(place.tenant_id, theirs.app_id, records::later(now(), -1_000_000));
    run.id = records::id();
    place.store([Record::Run(Box::new(run))]).await;
    assert!(!client.page(&place.path("runs")).await.contains("Foreign"));
    let mut admin = place.signed_in(ADMIN_KEY).await;
    let choice = admin.page("/ui/workspaces").await;
    assert!(choice.contains("Foreign shop") && choice.contains("Our &amp; shop"), "{choice}");
    let errors = admin.page("/ui/errors").await;
    for name in ["Foreign shop", "Our &amp; shop", "Parcel &lt;b&gt;desk&lt;/b&gt;", "Foreign plan"] {
        assert!(errors.contains(name), "{name}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_pages_have_ids_and_say_so() {
    let url = "postgres://postgres@127.0.0.1:1/dify".parse().unwrap();
    let settings = PostgresSettings { url, ..PostgresSettings::default() };
    let directory = DifyDirectory::new(Database::open(&settings).unwrap()).within(Duration::from_secs(2));
    let place = Place::beside(Beside::directory(directory)).await;
    let run = failed_run(&place, place.tenant_id).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    for screen in screens(&run) {
        let page = client.page(&place.path(&screen)).await;
        assert!(page.contains("Names cannot be looked up now"), "{screen}: {page}");
        assert!(page.contains(&run.app_id.to_string()[..8]) && !page.contains("127.0.0.1"), "{screen}: {page}");
    }
}
