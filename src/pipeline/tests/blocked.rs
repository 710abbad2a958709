//! One place of the store that takes nothing, while the others take everything.

use super::*;
use crate::domain::TenantId;

/// Records of one tenant, and records of all others.
fn of_a_tenant_and_others() -> (TenantId, Vec<Record>, Vec<Record>) {
    let records = distinct(300);
    let tenant = records[0].tenant_id();
    let (of_it, others) = records.into_iter().partition(|record| record.tenant_id() == tenant);
    (tenant, of_it, others)
}

async fn is_stored(flow: &mut Flow, record: &Record) {
    let tag = flow.send_record(record).await;
    let stored = tokio::time::timeout(Duration::from_secs(30), flow.ledger.recv()).await;
    let Settlement { tag: settled, outcome } = stored.expect("stored within half a minute").unwrap();
    assert_eq!((settled, outcome), (tag, LedgerAction::Ack));
}

#[tokio::test(start_paused = true)]
async fn a_blocked_tenant_does_not_slow_the_others() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (tenant, blocked, others) = of_a_tenant_and_others();
    flow.sink.set_tenant_blocked(tenant, true);
    flow.send_record(&blocked[0]).await;
    for record in others.iter().cycle().take(200) {
        is_stored(&mut flow, record).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let begin = tokio::time::Instant::now();
    for record in &others[..100] {
        is_stored(&mut flow, record).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "a hundred took {:?}", begin.elapsed());
}
