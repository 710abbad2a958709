//! Which migrations are the same or share rows, and that a lease outlives lost answers.

use std::sync::atomic::AtomicI64;

use super::*;
use crate::store::memory::MemoryState;

fn scope(tenants: &[&str], from: Option<i64>, until: Option<i64>) -> MigrationScope {
    MigrationScope {
        server: "db:5432/dify".into(),
        database: None,
        tenants: tenants.iter().map(|t| (*t).to_owned()).collect(),
        from,
        until,
    }
}

#[test]
fn the_same_rows_are_the_same_migration() {
    assert_eq!(scope(&["a"], Some(1), None).id(), scope(&["a"], Some(1), None).id());
    assert_ne!(scope(&["a"], Some(1), None).id(), scope(&["a"], None, Some(1)).id());
    assert_ne!(scope(&[], None, None).id(), scope(&["a"], None, None).id());
}

#[test]
fn only_common_rows_overlap() {
    let all = scope(&[], None, None);
    assert!(all.overlaps(&scope(&["a"], Some(1), Some(2))));
    assert!(!scope(&["a"], None, None).overlaps(&scope(&["b"], None, None)));
    assert!(!scope(&[], None, Some(5)).overlaps(&scope(&[], Some(5), None)));
    assert!(scope(&[], None, Some(6)).overlaps(&scope(&[], Some(5), None)));
    assert!(!all.overlaps(&MigrationScope { server: "other".into(), ..all.clone() }));
}

const TEN_SECONDS: Duration = Duration::from_secs(10);

/// A store, and a clock that is moved by hand, in microseconds since 1970.
#[derive(Default)]
struct Scene {
    store: Arc<MemoryState>,
    now: Arc<AtomicI64>,
}

impl Scene {
    /// Returns a process that takes the lease for ten seconds.
    async fn process(&self) -> MigrationState {
        let now = Arc::clone(&self.now);
        let clock: Clock = Arc::new(move || Timestamp::from_micros(now.load(Ordering::Relaxed)).unwrap());
        MigrationState::acquire(Arc::clone(&self.store) as _, scope(&[], None, None), clock, TEN_SECONDS, "a host")
            .await
            .unwrap()
    }

    async fn held(&self) -> Option<LeaseHolder> {
        let now = Timestamp::from_micros(self.now.load(Ordering::Relaxed)).unwrap();
        migrations(&*self.store, now).await.unwrap().remove(0).held
    }
}

fn checkpoint(read: u64) -> Checkpoint {
    Checkpoint { order: WalkOrder::PrimaryKey, after: None, done: false, tally: Tally { read, ..Tally::default() } }
}

#[tokio::test]
async fn a_renewal_that_is_given_up_on_the_way_costs_no_lease() {
    let scene = Scene::default();
    let state = scene.process().await;
    scene.store.lose_next_answer();
    assert!(state.renew().await.unwrap_err().is_retriable());
    state.renew().await.unwrap();
    scene.store.lose_next_answer();
    assert!(state.renew().await.is_err());
    state.release().await.unwrap();
    assert_eq!(scene.held().await, None);
}

#[tokio::test]
async fn a_checkpoint_is_written_again_after_its_answer_was_lost() {
    let scene = Scene::default();
    let state = scene.process().await;
    for read in [1, 3] {
        scene.store.lose_next_answer();
        assert!(state.advance(Kind::AppLog, &checkpoint(read)).await.unwrap_err().is_retriable());
        // The chunk was copied once more, with another outcome.
        state.advance(Kind::AppLog, &checkpoint(read + 1)).await.unwrap();
        let kept = state.checkpoint(Kind::AppLog, WalkOrder::PrimaryKey).await.unwrap();
        assert_eq!(kept, checkpoint(read + 1));
    }
}

#[tokio::test]
async fn a_process_that_was_overtaken_writes_nothing_more() {
    let scene = Scene::default();
    let first = scene.process().await;
    first.advance(Kind::AppLog, &checkpoint(1)).await.unwrap();
    scene.now.store(10_000_000, Ordering::Relaxed);
    let second = scene.process().await;
    let kept = second.checkpoint(Kind::AppLog, WalkOrder::PrimaryKey).await.unwrap();
    second.advance(Kind::AppLog, &Checkpoint { done: true, ..kept }).await.unwrap();
    for overtaken in [first.renew().await, first.advance(Kind::AppLog, &checkpoint(2)).await] {
        assert!(matches!(overtaken, Err(MigrateError::Overtaken)), "{overtaken:?}");
    }
    first.release().await.unwrap();
    assert!(scene.held().await.is_some(), "another's lease is not given back");
    second.renew().await.unwrap();
    assert!(second.checkpoint(Kind::AppLog, WalkOrder::PrimaryKey).await.unwrap().done);
}
