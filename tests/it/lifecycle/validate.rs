//! Validation names exactly what differs, on either side, and nothing else.

use difylog::backfill::report::{Counts, Finding, RecordFault, ReportText, Tolerated};
use difylog::codec::truncate::Limits;
use difylog::domain::query::TimeRange;
use difylog::domain::{Kind, Record, RecordId, TenantId};
use uuid::Uuid;

use crate::lifecycle::harness::Pair;
use crate::support::postgres::{Postgres, Schema};

fn finding(kind: Kind, tenant_id: &str, id: &str, fault: RecordFault) -> Finding {
    Finding {
        kind: ReportText(kind),
        tenant_id: Some(ReportText(tenant_id.parse().unwrap())),
        id: ReportText(id.parse().unwrap()),
        fault,
    }
}

fn different(columns: &[&str]) -> RecordFault {
    RecordFault::Different { columns: columns.iter().map(|column| (*column).to_owned()).collect() }
}

#[tokio::test]
async fn what_was_copied_passes_in_both_schemas() {
    for schema in [Schema::V10, Schema::V12] {
        let pair = Pair::sample(schema).await;
        let report = pair.validate(Pair::request()).await;
        assert!(report.passed, "{:?} {:?}", report.counts, report.findings);
        assert_eq!(report.counts, Counts::default());
        let rows =
            |kind| report.totals.iter().filter(|total| total.kind.0 == kind).map(|total| total.rows).sum::<u64>();
        assert_eq!(Kind::ALL.map(rows), [2_184, 3_031, 1_198, 16]);
        assert!(
            report.totals.iter().all(|total| total.rows_hash == total.documents_hash && total.days_looked_into == 0)
        );
        let by_time = report.plans[0].contains("workflow_run_created_at_id_idx");
        assert_eq!(by_time, schema == Schema::V12, "{:?}", report.plans);
    }
}

#[tokio::test]
async fn faults_in_the_store_are_named() {
    let pair = Pair::sample(Schema::V10).await;
    let nodes = pair.store.ids(Kind::NodeExecution);
    let (changed, deleted) = (nodes[100], nodes[2_000]);
    let (mut expected, inserted) = (Vec::new(), RecordId::new(Uuid::from_u128(99)));
    let is_node =
        |document: &difylog::domain::Document, id| document.kind() == Kind::NodeExecution && document.record.id() == id;
    let gone = pair.store.take(|document| is_node(document, deleted)).pop().unwrap().key();
    expected.push(finding(gone.kind, &gone.tenant_id.to_string(), &deleted.to_string(), RecordFault::Missing));
    let mut altered = pair.store.take(|document| is_node(document, changed)).pop().unwrap();
    let (kind, tenant) = (altered.kind(), altered.tenant_id().to_string());
    let Record::Node(node) = &mut altered.record else { panic!() };
    node.title = "someone else's".into();
    pair.store.put(altered.clone());
    let Record::Node(node) = &mut altered.record else { panic!() };
    node.id = inserted;
    pair.store.put(altered);
    expected.push(finding(kind, &tenant, &changed.to_string(), different(&["title"])));
    expected.push(finding(kind, &tenant, &inserted.to_string(), RecordFault::Extra));
    expected.sort_by_key(|finding| (finding.kind, finding.tenant_id, finding.id));
    let report = pair.validate(Pair::request()).await;
    assert!(!report.passed);
    assert_eq!(report.findings, expected);
    assert_eq!(report.counts, Counts { missing: 1, extra: 1, different: 1, ..Counts::default() });
}

#[tokio::test]
async fn faults_in_postgresql_are_named() {
    for schema in [Schema::V10, Schema::V12] {
        let pair = Pair::sample(schema).await;
        let row = |sql: &str| {
            let line = pair.postgres.sql(sql);
            let (tenant, id) = line.trim().split_once('|').unwrap();
            (tenant.to_owned(), id.to_owned())
        };
        let changed = row(
            "UPDATE workflow_runs SET outputs = '{\"answer\": 43}', total_tokens = total_tokens + 1 WHERE id = \
             (SELECT id FROM workflow_runs WHERE status = 'succeeded' ORDER BY id OFFSET 500 LIMIT 1) RETURNING tenant_id, id",
        );
        let deleted = row(
            "DELETE FROM workflow_app_logs WHERE id = (SELECT id FROM workflow_app_logs ORDER BY id OFFSET 300 LIMIT 1) \
             RETURNING tenant_id, id",
        );
        let inserted = row("INSERT INTO workflow_node_executions SELECT (jsonb_populate_record(n, '{\"id\": \
             \"11111111-2222-4333-8444-555555555555\"}')).* FROM workflow_node_executions n ORDER BY id LIMIT 1 \
             RETURNING tenant_id, id");
        let report = pair.validate(Pair::request()).await;
        let mut expected = vec![
            finding(Kind::WorkflowRun, &changed.0, &changed.1, different(&["outputs", "total_tokens"])),
            finding(Kind::NodeExecution, &inserted.0, &inserted.1, RecordFault::Missing),
            finding(Kind::AppLog, &deleted.0, &deleted.1, RecordFault::Extra),
        ];
        expected.sort_by_key(|finding| (finding.kind, finding.tenant_id, finding.id));
        assert_eq!(report.findings, expected);
        let tolerant =
            difylog::backfill::validate::ValidationRequest { tolerated: vec![Tolerated::Extra], ..Pair::request() };
        assert!(!pair.validate(tolerant).await.passed);
    }
}

#[tokio::test]
async fn another_tenants_document_is_no_substitute() {
    let pair = Pair::sample(Schema::V10).await;
    let first = pair.store.ids(Kind::AppLog)[0];
    let mut document = pair.store.take(|document| document.record.id() == first).pop().unwrap();
    let own = document.key();
    let Record::AppLog(log) = &mut document.record else { panic!() };
    log.tenant_id = TenantId::new(Uuid::from_u128(42));
    let other = document.key();
    pair.store.put(document);
    let report = pair.validate(Pair::request()).await;
    let named: Vec<_> = report.findings.iter().map(|found| (found.tenant_id.unwrap().0, found.fault.name())).collect();
    assert_eq!(named, [(other.tenant_id, "extra"), (own.tenant_id, "missing")]);
}

#[tokio::test]
async fn what_changes_during_the_validation_is_looked_at_again() {
    let pair = Pair::sample(Schema::V12).await;
    let first = pair.store.ids(Kind::WorkflowRun)[0];
    let document = pair.store.take(|document| document.record.id() == first).pop().unwrap();
    assert_eq!(pair.validate(Pair::request()).await.counts.missing, 1);
    // The document arrives after the first look at its row.
    pair.store.after_first_look(move |store| store.put(document));
    let report = pair.validate(Pair::request()).await;
    assert!(report.passed, "{:?}", report.findings);
    assert_eq!(report.counts, Counts { settled: 1, ..Counts::default() });
}

#[tokio::test]
async fn a_running_row_may_lag_behind_its_document() {
    let pair = Pair::sample(Schema::V10).await;
    let line = pair.postgres.sql(
        "UPDATE workflow_runs SET status = 'running', finished_at = NULL, outputs = NULL WHERE id = \
         (SELECT id FROM workflow_runs WHERE status = 'succeeded' ORDER BY id LIMIT 1) RETURNING id",
    );
    let report = pair.validate(Pair::request()).await;
    assert!(report.passed, "{line}: {:?}", report.findings);
    assert_eq!(report.counts, Counts { ahead: 1, ..Counts::default() });
}

#[tokio::test]
async fn truncated_payloads_are_compared_in_full_and_their_loss_is_seen() {
    let limits = Limits { field_bytes: 1_024, document_bytes: 4_096 };
    let pair = Pair::with(Postgres::sample(Schema::V10), limits).await;
    let cut = pair.store.copies_of_all().iter().filter(|document| !document.truncated.is_empty()).count() as u64;
    assert!(cut > 0, "the sample has no payload above the limit");
    let report = pair.validate(Pair::request()).await;
    assert!(report.passed, "{:?}", report.findings);
    pair.store.lose_full_texts();
    let report = pair.validate(Pair::request()).await;
    assert_eq!(report.counts.different, cut);
}

#[tokio::test]
async fn rows_that_are_no_records_fail_a_report_unless_it_is_told_otherwise() {
    let pair = Pair::with(
        {
            let postgres = Postgres::sample(Schema::V10);
            postgres.sql("UPDATE workflow_runs SET created_at = '0001-01-01' WHERE id = (SELECT min(id::text)::uuid FROM workflow_runs)");
            postgres.sql("UPDATE workflow_runs SET finished_at = 'infinity' WHERE id = (SELECT max(id::text)::uuid FROM workflow_runs)");
            postgres
        },
        Limits::default(),
    )
    .await;
    let report = pair.validate(Pair::request()).await;
    assert_eq!(report.counts, Counts { unreadable: 2, ..Counts::default() }, "{:?}", report.findings);
    assert!(!report.passed);
    let tolerant =
        difylog::backfill::validate::ValidationRequest { tolerated: vec![Tolerated::Unreadable], ..Pair::request() };
    assert!(pair.validate(tolerant).await.passed);
}

#[tokio::test]
async fn a_range_and_a_tenant_are_kept_to() {
    let pair = Pair::sample(Schema::V12).await;
    let tenant: TenantId = "23b8c1e9-3924-46de-beb1-3b9046685257".parse().unwrap();
    let created = TimeRange {
        from: Some("2025-06-01T00:00:00Z".parse().unwrap()),
        until: Some("2025-09-15T12:00:00Z".parse().unwrap()),
    };
    let request = difylog::backfill::validate::ValidationRequest {
        tenants: vec![tenant],
        kinds: vec![Kind::WorkflowRun],
        created,
        ..Pair::request()
    };
    let report = pair.validate(request).await;
    let expected = pair.postgres.number(&format!(
        "SELECT count(*) FROM workflow_runs WHERE tenant_id = '{tenant}' AND created_at >= '2025-06-01' \
         AND created_at < '2025-09-15 12:00'"
    ));
    assert!(report.passed && expected > 0);
    assert_eq!(
        report.totals.iter().map(|total| (total.rows, total.documents)).collect::<Vec<_>>(),
        [(expected, expected)]
    );
}

#[tokio::test]
async fn a_sample_finds_a_store_that_lost_everything() {
    let pair = Pair::sample(Schema::V10).await;
    let sampled = || difylog::backfill::validate::ValidationRequest { sample: Some(50), ..Pair::request() };
    assert!(pair.validate(sampled()).await.passed);
    pair.store.take(|_| true);
    let report = pair.validate(sampled()).await;
    assert!(!report.passed && report.counts.missing > 20 && report.counts.missing <= 150 + 16, "{:?}", report.counts);
}

#[tokio::test]
async fn no_fault_crowds_another_out_of_the_report() {
    let mut pair = Pair::sample(Schema::V12).await;
    pair.named = 3;
    // As after a cleanup and with faults beside it, whose kinds are looked at later.
    pair.postgres.sql(
        "DELETE FROM workflow_runs WHERE id IN (SELECT id FROM workflow_runs ORDER BY id LIMIT 500);
         UPDATE workflow_runs SET version = 'changed' WHERE id IN (SELECT id FROM workflow_runs ORDER BY id LIMIT 2);
         UPDATE workflow_app_logs SET created_from = 'changed' WHERE id IN (SELECT id FROM workflow_app_logs ORDER BY id LIMIT 5)",
    );
    let nodes = pair.store.ids(Kind::NodeExecution);
    pair.store.take(|document| nodes[..2].contains(&document.record.id()));
    let named = |report: &difylog::backfill::report::ValidationReport, name: &str| {
        report.findings.iter().filter(|found| found.fault.name() == name).count()
    };
    let report = pair.validate(Pair::request()).await;
    assert_eq!(report.counts, Counts { extra: 500, missing: 2, different: 7, ..Counts::default() });
    assert_eq!(["extra", "missing", "different"].map(|name| named(&report, name)), [3, 2, 3]);
    assert_eq!(report.unnamed(true), 4);
    // What is tolerated is counted only.
    let request =
        difylog::backfill::validate::ValidationRequest { tolerated: vec![Tolerated::Extra], ..Pair::request() };
    let report = pair.validate(request).await;
    assert_eq!((report.counts.extra, named(&report, "extra"), named(&report, "missing")), (500, 0, 2));
    assert!(!report.passed);
}
