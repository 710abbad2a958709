//! What SIGTERM and SIGINT do to a command, whichever it is.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;
use super::output::complain;

/// How long what was erased and not yet replaced may take to be written back after the second signal.
pub(super) const PUT_BACK: Duration = Duration::from_secs(30);

/// Cancels `stop` at the first SIGTERM or SIGINT (what is in flight is finished) and `abandon` at the second (the command
/// ends at once), and says on standard error which of them was heard. Ends when it is dropped.
///
/// # Errors
/// [`Failure`] if the system registers no handler.
pub(super) fn stop_on_signals(
    stop: CancellationToken,
    abandon: CancellationToken,
) -> Result<AbortOnDropHandle<()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listening = tokio::spawn(async move {
        let effects =
            [(stop, "stopping after what is in flight; once more stops at once"), (abandon, "stopping at once")];
        for (token, effect) in effects {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            complain!("{effect}");
            token.cancel();
        }
    });
    Ok(AbortOnDropHandle::new(listening))
}

/// Returns the end of a command that was stopped before it was done.
pub(super) fn stopped() -> Failure {
    Failure::Other("stopped; the same command goes on".into())
}

/// Waits until work that was told to end at once has had its time: a process that is left while a document is erased and not
/// replaced loses it.
pub(super) async fn abandoned(abandon: &CancellationToken, grace: Duration) {
    abandon.cancelled().await;
    tokio::time::sleep(grace).await;
}

/// Runs work to its end, or until signals: the first cancels `stop` and lets finish what is begun, the second ends at
/// once.
///
/// # Errors
/// The work's own, and [`Failure::Other`] after the second signal.
pub(super) async fn until_signals<T>(
    stop: CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    until_signals_within(stop, Duration::ZERO, work).await
}

/// As [`until_signals`], but the work goes on for so long after the second signal, if it takes that long.
///
/// # Errors
/// As there.
pub(super) async fn until_signals_within<T>(
    stop: CancellationToken,
    grace: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let abandon = CancellationToken::new();
    let _signals = stop_on_signals(stop, abandon.clone())?;
    tokio::select! {
        outcome = work => outcome,
        () = abandoned(&abandon, grace) => Err(Failure::Other(
            "ended at once; what was committed stays, and the same command goes on from there".into(),
        )),
    }
}
