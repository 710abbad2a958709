//! Waiting at the pipeline's gate. The pipeline alone opens and closes it.

use crate::pipeline::gate::{Gate, GateWatch};

/// Waits until the gate is closed. One whose keeper is gone is closed for good: the process is ending.
pub(super) async fn closed(gate: &mut GateWatch) {
    let _ = gate.wait_for(|gate| !gate.is_open()).await;
}

/// Waits until the gate is open; answers false when its keeper is gone.
pub(super) async fn opened(gate: &mut GateWatch) -> bool {
    gate.wait_for(Gate::is_open).await.is_ok()
}
