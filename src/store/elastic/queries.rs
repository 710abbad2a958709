//! The questions that are asked of one tenant's records, and how one of them is sent. Reads no payload, except where
//! records are asked for by their ids.

mod buckets;
mod conditions;
mod joins;
mod lists;
mod logs;
mod records;
mod statistics;
mod zones;

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono_tz::Tz;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::conditions::Question;
use super::ElasticStore;
use super::catalog;
use super::copies::{add_filter, may_be_superseded, walk};
use super::hit::Hit;
use super::hosts::{Answer, Method, Request};
use super::names::{Family, Place};
use super::search::{LENIENT_COUNT, LENIENT_SEARCH, Reader};
use crate::domain::query::{
    AppLogFilter, AppLogPage, Day, DocumentPage, Facet, FacetCount, Found, HistogramBucket, NodeFilter, NodeSummary,
    Page, RunFilter, RunSummary, Scan,
};
use crate::domain::{FaultKind, Month, RecordId, SinkFault, TenantId};
use crate::store::{LogQueries, StoreError, Subject};

/// Statuses after which a record does not change any more, so that no newer copy can lie in another month.
pub(super) const ENDED: [&str; 5] = ["succeeded", "failed", "partial-succeeded", "stopped", "exception"];

/// Ids in one condition; the engines take 65,536.
const IDS: usize = 10_000;

/// Records that are looked up in the other months by one request; the engines answer 10,000 hits at most.
const CANDIDATES: usize = 10_000;

#[async_trait]
impl LogQueries for ElasticStore {
    async fn run_summaries(&self, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, StoreError> {
        Ok(self.reader().run_summaries(tenant_id, ids, None).await?)
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Vec<RunSummary>, StoreError> {
        Ok(self.reader().listed(&Question::runs(filter, self.settings.search)?, page).await?)
    }

    async fn nodes(&self, filter: &NodeFilter, page: &Page) -> Result<Vec<NodeSummary>, StoreError> {
        Ok(self.reader().listed(&Question::nodes(filter, self.settings.search)?, page).await?)
    }

    async fn documents(&self, subject: &Subject, page: &Page) -> Result<DocumentPage, StoreError> {
        let question = Question::of(subject, self.settings.search)?;
        let reader = self.reader();
        Ok(match subject {
            Subject::Runs(_) => reader.listed_documents::<RunSummary>(&question, page).await?,
            Subject::Nodes(_) => reader.listed_documents::<NodeSummary>(&question, page).await?,
        })
    }

    async fn search_runs(
        &self,
        filter: &RunFilter,
        page: &Page,
        count_to: u64,
    ) -> Result<Found<RunSummary>, StoreError> {
        Ok(self.reader().found(&Question::runs(filter, self.settings.search)?, page, count_to).await?)
    }

    async fn search_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
        count_to: u64,
    ) -> Result<Found<NodeSummary>, StoreError> {
        Ok(self.reader().found(&Question::nodes(filter, self.settings.search)?, page, count_to).await?)
    }

    async fn app_logs(&self, filter: &AppLogFilter, offset: u64, limit: usize) -> Result<AppLogPage, StoreError> {
        Ok(self.reader().app_logs(filter, offset, limit).await?)
    }

    async fn daily(&self, filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, StoreError> {
        Ok(self.reader().daily(Question::runs(filter, self.settings.search)?, zone).await?)
    }

    async fn facet(&self, subject: &Subject, facet: Facet, limit: usize) -> Result<Vec<FacetCount>, StoreError> {
        Ok(self.reader().facet(Question::of(subject, self.settings.search)?, facet, limit).await?)
    }

    async fn histogram(&self, subject: &Subject, seconds: u32) -> Result<Vec<HistogramBucket>, StoreError> {
        Ok(self.reader().histogram(Question::of(subject, self.settings.search)?, seconds).await?)
    }
}

/// What a search answers.
#[derive(Deserialize)]
struct Outcome<T> {
    timed_out: bool,
    hits: Hits,
    /// Absent where no index matches.
    #[serde(default = "Option::default")]
    aggregations: Option<T>,
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
    /// What a search over no index answers.
    const fn empty() -> Self {
        Self {
            timed_out: false,
            hits: Hits { total: Some(HitsTotal { value: 0 }), hits: Vec::new() },
            aggregations: None,
        }
    }
}

impl Reader<'_> {
    /// The places that may hold what a question asks for, oldest month first.
    async fn places_of(&self, question: &Question) -> Result<Vec<Place>, SinkFault> {
        let all = self.catalog.places(self.hosts, self.names, Family::Records(question.kind), question.tenant).await?;
        Ok(all.iter().copied().filter(|place| catalog::overlaps(*place, question.span)).collect())
    }

    /// Sends a search to the months of the question's span; its conditions are added to the body.
    async fn ask<T: DeserializeOwned>(&self, question: &Question, body: Value) -> Result<Outcome<T>, SinkFault> {
        let places = self.places_of(question).await?;
        self.ask_in(&places, question, body).await
    }

    /// As [`Self::ask`], in some places only.
    async fn ask_in<T: DeserializeOwned>(
        &self,
        places: &[Place],
        question: &Question,
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
        let mut query = if is_sorted { LENIENT_SEARCH.to_vec() } else { LENIENT_COUNT.to_vec() };
        query.extend(target.routing.as_deref().map(|tenant| ("routing", tenant)));
        let request = Request::new(Method::Post, &path).query(&query).json(&body);
        self.read(&request, outcome).await
    }

    /// Leaves superseded copies out of a question, by the index that each lies in, so that what the engine counts is right.
    /// Only what is not final in its month can be superseded, or what lies in a month whose tenancy was changed; each such
    /// record that the question finds is looked up in the other indices, thousands in one request.
    async fn without_superseded(&self, mut question: Question) -> Result<Question, SinkFault> {
        let family = Family::Records(question.kind);
        let all = self.catalog.places(self.hosts, self.names, family, question.tenant).await?;
        let asked = self.places_of(&question).await?;
        let doubled = catalog::doubled(&asked);
        if all.len() < 2 || (doubled.is_empty() && !question.can_move()) {
            return Ok(question);
        }
        let Some(target) = catalog::target(self.names, family, question.tenant, &asked) else { return Ok(question) };
        let shared = |month: &Month| self.names.index(Place { family, tenant: None, month: *month });
        let doubled: Vec<String> = doubled.iter().map(shared).collect();
        let months =
            if question.can_move() { asked.iter().map(|place| place.month).collect() } else { BTreeSet::new() };
        let changing = may_be_superseded(&months, &doubled);
        let scan = Scan { tenants: vec![question.tenant], ..Scan::all(question.kind, CANDIDATES) };
        let mut after = None;
        loop {
            let mut query = walk(&scan, after, CANDIDATES);
            add_filter(&mut query, question.query());
            add_filter(&mut query, changing.clone());
            let found = self.copies_in(&target.expression, question.kind, &query).await?;
            after = found.last().map(|copy| copy.cursor);
            let is_last = found.len() < CANDIDATES;
            let others = self.elsewhere(question.kind, question.tenant, &found).await?;
            for copy in found {
                if others.get(&copy.key).is_some_and(|other| other.replaces(copy.standing())) {
                    question.leave_out(copy.hit.index, copy.key.id);
                }
            }
            if is_last {
                return Ok(question);
            }
        }
    }
}

fn outcome<T: DeserializeOwned>(answer: &Answer) -> Result<Outcome<T>, SinkFault> {
    let outcome: Outcome<T> = answer.json()?;
    if outcome.timed_out {
        return Err(SinkFault::new(FaultKind::Overloaded, "the search timed out"));
    }
    Ok(outcome)
}
