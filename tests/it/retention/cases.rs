//! What retention promises.

use std::sync::Arc;
use std::time::Duration;

use difylog::domain::document::{PayloadField, Truncation};
use difylog::domain::{BulkAction, Document, JsonText, Record, TenantId, Verdict};
use difylog::retention::{RetentionError, schedule};
use difylog::store::StateStore;
use difylog::store::lease::Lease;

use crate::retention::kept::{Kept, NOW};
use crate::support::records::{app, app_log, at, ended, node, offload, run, sha256, tenant};

/// A run with everything that belongs to it, all at one instant.
pub fn family(tenant_id: TenantId, created_at: &str) -> Vec<Record> {
    let (app_id, created_at) = (app(), at(created_at));
    let run = ended(run(tenant_id, app_id, created_at), 1_000_000);
    let node = node(tenant_id, app_id, run.id, 1, created_at);
    let log = app_log(tenant_id, app_id, run.id, created_at);
    let offload = offload(tenant_id, app_id, Some(node.id), created_at);
    vec![
        Record::Run(Box::new(run)),
        Record::Node(Box::new(node)),
        Record::AppLog(Box::new(log)),
        Record::Offload(Box::new(offload)),
    ]
}

pub async fn a_month_goes_on_the_schedule_of_its_data(kept: &Kept) {
    let tenant = tenant();
    // Written now, as a migration would.
    let january = family(tenant, "2026-01-31T23:59:59.999999Z");
    let february = family(tenant, "2026-02-01T00:00:00Z");
    let today = family(tenant, "2026-11-25T01:00:00Z");
    kept.write(&[january.clone(), february.clone(), today.clone()].concat()).await;
    // 297 days before the 25th of November, midnight, is the first of February.
    let retention = kept.retention(297, &[]);
    assert_eq!(kept.remove(&retention).await, 4);
    assert_eq!(kept.held(&january).await, [false; 4]);
    assert_eq!(kept.held(&february).await, [true; 4]);
    assert_eq!(kept.held(&today).await, [true; 4]);
}

pub async fn tenants_keep_what_their_days_allow(kept: &Kept) {
    let (usual, longer, shorter) = (tenant(), tenant(), tenant());
    let september = [usual, longer, shorter].map(|tenant| family(tenant, "2026-09-10T00:00:00Z"));
    let november = [usual, longer, shorter].map(|tenant| family(tenant, "2026-11-10T12:00:00Z"));
    kept.write(&[september.concat(), november.concat()].concat()).await;
    let retention = kept.retention(30, &[(longer, 365), (shorter, 10)]);
    assert_eq!(kept.remove(&retention).await, 12);
    assert_eq!(kept.held(&september[0]).await, [false; 4]);
    assert_eq!(kept.held(&september[1]).await, [true; 4]);
    assert_eq!(kept.held(&september[2]).await, [false; 4]);
    assert_eq!(kept.held(&november[0]).await, [true; 4]);
    assert_eq!(kept.held(&november[1]).await, [true; 4]);
    assert_eq!(kept.held(&november[2]).await, [false; 4]);
    // The graph that the kept run refers to is still put back.
    let document = kept.store.record(september[1][0].key()).await.unwrap().unwrap();
    assert_eq!(document.record, september[1][0]);
}

pub async fn the_month_of_the_cutoff_goes_in_part(kept: &Kept) {
    let tenant = tenant();
    let days = ["2026-11-01", "2026-11-14", "2026-11-15", "2026-11-24"];
    let families = days.map(|day| family(tenant, &format!("{day}T00:00:00Z")));
    kept.write(&families.concat()).await;
    assert_eq!(kept.remove(&kept.retention(10, &[])).await, 8);
    for (family, stays) in families.iter().zip([false, false, true, true]) {
        assert_eq!(kept.held(family).await, [stays; 4]);
    }
}

pub async fn a_late_event_does_not_return(kept: &Kept) {
    let (usual, longer) = (tenant(), tenant());
    let january = family(usual, "2026-01-10T00:00:00Z");
    let september = family(usual, "2026-09-10T00:00:00Z");
    let neighbour = family(longer, "2026-09-10T00:00:00Z");
    let november = family(usual, "2026-11-10T00:00:00Z");
    let gone = [january, september, november].concat();
    kept.write(&[gone.clone(), neighbour.clone()].concat()).await;
    assert_eq!(kept.remove(&kept.retention(10, &[(longer, 365)])).await, 12);
    let documents = |records: &[Record]| -> Vec<_> {
        let actions = records.iter().cloned().flat_map(crate::support::records::actions);
        actions.filter(|action| matches!(action, BulkAction::Document(_))).collect()
    };
    let late = documents(&gone);
    assert_eq!(kept.store.apply(&late).await.unwrap(), vec![Verdict::Superseded; late.len()]);
    kept.store.refresh().await.unwrap();
    assert_eq!(kept.held(&gone).await, [false; 12]);
    assert_eq!(kept.held(&neighbour).await, [true; 4]);
    // Fifteen days later nothing can be on its way any more, and what is written is new.
    kept.remove(&kept.retention_at("2026-12-10T02:00:00Z", 365, &[])).await;
    assert_eq!(kept.store.apply(&late).await.unwrap(), vec![Verdict::Stored; late.len()]);
}

pub async fn a_typing_error_is_stopped(kept: &Kept) {
    let tenant = tenant();
    let records = [family(tenant, "2026-01-10T00:00:00Z"), family(tenant, "2026-11-24T00:00:00Z")].concat();
    kept.write(&records).await;
    let mut retention = kept.retention(30, &[]);
    retention.settings.max_share = 0.25;
    let plan = retention.plan().await.unwrap();
    assert_eq!((plan.total(), plan.stored), (4, 8));
    let refused = retention.apply(&plan, None).await.unwrap_err();
    assert!(matches!(refused, RetentionError::TooMuch { removed: 4, stored: 8, .. }), "{refused}");
    assert_eq!(kept.held(&records).await, [true; 8]);
    retention.apply(&plan, Some(0.5)).await.unwrap();
}

pub async fn one_process_at_a_time(kept: &Kept) {
    let records = family(tenant(), "2026-01-10T00:00:00Z");
    kept.write(&records).await;
    let state: Arc<dyn StateStore> = Arc::clone(&kept.store) as _;
    let hold = Lease::acquire(state, "lease/retention", "another worker", Duration::from_mins(5), at(NOW));
    let lease = hold.await.unwrap().unwrap();
    let retention = kept.retention(30, &[]);
    let plan = retention.plan().await.unwrap();
    let refused = retention.apply(&plan, None).await.unwrap_err();
    assert!(refused.to_string().contains("another worker"), "{refused}");
    assert_eq!(kept.held(&records).await, [true; 4]);
    // It died: its lease ends by itself.
    drop(lease);
    let later = kept.retention_at("2026-11-25T02:05:01Z", 30, &[]);
    later.apply(&plan, None).await.unwrap();
    assert_eq!(kept.held(&records).await, [false; 4]);
}

pub async fn payloads_go_with_their_month(kept: &Kept) {
    let (usual, longer) = (tenant(), tenant());
    let text = JsonText::from_clean(r#"{"text": "whole"}"#);
    let hash = sha256(text.as_str());
    let month = at("2026-09-10T00:00:00Z").month();
    for tenant_id in [usual, longer] {
        kept.payloads.put(tenant_id, month, hash, Arc::new(text.clone())).await.unwrap();
        let (document, _) = crate::support::records::split(family(tenant_id, "2026-09-10T00:00:00Z").remove(1));
        let mark = Truncation { field: PayloadField::Outputs, original_bytes: text.len() as u64, sha256: hash };
        let document = Document { truncated: vec![mark], ..document };
        kept.store.apply(&[BulkAction::Document(Arc::new(document))]).await.unwrap();
    }
    kept.store.refresh().await.unwrap();
    assert_eq!(kept.remove(&kept.retention(30, &[(longer, 365)])).await, 1);
    assert_eq!(kept.payloads.get(usual, month, hash).await.unwrap(), None);
    assert_eq!(kept.payloads.get(longer, month, hash).await.unwrap(), Some(text));
}

pub async fn a_worker_removes_once_per_interval(kept: &Kept) {
    let day = Duration::from_hours(24);
    kept.write(&family(tenant(), "2026-01-10T00:00:00Z")).await;
    let (first, second) = (kept.retention(30, &[]), kept.retention(30, &[]));
    assert_eq!(schedule::tick(&first, day).await.unwrap(), Some(4));
    kept.write(&family(tenant(), "2026-02-10T00:00:00Z")).await;
    assert_eq!(schedule::tick(&second, day).await.unwrap(), None, "another worker did it a moment ago");
    let tomorrow = kept.retention_at("2026-11-26T02:00:01Z", 30, &[]);
    assert_eq!(schedule::tick(&tomorrow, day).await.unwrap(), Some(4));
}
