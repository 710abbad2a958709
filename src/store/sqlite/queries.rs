//! The questions of one tenant: lists, searches, logs, statistics. Filters look at the newest revision of a record only;
//! lists read no payload unless a keyword is looked for in one.

mod app_logs;
mod counts;
mod filters;
mod lists;

use async_trait::async_trait;
use chrono_tz::Tz;

use super::read;
use super::reader::Reads;
use crate::domain::query::{
    AppLogFilter, AppLogPage, Day, DocumentPage, Facet, FacetCount, Found, HistogramBucket, NodeFilter, NodeSummary,
    Page, RunFilter, RunSummary, Total,
};
use crate::domain::{RecordId, TenantId};
use crate::store::{LogQueries, StoreError, Subject};

#[async_trait]
impl<R: Reads> LogQueries for R {
    async fn run_summaries(&self, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, StoreError> {
        let ids = ids.to_vec();
        self.reader().read(move |question| read::run_summaries(question, tenant_id, &ids)).await
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Vec<RunSummary>, StoreError> {
        let (filter, page) = (filter.clone(), *page);
        self.reader().read(move |question| question.ask(|months| lists::runs(months, &filter, &page))).await
    }

    async fn nodes(&self, filter: &NodeFilter, page: &Page) -> Result<Vec<NodeSummary>, StoreError> {
        let (filter, page) = (filter.clone(), *page);
        self.reader().read(move |question| question.ask(|months| lists::nodes(months, &filter, &page))).await
    }

    async fn documents(&self, subject: &Subject, page: &Page) -> Result<DocumentPage, StoreError> {
        let (subject, page) = (subject.clone(), *page);
        self.reader().read(move |question| question.ask(|months| lists::documents(months, &subject, &page))).await
    }

    async fn search_runs(
        &self,
        filter: &RunFilter,
        page: &Page,
        count_to: u64,
    ) -> Result<Found<RunSummary>, StoreError> {
        let (filter, page) = (filter.clone(), *page);
        let search = move |months: &[_]| {
            let rows = lists::runs(months, &filter, &page)?;
            let total = match all_of(&rows, &page, count_to) {
                Some(total) => total,
                None => counts::up_to(months, &filters::Rows::of_runs(&filter), count_to)?,
            };
            Ok(found(rows, total))
        };
        self.reader().read(move |question| question.ask(search)).await
    }

    async fn search_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
        count_to: u64,
    ) -> Result<Found<NodeSummary>, StoreError> {
        let (filter, page) = (filter.clone(), *page);
        let search = move |months: &[_]| {
            let rows = lists::nodes(months, &filter, &page)?;
            let total = match all_of(&rows, &page, count_to) {
                Some(total) => total,
                None => counts::up_to(months, &filters::Rows::of_nodes(&filter), count_to)?,
            };
            Ok(found(rows, total))
        };
        self.reader().read(move |question| question.ask(search)).await
    }

    async fn app_logs(&self, filter: &AppLogFilter, offset: u64, limit: usize) -> Result<AppLogPage, StoreError> {
        let filter = filter.clone();
        self.reader().read(move |question| question.ask(|months| app_logs::page(months, &filter, offset, limit))).await
    }

    async fn daily(&self, filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, StoreError> {
        let filter = filter.clone();
        self.reader().read(move |question| question.ask(|months| counts::daily(months, &filter, zone))).await
    }

    async fn facet(&self, subject: &Subject, facet: Facet, limit: usize) -> Result<Vec<FacetCount>, StoreError> {
        let subject = subject.clone();
        self.reader().read(move |question| question.ask(|months| counts::facet(months, &subject, facet, limit))).await
    }

    async fn histogram(&self, subject: &Subject, seconds: u32) -> Result<Vec<HistogramBucket>, StoreError> {
        let subject = subject.clone();
        self.reader().read(move |question| question.ask(|months| counts::histogram(months, &subject, seconds))).await
    }
}

/// The number of all rows, where the first page has them.
const fn all_of<T>(rows: &[T], page: &Page, count_to: u64) -> Option<Total> {
    let value = rows.len() as u64;
    if page.after.is_none() && rows.len() < page.limit && value <= count_to {
        Some(Total { value, exact: true })
    } else {
        None
    }
}

/// Texts are searched whole.
fn found<T>(rows: Vec<T>, total: Total) -> Found<T> {
    Found { rows, total, text_truncated: false }
}
