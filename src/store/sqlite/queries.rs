//! What the files answer: records by their ids, walks, lists, logs, numbers. Filters look at the newest revision of a record
//! only; lists read no payload unless a keyword is looked for in one.

mod app_logs;
mod counts;
mod filters;
mod lists;

use std::collections::HashSet;

use async_trait::async_trait;
use chrono_tz::Tz;

use super::reader::Reads;
use super::{admin, read, scan, texts};
use crate::domain::document::ContentHash;
use crate::domain::query::{
    AppLogFilter, AppLogPage, Breakdown, BreakdownCounts, Content, Cursor, Day, DocumentPage, Found, ListFilter,
    Lookup, Page, RunFilter, Scan, Summary, TenantCount,
};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Month, RecordId, TenantId};
use crate::store::{Capability, LogReader, StoreError};

#[async_trait]
impl<R: Reads> LogReader for R {
    fn capabilities(&self) -> &'static [Capability] {
        Capability::ALL
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.reader().read(admin::ready).await
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Document>, StoreError> {
        let lookup = lookup.clone();
        self.reader().read(move |question| question.ask(|months| read::lookup(months, &lookup))).await
    }

    async fn walk(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        let scan = scan.clone();
        self.reader().read(move |question| question.ask(|months| scan::walk(months, &scan))).await
    }

    async fn page(&self, list: &ListFilter, page: &Page, count_to: Option<u64>) -> Result<Found<Summary>, StoreError> {
        let (list, page) = (list.clone(), *page);
        self.reader().read(move |question| question.ask(|months| lists::page(months, &list, &page, count_to))).await
    }

    async fn documents(&self, list: &ListFilter, page: &Page, content: Content) -> Result<DocumentPage, StoreError> {
        let (list, page) = (list.clone(), *page);
        self.reader().read(move |question| question.ask(|months| lists::documents(months, &list, &page, content))).await
    }

    async fn app_logs(&self, filter: &AppLogFilter, offset: u64, limit: usize) -> Result<AppLogPage, StoreError> {
        let filter = filter.clone();
        self.reader().read(move |question| question.ask(|months| app_logs::page(months, &filter, offset, limit))).await
    }

    async fn daily(&self, filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, StoreError> {
        let filter = filter.clone();
        self.reader().read(move |question| question.ask(|months| counts::daily(months, &filter, zone))).await
    }

    async fn break_down(&self, list: &ListFilter, by: &Breakdown) -> Result<BreakdownCounts, StoreError> {
        let (list, by) = (list.clone(), by.clone());
        self.reader().read(move |question| question.ask(|months| counts::break_down(months, &list, &by))).await
    }

    async fn scan_count(&self, scan: &Scan) -> Result<u64, StoreError> {
        let scan = scan.clone();
        self.reader().read(move |question| scan::count(question, &scan)).await
    }

    async fn scan_end(&self, scan: &Scan) -> Result<Option<Cursor>, StoreError> {
        let scan = scan.clone();
        self.reader().read(move |question| scan::end(question, &scan)).await
    }

    async fn owners(&self, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, StoreError> {
        self.reader().read(move |question| scan::owners(question, kind, id)).await
    }

    async fn children(&self, tenant_id: TenantId, run_ids: &[RecordId]) -> Result<Vec<RecordKey>, StoreError> {
        let runs = run_ids.to_vec();
        self.reader().read(move |question| scan::children(question, tenant_id, &runs)).await
    }

    async fn tenant_counts(&self, month: Month) -> Result<Vec<TenantCount>, StoreError> {
        self.reader().read(move |question| scan::tenant_counts(question, month)).await
    }

    async fn texts_of(
        &self,
        tenant_id: TenantId,
        kind: Kind,
        ids: &[RecordId],
    ) -> Result<Vec<(Month, ContentHash)>, StoreError> {
        let ids = ids.to_vec();
        self.reader().read(move |question| texts::of(question, tenant_id, kind, &ids)).await
    }

    async fn named_texts(
        &self,
        tenant_id: TenantId,
        month: Month,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError> {
        let hashes = hashes.to_vec();
        self.reader().read(move |question| texts::named(question, tenant_id, month, &hashes)).await
    }
}
