//! What the engines answer, and how a question about one tenant's records is sent. Reads no payload, except where whole
//! documents are asked for.

mod buckets;
mod conditions;
mod joins;
mod lists;
mod logs;
mod records;
mod statistics;
mod zones;

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use chrono_tz::Tz;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::conditions::EngineQuestion;
pub(super) use self::conditions::demanded;
use super::ElasticStore;
use super::catalog;
use super::copies::{CopyPages, may_be_superseded};
use super::hit::Hit;
use super::hosts::{EngineAnswer, EngineRequest, Method};
use super::names::{Family, IndexPlace};
use super::search::{EngineReader, LENIENT_COUNT, LENIENT_SEARCH};
use crate::domain::document::ContentHash;
use crate::domain::query::{
    AppLogFilter, AppLogPage, AppLogRow, Breakdown, BreakdownCounts, Content, Cursor, Day, DocumentPage, Found,
    ListFilter, Lookup, Page, RunFilter, RunSummary, Scan, Summary, TenantCount, TimeRange,
};
use crate::domain::record::RecordKey;
use crate::domain::{AppLog, Document, FaultKind, Kind, Month, RecordId, SinkFault, TenantId};
use crate::store::{Capability, LogReader, StoreError};

/// Ids in one condition; the engines take 65,536.
const IDS: usize = 10_000;

/// Records that are looked up in the other months by one request; the engines answer 10,000 hits at most.
const CANDIDATES: usize = 10_000;

#[async_trait]
impl LogReader for ElasticStore {
    fn capabilities(&self) -> &'static [Capability] {
        Capability::ALL
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Ok(self.admin().ready().await?)
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Document>, StoreError> {
        Ok(self.reader().lookup(lookup).await?)
    }

    async fn walk(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        Ok(self.reader().scan(&Scan { superseded_too: true, ..scan.clone() }).await?)
    }

    async fn page(&self, list: &ListFilter, page: &Page, count_to: Option<u64>) -> Result<Found<Summary>, StoreError> {
        Ok(self.reader().page(&EngineQuestion::of(list, self.settings.search)?, page, count_to).await?)
    }

    async fn documents(&self, list: &ListFilter, page: &Page, content: Content) -> Result<DocumentPage, StoreError> {
        Ok(self.reader().listed_documents(&EngineQuestion::of(list, self.settings.search)?, page, content).await?)
    }

    async fn app_logs(&self, filter: &AppLogFilter, offset: u64, limit: usize) -> Result<AppLogPage, StoreError> {
        let (logs, total) = self.reader().app_logs(filter, offset, limit).await?;
        let ids: Vec<_> = logs.iter().map(|log| log.workflow_run_id).collect();
        // A log is written when its run begins: most often in the same month.
        let near = logs.iter().map(|log| log.created_at.month()).collect();
        let runs = Lookup { near, ..Lookup::new(filter.tenant_id, Kind::WorkflowRun, &ids, Content::Light) };
        let runs = self.newest(&runs).await?.into_iter().filter_map(Summary::of).filter_map(Summary::into_run);
        let runs: HashMap<RecordId, RunSummary> = runs.map(|run| (run.id, run)).collect();
        let row = |log: AppLog| AppLogRow { run: runs.get(&log.workflow_run_id).cloned(), log };
        Ok(AppLogPage { rows: logs.into_iter().map(row).collect(), total })
    }

    async fn daily(&self, filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, StoreError> {
        Ok(self.reader().daily(EngineQuestion::runs(filter, self.settings.search)?, zone).await?)
    }

    async fn break_down(&self, list: &ListFilter, by: &Breakdown) -> Result<BreakdownCounts, StoreError> {
        Ok(self.reader().break_down(EngineQuestion::of(list, self.settings.search)?, by).await?)
    }

    /// Not by the shared way: a change of the tenancy can leave a record in two indices of one month.
    async fn scan(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        Ok(self.reader().scan(scan).await?)
    }

    async fn scan_count(&self, scan: &Scan) -> Result<u64, StoreError> {
        Ok(self.reader().scan_count(scan).await?)
    }

    async fn scan_end(&self, scan: &Scan) -> Result<Option<Cursor>, StoreError> {
        Ok(self.reader().scan_end(scan).await?)
    }

    async fn owners(&self, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, StoreError> {
        Ok(self.reader().owners(kind, id).await?)
    }

    async fn children(&self, tenant_id: TenantId, run_ids: &[RecordId]) -> Result<Vec<RecordKey>, StoreError> {
        Ok(self.reader().children(tenant_id, run_ids).await?)
    }

    async fn tenant_counts(&self, month: Month) -> Result<Vec<TenantCount>, StoreError> {
        Ok(self.reader().tenant_counts(month).await?)
    }

    async fn named_texts(
        &self,
        tenant_id: TenantId,
        month: Month,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError> {
        self.reader().named_texts(tenant_id, month, hashes).await
    }
}

/// What a search answers.
#[derive(Deserialize)]
struct Outcome<T> {
    timed_out: bool,
    #[serde(rename = "_shards", default)]
    shards: Shards,
    hits: Hits,
    /// Absent where no index matches.
    #[serde(default = "Option::default")]
    aggregations: Option<T>,
}

#[derive(Default, Deserialize)]
struct Shards {
    total: u64,
}

#[derive(Deserialize)]
struct Hits {
    total: Option<HitsTotal>,
    #[serde(default)]
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct HitsTotal {
    value: u64,
}

impl<T> Outcome<T> {
    /// Returns what a search over no index answers.
    const fn empty() -> Self {
        Self {
            timed_out: false,
            shards: Shards { total: 0 },
            hits: Hits { total: Some(HitsTotal { value: 0 }), hits: Vec::new() },
            aggregations: None,
        }
    }
}

impl EngineReader<'_> {
    /// Returns the places that may hold what a question asks for, oldest month first.
    async fn places_of(&self, question: &EngineQuestion) -> Result<Vec<IndexPlace>, SinkFault> {
        self.places_within(question.kind, question.tenant, question.span).await
    }

    /// Returns the places that may hold a tenant's records of a span, oldest month first.
    pub(super) async fn places_within(
        &self,
        kind: Kind,
        tenant: TenantId,
        span: TimeRange,
    ) -> Result<Vec<IndexPlace>, SinkFault> {
        let all = self.catalog.places(self.hosts, self.names, Family::Records(kind), tenant).await?;
        Ok(all.iter().copied().filter(|place| catalog::overlaps(*place, span)).collect())
    }

    /// Sends a search to the months of the question's span; its conditions are added to the body.
    async fn ask<T: DeserializeOwned>(&self, question: &EngineQuestion, body: Value) -> Result<Outcome<T>, SinkFault> {
        let places = self.places_of(question).await?;
        self.ask_in(&places, question, body).await
    }

    /// As [`Self::ask`], in some places only.
    async fn ask_in<T: DeserializeOwned>(
        &self,
        places: &[IndexPlace],
        question: &EngineQuestion,
        mut body: Value,
    ) -> Result<Outcome<T>, SinkFault> {
        let family = Family::Records(question.kind);
        let Some(target) = catalog::target(self.names, family, question.tenant, places) else {
            return Ok(Outcome::empty());
        };
        if let Some(body) = body.as_object_mut() {
            body.insert("query".to_owned(), question.query());
            body.entry("track_total_hits").or_insert(false.into());
            body.entry("_source").or_insert(false.into());
        }
        let path = format!("/{}/_search", target.expression);
        let is_sorted = body.get("sort").is_some();
        if !is_sorted || places.len() == 1 {
            let query = target.options(&LENIENT_COUNT);
            let found = self.read(&EngineRequest::new(Method::Post, &path).query(&query).json(&body), outcome).await?;
            // One index most often has one shard, which alone brings its rows in order.
            if !is_sorted || found.shards.total < 2 {
                return Ok(found);
            }
        }
        let query = target.options(&LENIENT_SEARCH);
        self.read(&EngineRequest::new(Method::Post, &path).query(&query).json(&body), outcome).await
    }

    /// Leaves superseded copies out of a question, by the index that each lies in, so that what the engine counts is right.
    /// Only what is not final in its month can be superseded, or what lies in a month whose tenancy was changed; each such
    /// record that the question finds is looked up in the other indices, thousands in one request.
    async fn without_superseded(&self, mut question: EngineQuestion) -> Result<EngineQuestion, SinkFault> {
        let family = Family::Records(question.kind);
        let all = self.catalog.places(self.hosts, self.names, family, question.tenant).await?;
        let asked = self.places_of(&question).await?;
        let doubled = catalog::doubled(&asked);
        if all.len() < 2 || (doubled.is_empty() && !question.can_move()) {
            return Ok(question);
        }
        let Some(target) = catalog::target(self.names, family, question.tenant, &asked) else { return Ok(question) };
        let shared = |month: &Month| self.names.index(IndexPlace { family, tenant: None, month: *month });
        let doubled: Vec<String> = doubled.iter().map(shared).collect();
        let months =
            if question.can_move() { asked.iter().map(|place| place.month).collect() } else { BTreeSet::new() };
        let changing = may_be_superseded(&months, &doubled);
        let scan = Scan { tenants: vec![question.tenant], ..Scan::all(question.kind, CANDIDATES) };
        let mut pages = CopyPages::new(Some(target), &scan, CANDIDATES, [question.query(), changing]);
        while let Some(found) = self.next_page(&mut pages).await? {
            let others = self.elsewhere(question.kind, question.tenant, &found).await?;
            for copy in found {
                if others.get(&copy.key).is_some_and(|other| other.replaces(copy.standing())) {
                    question.leave_out(copy.hit.index, copy.key.id);
                }
            }
        }
        Ok(question)
    }
}

fn outcome<T: DeserializeOwned>(answer: &EngineAnswer) -> Result<Outcome<T>, SinkFault> {
    let outcome: Outcome<T> = answer.json()?;
    if outcome.timed_out {
        return Err(SinkFault::new(FaultKind::Overloaded, "the search timed out"));
    }
    Ok(outcome)
}
