use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::store::StateReader as _;
use crate::store::memory::MemoryState;

/// Two replicas over one state, and a clock that is moved by hand.
struct Site {
    state: Arc<MemoryState>,
    micros: Arc<AtomicI64>,
}

impl Site {
    fn new() -> Self {
        Self { state: Arc::default(), micros: Arc::new(AtomicI64::new(1_800_000_000_000_000)) }
    }

    fn replica(&self) -> ReplayRegister {
        let micros = Arc::clone(&self.micros);
        let clock: Clock = Arc::new(move || Timestamp::from_micros(micros.load(Ordering::Relaxed)).unwrap());
        ReplayRegister::new(Arc::clone(&self.state) as _, clock)
    }

    fn pass(&self, seconds: i64) {
        self.micros.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

fn job(register: &ReplayRegister) -> ReplayJob {
    ReplayJob {
        id: Uuid::new_v4(),
        by: "operator".into(),
        begun_at: register.now(),
        ended_at: None,
        rate: NonZeroU32::new(5),
        expected: 9,
        report: ReplayReport { replayed: 3, complaints: vec![(1, "no queue".into())], ..ReplayReport::default() },
        state: ReplayState::Running,
    }
}

#[tokio::test(start_paused = true)]
async fn another_replica_sees_a_replay_and_begins_none_beside_it() {
    let site = Site::new();
    let (here, there) = (site.replica(), site.replica());
    let mut job = job(&here);
    let lease = here.take(job.id).await.unwrap().unwrap();
    assert_eq!(there.running().await.unwrap(), Some(job.id), "it has no entry yet");
    here.put(&job).await.unwrap();
    let seen = there.find(job.id).await.unwrap().unwrap();
    assert_eq!(
        (seen.state, seen.report, seen.by.as_str(), seen.rate),
        (ReplayState::Running, job.report.clone(), "operator", job.rate)
    );
    assert_eq!(there.take(Uuid::new_v4()).await.unwrap().err(), Some(job.id));
    assert!(!here.is_to_stop(job.id).await.unwrap());
    for _ in 0..2 {
        there.ask_to_stop(job.id).await.unwrap();
    }
    assert!(here.is_to_stop(job.id).await.unwrap());
    job.state = ReplayState::Failed("x".repeat(5000));
    here.put(&job).await.unwrap();
    assert_eq!(there.running().await.unwrap(), None);
    assert_eq!(there.find(job.id).await.unwrap().unwrap().state, ReplayState::Failed("x".repeat(REASON)));
    lease.give_back().await;
    assert!(there.take(Uuid::new_v4()).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_replay_whose_process_ended_is_abandoned_once_its_lease_is_over() {
    let site = Site::new();
    let (dead, alive) = (site.replica(), site.replica());
    let job = job(&dead);
    let _lease = dead.take(job.id).await.unwrap().unwrap();
    dead.put(&job).await.unwrap();
    site.pass(14);
    assert_eq!(alive.find(job.id).await.unwrap().unwrap().state, ReplayState::Running);
    site.pass(2);
    let seen = alive.find(job.id).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.report.replayed), (ReplayState::Abandoned, 3));
    assert_eq!(alive.running().await.unwrap(), None);
    assert!(alive.take(Uuid::new_v4()).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_newest_replays_are_remembered_and_what_cannot_be_read_is_left() {
    let site = Site::new();
    let here = site.replica();
    let mut ids = Vec::new();
    for _ in 0..REMEMBERED + 5 {
        let job = ReplayJob { state: ReplayState::Done, ..job(&here) };
        here.put(&job).await.unwrap();
        here.ask_to_stop(job.id).await.unwrap();
        ids.push(job.id);
        site.pass(1);
    }
    let newer = key(Uuid::new_v4());
    site.state.put_state(&newer, &serde_json::json!({"state": "of a newer version"}), None).await.unwrap();
    here.forget_old().await.unwrap();
    assert!(here.find(ids[4]).await.unwrap().is_none() && here.find(ids[5]).await.unwrap().is_some());
    assert_eq!(site.state.states(PREFIX).await.unwrap().len(), 2 * REMEMBERED + 1);
    for value in [serde_json::json!(null), serde_json::json!({"state": 3}), serde_json::json!([])] {
        let id = Uuid::new_v4();
        site.state.put_state(&key(id), &value, None).await.unwrap();
        assert!(here.find(id).await.unwrap().is_none());
    }
    assert!(here.find(Uuid::new_v4()).await.unwrap().is_none());
}
