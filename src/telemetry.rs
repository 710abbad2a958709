//! The closed list of metrics, the clock, and how logs are written.
//!
//! Nothing here knows what is measured: modules count through the `metrics` facade with the names listed here, per batch
//! and never per message where a batch is at hand. Payloads never get here.

mod logging;
mod parts;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use self::logging::{LogFormat, install_logging};
pub use self::parts::{current_part, how_it_ended, named};
use crate::domain::Timestamp;

/// The wall clock, an input wherever it is needed.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Returns the real clock.
#[must_use]
#[allow(clippy::disallowed_methods)]
pub fn system_clock() -> Clock {
    Arc::new(|| Timestamp::from_micros(chrono::Utc::now().timestamp_micros()).unwrap_or(Timestamp::MIN))
}

/// Every metric, in base units.
pub mod names {
    /// Deliveries settled, by `outcome`: acked, requeued, `dead_lettered`, lost (with their channel).
    pub const DELIVERIES: &str = "difylog_deliveries_total";
    /// Deliveries received.
    pub const RECEIVED: &str = "difylog_deliveries_received_total";
    /// Deliveries received and not settled.
    pub const UNSETTLED: &str = "difylog_deliveries_in_flight";
    /// Bytes of memory reserved for deliveries in flight.
    pub const BYTES_IN_FLIGHT: &str = "difylog_bytes_in_flight";
    /// Age in seconds of the oldest unsettled delivery; 0 if there is none.
    pub const OLDEST_UNACKED: &str = "difylog_oldest_unacked_seconds";
    /// Consumers that are consuming.
    pub const CONSUMERS: &str = "difylog_consumers";
    /// 1 while the broker blocks publishers: dead letters and forwarded messages wait.
    pub const PUBLISHING_BLOCKED: &str = "difylog_publishing_blocked";
    /// Dead letters published and confirmed, by `reason`.
    pub const DEAD_LETTERS: &str = "difylog_dead_letters_total";
    /// Documents, by `outcome`: stored, superseded, collapsed, refused, held.
    pub const DOCUMENTS: &str = "difylog_documents_total";
    /// Documents per bulk request.
    pub const BATCH: &str = "difylog_batch_documents";
    /// Seconds per bulk request.
    pub const BULK_SECONDS: &str = "difylog_bulk_seconds";
    /// Bulk requests in flight.
    pub const REQUESTS: &str = "difylog_bulk_requests_in_flight";
    /// Requests that failed as a whole, by `kind`.
    pub const FAULTS: &str = "difylog_bulk_faults_total";
    /// Seconds from the receipt of a delivery to its durable write.
    pub const RECEIVED_TO_DURABLE: &str = "difylog_receive_to_durable_seconds";
    /// Seconds from the event (a record's start or end, when Dify publishes it) to its durable write.
    pub const EVENT_TO_DURABLE: &str = "difylog_event_to_durable_seconds";
    /// 1 while the breaker is open.
    pub const BREAKER: &str = "difylog_breaker_open";
    /// 1 while the payload store takes no full texts.
    pub const PAYLOAD_BREAKER: &str = "difylog_payload_breaker_open";
    /// 1 while the consumers are told to stop.
    pub const GATE: &str = "difylog_gate_closed";
    /// Values that the codec cleaned, by `what`.
    pub const CLEANED: &str = "difylog_cleaned_values_total";
    /// Seconds per HTTP request up to the head of its answer, by `method`, `endpoint` and `status`.
    pub const REQUEST_SECONDS: &str = "difylog_http_request_seconds";
    /// Connections that were closed for a bound, by `reason`: `made_room` (the one that rested longest), refused (every
    /// one has a request), slow (the client took nothing of its answer).
    pub const CONNECTIONS_CLOSED: &str = "difylog_http_connections_closed_total";
    /// Receipts that were dropped unspent and requeued.
    pub const ABANDONED: &str = "difylog_receipts_abandoned_total";
    /// Requests of Dify's console at the bridge, by who answered: `difylog` or `dify`.
    pub const CONSOLE_ANSWERS: &str = "difylog_console_answers_total";
}

const SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];

/// The recorder of this process, for every role that runs in it.
static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Returns the recorder of this process, which the first call installs; every metric is described.
///
/// # Errors
/// If something else installed a recorder.
pub fn install_metrics() -> Result<PrometheusHandle, String> {
    let mut recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*recorder {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_documents".into()), COUNTS))
        .map_err(|error| error.to_string())?
        .install_recorder()
        .map_err(|error| error.to_string())?;
    describe();
    *recorder = Some(handle.clone());
    Ok(handle)
}

/// How often the recorder folds its histograms; without it they grow until the next scrape.
pub const UPKEEP: Duration = Duration::from_secs(5);

fn describe() {
    describe_counter!(names::RECEIVED, "Deliveries received from the broker");
    describe_counter!(names::DELIVERIES, "Deliveries settled, by outcome");
    describe_gauge!(names::UNSETTLED, "Deliveries received and not settled");
    describe_gauge!(names::BYTES_IN_FLIGHT, "Bytes reserved for deliveries in flight");
    describe_gauge!(names::OLDEST_UNACKED, "Age of the oldest unsettled delivery");
    describe_gauge!(names::CONSUMERS, "Consumers that are consuming");
    describe_gauge!(names::PUBLISHING_BLOCKED, "1 while the broker blocks publishers (low memory or disk)");
    describe_counter!(names::DEAD_LETTERS, "Dead letters published and confirmed, by reason");
    describe_counter!(names::DOCUMENTS, "Documents by outcome");
    describe_histogram!(names::BATCH, "Documents per bulk request");
    describe_histogram!(names::BULK_SECONDS, "Duration of bulk requests");
    describe_gauge!(names::REQUESTS, "Bulk requests in flight");
    describe_counter!(names::FAULTS, "Bulk requests that failed as a whole, by kind");
    describe_histogram!(names::RECEIVED_TO_DURABLE, "From receipt to durable write");
    describe_histogram!(names::EVENT_TO_DURABLE, "From the event to its durable write");
    describe_gauge!(names::BREAKER, "1 while the breaker is open");
    describe_gauge!(names::PAYLOAD_BREAKER, "1 while the payload store takes no full texts");
    describe_gauge!(names::GATE, "1 while consumers are told to stop");
    describe_counter!(names::CLEANED, "Values cleaned by the codec, by what");
    describe_histogram!(names::REQUEST_SECONDS, "Duration of HTTP requests up to the head of the answer");
    describe_counter!(names::CONNECTIONS_CLOSED, "Connections closed for a bound, by reason");
    describe_counter!(names::CONSOLE_ANSWERS, "Answers on Dify's own paths, by who gave them");
    describe_counter!(names::ABANDONED, "Receipts dropped unspent and requeued");
}
