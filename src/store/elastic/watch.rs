//! Looks whether the indices that this process writes to are still there. Who deletes one by hand, to have it filled anew,
//! sends the same messages again: a process that remembers them as durable would write nothing, and so never notice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::catalog::LENIENT;
use super::hosts::{EngineRequest, Hosts, Method};
use super::indices::Indices;
use super::names::{IndexNames, IndexPlace};
use crate::domain::SinkFault;

/// How often it looks: an index that was deleted is noticed within this time.
const EVERY: Duration = Duration::from_secs(2);

/// Indices looked at in one request, whose names go into the URL.
const AT_ONCE: usize = 30;

/// Requests of one look; where more indices are written to, several looks go round.
const REQUESTS: usize = 4;

/// The task that looks, from the first write on; one that ended is started again.
#[derive(Default)]
pub(super) struct RetiredWatch(Mutex<Option<AbortHandle>>);

impl Drop for RetiredWatch {
    fn drop(&mut self) {
        if let Some(task) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl RetiredWatch {
    pub(super) fn begin(&self, hosts: &Arc<Hosts>, names: &IndexNames, indices: &Arc<Indices>) {
        let mut task = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            let seen = Seen { indices: Arc::clone(indices), uuids: Mutex::default() };
            *task = Some(tokio::spawn(look_always(Arc::clone(hosts), names.clone(), seen)).abort_handle());
        }
    }
}

/// The identities of indices, as they were met first.
struct Seen {
    indices: Arc<Indices>,
    uuids: Mutex<HashMap<IndexPlace, String>>,
}

async fn look_always(hosts: Arc<Hosts>, names: IndexNames, seen: Seen) {
    let mut ticks = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = 0;
    loop {
        ticks.tick().await;
        let known = seen.indices.known();
        if known.is_empty() {
            continue;
        }
        let wanted: Vec<IndexPlace> =
            known.iter().cycle().skip(next % known.len()).take(known.len().min(AT_ONCE * REQUESTS)).copied().collect();
        next = (next + wanted.len()) % known.len();
        for places in wanted.chunks(AT_ONCE) {
            // A cluster that does not answer says nothing about its indices.
            if let Ok(found) = identities(&hosts, &names, places).await {
                seen.compare(places, found);
            }
        }
    }
}

/// Returns the identities of those indices that are there.
async fn identities(
    hosts: &Hosts,
    names: &IndexNames,
    places: &[IndexPlace],
) -> Result<HashMap<IndexPlace, String>, SinkFault> {
    #[derive(Deserialize)]
    struct Index {
        settings: Settings,
    }
    #[derive(Deserialize)]
    struct Settings {
        index: Identity,
    }
    #[derive(Deserialize)]
    struct Identity {
        uuid: String,
    }
    let expression: Vec<_> = places.iter().map(|place| names.index(*place)).collect();
    let path = format!("/{}/_settings/index.uuid", expression.join(","));
    // A closed index is there.
    let [unavailable, allowed, _] = LENIENT;
    let query = [unavailable, allowed, ("expand_wildcards", "open,closed")];
    let answer = hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?;
    let found: HashMap<String, Index> = answer.json()?;
    let identity = |(name, index): (String, Index)| Some((names.parse(&name)?, index.settings.index.uuid));
    Ok(found.into_iter().filter_map(identity).collect())
}

impl Seen {
    fn compare(&self, places: &[IndexPlace], mut found: HashMap<IndexPlace, String>) {
        let mut uuids = self.uuids.lock().unwrap_or_else(PoisonError::into_inner);
        for place in places {
            let now = found.remove(place);
            let before = uuids.remove(place);
            if now.is_none() || (before.is_some() && before != now) {
                self.indices.forget(*place);
            }
            if let Some(now) = now {
                uuids.insert(*place, now);
            }
        }
    }
}
