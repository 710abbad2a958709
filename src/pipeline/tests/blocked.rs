//! One place of the store that takes nothing, while the others take everything.

use super::months::run_of;
use super::*;
use crate::domain::TenantId;
use crate::pipeline::gate::Gate;

const QUIET: Duration = Duration::from_secs(2 * 3_600);

/// Records of one tenant, and records of all others.
fn of_a_tenant_and_others() -> (TenantId, Vec<Record>, Vec<Record>) {
    let records = distinct(300);
    let tenant = records[0].tenant_id();
    let (of_it, others) = records.into_iter().partition(|record| record.tenant_id() == tenant);
    (tenant, of_it, others)
}

/// So many records of one tenant, over many months, and one of another tenant.
fn many_and_one(count: usize) -> (Vec<Record>, Record) {
    let mut many = BTreeMap::new();
    for month in 1..=10 {
        let start = format!("2026-{month:02}-05T00:00:00").parse().unwrap();
        let mut generator = Generator::new(month, start, Shape { tenants: 1, ..Shape::default() });
        let enough = many.len() + count.div_ceil(10);
        while many.len() < enough {
            many.extend(generator.run().into_iter().map(|record| (record.key(), record)));
        }
    }
    let many: Vec<Record> = many.into_values().take(count).collect();
    let other = distinct(300).into_iter().find(|record| record.tenant_id() != many[0].tenant_id()).unwrap();
    (many, other)
}

async fn is_stored(flow: &mut Flow, record: &Record) {
    let tag = flow.send_record(record).await;
    let stored = tokio::time::timeout(Duration::from_secs(30), flow.ledger.recv()).await;
    let Settlement { tag: settled, outcome } = stored.expect("stored within half a minute").unwrap();
    assert_eq!((settled, outcome), (tag, LedgerAction::Ack));
}

#[tokio::test(start_paused = true)]
async fn a_blocked_tenant_holds_its_documents_and_stops_nobody_else() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (tenant, blocked, others) = of_a_tenant_and_others();
    is_stored(&mut flow, &others[0]).await;
    flow.sink.set_tenant_blocked(tenant, true);
    let tag = flow.send_record(&blocked[0]).await;
    for _ in 0..1_800 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!flow.stats.is_breaker_open(), "what was stored before is taken");
    }
    is_stored(&mut flow, &others[1]).await;
    // So long that nothing is known of the others any more.
    tokio::time::sleep(QUIET).await;
    assert!(flow.gate.borrow().is_open());
    for record in &others[2..6] {
        is_stored(&mut flow, record).await;
    }
    assert!(!flow.stats.is_breaker_open());
    flow.sink.set_tenant_blocked(tenant, false);
    let settled = flow.settled().await;
    assert_eq!((settled.tag, settled.outcome), (tag, LedgerAction::Ack));
}

#[tokio::test(start_paused = true)]
async fn whichever_tenant_of_a_request_is_blocked_the_others_of_it_speak_for_the_store() {
    let (_, of_it, others) = of_a_tenant_and_others();
    for (blocked, other) in [(&of_it, &others), (&others, &of_it)] {
        let mut flow = Flow::start(PipelineSettings::default());
        for record in [&of_it[0], &others[0]] {
            flow.send_record(record).await;
        }
        flow.settled_many(2).await;
        assert_eq!(flow.sink.requests(), 1, "both in one request");
        flow.sink.set_tenant_blocked(blocked[0].tenant_id(), true);
        let next = blocked[1..].iter().find(|record| record.tenant_id() == blocked[0].tenant_id()).unwrap();
        flow.send_record(next).await;
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!flow.stats.is_breaker_open(), "the other tenant's document is taken");
        }
        is_stored(&mut flow, &other[1]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_of_many_months_leaves_room_for_others_that_speak_for_the_store() {
    let mut flow = Flow::start(PipelineSettings::default());
    let months: Vec<_> =
        (1..=24).map(|back| run_of(&format!("{}-{:02}-05T00:00:00", 2026 - back / 12, back % 12 + 1))).collect();
    let tenant = months[0].tenant_id();
    let other = distinct(300).into_iter().find(|record| record.tenant_id() != tenant).unwrap();
    for record in std::iter::once(&other).chain(&months) {
        is_stored(&mut flow, record).await;
    }
    flow.sink.set_tenant_blocked(tenant, true);
    flow.send_record(&months[0]).await;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!flow.stats.is_breaker_open(), "the other tenant's document is taken");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_first_message_is_of_a_blocked_tenant_serves_the_others() {
    let mut flow = Flow::start_first(PipelineSettings::default());
    let (tenant, blocked, others) = of_a_tenant_and_others();
    flow.sink.set_tenant_blocked(tenant, true);
    for record in &blocked[..3] {
        flow.send_record(record).await;
    }
    let opened = tokio::time::timeout(Duration::from_secs(10), flow.gate.wait_for(Gate::is_open)).await;
    opened.expect("more is taken after some seconds").unwrap();
    tokio::time::sleep(QUIET).await;
    assert!(flow.gate.borrow().is_open() && flow.ledger.try_recv().is_err());
    for record in &others[..4] {
        is_stored(&mut flow, record).await;
    }
    flow.sink.set_tenant_blocked(tenant, false);
    let outcomes = flow.settled_many(3).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_a_blocked_tenant_does_not_keep_the_gate_closed() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (tenant, blocked, others) = of_a_tenant_and_others();
    flow.sink.set_tenant_blocked(tenant, true);
    flow.send_record(&blocked[0]).await;
    flow.sink.set_down(true);
    assert_eq!(flow.settled().await.outcome, LedgerAction::Requeue);
    flow.gate.wait_for(Gate::is_closed).await.unwrap();
    flow.sink.set_down(false);
    flow.gate.wait_for(Gate::is_open).await.unwrap();
    flow.send_record(&blocked[0]).await;
    tokio::time::sleep(QUIET).await;
    is_stored(&mut flow, &others[0]).await;
    assert!(flow.gate.borrow().is_open());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_nothing_of_anybody_is_away_even_where_it_took_much_before() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (_, some, others) = of_a_tenant_and_others();
    is_stored(&mut flow, &some[0]).await;
    is_stored(&mut flow, &others[0]).await;
    flow.sink.set_blocked(true);
    let begin = tokio::time::Instant::now();
    flow.send_record(&some[1]).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Requeue, "what was stored before is not taken, either");
    assert!(begin.elapsed() < Duration::from_secs(310), "{:?}", begin.elapsed());
    assert!(flow.gate.borrow().is_closed() && flow.stats.is_breaker_open());
    flow.sink.set_blocked(false);
    flow.gate.wait_for(Gate::is_open).await.unwrap();
    is_stored(&mut flow, &some[1]).await;
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

#[tokio::test(start_paused = true)]
async fn a_queue_that_begins_with_more_of_a_blocked_tenant_than_two_requests_hides_nobody_behind_it() {
    let mut flow = Flow::start_first(PipelineSettings::default());
    let (blocked, other) = many_and_one(1_300);
    flow.sink.set_tenant_blocked(blocked[0].tenant_id(), true);
    let others_are_served = async {
        flow.send_record(&blocked[0]).await;
        flow.gate.wait_for(Gate::is_open).await.unwrap();
        for record in &blocked[1..] {
            flow.send_record(record).await;
        }
        let tag = flow.send_record(&other).await;
        let Settlement { tag: settled, outcome } = flow.ledger.recv().await.unwrap();
        assert_eq!((settled, outcome), (tag, LedgerAction::Ack));
    };
    tokio::time::timeout(Duration::from_mins(1), others_are_served).await.expect("within a minute");
    is_stored(&mut flow, &other).await;
    flow.sink.set_tenant_blocked(blocked[0].tenant_id(), false);
    let outcomes = flow.settled_many(blocked.len()).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
}

#[tokio::test(start_paused = true)]
async fn what_a_blocked_tenant_goes_on_producing_does_not_bring_its_old_documents_along() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (blocked, other) = many_and_one(1_500);
    is_stored(&mut flow, &other).await;
    flow.sink.set_tenant_blocked(blocked[0].tenant_id(), true);
    for record in &blocked {
        flow.send_record(record).await;
        is_stored(&mut flow, &other).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let writes = flow.sink.writes_of(blocked[0].key());
    assert!((8..=20).contains(&writes), "the first was sent {writes} times in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_late_document_of_a_retired_month_does_not_speak_for_the_store() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (_, some, others) = of_a_tenant_and_others();
    let late = run_of("2026-09-05T00:00:00");
    flow.sink.retire(late.month());
    is_stored(&mut flow, &late).await;
    flow.sink.set_blocked(true);
    let begin = tokio::time::Instant::now();
    for record in [&some[1], &others[0]] {
        flow.send_record(record).await;
    }
    assert_eq!(flow.settled().await.outcome, LedgerAction::Requeue);
    assert!(begin.elapsed() < Duration::from_secs(310), "{:?}", begin.elapsed());
}
