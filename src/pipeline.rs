//! The flow from deliveries to settled receipts:
//!
//! ```text
//! deliveries · prepare · (refusals) · collapse · batch · uploads · dispatch (in flight) · verdicts · dispositions
//! ```
//!
//! One task owns the flow and all its state; requests run in tasks of their own and return verdicts. The flow
//! knows no broker and no engine: deliveries come over a channel, receipts go to ledgers, the store is a port.
//! [`Pipeline::run`] is the flow on one screen; `worker.rs` has its state.

mod blame;
pub mod breaker;
pub mod cache;
pub mod dispatch;
pub mod gate;
mod intake;
pub mod limit;
pub mod pace;
pub mod prepare;
pub mod receipt;
mod refusals;
mod results;
pub mod settings;
pub mod stats;
mod suspicion;
mod trial;
pub mod window;
mod worker;

use tokio::sync::mpsc::Receiver;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

pub use receipt::{Delivery, DeliveryContent};
pub use settings::PipelineSettings;
pub use worker::{Pipeline, PipelinePorts};

/// Deliveries taken from the channel at once.
const INBOX: usize = 256;

impl Pipeline {
    /// Runs until every producer of deliveries has gone and everything that came is settled, or until `abandon`:
    /// then whatever is left is dropped, and so requeued.
    pub async fn run(mut self, mut deliveries: Receiver<Delivery>, abandon: CancellationToken) {
        let mut inbox = Vec::with_capacity(INBOX);
        let mut producers_gone = false;
        while !(producers_gone && self.is_done()) {
            self.start_requests();
            let wake = self.wake();
            tokio::select! {
                biased;
                () = abandon.cancelled() => break,
                Some(result) = self.next_result() => match result {
                    Ok(result) => self.apply(result),
                    Err(()) => break,
                },
                count = deliveries.recv_many(&mut inbox, INBOX), if !producers_gone && self.pulls() => {
                    producers_gone = count == 0;
                    self.take_in(&mut inbox);
                }
                () = sleep_until(wake) => self.tick(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
