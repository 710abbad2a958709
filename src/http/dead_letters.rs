//! The dead-letter queue as the API and the log explorer work on it: one walk at a time in this process, because a walk holds
//! the letters that it has met; replays in the background, whose progress is asked for.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::amqp::dead_letter::{LetterCounts, tenant_and_kind};
use crate::amqp::{
    AmqpError, AmqpSettings, DeadLetters, LetterSelection, LetterSummary, Patience, ReplayPace, ReplayReport, Shown,
};
use crate::domain::Kind;
use crate::domain::document::ContentHash;

/// Letters that a look walks over: the first of the queue.
pub(super) const MOST_WALKED: u64 = 10_000;
/// Replays that are remembered, the newest.
const REMEMBERED: usize = 20;
/// How long a replay waits while the broker blocks publishers.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum LettersError {
    #[error("{0}")]
    Broker(#[from] AmqpError),
    /// The letters are held by this replay.
    #[error("replay {0} is under way: it holds the letters until it ends")]
    UnderWay(Uuid),
    #[error("{0} letters are selected now")]
    OtherNumber(u64),
}

/// The letters of a page, and what there is of each sort.
#[derive(Default)]
pub(super) struct LetterPage {
    pub walked: u64,
    pub selected: u64,
    /// Letters behind those that were looked at.
    pub left: u64,
    /// Of the selected ones, most first.
    pub reasons: Vec<(String, u64)>,
    pub tenants: Vec<(String, u64)>,
    pub kinds: Vec<(String, u64)>,
    /// In the order of the queue.
    pub letters: Vec<LetterSummary>,
    /// Position of the last one, if there are more.
    pub next: Option<u64>,
}

/// How a replay ended, or that it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplayState {
    Running,
    Done,
    Stopped,
    /// In the broker's words, for operators.
    Failed(String),
}

/// A replay in the background.
#[derive(Debug, Clone)]
pub(super) struct ReplayJob {
    pub id: Uuid,
    pub rate: Option<NonZeroU32>,
    /// What was selected when it began.
    pub expected: u64,
    /// So far.
    pub report: ReplayReport,
    pub state: ReplayState,
}

struct Running {
    job: ReplayJob,
    stop: CancellationToken,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct DeadLetterQueue(Arc<Inner>);

struct Inner {
    settings: AmqpSettings,
    walking: tokio::sync::Mutex<()>,
    replays: Mutex<VecDeque<Running>>,
    stopping: CancellationToken,
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
    /// Prepares; nothing is connected yet. Replays end when `stopping` is cancelled.
    pub(super) fn new(settings: AmqpSettings, stopping: CancellationToken) -> Self {
        let walking = tokio::sync::Mutex::new(());
        Self(Arc::new(Inner { settings, walking, replays: Mutex::default(), stopping }))
    }

    fn open(&self) -> Result<DeadLetters, AmqpError> {
        DeadLetters::new(&self.0.settings, Patience::new(PATIENCE, |_| {}))
    }

    fn replays(&self) -> MutexGuard<'_, VecDeque<Running>> {
        self.0.replays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Option<Uuid> {
        self.replays().iter().find(|known| known.job.state == ReplayState::Running).map(|known| known.job.id)
    }

    /// Takes the turn, unless a replay has it for longer than anybody waits.
    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, LettersError> {
        match self.running() {
            Some(id) => Err(LettersError::UnderWay(id)),
            None => Ok(self.0.walking.lock().await),
        }
    }

    /// Returns the selected letters behind the position `after`, at most `limit`, and counts of all selected ones, over the
    /// first [`MOST_WALKED`] letters of the queue. Changes nothing.
    pub(super) async fn list(
        &self,
        selection: &LetterSelection,
        after: u64,
        limit: usize,
    ) -> Result<LetterPage, LettersError> {
        let _turn = self.turn().await?;
        let letters = self.open()?;
        let (mut page, mut more) = (LetterPage::default(), false);
        let (mut reasons, mut tenants, mut kinds) =
            (LetterCounts::default(), LetterCounts::default(), LetterCounts::default());
        let mut each = |found: LetterSummary| {
            reasons.add(&found.heading.reason);
            tenants.add(&found.tenant.map(|tenant| tenant.to_string()).unwrap_or_default());
            kinds.add(found.kind.map(Kind::as_str).unwrap_or_default());
            if found.position > after && page.letters.len() < limit {
                page.letters.push(found);
            } else {
                more |= found.position > after;
            }
        };
        let listed = letters.list_first(MOST_WALKED, selection, &tenant_and_kind, &mut each).await;
        letters.close().await;
        let listed = listed?;
        (page.walked, page.selected, page.left) = (listed.walked, listed.selected, listed.left);
        (page.reasons, page.tenants, page.kinds) = (reasons.most_first(), tenants.most_first(), kinds.most_first());
        page.next = page.letters.last().filter(|_| more).map(|found| found.position);
        Ok(page)
    }

    /// Returns the first letter whose body has this hash, among the first [`MOST_WALKED`].
    pub(super) async fn letter(&self, hash: ContentHash) -> Result<Option<Shown>, LettersError> {
        let _turn = self.turn().await?;
        let letters = self.open()?;
        let shown = letters.show_first(MOST_WALKED, &tenant_and_kind, |found| found.hash == hash).await;
        letters.close().await;
        Ok(shown?)
    }

    /// Returns what a replay would do. Changes nothing.
    pub(super) async fn dry_run(
        &self,
        selection: &LetterSelection,
        limit: Option<u64>,
    ) -> Result<ReplayReport, LettersError> {
        let _turn = self.turn().await?;
        let letters = self.open()?;
        let pace = ReplayPace { dry_run: true, rate: None, limit };
        let report = letters.replay(selection, pace, &tenant_and_kind, &mut |_| {}).await;
        letters.close().await;
        Ok(report?)
    }

    /// Begins a replay, which goes on in the background; `ended` hears of it when it has ended. One at a time.
    pub(super) async fn begin(
        &self,
        selection: LetterSelection,
        rate: Option<NonZeroU32>,
        limit: Option<u64>,
        ended: impl FnOnce(&ReplayJob) + Send + 'static,
    ) -> Result<ReplayJob, LettersError> {
        let expected = self.dry_run(&selection, limit).await?;
        let stop = self.0.stopping.child_token();
        let job = ReplayJob {
            id: Uuid::new_v4(),
            rate,
            expected: expected.selected - expected.skipped,
            report: ReplayReport::default(),
            state: ReplayState::Running,
        };
        {
            let mut replays = self.replays();
            // Another one may have begun meanwhile.
            if let Some(other) = replays.iter().find(|known| known.job.state == ReplayState::Running) {
                return Err(LettersError::UnderWay(other.job.id));
            }
            replays.push_front(Running { job: job.clone(), stop: stop.clone() });
            replays.truncate(REMEMBERED);
        }
        let queue = self.clone();
        let id = job.id;
        tokio::spawn(async move {
            let _unfinished = Unfinished { queue: queue.clone(), id };
            let pace = ReplayPace { dry_run: false, rate, limit };
            let state = match queue.replay(id, &stop, &selection, pace).await {
                Ok(()) if stop.is_cancelled() => ReplayState::Stopped,
                Ok(()) => ReplayState::Done,
                Err(error) => ReplayState::Failed(error.to_string()),
            };
            if let Some(job) = queue.update(id, |job| job.state = state) {
                ended(&job);
            }
        });
        Ok(job)
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

    /// Returns a replay of this process, one of the newest [`REMEMBERED`].
    pub(super) fn replay_of(&self, id: Uuid) -> Option<ReplayJob> {
        self.update(id, |_| {})
    }

    /// Returns the replay that is under way.
    pub(super) fn under_way(&self) -> Option<ReplayJob> {
        self.running().and_then(|id| self.replay_of(id))
    }

    /// Tells a replay to stop: what is confirmed stays replayed, all else stays a letter.
    pub(super) fn stop(&self, id: Uuid) -> Option<ReplayJob> {
        let stop = self.replays().iter().find(|known| known.job.id == id).map(|known| known.stop.clone())?;
        stop.cancel();
        self.replay_of(id)
    }

    /// Deletes the selected letters for good, if there are as many as `expected`. Returns how many went.
    pub(super) async fn purge(&self, selection: &LetterSelection, expected: u64) -> Result<u64, LettersError> {
        let _turn = self.turn().await?;
        let letters = self.open()?;
        let purged = async {
            let selected = letters.list(selection, &tenant_and_kind, &mut |_| {}).await?.selected;
            if selected != expected {
                return Err(LettersError::OtherNumber(selected));
            }
            Ok(letters.purge_first(expected, selection, &tenant_and_kind).await?)
        };
        let purged = purged.await;
        letters.close().await;
        purged
    }
}
