//! The budget's arithmetic and the window's steps.

use super::*;
use futures::FutureExt;

fn admit(budget: &Arc<MemoryBudget>, bytes: usize) -> Result<Bytes, Vec<u8>> {
    budget.admit(vec![0; bytes], 0, &mut Reservation::default())
}

#[test]
fn a_body_counts_until_its_last_clone_is_gone() {
    let budget = MemoryBudget::new(100);
    let body = admit(&budget, 30).unwrap();
    assert_eq!(budget.used(), 90);
    let part = body.slice(3..5);
    drop(body);
    assert_eq!(budget.used(), 90, "a part keeps the whole in memory");
    assert_eq!(admit(&budget, 4).unwrap_err().len(), 4, "no room");
    drop(part);
    assert_eq!((budget.used(), budget.peak()), (0, 90));
}

#[test]
fn a_body_heavier_than_the_budget_is_admitted_alone() {
    let budget = MemoryBudget::new(100);
    let small = admit(&budget, 1).unwrap();
    assert!(admit(&budget, 1000).is_err());
    drop(small);
    let large = admit(&budget, 1000).unwrap();
    assert!(admit(&budget, 1).is_err());
    drop(large);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn waits_for_room() {
    let budget = MemoryBudget::new(100);
    drop(Arc::clone(&budget).reserve(1_000_000).await);
    let body = admit(&budget, 20).unwrap();
    let mut reserved = Arc::clone(&budget).reserve(40).await;
    assert!(admit(&budget, 1).is_err(), "the rest is reserved");
    assert!(budget.admit(vec![0; 10], 0, &mut reserved).is_ok());
    drop(reserved);
    let mut waiting = std::pin::pin!(Arc::clone(&budget).reserve(41));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(body);
    assert!(waiting.await.is_some());
}

#[tokio::test]
async fn a_heavy_message_is_not_overtaken_by_light_ones() {
    let budget = MemoryBudget::new(100);
    let first = admit(&budget, 10).unwrap();
    let mut heavy = std::pin::pin!(Arc::clone(&budget).reserve(3_000));
    assert!(heavy.as_mut().now_or_never().is_none());
    // A busy second queue: there would be room for each of its messages, but the heavy one came first.
    assert!(admit(&budget, 10).is_err());
    drop(first);
    let mut reserved = heavy.await;
    assert!(budget.admit(vec![0; 1000], 0, &mut reserved).is_ok());
}

#[test]
fn a_window_that_is_stuck_does_not_grow() {
    let (start, quiet) = (Instant::now(), Duration::from_secs(30));
    let mut window = PrefetchWindow::new(1000, 300, quiet, start);
    window.saw(10);
    window.overflowed(start);
    assert_eq!(window.prefetch(), 10);
    assert!(!window.regrow(start + quiet, false));
    window.saw(1);
    assert!(window.regrow(start + quiet * 2, false), "small ones came");
    let stuck = window.prefetch();
    assert!(!window.regrow(start + quiet * 3, false), "nothing came and nothing was settled");
    assert_eq!(window.prefetch(), stuck);
}

#[test]
fn the_window_narrows_at_once_and_grows_slowly() {
    let start = Instant::now();
    let quiet = Duration::from_secs(30);
    let mut window = PrefetchWindow::new(1000, 3000, quiet, start);
    window.saw(1);
    assert_eq!((window.prefetch(), window.regrow_at()), (1000, None));

    window.saw(100);
    window.overflowed(start);
    assert_eq!((window.prefetch(), window.full_weight()), (10, 3000));
    assert_eq!(window.regrow_at(), Some(start + quiet));

    assert!(!window.regrow(start + quiet, true), "messages of that size still come");
    window.saw(50);
    assert!(window.regrow(start + quiet * 2, true));
    assert_eq!(window.prefetch(), 20);
    let mut now = start + quiet * 2;
    for expected in [40, 80, 160, 320, 640, 1000] {
        now += quiet;
        assert!(window.regrow(now, true));
        assert_eq!(window.prefetch(), expected);
    }
    assert_eq!(window.regrow_at(), None);
}

#[test]
fn the_window_never_closes() {
    let now = Instant::now();
    let mut window = PrefetchWindow::new(1000, 10, Duration::from_secs(1), now);
    window.saw(1_000_000);
    window.overflowed(now);
    assert_eq!(window.prefetch(), 1);
}
