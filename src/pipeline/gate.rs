//! The gate between the pipeline and the consumers: closed, they give back what they hold and stop pulling.

use tokio::sync::watch;

/// Whether, and how much, consumers may pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// One delivery at a time per consumer, each settled before the next: before the store has judged a document, and when
    /// the queue is looked at after a pause, so that looking returns nothing to it.
    Trial,
    /// For the reason given, in words for the operator.
    Closed(String),
}

impl Gate {
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }

    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// The pipeline's end of the gate.
pub type GateKeeper = watch::Sender<Gate>;

/// A consumer's end of the gate.
pub type GateWatch = watch::Receiver<Gate>;

/// Returns an open gate.
#[must_use]
pub fn gate() -> (GateKeeper, GateWatch) {
    watch::channel(Gate::Open)
}
