//! The broker: topology, consumption, settlement, dead letters, publishing. The only module that names lapin.
//!
//! Acks are given in one place, [`ledger`]; everything else here leads messages to it or outcomes away from it.
//! Nothing here decides what becomes of a delivery: that is the pipeline's, by way of its receipts.
//!
//! A process holds two connections. One only consumes, so that the broker never blocks it when memory or disk run short
//! (an alarm stops the connections that publish, and with them their acks). The other publishes dead letters and
//! forwarded messages.

pub mod budget;
pub mod captured;
pub mod connection;
mod consumer;
pub mod dead_letter;
pub mod delivery;
pub mod error;
mod events;
mod frame;
mod gate;
pub mod ledger;
pub mod letter;
mod outbox;
mod patience;
pub mod publisher;
pub mod settings;
pub mod stats;
pub mod supervisor;
pub mod topology;

pub use captured::captured_message;
pub use dead_letter::{
    DeadLetters, Inspect, LetterSelection, LetterSummary, ListReport, ReplayPace, ReplayReport, Shown,
};
pub use error::AmqpError;
pub use events::EventPublisher;
pub use patience::Patience;
pub use publisher::Outgoing;
pub use settings::{AmqpSettings, BrokerUrl, QueueSettings, QueueType};
pub use stats::BrokerStats;
pub use supervisor::Consumption;
pub use topology::{BrokerState, QueueDepth, broker_state, check, queue_depths, set_up};

/// The log filter that a process with a broker must carry. lapin logs every message that the broker returns with its
/// whole body, which is user data; all that is worth knowing comes back as an error and is logged here.
pub const LOG_DIRECTIVE: &str = "lapin=off";
