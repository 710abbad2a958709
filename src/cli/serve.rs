//! `serve`: the API over the stored logs, until a signal.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::app;
use crate::config::Loaded;

pub(super) async fn serve(loaded: Loaded) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signals = async {
        // The first lets requests end, the second does not wait.
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
        }
    };
    tokio::select! {
        served = app::run_serve(loaded.settings, None, stop.clone()) => Ok(served?),
        () = signals => Ok(()),
    }
}
