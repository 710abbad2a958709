//! How many shards the cluster still takes. A new index is refused with words an operator can act on before the limit
//! is reached, which would stop everybody else on the cluster too. It creates nothing itself.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::hosts::{EngineAnswer, EngineRequest, Hosts, Method};
use super::settings::ElasticSettings;
use crate::domain::SinkFault;

/// How long a count is believed; between counts the own creations are subtracted.
const FRESH: Duration = Duration::from_secs(30);

/// One part in this many of the limit is left to others.
const RESERVE: i64 = 20;

/// The shards that may still be created.
pub(super) struct ShardBudget {
    /// Shards of one index, copies included.
    per_index: i64,
    count: Mutex<Option<Count>>,
}

#[derive(Clone, Copy)]
struct Count {
    left: i64,
    limit: i64,
    at: Instant,
}

impl ShardBudget {
    pub(super) fn new(settings: &ElasticSettings) -> Self {
        let per_index = i64::from(settings.shards) * (1 + i64::from(settings.replicas));
        Self { per_index, count: Mutex::new(None) }
    }

    /// Claims the shards of one new index, or says why there are none.
    ///
    /// A cluster that does not let us count decides by itself.
    pub(super) async fn claim(&self, hosts: &Hosts) -> Result<Result<(), String>, SinkFault> {
        let mut held = self.count.lock().await;
        let now = Instant::now();
        let count = match *held {
            Some(count) if now.duration_since(count.at) < FRESH => count,
            _ => match count(hosts, now).await? {
                Some(count) => count,
                None => return Ok(Ok(())),
            },
        };
        let left = count.left - self.per_index;
        if left >= 0 {
            *held = Some(Count { left, ..count });
            return Ok(Ok(()));
        }
        *held = Some(count);
        Ok(Err(format!(
            "the cluster takes {} shards, and the last {RESERVE}th of them is left to others: raise \
             cluster.max_shards_per_node, drop old months, or use tenancy = \"shared\"",
            count.limit
        )))
    }
}

/// Asks the cluster; `None` if it does not tell.
async fn count(hosts: &Hosts, now: Instant) -> Result<Option<Count>, SinkFault> {
    let query = [("include_defaults", "true"), ("filter_path", "*.cluster.max_shards_per_node")];
    let per_node = hosts.send(&EngineRequest::new(Method::Get, "/_cluster/settings").query(&query)).await?;
    let query = [("filter_path", "active_shards,initializing_shards,unassigned_shards,number_of_data_nodes")];
    let health = hosts.send(&EngineRequest::new(Method::Get, "/_cluster/health").query(&query)).await?;
    Ok(max_shards_per_node(&per_node).and_then(|per_node| {
        let health: Health = health.json().ok()?;
        let limit = per_node * health.number_of_data_nodes;
        let used = health.active_shards + health.initializing_shards + health.unassigned_shards;
        Some(Count { left: limit - limit / RESERVE - used, limit, at: now })
    }))
}

#[derive(Deserialize)]
struct Health {
    active_shards: i64,
    initializing_shards: i64,
    unassigned_shards: i64,
    number_of_data_nodes: i64,
}

/// Returns the setting in force: transient before persistent before the default. The engines write numbers as texts.
fn max_shards_per_node(answer: &EngineAnswer) -> Option<i64> {
    #[derive(Deserialize)]
    struct Settings {
        transient: Option<Scope>,
        persistent: Option<Scope>,
        defaults: Option<Scope>,
    }
    #[derive(Deserialize)]
    struct Scope {
        cluster: Cluster,
    }
    #[derive(Deserialize)]
    struct Cluster {
        max_shards_per_node: String,
    }
    let Settings { transient, persistent, defaults } = answer.json().ok()?;
    transient.or(persistent).or(defaults)?.cluster.max_shards_per_node.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_in_force_wins() {
        for (body, expected) in [
            (r#"{"defaults":{"cluster":{"max_shards_per_node":"1000"}}}"#, Some(1000)),
            (r#"{"persistent":{"cluster":{"max_shards_per_node":"5"}}}"#, Some(5)),
            (
                r#"{"persistent":{"cluster":{"max_shards_per_node":"5"}},"transient":{"cluster":{"max_shards_per_node":"7"}}}"#,
                Some(7),
            ),
            ("{}", None),
            ("<html>", None),
        ] {
            let answer = EngineAnswer { status: 200, retry_after: None, body: body.into(), target: String::new() };
            assert_eq!(max_shards_per_node(&answer), expected, "{body}");
        }
    }
}
