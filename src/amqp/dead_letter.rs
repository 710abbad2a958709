//! What an operator does with the dead-letter queue: list, show, replay, purge. All of them walk over the letters that
//! are in the queue when they begin; what is not selected returns to its place.
//!
//! A letter is acked only when it is purged on purpose, or when the broker has confirmed that its message is back in
//! the queue it came from. A crash between that confirm and the ack leaves the letter where it is and its message
//! replayed: replaying it again changes nothing in the store, since every snapshot is stored by its revision.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::connection::{Connector, Link};
use super::error::AmqpError;
use super::letter::{self, Heading};
use super::publisher::{Fate, GROUP, GROUP_BYTES, Outgoing, Publisher};
use super::settings::AmqpSettings;
use crate::codec::Message;
use crate::domain::{Kind, TenantId, Timestamp};
use walk::{Step, Walk};

mod walk;

/// Finds tenant and kind in a letter's message; `None` when it cannot be read, which is why many letters are here.
pub type Inspect<'a> = &'a (dyn Fn(&Message) -> Option<(TenantId, Kind)> + Send + Sync);

/// A letter without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Place in the queue, from 1, at the time of the walk.
    pub position: u64,
    pub body_bytes: usize,
    pub heading: Heading,
    pub tenant: Option<TenantId>,
    pub kind: Option<Kind>,
}

/// Which letters are meant; an empty selection means all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub tenant: Option<TenantId>,
    pub kind: Option<Kind>,
    /// A reason as [`Heading::reason`] spells it.
    pub reason: Option<String>,
    /// Letters of this instant and later.
    pub since: Option<Timestamp>,
    /// Letters before this instant.
    pub until: Option<Timestamp>,
}

impl Selection {
    /// A letter that lacks what is asked for is not selected.
    pub fn matches(&self, found: &Found) -> bool {
        let at = found.heading.at;
        self.tenant.is_none_or(|tenant| found.tenant == Some(tenant))
            && self.kind.is_none_or(|kind| found.kind == Some(kind))
            && self.reason.as_ref().is_none_or(|reason| found.heading.reason == *reason)
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at < until))
    }
}

/// How much a list walked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listed {
    pub walked: u64,
    pub selected: u64,
}

/// One letter with all there is. The body is user data: whoever prints it masks it.
pub struct Shown {
    pub found: Found,
    /// Properties and headers as text, in the order of their names.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// How a replay goes about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
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
    /// Selected, but nothing says which queue they came from; they stay.
    pub without_queue: u64,
    /// Not taken by their queue; they stay.
    pub refused: u64,
    /// The first refusal, in the broker's words.
    pub complaint: Option<String>,
}

/// The dead-letter queue.
pub struct DeadLetters {
    link: Link,
    queue: String,
}

impl DeadLetters {
    /// Prepares; nothing is connected yet.
    ///
    /// # Errors
    /// The CA file cannot be read.
    pub fn new(settings: &AmqpSettings) -> Result<Self, AmqpError> {
        let link = Link::new(Connector::new(settings, "dead letters")?);
        Ok(Self { link, queue: settings.dead_letter_queue.clone() })
    }

    pub async fn close(self) {
        self.link.close().await;
    }

    /// Tells of each selected letter, in the order of the queue.
    ///
    /// # Errors
    /// The queue does not exist, or the broker was lost on the way.
    pub async fn list(
        &self,
        selection: &Selection,
        inspect: Inspect<'_>,
        each: &mut (dyn FnMut(Found) + Send),
    ) -> Result<Listed, AmqpError> {
        let mut walk = Walk::begin(&self.link, &self.queue).await?;
        let mut listed = Listed::default();
        while let Some(step) = walk.next(Some(inspect)).await? {
            listed.walked += 1;
            if selection.matches(&step.found) {
                listed.selected += 1;
                each(step.found);
            }
        }
        walk.end().await;
        Ok(listed)
    }

    /// The letter at a position.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn show(&self, position: u64, inspect: Inspect<'_>) -> Result<Option<Shown>, AmqpError> {
        let mut walk = Walk::begin(&self.link, &self.queue).await?;
        let mut shown = None;
        while let Some(step) = walk.next(Some(inspect)).await? {
            if step.found.position == position {
                let headers = walk::printed(&step.original);
                shown = Some(Shown { found: step.found, headers, body: step.original.body });
                break;
            }
        }
        walk.end().await;
        Ok(shown)
    }

    /// Deletes the selected letters for good. Answers how many.
    ///
    /// # Errors
    /// As [`Self::list`]; letters before the fault are gone.
    pub async fn purge(&self, selection: &Selection, inspect: Inspect<'_>) -> Result<u64, AmqpError> {
        let mut walk = Walk::begin(&self.link, &self.queue).await?;
        let mut purged = 0;
        while let Some(step) = walk.next(selection.reading(inspect)).await? {
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
        selection: &Selection,
        pace: Pace,
        inspect: Inspect<'_>,
        progress: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<ReplayReport, AmqpError> {
        let mut replay = Replay {
            walk: Walk::begin(&self.link, &self.queue).await?,
            publisher: Publisher::open(&self.link).await?,
            group: Vec::new(),
            bytes: 0,
            pacer: Pacer::new(pace.rate),
            report: ReplayReport::default(),
        };
        while pace.limit.is_none_or(|limit| replay.report.selected < limit)
            && let Some(step) = replay.walk.next(selection.reading(inspect)).await?
        {
            replay.report.walked += 1;
            if !selection.matches(&step.found) {
                continue;
            }
            replay.report.selected += 1;
            match step.found.heading.queue.clone() {
                None => replay.report.without_queue += 1,
                Some(_) if pace.dry_run => {}
                Some(queue) => replay.add(step, &queue, progress).await?,
            }
        }
        replay.send(progress).await?;
        replay.walk.end().await;
        replay.publisher.close().await;
        Ok(replay.report)
    }
}

impl Selection {
    /// Decoding a body only to learn what nobody asks for is left out.
    fn reading<'a>(&self, inspect: Inspect<'a>) -> Option<Inspect<'a>> {
        (self.tenant.is_some() || self.kind.is_some()).then_some(inspect)
    }
}

struct Replay<'a> {
    walk: Walk<'a>,
    publisher: Publisher,
    group: Vec<(u64, Outgoing)>,
    bytes: usize,
    pacer: Pacer,
    report: ReplayReport,
}

impl Replay<'_> {
    async fn add(
        &mut self,
        step: Step,
        queue: &str,
        progress: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<(), AmqpError> {
        self.bytes += step.found.body_bytes;
        self.group.push((step.tag, letter::replay(step.original, queue)));
        if self.group.len() >= self.pacer.group || self.bytes >= GROUP_BYTES {
            self.send(progress).await?;
        }
        Ok(())
    }

    /// Publishes the group; acks the letters whose messages are confirmed.
    async fn send(&mut self, progress: &mut (dyn FnMut(&ReplayReport) + Send)) -> Result<(), AmqpError> {
        self.bytes = 0;
        let (tags, messages): (Vec<u64>, Vec<Outgoing>) = std::mem::take(&mut self.group).into_iter().unzip();
        if tags.is_empty() {
            return Ok(());
        }
        self.pacer.wait(tags.len()).await;
        let fates = self.publisher.publish(&messages).await?;
        let mut confirmed = Vec::with_capacity(tags.len());
        for ((tag, message), fate) in tags.into_iter().zip(&messages).zip(fates) {
            let why = match fate {
                Fate::Confirmed => {
                    confirmed.push(tag);
                    continue;
                }
                Fate::Refused => "it refuses the message".to_owned(),
                Fate::Unroutable(said) => said,
            };
            self.report.refused += 1;
            self.report.complaint.get_or_insert_with(|| format!("queue {}: {why}", message.routing_key));
        }
        self.report.replayed += confirmed.len() as u64;
        progress(&self.report);
        self.walk.ack(&confirmed).await
    }
}

/// Spreads letters over time.
struct Pacer {
    /// Letters to send together, so that a rate is kept within about a tenth of a second.
    group: usize,
    each: Duration,
    next: Instant,
}

impl Pacer {
    fn new(rate: Option<NonZeroU32>) -> Self {
        let (group, each) = match rate {
            None => (GROUP, Duration::ZERO),
            Some(rate) => {
                let tenth = usize::try_from(rate.get().div_ceil(10)).unwrap_or(GROUP);
                (tenth.min(GROUP), Duration::from_secs(1) / rate.get())
            }
        };
        Self { group, each, next: Instant::now() }
    }

    async fn wait(&mut self, letters: usize) {
        tokio::time::sleep_until(self.next).await;
        let after = self.each.saturating_mul(u32::try_from(letters).unwrap_or(u32::MAX));
        self.next = self.next.max(Instant::now()) + after;
    }
}

#[cfg(test)]
mod tests;
