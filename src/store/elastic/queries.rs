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

use async_trait::async_trait;
use chrono_tz::Tz;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::conditions::Question;
use super::ElasticStore;
use super::copies::{PAGE, add_filter, walk};
use super::hit::Hit;
use super::hosts::{Answer, Method, Request};
use super::names::Family;
use super::search::{LENIENT_SEARCH, Reader};
use crate::domain::query::{
    AppLogFilter, AppLogPage, Day, DocumentPage, Facet, FacetCount, Found, HistogramBucket, NodeFilter, NodeSummary,
    Page, RunFilter, RunSummary, Scan,
};
use crate::domain::{FaultKind, RecordId, SinkFault, TenantId};
use crate::store::{LogQueries, StoreError, Subject};

/// Statuses after which a record does not change any more, so that no newer copy can lie in another month.
pub(super) const ENDED: [&str; 5] = ["succeeded", "failed", "partial-succeeded", "stopped", "exception"];

/// Ids in one condition; the engines take 65,536.
const IDS: usize = 10_000;

#[async_trait]
impl LogQueries for ElasticStore {
    async fn run_summaries(&self, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, StoreError> {
        Ok(self.reader().run_summaries(tenant_id, ids).await?)
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

impl Reader<'_> {
    /// Sends a search; the question's conditions are added to its body.
    async fn ask<T: DeserializeOwned>(&self, question: &Question, mut body: Value) -> Result<Outcome<T>, SinkFault> {
        if let Some(body) = body.as_object_mut() {
            body.insert("query".to_owned(), question.query());
            body.entry("track_total_hits").or_insert(false.into());
            body.entry("_source").or_insert(false.into());
        }
        let path = format!("/{}/_search", self.names.readable(Family::Records(question.kind), question.tenant));
        let request = Request::new(Method::Post, &path).query(&LENIENT_SEARCH).json(&body);
        self.read(&request, outcome).await
    }

    /// Leaves the older copies of resumed records out of a question, by the index that each lies in, so that what the
    /// engine counts is right. Only a record that has not ended can have a newer copy elsewhere; of those there are few.
    async fn without_superseded(&self, mut question: Question) -> Result<Question, SinkFault> {
        if !question.may_find_unended() {
            return Ok(question);
        }
        let mut scan = Scan::all(question.kind, PAGE);
        scan.tenants = vec![question.tenant];
        let mut after = None;
        loop {
            let mut query = walk(&scan, after, PAGE);
            add_filter(&mut query, question.query());
            add_filter(&mut query, json!({ "bool": { "must_not": [{ "terms": { "status": ENDED } }] } }));
            let copies = self.copies(&scan, &query).await?;
            after = copies.last().map(|copy| copy.cursor);
            let is_last = copies.len() < PAGE;
            let keys = copies.iter().map(|copy| copy.key).collect();
            let newest = self.newest_of(question.kind, &keys).await?;
            for copy in copies {
                let newest = newest.get(&copy.key);
                if newest.is_some_and(|newest| newest.replaces(copy.revision, &copy.hit.index)) {
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
