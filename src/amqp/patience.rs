//! How long a command waits for a broker that takes nothing over.

use std::time::Duration;

use super::connection::Link;
use super::error::AmqpError;

/// A broker that does not block publishers and yet confirms nothing for so long is not waited for.
const SILENCE: Duration = Duration::from_secs(120);

/// How long a command waits while the broker blocks publishers, and where it says so.
pub struct Patience {
    wait: Duration,
    blocked: Box<dyn Fn(&str) + Send + Sync>,
}

impl Patience {
    /// Waits so long, and calls `blocked` with the broker's reason when a wait begins.
    pub fn new(wait: Duration, blocked: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { wait, blocked: Box::new(blocked) }
    }
}

/// Returns what `publishing` on the link's connection does, unless the broker blocks publishers for longer than the
/// patience lasts, or is silent for too long.
///
/// # Errors
/// Those of `publishing`; [`AmqpError::Blocked`] and [`AmqpError::Broker`] of a wait that was given up.
pub(super) async fn patiently<T>(
    link: &Link,
    patience: &Patience,
    publishing: impl Future<Output = Result<T, AmqpError>>,
) -> Result<T, AmqpError> {
    let mut blocked = link.blocked();
    let mut publishing = std::pin::pin!(publishing);
    loop {
        let reason = blocked.borrow_and_update().clone();
        let limit = if reason.is_some() { patience.wait } else { SILENCE };
        if let Some(reason) = &reason {
            (patience.blocked)(reason);
        }
        tokio::select! {
            biased;
            done = &mut publishing => return done,
            Ok(()) = blocked.changed() => {}
            () = tokio::time::sleep(limit) => {
                return Err(match reason {
                    Some(said) => AmqpError::Blocked { broker: link.broker(), said },
                    None => AmqpError::Broker {
                        doing: "publishing",
                        said: format!("no confirm within {} s", SILENCE.as_secs()),
                    },
                });
            }
        }
    }
}
