//! Replays in the background: one at a time over all replicas. The process that runs one renews its lease, says how far it is,
//! and looks whether another replica was asked to stop it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::register::{REMEMBERED, ReplayJob, ReplayState};
use super::{DeadLetterQueue, LettersError};
use crate::amqp::dead_letter::tenant_and_kind;
use crate::amqp::{AmqpError, LetterSelection, ReplayPace, ReplayReport};
use crate::store::StoreError;
use crate::store::lease::Lease;

/// How often a replay says how far it is; its lease outlives several of them.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Attempts at saying how a replay ended.
const END_ATTEMPTS: u32 = 3;
/// How long a shutdown waits for replays to say how they ended.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// The replays of this process.
#[derive(Default)]
pub(super) struct Replays {
    known: Mutex<VecDeque<Running>>,
    tasks: TaskTracker,
}

struct Running {
    job: ReplayJob,
    stop: CancellationToken,
}

/// Ends a replay whose task was dropped or crashed: nobody else would, and it would seem to hold the letters.
struct Unfinished {
    queue: DeadLetterQueue,
    id: Uuid,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.queue.update(self.id, |job| {
            if job.state == ReplayState::Running {
                job.state = ReplayState::Failed("it broke off".to_owned());
            }
        });
    }
}

impl DeadLetterQueue {
    fn replays(&self) -> MutexGuard<'_, VecDeque<Running>> {
        self.0.replays.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running_here(&self) -> Option<Uuid> {
        self.replays().iter().find(|known| known.job.state == ReplayState::Running).map(|known| known.job.id)
    }

    /// Returns the replay that holds the letters. A store that does not answer keeps nobody from them: the broker gives a letter to
    /// one walk at a time.
    pub(super) async fn running_anywhere(&self) -> Option<Uuid> {
        if let Some(id) = self.running_here() {
            return Some(id);
        }
        self.0.register.running().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "whether another replica replays dead letters cannot be seen");
            None
        })
    }

    /// Begins a replay, which goes on in the background; `ended` hears of it when it has ended. One at a time over all
    /// replicas. `by` is the name of the key; `pace` is of no dry run.
    pub(in crate::http) async fn begin(
        &self,
        by: &str,
        selection: LetterSelection,
        pace: ReplayPace,
        ended: impl FnOnce(&ReplayJob) + Send + 'static,
    ) -> Result<ReplayJob, LettersError> {
        let expected = self.dry_run(&selection, pace.limit).await?;
        let job = ReplayJob {
            id: Uuid::new_v4(),
            by: by.to_owned(),
            begun_at: self.0.register.now(),
            ended_at: None,
            rate: pace.rate,
            expected: expected.selected - expected.skipped,
            report: ReplayReport::default(),
            state: ReplayState::Running,
        };
        // Another one may have begun meanwhile, here or elsewhere.
        let lease = self.0.register.take(job.id).await?.map_err(LettersError::UnderWay)?;
        if let Err(error) = self.0.register.put(&job).await {
            lease.give_back().await;
            return Err(error.into());
        }
        let stop = self.0.stopping.child_token();
        {
            let mut replays = self.replays();
            replays.push_front(Running { job: job.clone(), stop: stop.clone() });
            replays.truncate(REMEMBERED);
        }
        let (queue, id) = (self.clone(), job.id);
        let replay = async move {
            let _unfinished = Unfinished { queue: queue.clone(), id };
            if let Some(job) = queue.run(id, lease, &stop, &selection, pace).await {
                ended(&job);
            }
        };
        tokio::spawn(self.0.replays.tasks.track_future(replay));
        Ok(job)
    }

    /// Replays under a lease, and gives it back.
    async fn run(
        &self,
        id: Uuid,
        mut lease: Lease,
        stop: &CancellationToken,
        selection: &LetterSelection,
        pace: ReplayPace,
    ) -> Option<ReplayJob> {
        let mut lost = false;
        let outcome = tokio::select! {
            outcome = self.replay(id, stop, selection, pace) => outcome,
            never = self.tell(id, &mut lease, &mut lost, stop) => match never {},
        };
        let state = match outcome {
            Err(error) => ReplayState::Failed(error.to_string()),
            Ok(()) if lost => ReplayState::Failed("it lost its lease: the store did not answer in time".to_owned()),
            Ok(()) if stop.is_cancelled() => ReplayState::Stopped,
            Ok(()) => ReplayState::Done,
        };
        let ended_at = Some(self.0.register.now());
        let ended = |job: &mut ReplayJob| (job.state, job.ended_at) = (state.clone(), ended_at);
        let mut job = self.update(id, |_| {})?;
        ended(&mut job);
        if !lost {
            self.say_last_words(&job, &mut lease).await;
        }
        lease.give_back().await;
        // Here last: whoever sees that it has ended can begin another one.
        self.update(id, ended)
    }

    /// Renews the lease, writes how far the replay is, and stops it where another replica was asked to.
    async fn tell(&self, id: Uuid, lease: &mut Lease, lost: &mut bool, stop: &CancellationToken) -> Infallible {
        let mut told = ReplayReport::default();
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            match self.beat(id, lease, &mut told, stop).await {
                Ok(true) => {}
                Ok(false) => {
                    *lost = true;
                    stop.cancel();
                    return std::future::pending().await;
                }
                Err(error) => tracing::warn!(%error, replay = %id, "other replicas do not see how far a replay is"),
            }
        }
    }

    /// Returns whether the lease is still held.
    async fn beat(
        &self,
        id: Uuid,
        lease: &mut Lease,
        told: &mut ReplayReport,
        stop: &CancellationToken,
    ) -> Result<bool, StoreError> {
        let register = &self.0.register;
        if !lease.renew(register.now()).await? {
            return Ok(false);
        }
        if register.is_to_stop(id).await? {
            stop.cancel();
        }
        if let Some(job) = self.update(id, |_| {}).filter(|job| job.report != *told) {
            register.put(&job).await?;
            *told = job.report;
        }
        Ok(true)
    }

    /// Writes how a replay ended. A store that does not answer for long is told nothing: the replay then seems abandoned.
    async fn say_last_words(&self, job: &ReplayJob, lease: &mut Lease) {
        for attempt in 0..END_ATTEMPTS {
            let register = &self.0.register;
            let told = async {
                register.put(job).await?;
                register.forget_old().await
            };
            let Err(error) = told.await else { return };
            tracing::warn!(%error, replay = %job.id, "other replicas do not see yet how a replay ended");
            let _ = lease.renew(register.now()).await;
            tokio::time::sleep(HEARTBEAT * attempt).await;
        }
    }

    async fn replay(
        &self,
        id: Uuid,
        stop: &CancellationToken,
        selection: &LetterSelection,
        pace: ReplayPace,
    ) -> Result<(), AmqpError> {
        let _turn = self.0.walking.lock().await;
        let letters = self.open()?;
        let mut progress = |report: &ReplayReport| {
            self.update(id, |job| job.report = report.clone());
        };
        let report = letters.replay_until(stop, selection, pace, &tenant_and_kind, &mut progress).await;
        letters.close().await;
        let report = report?;
        self.update(id, |job| job.report = report);
        Ok(())
    }

    fn update(&self, id: Uuid, change: impl FnOnce(&mut ReplayJob)) -> Option<ReplayJob> {
        let mut replays = self.replays();
        let known = replays.iter_mut().find(|known| known.job.id == id)?;
        change(&mut known.job);
        Some(known.job.clone())
    }

    /// Returns a replay of any replica, one of the newest [`REMEMBERED`].
    pub(in crate::http) async fn replay_of(&self, id: Uuid) -> Result<Option<ReplayJob>, LettersError> {
        match self.update(id, |_| {}) {
            Some(job) => Ok(Some(job)),
            None => Ok(self.0.register.find(id).await?),
        }
    }

    /// Returns the replay that is under way on any replica.
    pub(in crate::http) async fn under_way(&self) -> Result<Option<ReplayJob>, LettersError> {
        match self.running_anywhere().await {
            Some(id) => self.replay_of(id).await,
            None => Ok(None),
        }
    }

    /// Tells a replay of any replica to stop: what is confirmed stays replayed, all else stays a letter.
    pub(in crate::http) async fn stop(&self, id: Uuid) -> Result<Option<ReplayJob>, LettersError> {
        let stop = self.replays().iter().find(|known| known.job.id == id).map(|known| known.stop.clone());
        let job = self.replay_of(id).await?;
        match (stop, &job) {
            (Some(stop), _) => stop.cancel(),
            (None, Some(job)) if job.state == ReplayState::Running => self.0.register.ask_to_stop(id).await?,
            (None, _) => {}
        }
        Ok(job)
    }

    /// Waits, for a moment, until the replays of this process have said how they ended. None is begun after it.
    pub(in crate::http) async fn ended(&self) {
        self.0.replays.tasks.close();
        let _ = tokio::time::timeout(SHUTDOWN_WAIT, self.0.replays.tasks.wait()).await;
    }
}
