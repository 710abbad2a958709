//! Waiting at the pipeline's gate. The pipeline alone opens and closes it.

use crate::pipeline::gate::{Gate, GateWatch};

/// What the gate tells a session that consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// It must stop: the gate is closed, or open for trials only and this session takes more.
    Closed,
    /// It tries messages one by one, and may take all that its prefetch allows.
    Wide,
}

/// Waits until a session must change what it does. A gate whose keeper is gone is closed for good: the process is ending.
pub(super) async fn turned(gate: &mut GateWatch, in_trial: bool) -> Turned {
    let fits = if in_trial { Gate::Trial } else { Gate::Open };
    match gate.wait_for(|gate| *gate != fits).await {
        Ok(gate) if gate.is_open() => Turned::Wide,
        _ => Turned::Closed,
    }
}

/// Waits until the gate is not closed; returns false when its keeper is gone.
pub(super) async fn opened(gate: &mut GateWatch) -> bool {
    gate.wait_for(|gate| !gate.is_closed()).await.is_ok()
}
