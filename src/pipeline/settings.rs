//! What can be set about the flow, with defaults and the rules between the settings.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use super::limit::RefusalLimits;
use super::window::BatchLimits;
use crate::backoff::Backoff;
use crate::domain::{Month, Timestamp};

/// Settings of the flow; `config/default.toml` documents each.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineSettings {
    /// Documents per bulk request.
    pub batch_actions: usize,
    /// Bytes per bulk request, about.
    pub batch_bytes: usize,
    /// Longest wait of a document for company, in milliseconds.
    pub linger_ms: u64,
    /// Silence after which a batch leaves at once, in milliseconds.
    pub idle_ms: u64,
    /// Bulk requests in flight at most.
    pub requests_in_flight: usize,
    /// Graphs remembered as durable, at most 4,096; 0 remembers none.
    pub cache_entries: usize,
    /// First pause after a fault, in milliseconds; doubles up to `backoff_max_ms`.
    pub backoff_first_ms: u64,
    /// Longest pause after a fault, in milliseconds.
    pub backoff_max_ms: u64,
    /// Faults in a row that open the breaker.
    pub breaker_threshold: u32,
    /// Seconds with an open breaker after which deliveries are given back and consumers stop. Must lie well below the
    /// broker's consumer timeout (RabbitMQ: 30 minutes).
    pub release_seconds: u64,
    /// Largest message after decompression, in bytes; larger ones are dead-lettered.
    pub max_message_bytes: usize,
    /// How many months before the current one a record may lie; an older one is dead-lettered. Each month is a file or
    /// indices of its own, so dates without a bound are files without one.
    pub months_back: u32,
    /// How many months after the current one a record may lie.
    pub months_ahead: u32,
    /// Bytes of decompressed messages in memory at once, over all queues. A message counts twice what it unfolds to.
    pub unfold_budget_bytes: u64,
    /// When to pause instead of dead-lettering.
    pub refusal_limits: RefusalLimits,
}

impl Default for PipelineSettings {
    fn default() -> Self {
        Self {
            batch_actions: 500,
            batch_bytes: 8 << 20,
            linger_ms: 25,
            idle_ms: 2,
            requests_in_flight: 4,
            cache_entries: 4_096,
            backoff_first_ms: 100,
            backoff_max_ms: 10_000,
            breaker_threshold: 5,
            release_seconds: 300,
            max_message_bytes: 128 << 20,
            months_back: 60,
            months_ahead: 1,
            unfold_budget_bytes: 256 << 20,
            refusal_limits: RefusalLimits::default(),
        }
    }
}

impl PipelineSettings {
    /// Returns the rules that one field alone cannot keep. Each message names the key.
    ///
    /// # Errors
    /// Every broken rule.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let at_least_one = [
            ("pipeline.batch_actions", self.batch_actions),
            ("pipeline.batch_bytes", self.batch_bytes),
            ("pipeline.requests_in_flight", self.requests_in_flight),
            ("pipeline.max_message_bytes", self.max_message_bytes),
            ("pipeline.unfold_budget_bytes", usize::try_from(self.unfold_budget_bytes).unwrap_or(usize::MAX)),
            ("pipeline.breaker_threshold", self.breaker_threshold as usize),
            // At midnight of a month's end, and with a producer whose clock is ahead, the neighbours are current as well.
            ("pipeline.months_back", self.months_back as usize),
            ("pipeline.months_ahead", self.months_ahead as usize),
        ];
        let mut broken: Vec<String> = at_least_one
            .iter()
            .filter(|(_, value)| *value == 0)
            .map(|(key, _)| format!("{key} must be at least 1"))
            .collect();
        if self.backoff_first_ms == 0 || self.backoff_first_ms > self.backoff_max_ms {
            broken.push("pipeline.backoff_first_ms must be between 1 and pipeline.backoff_max_ms".into());
        }
        if self.idle_ms > self.linger_ms {
            broken.push("pipeline.idle_ms must not exceed pipeline.linger_ms".into());
        }
        if !(10..=1500).contains(&self.release_seconds) {
            broken.push(
                "pipeline.release_seconds must be between 10 and 1500: the broker closes a channel that holds a \
                 delivery for 1800 seconds"
                    .into(),
            );
        }
        if !(0.0..=1.0).contains(&self.refusal_limits.store_ratio) {
            broken.push("pipeline.refusal_limits.store_ratio must be between 0 and 1".into());
        }
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    /// Returns the months in which records may lie.
    pub(super) fn months(&self, now: Timestamp) -> RangeInclusive<Month> {
        let month = now.month();
        month.shifted(-i64::from(self.months_back))..=month.shifted(self.months_ahead.into())
    }

    pub(super) fn batch(&self) -> BatchLimits {
        BatchLimits {
            actions: self.batch_actions,
            bytes: self.batch_bytes,
            linger: Duration::from_millis(self.linger_ms),
            idle: Duration::from_millis(self.idle_ms),
        }
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff { first: Duration::from_millis(self.backoff_first_ms), max: Duration::from_millis(self.backoff_max_ms) }
    }

    pub(super) fn release_after(&self) -> Duration {
        Duration::from_secs(self.release_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_keep_the_rules() {
        assert_eq!(PipelineSettings::default().validate(), Ok(()));
    }

    #[test]
    fn each_rule_names_its_key() {
        let broken = |change: fn(&mut PipelineSettings)| {
            let mut settings = PipelineSettings::default();
            change(&mut settings);
            settings.validate().unwrap_err().join("\n")
        };
        assert!(broken(|s| s.batch_actions = 0).contains("pipeline.batch_actions"));
        assert!(broken(|s| s.batch_bytes = 0).contains("pipeline.batch_bytes"));
        assert!(broken(|s| s.requests_in_flight = 0).contains("pipeline.requests_in_flight"));
        assert!(broken(|s| s.breaker_threshold = 0).contains("pipeline.breaker_threshold"));
        assert!(broken(|s| s.max_message_bytes = 0).contains("pipeline.max_message_bytes"));
        assert!(broken(|s| s.months_back = 0).contains("pipeline.months_back"));
        assert!(broken(|s| s.months_ahead = 0).contains("pipeline.months_ahead"));
        assert!(broken(|s| s.backoff_first_ms = 60_000).contains("pipeline.backoff_first_ms"));
        assert!(broken(|s| s.idle_ms = 1_000).contains("pipeline.idle_ms"));
        assert!(broken(|s| s.release_seconds = 1_800).contains("pipeline.release_seconds"));
        assert!(broken(|s| s.refusal_limits.store_ratio = 1.5).contains("store_ratio"));
    }
}
