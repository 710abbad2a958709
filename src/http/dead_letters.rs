//! The dead-letter queue as the API and the log explorer work on it: one walk at a time in this process, because a walk holds
//! the letters that it has met; replays in the background (`replays`), whose progress every replica knows (`register`).

mod register;
mod replays;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::register::ReplayRegister;
pub(super) use self::register::{ReplayJob, ReplayState};
use self::replays::Replays;
use crate::amqp::dead_letter::{LetterCounts, tenant_and_kind};
use crate::amqp::{
    AmqpError, AmqpSettings, DeadLetters, LetterSelection, LetterSummary, Patience, ReplayPace, ReplayReport, Shown,
};
use crate::domain::Kind;
use crate::domain::document::ContentHash;
use crate::store::{StateStore, StoreError};
use crate::telemetry::Clock;

/// Letters that a look walks over: the first of the queue.
pub(super) const MOST_WALKED: u64 = 10_000;
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
    /// A replay is not begun that other replicas could not see.
    #[error("{0}")]
    State(#[from] StoreError),
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

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct DeadLetterQueue(Arc<Inner>);

struct Inner {
    settings: AmqpSettings,
    walking: tokio::sync::Mutex<()>,
    replays: Replays,
    register: ReplayRegister,
    stopping: CancellationToken,
}

impl DeadLetterQueue {
    /// Prepares; nothing is connected yet. Replays end when `stopping` is cancelled; `state` tells other replicas of them.
    pub(super) fn new(
        settings: AmqpSettings,
        state: Arc<dyn StateStore>,
        clock: Clock,
        stopping: CancellationToken,
    ) -> Self {
        let (walking, register) = (tokio::sync::Mutex::new(()), ReplayRegister::new(state, clock));
        Self(Arc::new(Inner { settings, walking, replays: Replays::default(), register, stopping }))
    }

    fn open(&self) -> Result<DeadLetters, AmqpError> {
        DeadLetters::new(&self.0.settings, Patience::new(PATIENCE, |_| {}))
    }

    /// Takes the turn, unless a replay of any replica has it for longer than anybody waits.
    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, LettersError> {
        match self.running_anywhere().await {
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
