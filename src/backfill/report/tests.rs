use super::*;
use uuid::Uuid;

const HOUR: i64 = 3_600_000_000;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + hours * HOUR).unwrap()
}

fn tenant(n: u128) -> TenantId {
    TenantId::new(Uuid::from_u128(n))
}

fn report() -> ValidationReport {
    ValidationReport {
        format: ValidationReport::FORMAT,
        version: "0.1.0".into(),
        database: "db:5432/dify".into(),
        store: "sqlite /data".into(),
        started_at: ReportText(at(0)),
        finished_at: ReportText(at(1)),
        scope: ValidationScope::new(&[tenant(1)], &Kind::ALL, TimeRange { from: None, until: Some(at(-24)) }),
        sample: None,
        tolerated: Vec::new(),
        plans: vec!["workflow_runs: by primary key".into()],
        totals: vec![Totals {
            tenant_id: ReportText(tenant(1)),
            kind: ReportText(Kind::WorkflowRun),
            rows: 2,
            documents: 2,
            days: 1,
            days_looked_into: 0,
            rows_hash: ReportText(ContentHash::new([7; 32])),
            documents_hash: ReportText(ContentHash::new([7; 32])),
        }],
        counts: Counts::default(),
        findings: Vec::new(),
        unended: Vec::new(),
        passed: true,
    }
}

fn demand(before: i64, now: i64) -> ReportRequirement<'static> {
    ReportRequirement {
        database: "db:5432/dify",
        store: "sqlite /data",
        before: at(before),
        tenants: &[],
        now: at(now),
        max_age: Duration::from_secs(24 * 3600),
        pass_over_faults: false,
    }
}

#[test]
fn survives_its_file_and_knows_when_it_was_edited() {
    let text = report().sign().unwrap();
    assert_eq!(ValidationReport::read(&text), Ok(report()));
    for (from, to) in
        [("\"rows\": 2", "\"rows\": 3"), ("\"passed\": true", "\"passed\": false"), ("db:5432", "dc:5432")]
    {
        assert_eq!(ValidationReport::read(&text.replace(from, to)), Err(ReportError::Edited), "{from}");
    }
    for broken in ["", "{}", "[]", "{\"report\":{}}", &text[..text.len() / 2]] {
        assert!(matches!(ValidationReport::read(broken), Err(ReportError::Malformed(_))), "{broken}");
    }
}

#[test]
fn vouches_for_what_it_covers_while_it_is_fresh() {
    assert_eq!(report().vouches_for(&demand(-24, 2)), Ok(()));
    assert_eq!(report().vouches_for(&demand(-24, 25)), Err(ReportError::Stale { hours: 25 }));
    assert!(matches!(report().vouches_for(&demand(-23, 2)), Err(ReportError::NotCovered(_))));
    let strangers = [tenant(1), tenant(2)];
    let found = report().vouches_for(&ReportRequirement { tenants: &strangers, ..demand(-24, 2) });
    assert_eq!(found, Err(ReportError::NotCovered(format!("tenant {}", tenant(2)))));
    let elsewhere = report().vouches_for(&ReportRequirement { database: "other:5432/dify", ..demand(-24, 2) });
    assert!(matches!(elsewhere, Err(ReportError::Elsewhere { what: "database", .. })));
    let elsewhere = report().vouches_for(&ReportRequirement { store: "sqlite /other", ..demand(-24, 2) });
    assert!(matches!(elsewhere, Err(ReportError::Elsewhere { what: "store", .. })));
}

#[test]
fn an_open_end_covers_what_was_there_when_it_began() {
    let open = ValidationReport { scope: ValidationScope::new(&[], &Kind::ALL, TimeRange::default()), ..report() };
    assert_eq!(open.vouches_for(&demand(0, 2)), Ok(()));
    assert!(matches!(open.vouches_for(&demand(1, 2)), Err(ReportError::NotCovered(_))));
    let part =
        ValidationReport { scope: ValidationScope::new(&[], &[Kind::WorkflowRun], TimeRange::default()), ..report() };
    assert!(matches!(part.vouches_for(&demand(0, 2)), Err(ReportError::NotCovered(_))));
}

#[test]
fn fails_by_what_it_counts_whatever_it_says() {
    let counted = |counts, tolerated| ValidationReport { tolerated, counts, ..report() }.vouches_for(&demand(-24, 2));
    let missing = Counts { missing: 1, ..Counts::default() };
    let extra = Counts { extra: 1, unreadable: 1, ..Counts::default() };
    let harmless = Counts { ahead: 3, fuller: 2, settled: 1, ..Counts::default() };
    let both = vec![Tolerated::Extra, Tolerated::Unreadable];
    assert_eq!(counted(missing, both.clone()), Err(ReportError::Failed));
    assert_eq!(counted(extra, vec![Tolerated::Extra]), Err(ReportError::Failed));
    assert_eq!(counted(extra, both), Ok(()));
    assert_eq!(counted(harmless, Vec::new()), Ok(()));
    let sampled = ValidationReport { sample: Some(10), ..report() }.vouches_for(&demand(-24, 2));
    assert_eq!(sampled, Err(ReportError::Sample));
    let changed = Counts { changed: 1, ..Counts::default() };
    assert_eq!(counted(changed, Vec::new()), Err(ReportError::Failed));
    assert_eq!(counted(changed, vec![Tolerated::Changed]), Ok(()));
    let told = ReportRequirement { pass_over_faults: true, ..demand(-24, 2) };
    assert_eq!(ValidationReport { counts: missing, passed: false, ..report() }.vouches_for(&told), Ok(()));
    let failed = ValidationReport { passed: false, ..report() }.vouches_for(&demand(-24, 2));
    assert_eq!(failed, Err(ReportError::Failed));
}
