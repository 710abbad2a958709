//! Whose fault it is when the store refuses many documents: its own, or the messages'. Only the first is a reason to pause.
//!
//! What is refused meanwhile is parked, neither a letter nor given back. A document that was stored before, as one snapshot
//! older than it was, is written beside it: the store looks at all of it, and changes nothing. If it is taken, the parked are
//! poison, and become letters. So they do when others of their kind and month are stored meanwhile. If not, the worker pauses.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use super::dispatch::{BulkRequest, EnvelopeResult, RequestResult};
use super::limit::Excess;
use super::prepare::{Envelope, Prepared};
use super::receipt::Receipt;
use super::trial::MOST_RETURNS;
use super::worker::{Pipeline, TaskResult};
use crate::domain::{Document, Kind, Month, Refusal, Revision, Verdict};

/// How long the parked wait for others that are stored.
const PATIENCE: Duration = Duration::from_secs(15);
/// Documents kept to be written beside refused ones: of so many tenants and places, of so many bytes each, for so long.
const CONTROLS: usize = 16;
const CONTROL_BYTES: usize = 256 << 10;
const CONTROL_AGE: Duration = Duration::from_secs(3_600);

/// What has a mapping of its own in a store.
pub(super) type MappingPlace = (Kind, Month);

pub(super) fn place(prepared: &Prepared) -> MappingPlace {
    (prepared.document.kind(), prepared.document.month())
}

/// Returns what a request wrote. What was superseded may not have been looked at: a store says so of every document of a
/// month that was retired.
pub(super) fn stored(results: &[EnvelopeResult]) -> impl Iterator<Item = &Prepared> {
    let is_stored = |one: &&EnvelopeResult| one.verdict() == Some(&Verdict::Stored);
    results.iter().filter(is_stored).map(|one| &one.envelope.payload)
}

/// The refusals that are looked into.
pub(super) struct Suspicion {
    until: Instant,
    excess: Excess,
    parked: Vec<Envelope<Refusal>>,
    places: BTreeSet<MappingPlace>,
    /// Controls were written, or there are none.
    tried: bool,
}

impl Suspicion {
    pub const fn excess(&self) -> Excess {
        self.excess
    }
}

impl Pipeline {
    /// Parks the refusal that was one too many, and those after it.
    pub(super) fn suspect(&mut self, refused: Envelope<Refusal>, place: MappingPlace, excess: Excess) {
        let suspicion = self.suspicion.get_or_insert_with(|| {
            error!(latest = %refused.payload, "many refusals: looking whether the store takes others");
            let until = Instant::now() + PATIENCE;
            Suspicion { until, excess, parked: Vec::new(), places: BTreeSet::new(), tried: false }
        });
        suspicion.places.insert(place);
        // It was given back for this before. A queue that counts returns would drop it in the end: a letter is better.
        let returned_often = refused.receipt.returns() >= MOST_RETURNS;
        suspicion.parked.push(refused);
        if returned_often {
            self.absolve("the same messages came back again and again");
        }
    }

    /// Returns when parked refusals must be decided on, at the latest.
    pub(super) fn suspicion_ends(&self) -> Option<Instant> {
        self.suspicion.as_ref().map(|suspicion| suspicion.until)
    }

    /// Notes that the store took a document.
    pub(super) fn took(&mut self, prepared: &Prepared) {
        let contradicts = self.suspicion.as_ref().is_some_and(|suspicion| match suspicion.excess {
            Excess::Run => true,
            Excess::Share => suspicion.places.contains(&place(prepared)),
        });
        if contradicts {
            self.absolve("others are stored");
        }
        if self.paused.as_ref().is_some_and(super::refusals::Pause::is_looking) {
            self.end_pause();
        }
    }

    /// Keeps two of the documents that a request stored, of two tenants if there are: one of them may be blocked alone next.
    pub(super) fn keep_controls(&mut self, results: &[EnvelopeResult]) {
        let mut stored = stored(results);
        let Some(first) = stored.next() else { return };
        self.keep_control(first);
        if let Some(other) = stored.find(|other| other.document.tenant_id() != first.document.tenant_id()) {
            self.keep_control(other);
        }
    }

    /// Keeps a stored document of each tenant and place, to be written once more when others are refused or not taken.
    pub(super) fn keep_control(&mut self, stored: &Prepared) {
        if stored.bytes > CONTROL_BYTES || !stored.offloads.is_empty() {
            return;
        }
        if self.controls.iter().any(|kept| kept.slot() == stored.slot() && kept.revision() > stored.revision()) {
            // A control itself, which is one older than what is kept.
            return;
        }
        let is_alike =
            |kept: &Prepared| place(kept) == place(stored) && kept.document.tenant_id() == stored.document.tenant_id();
        self.controls.retain(|kept| !is_alike(kept));
        if self.controls.len() == CONTROLS {
            self.controls.remove(self.dispensable_control());
        }
        // What a compressed message unfolded to is not kept for it: the document has texts of its own.
        self.controls.push_back(Prepared { charge: None, graph: None, ..stored.clone() });
    }

    /// Returns the place of the oldest control of the tenant that has most of them: one tenant's many months do not push out
    /// what speaks of the others.
    fn dispensable_control(&self) -> usize {
        let tenants = || self.controls.iter().map(|kept| kept.document.tenant_id());
        let alike = tenants().map(|tenant| tenants().filter(|other| *other == tenant).count());
        // Of equal ones, `max_by_key` would take the latest.
        alike.enumerate().min_by_key(|(_, count)| Reverse(*count)).map_or(0, |(place, _)| place)
    }

    /// Documents that were stored in these places, so old that writing them changes nothing.
    pub(super) fn controls(&self, wanted: impl Fn(MappingPlace) -> bool) -> Vec<Prepared> {
        let now = Instant::now();
        let fresh =
            |kept: &&Prepared| wanted(place(kept)) && now.saturating_duration_since(kept.received) < CONTROL_AGE;
        let older = |kept: &Prepared| {
            let revision = Revision::from_stored(kept.document.revision.value().saturating_sub(1));
            let document = Document { revision, ..Document::clone(&kept.document) };
            Prepared { document: Arc::new(document), ..kept.clone() }
        };
        self.controls.iter().filter(fresh).map(older).collect()
    }

    /// Writes the controls of what is parked, once.
    pub(super) fn try_controls(&mut self) {
        let Some(suspicion) = self.suspicion.as_mut().filter(|suspicion| !suspicion.tried) else { return };
        suspicion.tried = true;
        let places = suspicion.places.clone();
        let controls = self.controls(|place| places.contains(&place));
        if controls.is_empty() {
            return;
        }
        let of_nothing = |payload| Envelope { payload, receipt: Receipt::of_nothing() };
        let request = BulkRequest::new(controls.into_iter().map(of_nothing).collect(), self.generation, |_| true);
        let destination = self.destination.clone();
        self.tasks.spawn(async move { TaskResult::Control(Box::new(request.send(&destination).await)) });
    }

    pub(super) fn apply_control(&mut self, result: RequestResult) {
        self.note_generation(result.generation);
        // A fault says nothing about documents; those that are stored meanwhile, or the end of the patience, will.
        let Ok(results) = result.outcome else { return };
        if results.iter().any(EnvelopeResult::is_durable) {
            self.absolve("what was stored before is taken");
        } else if results.iter().all(|one| matches!(one.verdict(), Some(Verdict::Refused(_)))) {
            self.condemn();
        }
    }

    /// The messages are at fault: they become letters, and the store has not refused anything in a row.
    fn absolve(&mut self, why: &'static str) {
        let Some(suspicion) = self.suspicion.take() else { return };
        let letters = suspicion.parked.len();
        info!(why, letters, "the store works: what it refuses becomes dead letters");
        self.refusals.reset();
        for refused in suspicion.parked {
            self.dead_letter(refused);
        }
    }

    /// The store is at fault: everything goes back, once.
    fn condemn(&mut self) {
        if let Some(Suspicion { parked, .. }) = self.suspicion.take()
            && let Some(latest) = parked.last()
        {
            self.pause(super::limit::Cause::Store, &latest.payload);
        }
    }

    /// Decides against the store when nothing spoke for it in time.
    pub(super) fn end_suspicion(&mut self, now: Instant) {
        if self.suspicion_ends().is_some_and(|until| until <= now) {
            self.condemn();
        }
    }
}
