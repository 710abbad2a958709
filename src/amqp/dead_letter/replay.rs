//! Puts letters back into their queues, in groups: published, confirmed, and only then acked.

use std::num::NonZeroU32;

use super::super::error::AmqpError;
use super::super::letter;
use super::super::patience::patiently;
use super::super::publisher::{Fate, GROUP, GROUP_BYTES, Outgoing, Publisher};
use super::walk::{LetterWalk, WalkedLetter};
use super::{DeadLetters, ReplayReport};
use crate::rate::RateLimit;

pub(super) struct Replay<'a> {
    pub letters: &'a DeadLetters,
    pub walk: LetterWalk<'a>,
    publisher: Option<Publisher>,
    group: Vec<Pending>,
    bytes: usize,
    rate: RateLimit,
    pub report: ReplayReport,
}

/// A letter that is about to be replayed.
struct Pending {
    tag: u64,
    position: u64,
    message: Outgoing,
}

impl<'a> Replay<'a> {
    pub fn new(letters: &'a DeadLetters, walk: LetterWalk<'a>, rate: Option<NonZeroU32>) -> Self {
        let rate = RateLimit::new(rate);
        Self { letters, walk, publisher: None, group: Vec::new(), bytes: 0, rate, report: ReplayReport::default() }
    }

    /// Gives back what was not acked.
    pub async fn end(self) -> ReplayReport {
        self.walk.end().await;
        if let Some(publisher) = self.publisher {
            publisher.close().await;
        }
        self.report
    }

    pub async fn add(
        &mut self,
        step: WalkedLetter,
        queue: &str,
        progress: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<(), AmqpError> {
        let message = letter::replay(step.original, queue);
        self.bytes += message.bytes();
        self.group.push(Pending { tag: step.tag, position: step.found.position, message });
        if self.group.len() >= self.rate.group(GROUP) || self.bytes >= GROUP_BYTES {
            self.send(progress).await?;
        }
        Ok(())
    }

    /// Publishes the group; acks the letters whose messages are confirmed.
    pub async fn send(&mut self, progress: &mut (dyn FnMut(&ReplayReport) + Send)) -> Result<(), AmqpError> {
        self.bytes = 0;
        let group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return Ok(());
        }
        self.rate.pass(group.len() as u64).await;
        match self.publish(&group).await {
            Ok(fates) => self.settle(&group, fates, progress).await,
            // One of them broke the channel: each is tried by itself, so that it is known which.
            Err(AmqpError::NotTakenOver(_)) => {
                for pending in &group {
                    let alone = std::slice::from_ref(pending);
                    match self.publish(alone).await {
                        Ok(fates) => self.settle(alone, fates, progress).await?,
                        Err(AmqpError::NotTakenOver(said)) => self.report.refuse(pending.position, said),
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn publish(&mut self, group: &[Pending]) -> Result<Vec<Fate>, AmqpError> {
        let DeadLetters { publishing, patience, .. } = self.letters;
        let publisher = match self.publisher.take() {
            Some(publisher) => publisher,
            None => Publisher::open(publishing).await?,
        };
        let mut messages: Vec<Outgoing> = group.iter().map(|pending| pending.message.clone()).collect();
        for (message, pending) in messages.iter_mut().zip(group) {
            if let Some(left_out) = publisher.fit(message) {
                let position = pending.position;
                tracing::warn!(
                    position,
                    left_out,
                    "headers are left out of a message: they exceed the broker's frame_max"
                );
            }
        }
        let fates = patiently(publishing, patience, publisher.publish(&messages)).await?;
        // After a fault the channel is closed, and the next attempt opens another.
        self.publisher = Some(publisher);
        Ok(fates)
    }

    async fn settle(
        &mut self,
        group: &[Pending],
        fates: Vec<Fate>,
        progress: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<(), AmqpError> {
        let mut confirmed = Vec::with_capacity(group.len());
        for (pending, fate) in group.iter().zip(fates) {
            match fate.complaint() {
                None => confirmed.push(pending.tag),
                Some(why) => {
                    let queue = pending.message.routing_key.as_str();
                    self.report.refuse(pending.position, format!("queue {queue}: {why}"));
                }
            }
        }
        self.report.replayed += confirmed.len() as u64;
        progress(&self.report);
        self.walk.ack(&confirmed).await
    }
}
