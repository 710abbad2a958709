//! What an engine's operator did to indices: a closed one is there, but nobody can tell what it holds.

use std::time::Duration;

use difylog::domain::TenantId;
use difylog::retention::{What, schedule};
use difylog::store::{Erasure, Remains};
use reqwest::Method;
use serde_json::{Value, json};

use crate::retention::cases::family;
use crate::retention::kept::{Kept, NOW};
use crate::retention::texts::{HOUR, cut_run, has, put, write};
use crate::support::records::{at, tenant};

/// Ends of the names of a month's indices: the tenant's own, or those of all where it has none.
async fn ending(kept: &Kept, tenant: TenantId, month: &str) -> String {
    let own = format!("{tenant}-{month}");
    if kept.has_indices(&own).await { own } else { format!("-{month}") }
}

async fn close(kept: &Kept, ending: &str) {
    kept.to_indices(Method::POST, ending, "_close", Value::Null).await;
}

async fn open(kept: &Kept, ending: &str) {
    kept.to_indices(Method::POST, ending, "_open", Value::Null).await;
}

pub async fn a_month_with_a_closed_index_is_left_until_it_is_opened(kept: &Kept) {
    let (usual, forever) = (tenant(), tenant());
    let month = at("2026-01-10T00:00:00Z").month();
    let january = [usual, forever].map(|tenant| family(tenant, "2026-01-10T00:00:00Z"));
    let february = family(usual, "2026-02-10T00:00:00Z");
    kept.write(&[january.concat(), february.clone()].concat()).await;
    let named = put(kept, forever, month, "named", 50 * HOUR).await;
    let alone = put(kept, forever, month, "alone", 50 * HOUR).await;
    let usual_text = put(kept, usual, month, "usual", 50 * HOUR).await;
    let cut = [cut_run(forever, "2026-01-11T00:00:00Z", named), cut_run(usual, "2026-01-11T00:00:00Z", usual_text)];
    write(kept, &[&cut[0], &cut[1]]).await;
    let ending = ending(kept, forever, "2026.01").await;
    close(kept, &ending).await;

    let retention = kept.retention(30, &[(forever, 0)]);
    let plan = retention.plan().await.unwrap();
    let months: Vec<_> = plan.steps.iter().map(|step| (step.month, step.what.clone())).collect();
    assert_eq!(months, [(february[0].created_at().month(), What::Month)], "nobody knows what the other holds");
    let day = Duration::from_hours(24);
    assert_eq!(schedule::tick(&retention, day).await.unwrap(), Some(4), "the others go, and the sweep is done");
    assert_eq!(kept.held(&february).await, [false; 4]);
    for hash in [named, alone] {
        assert!(has(kept, forever, month, hash).await, "a document of the closed index may name it");
    }

    open(kept, &ending).await;
    kept.store.refresh().await.unwrap();
    assert_eq!(kept.held(&january[0]).await, [true; 4]);
    assert_eq!(kept.held(&january[1]).await, [true; 4]);
    assert!(has(kept, usual, month, usual_text).await);
    assert_eq!(kept.remove(&retention).await, 5);
    retention.sweep(true, &|_| {}, &|| false).await.unwrap();
    assert_eq!(kept.held(&january[1]).await, [true; 4]);
    assert!(has(kept, forever, month, named).await && !has(kept, forever, month, alone).await);
}

pub async fn what_is_closed_after_the_plan_stays(kept: &Kept) {
    let (usual, forever) = (tenant(), tenant());
    let (first, second) = ("2026-01-10T00:00:00Z", "2026-02-10T00:00:00Z");
    let month = at(first).month();
    let january = [usual, forever].map(|tenant| family(tenant, first));
    let february = family(usual, second);
    kept.write(&[january.concat(), february.clone()].concat()).await;
    let text = put(kept, usual, month, "named", 50 * HOUR).await;
    let cut = cut_run(usual, first, text);
    write(kept, &[&cut]).await;
    let retention = kept.retention(30, &[(forever, 0)]);
    let plan = retention.plan().await.unwrap();
    assert_eq!(plan.steps.len(), 2);
    let ending = ending(kept, usual, "2026.01").await;
    close(kept, &ending).await;
    let reports = retention.apply(&plan, None).await.unwrap();
    assert_eq!(reports.iter().map(|report| report.step.month.to_string()).collect::<Vec<_>>(), ["2026-02"]);
    open(kept, &ending).await;
    kept.store.refresh().await.unwrap();
    assert_eq!(kept.held(&january.concat()).await, [true; 8]);
    assert!(kept.holds(&cut.record).await && has(kept, usual, month, text).await);
    assert_eq!(kept.held(&february).await, [false; 4]);
    // No mark was left either: what is written is stored.
    let verdicts = kept.write(&family(usual, first)).await;
    assert!(verdicts.iter().all(|verdict| *verdict == difylog::domain::Verdict::Stored), "{verdicts:?}");
}

pub async fn a_blocked_index_keeps_its_tombstones_and_hinders_nothing_else(kept: &Kept) {
    let (one, other) = (tenant(), tenant());
    let (blocked, open) = (family(one, "2026-11-10T00:00:00Z"), family(other, "2026-10-10T00:00:00Z"));
    kept.write(&[blocked.clone(), open.clone()].concat()).await;
    let erasures: Vec<_> = [&blocked[0], &open[0]].map(|record| Erasure { key: record.key(), revision: None }).to_vec();
    kept.store.erase(&erasures, Remains::Tombstone(at("2026-09-01T00:00:00Z"))).await.unwrap();
    let ending = ending(kept, one, "2026.11").await;
    let block = |on: bool| json!({ "index.blocks.write": on });
    kept.to_indices(Method::PUT, &ending, "_settings", block(true)).await;
    let retention = kept.retention_at(NOW, 365, &[]);
    let day = Duration::from_hours(24);
    assert_eq!(schedule::tick(&retention, day).await.unwrap(), Some(0));
    assert_eq!(schedule::tick(&retention, day).await.unwrap(), None, "the run came to its end");
    // A purged tombstone lets its record return.
    kept.write(&open[..1]).await;
    assert!(kept.holds(&open[0]).await);
    kept.to_indices(Method::PUT, &ending, "_settings", block(false)).await;
    assert_eq!(kept.store.purge_tombstones(at(NOW)).await.unwrap(), 1);
}
