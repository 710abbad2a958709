//! What the logs of a tenant ask of the store. Every question is held to the tenant and to the apps that may be seen, here and
//! nowhere else: the rest of the library has no other way to the store, so that a new question cannot forget them.

use std::collections::HashSet;
use std::sync::Arc;

use chrono_tz::Tz;

use super::directory::Directory;
use super::{QueryError, ServicePorts};
use crate::domain::document::ContentHash;
use crate::domain::query::{
    AppLogFilter, AppLogPage, AppScope, Breakdown, BreakdownCounts, Content, Day, DocumentPage, Facet, FacetCount,
    Found, HistogramBucket, ListFilter, Lookup, NodeQuery, NodeSummary, Page, RunFilter, RunQuery, RunSummary, Scan,
    Scoped,
};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Month, RecordId, TenantId, Timestamp};
use crate::store::payload::{PayloadStore, Younger};
use crate::store::{Erasure, Remains, StoreError};

/// Records whose apps are looked at in one question; runs may have hundreds of thousands.
const LOOKED_AT: usize = 1_000;

/// See the module.
#[derive(Clone)]
pub(super) struct TenantReader {
    ports: Arc<ServicePorts>,
    tenant_id: TenantId,
    apps: AppScope,
}

/// A list that is held to what may be seen.
#[derive(Clone)]
pub(super) struct HeldList(ListFilter);

/// Records that may be seen.
pub(super) struct SeenKeys(Vec<RecordKey>);

impl SeenKeys {
    pub(super) fn keys(&self) -> &[RecordKey] {
        &self.0
    }
}

impl TenantReader {
    pub(super) const fn new(ports: Arc<ServicePorts>, tenant_id: TenantId) -> Self {
        Self { ports, tenant_id, apps: AppScope::ALL }
    }

    /// Returns the same, of these apps alone.
    pub(super) fn held_to(self, apps: AppScope) -> Self {
        Self { apps, ..self }
    }

    pub(super) const fn tenant_id(&self) -> TenantId {
        self.tenant_id
    }

    pub(super) const fn apps(&self) -> &AppScope {
        &self.apps
    }

    pub(super) fn directory(&self) -> &dyn Directory {
        &*self.ports.directory
    }

    pub(super) fn payloads(&self) -> &PayloadStore {
        &self.ports.payloads
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.ports.clock)()
    }

    /// Returns what is asked for, of what may be seen.
    pub(super) fn scoped<C: Clone>(&self, conditions: &C) -> Scoped<C> {
        Scoped { tenant_id: self.tenant_id, apps: self.apps.clone(), conditions: conditions.clone() }
    }

    pub(super) fn list<C: Clone>(&self, conditions: &C) -> HeldList
    where
        ListFilter: From<Scoped<C>>,
    {
        HeldList(self.scoped(conditions).into())
    }

    pub(super) async fn runs(&self, query: &RunQuery, page: &Page) -> Result<Vec<RunSummary>, StoreError> {
        self.ports.logs.runs(&self.scoped(query), page).await
    }

    pub(super) async fn nodes(&self, query: &NodeQuery, page: &Page) -> Result<Vec<NodeSummary>, StoreError> {
        self.ports.logs.nodes(&self.scoped(query), page).await
    }

    pub(super) async fn search_runs(
        &self,
        query: &RunQuery,
        page: &Page,
        count_to: Option<u64>,
    ) -> Result<Found<RunSummary>, StoreError> {
        self.ports.logs.search_runs(&self.scoped(query), page, count_to).await
    }

    pub(super) async fn search_nodes(
        &self,
        query: &NodeQuery,
        page: &Page,
        count_to: Option<u64>,
    ) -> Result<Found<NodeSummary>, StoreError> {
        self.ports.logs.search_nodes(&self.scoped(query), page, count_to).await
    }

    pub(super) async fn documents(
        &self,
        list: &HeldList,
        page: &Page,
        content: Content,
    ) -> Result<DocumentPage, StoreError> {
        self.ports.logs.documents(&list.0, page, content).await
    }

    pub(super) async fn break_down(&self, list: &HeldList, by: &Breakdown) -> Result<BreakdownCounts, StoreError> {
        self.ports.logs.break_down(&list.0, by).await
    }

    pub(super) async fn facet(
        &self,
        list: &HeldList,
        facet: Facet,
        limit: usize,
    ) -> Result<Vec<FacetCount>, StoreError> {
        self.ports.logs.facet(&list.0, facet, limit).await
    }

    pub(super) async fn histogram(&self, list: &HeldList, seconds: u32) -> Result<Vec<HistogramBucket>, StoreError> {
        self.ports.logs.histogram(&list.0, seconds).await
    }

    pub(super) async fn daily(&self, query: &RunQuery, zone: Tz) -> Result<Vec<Day>, StoreError> {
        let filter: RunFilter = self.scoped(query);
        self.ports.logs.daily(&filter, zone).await
    }

    /// Returns the step of the walk, whatever tenants and apps it names.
    pub(super) async fn scan(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        let held = Scan { tenants: vec![self.tenant_id], apps: self.apps.clone(), ..scan.clone() };
        self.ports.logs.scan(&held).await
    }

    /// Returns the page, whatever tenant and apps the filter names.
    pub(super) async fn app_logs(
        &self,
        filter: AppLogFilter,
        offset: u64,
        limit: usize,
    ) -> Result<AppLogPage, StoreError> {
        let held = AppLogFilter { tenant_id: self.tenant_id, apps: self.apps.clone(), ..filter };
        let mut page = self.ports.logs.app_logs(&held, offset, limit).await?;
        for row in &mut page.rows {
            // A log may name a run of another app.
            row.run = row.run.take().filter(|run| self.apps.holds(run.app_id));
        }
        Ok(page)
    }

    /// Returns the copies that count of records that may be seen. The others are as if absent: of them, only light rows are read.
    pub(super) async fn newest(&self, lookup: &Lookup) -> Result<Vec<Document>, StoreError> {
        let mut held = Lookup { tenant_id: self.tenant_id, ..lookup.clone() };
        if self.apps.apps().is_some() && held.content != Content::Light {
            let light = Lookup { content: Content::Light, ..held.clone() };
            let seen = self.seen(self.ports.logs.newest(&light).await?);
            held.ids = seen.iter().map(|document| document.record.id()).collect();
            held.ids.sort_unstable();
        }
        if held.ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.seen(self.ports.logs.newest(&held).await?))
    }

    pub(super) async fn record(&self, kind: Kind, id: RecordId) -> Result<Option<Document>, StoreError> {
        Ok(self.records(kind, &[id]).await?.pop())
    }

    pub(super) async fn records(&self, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, StoreError> {
        self.newest(&Lookup::new(self.tenant_id, kind, ids, Content::Full)).await
    }

    pub(super) async fn run_summaries(&self, ids: &[RecordId]) -> Result<Vec<RunSummary>, StoreError> {
        let mut runs = self.ports.logs.run_summaries(self.tenant_id, ids).await?;
        runs.retain(|run| self.apps.holds(run.app_id));
        Ok(runs)
    }

    /// Returns what belongs to runs, as far as it may be seen.
    pub(super) async fn children(&self, run_ids: &[RecordId]) -> Result<SeenKeys, StoreError> {
        let children = self.ports.logs.children(self.tenant_id, run_ids).await?;
        self.seen_keys(children).await
    }

    /// Returns those of the records that may be seen. Without a limit to apps, all of them: whether they are there is not asked.
    pub(super) async fn seen_keys(&self, keys: Vec<RecordKey>) -> Result<SeenKeys, StoreError> {
        if self.apps.apps().is_none() {
            return Ok(SeenKeys(keys));
        }
        let mut seen = HashSet::with_capacity(keys.len());
        for kind in Kind::ALL {
            let ids: Vec<_> = keys.iter().filter(|key| key.kind == kind).map(|key| key.id).collect();
            for ids in ids.chunks(LOOKED_AT) {
                let lookup = Lookup::new(self.tenant_id, kind, ids, Content::Light);
                seen.extend(self.newest(&lookup).await?.iter().map(|document| document.record.key()));
            }
        }
        Ok(SeenKeys(keys.into_iter().filter(|key| seen.contains(key)).collect()))
    }

    /// Returns the full texts that records name, with the month of each.
    pub(super) async fn texts_of(&self, keys: &SeenKeys) -> Result<Vec<(Month, ContentHash)>, StoreError> {
        let mut texts = Vec::new();
        for kind in Kind::ALL {
            let ids: Vec<_> = keys.0.iter().filter(|key| key.kind == kind).map(|key| key.id).collect();
            if !ids.is_empty() {
                texts.extend(self.ports.logs.texts_of(self.tenant_id, kind, &ids).await?);
            }
        }
        Ok(texts)
    }

    /// Erases records and leaves tombstones; answers which were there.
    pub(super) async fn erase(&self, keys: &SeenKeys) -> Result<Vec<bool>, StoreError> {
        let erasures: Vec<_> = keys.0.iter().map(|key| Erasure { key: *key, revision: None }).collect();
        self.ports.eraser.erase(&erasures, Remains::Tombstone(self.now())).await
    }

    /// Removes full texts that no record names.
    pub(super) async fn remove_texts(&self, month: Month, texts: &[ContentHash]) -> Result<(), QueryError> {
        let (logs, payloads) = (&*self.ports.logs, &self.ports.payloads);
        payloads.remove_unnamed::<QueryError>(logs, self.tenant_id, month, texts, Younger::Go).await?;
        Ok(())
    }

    fn seen(&self, mut documents: Vec<Document>) -> Vec<Document> {
        documents.retain(|document| self.apps.holds(document.record.app_id()));
        documents
    }
}
