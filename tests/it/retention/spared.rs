//! A month that was dropped is closed to those only whose days are over.

use difylog::domain::{Record, Verdict};
use difylog::retention::What;

use crate::retention::cases::family;
use crate::retention::kept::Kept;
use crate::retention::texts::{HOUR, has, put};
use crate::support::records::{actions, at, tenant};

const DAY: &str = "2026-01-10T00:00:00Z";

/// What the store says of each document.
async fn verdicts(kept: &Kept, records: &[Record]) -> Vec<Verdict> {
    let documents: Vec<_> = records.iter().cloned().filter_map(|record| actions(record).pop()).collect();
    let verdicts = kept.store.apply(&documents).await.unwrap();
    kept.store.refresh().await.unwrap();
    verdicts
}

pub async fn who_is_not_past_its_days_can_write_into_a_dropped_month(kept: &Kept) {
    let (usual, other, forever) = (tenant(), tenant(), tenant());
    let gone = family(usual, DAY);
    kept.write(&gone).await;
    let texts = [usual, forever].map(|tenant| (tenant, at(DAY).month()));
    let [own, spared] =
        [put(kept, usual, texts[0].1, "x", HOUR).await, put(kept, forever, texts[1].1, "x", HOUR).await];
    let retention = kept.retention(30, &[(forever, 0)]);
    let plan = retention.plan().await.unwrap();
    assert_eq!(plan.steps[0].what, What::Month);
    retention.apply(&plan, None).await.unwrap();
    assert!(!has(kept, usual, texts[0].1, own).await);
    assert!(has(kept, forever, texts[1].1, spared).await, "its document is on the way");
    // A migration brings what is kept for ever; late events of the others do not return.
    let comes = family(forever, DAY);
    let mixed = [comes.clone(), gone.clone(), family(other, DAY)].concat();
    let expected = [vec![Verdict::Stored; 4], vec![Verdict::Superseded; 8]].concat();
    assert_eq!(verdicts(kept, &mixed).await, expected);
    assert_eq!(kept.held(&comes).await, [true; 4]);
    // The next run leaves it as well.
    assert_eq!(kept.remove(&retention).await, 0);
    assert_eq!(kept.held(&comes).await, [true; 4]);
}

pub async fn a_default_without_days_spares_whoever_comes(kept: &Kept) {
    let (short, shorter, usual) = (tenant(), tenant(), tenant());
    let gone = [family(short, DAY), family(shorter, DAY)].concat();
    kept.write(&gone).await;
    assert_eq!(kept.remove(&kept.retention(0, &[(short, 30), (shorter, 10)])).await, 8);
    let comes = family(usual, DAY);
    let expected = [vec![Verdict::Stored; 4], vec![Verdict::Superseded; 8]].concat();
    assert_eq!(verdicts(kept, &[comes.clone(), gone].concat()).await, expected);
    assert_eq!(kept.held(&comes).await, [true; 4]);
}

pub async fn what_came_after_the_plan_stays(kept: &Kept) {
    let (usual, forever) = (tenant(), tenant());
    let month = at(DAY).month();
    let gone = family(usual, DAY);
    kept.write(&gone).await;
    let retention = kept.retention(30, &[(forever, 0)]);
    let plan = retention.plan().await.unwrap();
    assert_eq!(plan.steps[0].what, What::Month);
    let comes = family(forever, DAY);
    kept.write(&comes).await;
    let [own, spared] = [put(kept, usual, month, "x", HOUR).await, put(kept, forever, month, "x", HOUR).await];
    let reports = retention.apply(&plan, None).await.unwrap();
    assert_eq!(reports[0].removed, reports[0].step.records);
    kept.store.refresh().await.unwrap();
    assert_eq!(kept.held(&gone).await, [false; 4]);
    assert_eq!(kept.held(&comes).await, [true; 4]);
    // With the graph that it names.
    let document = kept.store.record(comes[0].key()).await.unwrap().unwrap();
    assert_eq!(document.record, comes[0]);
    assert!(!has(kept, usual, month, own).await && has(kept, forever, month, spared).await);
    assert_eq!(verdicts(kept, &gone).await, vec![Verdict::Superseded; 4]);
}
