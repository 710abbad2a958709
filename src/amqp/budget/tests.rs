//! The budget's arithmetic and the window's steps.

use super::*;
use futures::FutureExt;

#[test]
fn a_body_counts_until_its_last_clone_is_gone() {
    let budget = Budget::new(100);
    let body = budget.admit(vec![0; 30], 0).unwrap();
    assert_eq!(budget.used(), 90);
    let part = body.slice(3..5);
    drop(body);
    assert_eq!(budget.used(), 90, "a part keeps the whole in memory");
    assert_eq!(budget.admit(vec![0; 4], 0).unwrap_err().len(), 4, "no room");
    drop(part);
    assert_eq!((budget.used(), budget.peak()), (0, 90));
}

#[test]
fn a_body_heavier_than_the_budget_is_admitted_alone() {
    let budget = Budget::new(100);
    let small = budget.admit(vec![0; 1], 0).unwrap();
    assert!(budget.admit(vec![0; 1000], 0).is_err());
    drop(small);
    let large = budget.admit(vec![0; 1000], 0).unwrap();
    assert!(budget.admit(vec![0; 1], 0).is_err());
    drop(large);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn waits_for_room() {
    let budget = Budget::new(100);
    budget.room_for(1_000_000).await;
    let body = budget.admit(vec![0; 20], 0).unwrap();
    budget.room_for(40).await;
    let mut waiting = std::pin::pin!(budget.room_for(41));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(body);
    waiting.await;
}

#[test]
fn the_window_narrows_at_once_and_grows_slowly() {
    let start = Instant::now();
    let quiet = Duration::from_secs(30);
    let mut window = Window::new(1000, 3000, quiet, start);
    window.saw(1);
    assert_eq!((window.prefetch(), window.regrow_at()), (1000, None));

    window.saw(100);
    window.overflowed(start);
    assert_eq!((window.prefetch(), window.full_weight()), (10, 3000));
    assert_eq!(window.regrow_at(), Some(start + quiet));

    assert!(!window.regrow(start + quiet), "messages of that size still come");
    window.saw(50);
    assert!(window.regrow(start + quiet * 2));
    assert_eq!(window.prefetch(), 20);
    let mut now = start + quiet * 2;
    for expected in [40, 80, 160, 320, 640, 1000] {
        now += quiet;
        assert!(window.regrow(now));
        assert_eq!(window.prefetch(), expected);
    }
    assert_eq!(window.regrow_at(), None);
}

#[test]
fn the_window_never_closes() {
    let now = Instant::now();
    let mut window = Window::new(1000, 10, Duration::from_secs(1), now);
    window.saw(1_000_000);
    window.overflowed(now);
    assert_eq!(window.prefetch(), 1);
}
