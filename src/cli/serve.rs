//! `serve`: the API over the stored logs, until a signal.

use tokio_util::sync::CancellationToken;

use super::Failure;
use super::signals::stop_on_signals;
use crate::app;
use crate::config::Loaded;

/// The first signal lets requests end, the second does not wait for them.
pub(super) async fn serve(loaded: Loaded) -> Result<(), Failure> {
    let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
    let _signals = stop_on_signals(stop.clone(), abandon.clone())?;
    tokio::select! {
        served = app::run_serve(loaded.settings, None, stop) => Ok(served?),
        () = abandon.cancelled() => Ok(()),
    }
}
