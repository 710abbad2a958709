//! Who is to blame when the store answers and does not take a document: the store, or one place of it, such as an index that
//! cannot be made or a month that is closed. Only the first is a reason to stop.
//!
//! Before such answers open the breaker, documents of other places that were stored before are written once more
//! (`controls`). If the store takes one of them, what it does not take waits here, and everything else goes on. Where nothing
//! was stored before, the breaker opens, and yet more deliveries are taken: its trials write some of each tenant's. While all
//! that fails is one tenant's, nothing is given back and the gate stays open, for the others have not been seen.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::dispatch::{BulkRequest, EnvelopeResult, RequestResult};
use super::prepare::Envelope;
use super::receipt::Receipt;
use super::worker::{Pipeline, TaskResult};
use crate::domain::{TenantId, Verdict};

/// How long the first messages of a process are tried before more are taken because they are one tenant's.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// What the requests since the latest success say of the store.
#[derive(Default)]
pub(super) struct Blame {
    /// The latest request was answered: single documents were not taken.
    answers: bool,
    /// Since when the whole store is to blame: requests fail, or documents of several tenants.
    store_since: Option<Instant>,
    /// Controls are being written.
    looking: bool,
}

/// Everything was given back, until a trial works.
pub(super) struct Release {
    /// In words for the operator.
    pub reason: String,
    /// For deliveries that were given back too often: only they say when it ends.
    pub overdue: bool,
}

impl Blame {
    /// A request failed as a whole.
    pub fn request_failed(&mut self, now: Instant) {
        self.answers = false;
        self.store_since.get_or_insert(now);
    }

    /// A trial was answered, and took no document of so many tenants.
    const fn documents_failed(&mut self, tenants: usize, now: Instant) {
        self.answers = true;
        self.store_since = match self.store_since {
            _ if tenants < 2 => None,
            None => Some(now),
            since => since,
        };
    }

    /// The store took a document.
    pub const fn forget(&mut self) {
        self.answers = false;
        self.store_since = None;
    }
}

impl Pipeline {
    /// Notes that a request was answered and nothing of it was taken. Opens the breaker when that comes in a row, unless the
    /// store takes what it took before.
    pub(super) fn not_taken(&mut self) {
        self.blame.answers = true;
        if !self.of_one_task && self.breaker.opens_next() {
            if self.blame.looking {
                return;
            }
            let controls = self.controls(|_| true);
            if !controls.is_empty() {
                self.blame.looking = true;
                let of_nothing = |payload| Envelope { payload, receipt: Receipt::of_nothing() };
                let envelopes = controls.into_iter().map(of_nothing).collect();
                let request = BulkRequest::new(envelopes, self.generation, |_| true);
                let destination = self.destination.clone();
                self.tasks.spawn(async move { TaskResult::Others(Box::new(request.send(&destination).await)) });
                return;
            }
        }
        self.fault_in_a_row(None);
    }

    /// Takes what became of the controls.
    pub(super) fn apply_others(&mut self, result: RequestResult) {
        self.blame.looking = false;
        self.note_generation(result.generation);
        match result.outcome {
            Ok(results) if results.iter().any(EnvelopeResult::is_durable) => {
                // After a release only a trial says that it is over.
                if self.released.is_none() {
                    info!("the store takes other documents: what it does not take waits, and all else goes on");
                    self.recover();
                }
            }
            Ok(_) => self.fault_in_a_row(None),
            Err((fault, _)) => {
                self.blame.request_failed(Instant::now());
                self.fault_in_a_row(fault.retry_after);
                self.latest_fault = Some(fault);
            }
        }
    }

    /// Notes a trial that was answered and took nothing. While only one tenant's documents are known to fail, others are
    /// looked for.
    pub(super) fn blame_for(&mut self, results: &[EnvelopeResult]) {
        let failed = results.iter().filter(|one| matches!(one.verdict(), Some(Verdict::Retry(_))));
        let tenants: BTreeSet<TenantId> = failed.map(|one| one.envelope.payload.document.tenant_id()).collect();
        if tenants.is_empty() {
            return;
        }
        let now = Instant::now();
        self.blame.documents_failed(tenants.len(), now);
        if tenants.len() > 1 || self.of_one_task {
            return;
        }
        if self.released.take_if(|release| !release.overdue).is_some() {
            info!("the store answers, and does not take documents of one tenant: taking deliveries to look at others");
            self.update_gate();
        }
        if self.breaker.open_for(now) >= LOOK_AFTER {
            self.prove();
        }
    }

    /// Returns whether deliveries are of use while the breaker is open: to see whether the store takes others.
    pub(super) const fn looks_for_others(&self) -> bool {
        self.blame.answers && !self.of_one_task
    }

    /// Returns whether the store has been to blame for so long that everything goes back.
    pub(super) fn is_away_for_long(&self, now: Instant) -> bool {
        let open = self.breaker.open_for(now);
        let to_blame = |since| now.saturating_duration_since(since).min(open);
        let away = if self.of_one_task { open } else { self.blame.store_since.map_or(Duration::ZERO, to_blame) };
        away >= self.settings.release_after()
    }
}
