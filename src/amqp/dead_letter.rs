//! What an operator does with the dead-letter queue: list, show, replay, purge. All of them walk over the letters that
//! are in the queue when they begin; what is not selected returns to its place.
//!
//! A letter is acked only when it is purged on purpose, or when the broker has confirmed that its message is back in
//! the queue it came from. A crash between that confirm and the ack leaves the letter where it is and its message
//! replayed: replaying it again changes nothing in the store, since every snapshot is stored by its revision.

use std::num::NonZeroU32;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::connection::{Connector, Link};
use super::error::AmqpError;
use super::letter::Heading;
use super::patience::Patience;
use super::settings::{AmqpSettings, QueueSettings};
use crate::codec::{self, DecodeLimits, DecodedEvents, Message};
use crate::domain::document::ContentHash;
use crate::domain::{Kind, TenantId, Timestamp};
use replay::Replay;
use walk::LetterWalk;

mod counts;
mod mask;
mod replay;
mod walk;

pub use counts::LetterCounts;
pub use mask::{masked, masked_header};

/// Finds tenant and kind in a letter's message; `None` when it cannot be read, which is why many letters are here.
pub type Inspect<'a> = &'a (dyn Fn(&Message) -> Option<(TenantId, Kind)> + Send + Sync);

/// Returns tenant and kind of a message's first readable event; `None` if none can be read. An [`Inspect`].
#[must_use]
pub fn tenant_and_kind(message: &Message) -> Option<(TenantId, Kind)> {
    let record = match codec::decode(message, DecodeLimits::default()).ok()?.content {
        DecodedEvents::One(record) => record,
        DecodedEvents::Parts(parts) => parts.into_iter().find_map(|part| part.record.ok())?,
    };
    Some((record.tenant_id(), record.kind()))
}

/// A letter without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterSummary {
    /// Place in the queue, from 1, at the time of the walk.
    pub position: u64,
    /// Of the body as it lies there. Places change when letters go; this does not.
    pub hash: ContentHash,
    pub body_bytes: usize,
    pub heading: Heading,
    pub tenant: Option<TenantId>,
    pub kind: Option<Kind>,
    /// Why it is no letter that a replay would publish; `None` if it is one.
    pub doubt: Option<String>,
}

/// Which letters are meant; an empty selection means all.
#[derive(Debug, Clone, Default)]
pub struct LetterSelection {
    pub tenant: Option<TenantId>,
    pub kind: Option<Kind>,
    /// A reason as [`Heading::reason`] spells it.
    pub reason: Option<String>,
    /// Letters of this instant and later.
    pub since: Option<Timestamp>,
    /// Letters before this instant.
    pub until: Option<Timestamp>,
    /// Only what a replay would skip.
    pub doubtful: bool,
    /// Letters whose body has one of these hashes; empty: any.
    pub hashes: Vec<ContentHash>,
}

impl LetterSelection {
    /// A letter that lacks what is asked for is not selected.
    pub fn matches(&self, found: &LetterSummary) -> bool {
        let at = found.heading.at;
        self.tenant.is_none_or(|tenant| found.tenant == Some(tenant))
            && self.kind.is_none_or(|kind| found.kind == Some(kind))
            && self.reason.as_ref().is_none_or(|reason| found.heading.reason == *reason)
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at < until))
            && (!self.doubtful || found.doubt.is_some())
            && (self.hashes.is_empty() || self.hashes.contains(&found.hash))
    }
}

/// How much a list walked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListReport {
    pub walked: u64,
    pub selected: u64,
    /// Letters behind those that were walked over.
    pub left: u64,
}

/// One letter with all there is. The body is user data: mask it before it is printed.
pub struct Shown {
    pub found: LetterSummary,
    /// Properties and headers as text, in the order of their names.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// How a replay goes about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplayPace {
    /// Changes nothing, counts only.
    pub dry_run: bool,
    /// Most letters a second.
    pub rate: Option<NonZeroU32>,
    /// Most letters in all.
    pub limit: Option<u64>,
}

/// What a replay did, so far or in all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayReport {
    pub walked: u64,
    pub selected: u64,
    /// Back in their queues, confirmed.
    pub replayed: u64,
    /// Selected, but no letters that may be replayed; they stay. [`LetterSummary::doubt`] says why.
    pub skipped: u64,
    /// Position of the first one skipped, and why.
    pub doubt: Option<(u64, String)>,
    /// Not taken by their queue; they stay.
    pub refused: u64,
    /// Positions of the first ones refused, with the broker's words.
    pub complaints: Vec<(u64, String)>,
}

/// Refused letters that a replay names.
const NAMED: usize = 10;

/// The dead-letter queue.
pub struct DeadLetters {
    link: Link,
    /// For publishing, so that a message that breaks its connection does not end the walk.
    publishing: Link,
    queue: String,
    /// The only queues that letters are replayed to.
    queues: Vec<QueueSettings>,
    patience: Patience,
}

impl DeadLetters {
    /// Prepares; nothing is connected yet. `patience` is for a replay while the broker blocks publishers.
    ///
    /// # Errors
    /// The CA file cannot be read.
    pub fn new(settings: &AmqpSettings, patience: Patience) -> Result<Self, AmqpError> {
        let link = |purpose| Ok::<_, AmqpError>(Link::new(Connector::new(settings, purpose)?));
        Ok(Self {
            link: link("dead letters")?,
            publishing: link("dead letters: publishing")?,
            queue: settings.dead_letter_queue.clone(),
            queues: settings.queues.clone(),
            patience,
        })
    }

    pub async fn close(self) {
        self.publishing.close().await;
        self.link.close().await;
    }

    async fn walk(&self) -> Result<LetterWalk<'_>, AmqpError> {
        LetterWalk::begin(&self.link, &self.queue, &self.queues).await
    }

    /// Tells of each selected letter, in the order of the queue.
    ///
    /// # Errors
    /// The queue does not exist, or the broker was lost on the way.
    pub async fn list(
        &self,
        selection: &LetterSelection,
        inspect: Inspect<'_>,
        each: &mut (dyn FnMut(LetterSummary) + Send),
    ) -> Result<ListReport, AmqpError> {
        self.list_first(u64::MAX, selection, inspect, each).await
    }

    /// As [`Self::list`], over the first `most` letters of the queue only.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_first(
        &self,
        most: u64,
        selection: &LetterSelection,
        inspect: Inspect<'_>,
        each: &mut (dyn FnMut(LetterSummary) + Send),
    ) -> Result<ListReport, AmqpError> {
        let mut walk = self.walk().await?;
        let mut listed = ListReport::default();
        while listed.walked < most
            && let Some(step) = walk.next(Some(inspect)).await?
        {
            listed.walked += 1;
            if selection.matches(&step.found) {
                listed.selected += 1;
                each(step.found);
            }
        }
        listed.left = walk.left();
        walk.end().await;
        Ok(listed)
    }

    /// Returns the letter at a position.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn show(&self, position: u64, inspect: Inspect<'_>) -> Result<Option<Shown>, AmqpError> {
        self.show_first(position, inspect, |found| found.position == position).await
    }

    /// Returns the first letter that `is_wanted`, among the first `most` of the queue.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn show_first(
        &self,
        most: u64,
        inspect: Inspect<'_>,
        is_wanted: impl Fn(&LetterSummary) -> bool + Send + Sync,
    ) -> Result<Option<Shown>, AmqpError> {
        let mut walk = self.walk().await?;
        let (mut shown, mut walked) = (None, 0);
        while walked < most
            && let Some(step) = walk.next(Some(inspect)).await?
        {
            walked += 1;
            if is_wanted(&step.found) {
                let headers = walk::printed(&step.original);
                shown = Some(Shown { found: step.found, headers, body: step.original.body });
                break;
            }
        }
        walk.end().await;
        Ok(shown)
    }

    /// Deletes the selected letters for good. Returns how many.
    ///
    /// # Errors
    /// As [`Self::list`]; letters before the fault are gone.
    pub async fn purge(&self, selection: &LetterSelection, inspect: Inspect<'_>) -> Result<u64, AmqpError> {
        self.purge_first(u64::MAX, selection, inspect).await
    }

    /// As [`Self::purge`], the first `most` of the selected letters only: of letters that were counted before, none that came
    /// after the count goes, since it lies behind them.
    ///
    /// # Errors
    /// As [`Self::purge`].
    pub async fn purge_first(
        &self,
        most: u64,
        selection: &LetterSelection,
        inspect: Inspect<'_>,
    ) -> Result<u64, AmqpError> {
        let mut walk = self.walk().await?;
        let mut purged = 0;
        while purged < most
            && let Some(step) = walk.next(selection.reading(inspect)).await?
        {
            if selection.matches(&step.found) {
                walk.ack(&[step.tag]).await?;
                purged += 1;
            }
        }
        walk.end().await;
        Ok(purged)
    }

    /// Puts the selected letters back into the queues they came from. `progress` hears of each group that the broker
    /// has confirmed, just before its letters are acked.
    ///
    /// # Errors
    /// As [`Self::list`]; what was confirmed before the fault is replayed, and `progress` has heard of it.
    pub async fn replay(
        &self,
        selection: &LetterSelection,
        pace: ReplayPace,
        inspect: Inspect<'_>,
        progress: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<ReplayReport, AmqpError> {
        self.replay_until(&CancellationToken::new(), selection, pace, inspect, progress).await
    }

    /// As [`Self::replay`], until `stop` is cancelled: what is confirmed by then is replayed, the rest stays.
    ///
    /// # Errors
    /// As [`Self::replay`].
    pub async fn replay_until(
        &self,
        stop: &CancellationToken,
        selection: &LetterSelection,
        pace: ReplayPace,
        inspect: Inspect<'_>,
        progress: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<ReplayReport, AmqpError> {
        let mut replay = Replay::new(self, self.walk().await?, pace.rate);
        while pace.limit.is_none_or(|limit| replay.report.selected < limit)
            && !stop.is_cancelled()
            && let Some(step) = replay.walk.next(selection.reading(inspect)).await?
        {
            replay.report.walked += 1;
            if !selection.matches(&step.found) {
                continue;
            }
            replay.report.selected += 1;
            match (&step.found.doubt, step.found.heading.queue.clone()) {
                (Some(doubt), _) => replay.report.skip(step.found.position, doubt),
                (None, None) => replay.report.skip(step.found.position, "does not say which queue it came from"),
                (None, Some(_)) if pace.dry_run => {}
                (None, Some(queue)) => replay.add(step, &queue, progress).await?,
            }
        }
        replay.send(progress).await?;
        Ok(replay.end().await)
    }
}

impl ReplayReport {
    fn skip(&mut self, position: u64, doubt: &str) {
        self.skipped += 1;
        self.doubt.get_or_insert_with(|| (position, doubt.to_owned()));
    }

    fn refuse(&mut self, position: u64, complaint: String) {
        self.refused += 1;
        if self.complaints.len() < NAMED {
            self.complaints.push((position, complaint));
        }
    }
}

impl LetterSelection {
    /// Decoding a body only for what is not asked for is left out.
    fn reading<'a>(&self, inspect: Inspect<'a>) -> Option<Inspect<'a>> {
        (self.tenant.is_some() || self.kind.is_some()).then_some(inspect)
    }
}

#[cfg(test)]
mod tests;
