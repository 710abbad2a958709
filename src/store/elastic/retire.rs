//! Dropping what is past its days: whole indices, of those tenants only whose days are over. Erases no single document.
//!
//! Others may write into the same month at any moment. Their own indices are not touched; a shared index goes only if none of
//! them has a document in it, and takes no more of them from the moment on at which that is looked at.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::Admin;
use super::catalog::{self, LENIENT, list_indices};
use super::hosts::{EngineRequest, Method};
use super::names::{Family, IndexPlace};
use super::retired::{self, RetiredMonths};
use super::state::StateAccess;
use crate::domain::{Month, SinkFault, TenantId, TenantSet, Timestamp};
use crate::store::StoreError;

/// Index names in one request: they go into the URL, which the engines bound at 4,096 bytes.
const NAMES_PER_REQUEST: usize = 30;

/// The state entry that names the indices which take no documents while a month is removed. Whoever removes next, by
/// whatever days, takes those blocks off that a removal left which was cut short.
const BLOCKED: &str = "blocked-indices";

/// Every index, open or closed.
const EVERYWHERE: [(&str, &str); 2] = [("expand_wildcards", "open,closed"), ("allow_no_indices", "true")];

/// Whose documents lie in the shared indices of a month.
#[derive(Debug, Clone, Copy)]
struct Sharers {
    /// Those that are past their days.
    past: bool,
    others: bool,
}

impl Admin<'_> {
    /// See [`Eraser::retire_month`](crate::store::Eraser::retire_month). Returns the places that went.
    pub(super) async fn retire(
        &self,
        marks: &RetiredMonths,
        month: Month,
        past: &TenantSet,
        at: Timestamp,
    ) -> Result<Option<Vec<IndexPlace>>, StoreError> {
        self.lift_blocks().await?;
        let is_past = |place: IndexPlace| place.tenant.is_some_and(|tenant| past.contains(tenant));
        let is_shared = |place: IndexPlace| place.tenant.is_none();
        let sharers = self.sharers(month, past).await?;
        catalog::ensure_open(self.hosts, self.names, month, |place| is_past(place) || is_shared(place)).await?;
        if sharers.past && sharers.others {
            return Ok(None);
        }
        // A tenant's own indices go alone where it has nothing in the shared ones.
        let with_shared = !sharers.others && (sharers.past || matches!(past, TenantSet::AllBut(_)));
        retired::mark(&self.state(), month, past, at).await?;
        marks.forget();
        let blocks = with_shared && !past.is_everybody();
        if blocks {
            self.block_shared(month).await?;
        }
        tokio::time::sleep(retired::SETTLED).await;
        let dropped = self.drop_settled(month, past, with_shared).await;
        if blocks {
            self.lift_blocks().await?;
        }
        dropped
    }

    const fn state(&self) -> StateAccess<'_> {
        StateAccess { hosts: self.hosts, names: self.names }
    }

    /// Drops what is past its days, unless somebody else has come to the shared indices meanwhile.
    async fn drop_settled(
        &self,
        month: Month,
        past: &TenantSet,
        with_shared: bool,
    ) -> Result<Option<Vec<IndexPlace>>, StoreError> {
        if with_shared && self.sharers(month, past).await?.others {
            return Ok(None);
        }
        let is_due = |place: IndexPlace| {
            place.month == month && place.tenant.map_or(with_shared, |tenant| past.contains(tenant))
        };
        catalog::ensure_open(self.hosts, self.names, month, is_due).await?;
        self.drop_places(is_due).await.map(Some)
    }

    /// Returns whose documents lie in the shared indices of a month.
    async fn sharers(&self, month: Month, past: &TenantSet) -> Result<Sharers, StoreError> {
        let members = |tenants: &BTreeSet<TenantId>| {
            let tenants: Vec<_> = tenants.iter().map(ToString::to_string).collect();
            json!({ "bool": { "filter": [{ "terms": { "tenant_id": tenants } }] } })
        };
        // Tombstones have no tenant.
        let all_but = |tenants: &BTreeSet<TenantId>| {
            let tenants: Vec<_> = tenants.iter().map(ToString::to_string).collect();
            let filter = json!([{ "exists": { "field": "tenant_id" } }]);
            json!({ "bool": { "filter": filter, "must_not": [{ "terms": { "tenant_id": tenants } }] } })
        };
        let (own, others) = match past {
            TenantSet::AllBut(others) if others.is_empty() => return Ok(Sharers { past: true, others: false }),
            TenantSet::AllBut(others) => (all_but(others), members(others)),
            TenantSet::Only(own) => (members(own), all_but(own)),
        };
        let expression = self.shared_indices(month);
        let path = format!("/{expression}/_refresh");
        self.hosts.send(&EngineRequest::new(Method::Post, &path).query(&LENIENT)).await?.of_all_shards()?;
        Ok(Sharers { past: self.holds(&expression, &own).await?, others: self.holds(&expression, &others).await? })
    }

    /// Returns whether some documents match. An answer that lacks a shard is an error: what it holds is not known.
    async fn holds(&self, expression: &str, query: &Value) -> Result<bool, SinkFault> {
        #[derive(Deserialize)]
        struct Counted {
            count: u64,
        }
        let path = format!("/{expression}/_count");
        let request = EngineRequest::new(Method::Post, &path).query(&LENIENT).json(&json!({ "query": query }));
        let answer = self.hosts.send(&request).await?;
        let Counted { count } = answer.json()?;
        answer.counts_all_shards()?;
        Ok(count > 0)
    }

    fn shared_indices(&self, month: Month) -> String {
        let place = |family| IndexPlace { family, tenant: None, month };
        Family::ALL.map(|family| self.names.index(place(family))).join(",")
    }

    /// Lets the shared indices of a month take no document any more, and first notes those of which that is new.
    async fn block_shared(&self, month: Month) -> Result<(), StoreError> {
        let listed = list_indices(self.hosts, self.names, &self.shared_indices(month), &LENIENT).await?;
        let indices: BTreeSet<String> = listed.into_iter().map(|found| found.index).collect();
        if indices.is_empty() {
            return Ok(());
        }
        let path = format!("/{}/_settings/index.blocks.write", join(&indices));
        let query = [("flat_settings", "true"), ("ignore_unavailable", "true")];
        let found: Value = self.hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?.json()?;
        let is_open = |index: &String| {
            let blocks = found.get(index).and_then(|index| index.get("settings")?.get("index.blocks.write")?.as_str());
            blocks != Some("true")
        };
        let open: BTreeSet<String> = indices.into_iter().filter(is_open).collect();
        if open.is_empty() {
            return Ok(());
        }
        if self.state().put(BLOCKED, &json!(open), None).await?.is_none() {
            return Err(StoreError::Unavailable(format!("state {BLOCKED}: another process is removing a month")));
        }
        self.block(&open, true).await
    }

    /// Lets those indices take documents again that a removal has blocked: this one, or one that was cut short.
    pub(super) async fn lift_blocks(&self) -> Result<(), StoreError> {
        let Some(noted) = self.state().get(BLOCKED).await? else { return Ok(()) };
        let indices = BTreeSet::<String>::deserialize(&noted.value)
            .map_err(|_| StoreError::Corrupt(format!("state {BLOCKED} is not what difylog writes")))?;
        self.block(&indices, false).await?;
        self.state().delete(BLOCKED, noted.version).await?;
        Ok(())
    }

    async fn block(&self, indices: &BTreeSet<String>, is_blocked: bool) -> Result<(), StoreError> {
        let path = format!("/{}/_settings", join(indices));
        let value = if is_blocked { Value::Bool(true) } else { Value::Null };
        let query = [("ignore_unavailable", "true")];
        let request = EngineRequest::new(Method::Put, &path).query(&query);
        let answer = self.hosts.send(&request.json(&json!({ "index.blocks.write": value }))).await?;
        // What was dropped needs no block, and has none.
        if is_blocked || answer.status != 404 {
            answer.success()?;
        }
        Ok(())
    }

    /// Drops whole indices, closed ones as well: those of the places that are meant.
    pub(super) async fn drop_places(
        &self,
        is_meant: impl Fn(IndexPlace) -> bool,
    ) -> Result<Vec<IndexPlace>, StoreError> {
        // Only names that parse are deleted, each by its full name.
        let listed = list_indices(self.hosts, self.names, &self.names.everything(), &EVERYWHERE).await?;
        let (mut places, mut indices) = (Vec::new(), BTreeSet::new());
        for found in listed.iter().filter(|found| is_meant(found.place)) {
            let holds_more = found.has_other_aliases
                || listed.iter().any(|other| other.index == found.index && !is_meant(other.place));
            if found.index != self.names.index(found.place) && holds_more {
                return Err(StoreError::Unavailable(format!(
                    "{} is an alias of the index {}, which has other names too: remove the alias, or delete the index, by hand",
                    self.names.index(found.place),
                    found.index
                )));
            }
            places.push(found.place);
            indices.insert(found.index.as_str());
        }
        places.dedup();
        for chunk in indices.into_iter().collect::<Vec<_>>().chunks(NAMES_PER_REQUEST) {
            let path = format!("/{}", chunk.join(","));
            let request = EngineRequest::new(Method::Delete, &path).query(&[("ignore_unavailable", "true")]);
            let answer = self.hosts.send(&request).await?;
            if answer.status != 404 {
                answer.success()?;
            }
        }
        Ok(places)
    }
}

fn join(indices: &BTreeSet<String>) -> String {
    indices.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}
