//! What the flow has done, for health checks and tests. Metrics are counted here as well, so that both agree.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Histogram, counter, gauge, histogram};
use tokio::time::Instant;

use super::prepare::Prepared;
use crate::codec::Cleaned;
use crate::domain::{FaultKind, Timestamp};
use crate::telemetry::names;

/// Where latencies go; looked up once, not per document.
pub(super) struct Latency {
    received_to_durable: Histogram,
    event_to_durable: Histogram,
}

impl Latency {
    /// Bound to the recorder that is installed now.
    pub fn new() -> Self {
        Self {
            received_to_durable: histogram!(names::RECEIVED_TO_DURABLE),
            event_to_durable: histogram!(names::EVENT_TO_DURABLE),
        }
    }

    pub fn observe(&self, prepared: &Prepared, now: Instant, wall: Timestamp) {
        self.received_to_durable.record((now - prepared.received).as_secs_f64());
        let lag = wall.micros().saturating_sub(prepared.document.record.event_time().micros()).max(0);
        self.event_to_durable.record(lag as f64 / 1e6);
    }
}

/// Totals and states of one pipeline, shared with those who watch it.
#[derive(Debug)]
pub struct PipelineStats {
    pub stored: AtomicU64,
    pub superseded: AtomicU64,
    /// Replaced by a newer snapshot in the window.
    pub collapsed: AtomicU64,
    pub refused: AtomicU64,
    /// Put back to wait for another try.
    pub held: AtomicU64,
    pub requests: AtomicU64,
    pub faults: AtomicU64,
    breaker_open: AtomicBool,
    payload_breaker_open: AtomicBool,
    gate_closed: AtomicBool,
    /// Milliseconds from `epoch` to the latest turn of the loop. Not by the wall clock: a step of it is no standstill.
    heartbeat: AtomicU64,
    epoch: Instant,
}

impl Default for PipelineStats {
    fn default() -> Self {
        Self {
            stored: AtomicU64::default(),
            superseded: AtomicU64::default(),
            collapsed: AtomicU64::default(),
            refused: AtomicU64::default(),
            held: AtomicU64::default(),
            requests: AtomicU64::default(),
            faults: AtomicU64::default(),
            breaker_open: AtomicBool::default(),
            payload_breaker_open: AtomicBool::default(),
            gate_closed: AtomicBool::default(),
            heartbeat: AtomicU64::default(),
            epoch: Instant::now(),
        }
    }
}

impl PipelineStats {
    pub(super) fn add(counter: &AtomicU64, outcome: &'static str, count: u64) {
        if count > 0 {
            counter.fetch_add(count, Ordering::Relaxed);
            counter!(names::DOCUMENTS, "outcome" => outcome).increment(count);
        }
    }

    pub(super) fn request(&self, documents: usize, took: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        histogram!(names::BATCH).record(documents as f64);
        histogram!(names::BULK_SECONDS).record(took.as_secs_f64());
    }

    pub(super) fn fault(&self, kind: FaultKind) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        counter!(names::FAULTS, "kind" => kind.as_str()).increment(1);
    }

    pub(super) fn cleaned(cleaned: &Cleaned) {
        for (what, count) in cleaned.entries() {
            if count > 0 {
                counter!(names::CLEANED, "what" => what).increment(count);
            }
        }
    }

    pub(super) fn set_breaker(&self, open: bool) {
        self.breaker_open.store(open, Ordering::Relaxed);
        gauge!(names::BREAKER).set(f64::from(u8::from(open)));
    }

    pub(super) fn set_gate(&self, closed: bool) {
        self.gate_closed.store(closed, Ordering::Relaxed);
        gauge!(names::GATE).set(f64::from(u8::from(closed)));
    }

    pub(super) fn set_payload_breaker(&self, open: bool) {
        self.payload_breaker_open.store(open, Ordering::Relaxed);
        gauge!(names::PAYLOAD_BREAKER).set(f64::from(u8::from(open)));
    }

    /// Says that the flow turns.
    pub(crate) fn beat(&self) {
        let millis = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heartbeat.store(millis, Ordering::Relaxed);
    }

    /// Returns whether requests are held back because the store does not answer well.
    pub fn is_breaker_open(&self) -> bool {
        self.breaker_open.load(Ordering::Relaxed)
    }

    /// Returns whether consumers are told to stop.
    pub fn is_gate_closed(&self) -> bool {
        self.gate_closed.load(Ordering::Relaxed)
    }

    /// Returns whether documents with full texts wait because the payload store takes none.
    pub fn is_payload_breaker_open(&self) -> bool {
        self.payload_breaker_open.load(Ordering::Relaxed)
    }

    /// Returns how long ago the loop last turned; it does so at least every few seconds while it is alive.
    pub fn heartbeat_age(&self) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_millis(self.heartbeat.load(Ordering::Relaxed)))
    }
}
