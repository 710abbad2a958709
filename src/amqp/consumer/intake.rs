//! How deliveries come into a session: the states of its subscription, and the waits that belong to them.

use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt as _;
use lapin::Consumer;
use lapin::message::Delivery as Arrival;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use crate::amqp::budget::{MemoryBudget, PrefetchWindow, Reservation};
use crate::amqp::settings::QueueSettings;
use crate::amqp::stats::Subscribed;
use crate::pipeline::receipt::Delivery;

/// How deliveries come in.
pub(super) enum Intake {
    Subscribed {
        consumer: Consumer,
        _counted: Subscribed,
    },
    /// The subscription is being cancelled; what was on its way still arrives.
    Ending {
        consumer: Consumer,
        next: AfterSubscription,
    },
    /// Waits until the budget has room for a full window. Kept over turns: it is a place in a queue.
    Paused(Pin<Box<dyn Future<Output = Reservation> + Send>>),
    /// No more deliveries are wanted.
    Stopped,
}

/// What follows when the subscription has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterSubscription {
    Resubscribe,
    Stop,
}

impl Intake {
    /// Waits in order until the budget has room for so much.
    pub(super) fn paused(budget: &Arc<MemoryBudget>, wanted: u64) -> Self {
        Self::Paused(Box::pin(Arc::clone(budget).reserve(wanted)))
    }
}

pub(super) async fn next_arrival(intake: &mut Intake) -> Option<lapin::Result<Arrival>> {
    match intake {
        Intake::Subscribed { consumer, .. } | Intake::Ending { consumer, .. } => consumer.next().await,
        Intake::Paused(_) | Intake::Stopped => std::future::pending().await,
    }
}

/// What happens to an intake.
#[allow(clippy::large_enum_variant, reason = "one at a time, and looked at where it is made")]
pub(super) enum Event {
    Arrival(Option<lapin::Result<Arrival>>),
    /// The room that a paused one waited for.
    Room(Reservation),
}

pub(super) async fn next_event(intake: &mut Intake) -> Event {
    match intake {
        Intake::Paused(waiting) => Event::Room(waiting.await),
        subscribed => Event::Arrival(next_arrival(subscribed).await),
    }
}

/// Returns the window of a session that begins; one message wide while messages are tried one by one.
pub(super) fn window(queue: &QueueSettings, shared: &Shared, in_trial: bool) -> PrefetchWindow {
    let share = shared.budget.limit() / (shared.consumers.max(1) as u64);
    let prefetch = if in_trial { 1 } else { queue.prefetch.get() };
    PrefetchWindow::new(prefetch, share, shared.settings.regrow_after(), Instant::now())
}

/// Waits until the pipeline takes a delivery; returns false when it never will.
pub(super) async fn has_room(pipeline: Option<&mpsc::Sender<Delivery>>) -> bool {
    match pipeline {
        Some(pipeline) => pipeline.reserve().await.is_ok(),
        None => false,
    }
}
