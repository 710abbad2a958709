//! Whether the store answers, for clients without a key: the answer names no host and no path, and a flood of questions
//! is one question a second to the store.

use std::fmt::Display;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

/// A store that needs longer to answer a probe is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer serves every client.
const FRESH: Duration = Duration::from_secs(1);

/// The last answer of a store.
#[derive(Default)]
pub(super) struct StoreProbe(Mutex<Option<(Instant, bool)>>);

impl StoreProbe {
    /// Returns what is wrong with the store, without details, at most a second old; `None`: it answers. The details are
    /// logged when the answer changes.
    pub async fn problem<E: Display>(&self, probe: impl Future<Output = Result<(), E>>) -> Option<&'static str> {
        let mut last = self.0.lock().await;
        let before = *last;
        let answers = match before {
            Some((at, answers)) if at.elapsed() < FRESH => answers,
            _ => {
                let asked = tokio::time::timeout(PROBE_TIMEOUT, probe).await;
                let problem = match asked {
                    Ok(Ok(())) => None,
                    Ok(Err(fault)) => Some(fault.to_string()),
                    Err(_) => Some(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
                };
                let answers = problem.is_none();
                if before.is_none_or(|(_, before)| before != answers) {
                    match problem {
                        Some(problem) => warn!(%problem, "not ready: the store does not answer"),
                        None if before.is_some() => info!("ready: the store answers again"),
                        None => {}
                    }
                }
                *last = Some((Instant::now(), answers));
                answers
            }
        };
        (!answers).then_some("the store does not answer; the log has the reason")
    }
}
