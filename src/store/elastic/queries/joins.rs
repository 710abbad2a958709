//! App logs by conditions on their runs. The engines do not join, so one side's ids are sent to the other, the smaller
//! side's: where fewer runs satisfy the conditions than there are logs, the logs are found by these runs' ids; else the
//! logs are walked, a page at a time, and each page's runs are asked for. Memory is bounded by a page and by the ids of
//! the few.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::rows::AsText;
use super::super::search::EngineReader;
use super::super::settings::SearchedTexts;
use super::buckets::Bucket;
use super::conditions::{self, EngineQuestion, either, terms};
use super::logs::WINDOW;
use super::{IDS, Outcome};
use crate::domain::query::{AppLogFilter, RunQuery, TextField, TextFilter};
use crate::domain::{AppLog, RecordId, SinkFault};
use crate::store::StoreError;

/// Runs by whose ids logs are looked for.
const FEW: u64 = 50_000;

/// Runs that are asked for without being counted before: no more are sent in vain.
const AT_ONCE: u64 = 1_000;

/// Indices of a tenant that are told apart: months, by two tenancies.
const INDICES: usize = 10_000;

/// The smallest stretch of a walk.
const STRETCH: usize = 200;

/// What a filter asks of a log's run, and instead of its run.
pub(super) struct Join {
    /// The runs whose logs are found.
    runs: EngineQuestion,
    /// What finds a log by itself.
    log: Option<Value>,
    /// The runs that a log found by itself must have one of; `None`: any, or none.
    status: Option<EngineQuestion>,
}

impl Join {
    pub(super) fn of(filter: &AppLogFilter, search: SearchedTexts) -> Result<Option<Self>, StoreError> {
        let keyword = filter.keyword.as_ref();
        if keyword.is_none() && filter.run_status.is_none() {
            return Ok(None);
        }
        let of_status = RunQuery { statuses: filter.run_status.iter().cloned().collect(), ..RunQuery::default() };
        let text = keyword.map(|keyword| TextFilter {
            keyword: keyword.keyword.clone(),
            fields: vec![TextField::Inputs, TextField::Outputs],
        });
        let both = keyword.is_some() && filter.run_status.is_some();
        let status = both.then(|| EngineQuestion::runs(&of_status.clone().within(filter.tenant_id), search));
        Ok(Some(Self {
            status: status.transpose()?,
            runs: EngineQuestion::runs(&RunQuery { text, ..of_status }.within(filter.tenant_id), search)?,
            log: keyword.map(conditions::log_itself),
        }))
    }
}

#[derive(Deserialize)]
struct IdKey {
    id: AsText<RecordId>,
}

#[derive(Deserialize)]
struct ByIndex {
    indices: Indices,
}

#[derive(Deserialize)]
struct Indices {
    buckets: Vec<IndexBucket>,
}

#[derive(Deserialize)]
struct IndexBucket {
    key: String,
}

impl EngineReader<'_> {
    pub(super) async fn joined_page(
        &self,
        logs: EngineQuestion,
        mut join: Join,
        offset: u64,
        limit: usize,
    ) -> Result<(Vec<AppLog>, u64), SinkFault> {
        let logs = self.without_superseded(logs).await?;
        let all = self.count(&logs, u64::MAX).await?.value;
        if all == 0 {
            return Ok((Vec::new(), 0));
        }
        join.runs = self.without_superseded(join.runs).await?;
        if let Some(status) = join.status {
            join.status = Some(self.without_superseded(status).await?);
        }
        let Some(condition) = self.by_few_runs(&join, all.min(FEW)).await? else {
            return tokio::try_join!(self.walked_page(&logs, &join, offset, limit), self.walked_total(&logs, &join));
        };
        self.log_page(logs.and(condition), offset, limit).await
    }

    /// Returns the join as a condition on logs, if at most so many runs are in it.
    async fn by_few_runs(&self, join: &Join, most: u64) -> Result<Option<Value>, SinkFault> {
        let Some(runs) = self.few(&join.runs, most).await? else { return Ok(None) };
        let mut conditions = of_runs(&runs);
        if let Some(log) = &join.log {
            match &join.status {
                None => conditions.push(log.clone()),
                Some(status) => {
                    let Some(runs) = self.few(status, most).await? else { return Ok(None) };
                    conditions.push(json!({ "bool": { "filter": [log, either(&of_runs(&runs))] } }));
                }
            }
        }
        Ok(Some(either(&conditions)))
    }

    /// Returns the ids of all records that a question finds, if they are at most so many.
    async fn few(&self, question: &EngineQuestion, most: u64) -> Result<Option<Vec<RecordId>>, SinkFault> {
        if most <= AT_ONCE {
            let body = json!({ "size": most + 1, "docvalue_fields": ["id", "revision"] });
            let outcome: Outcome<IgnoredAny> = self.ask(question, body).await?;
            let hits = &outcome.hits.hits;
            let ids = hits.iter().map(|hit| Ok(hit.version()?.0)).collect::<Result<BTreeSet<_>, SinkFault>>()?;
            return Ok((hits.len() as u64 <= most).then(|| ids.into_iter().collect()));
        }
        if !self.count(question, most).await?.exact {
            return Ok(None);
        }
        let mut ids = Vec::new();
        let by_id = json!([{ "id": { "terms": { "field": "id" } } }]);
        self.each_bucket(question, &by_id, None, |bucket: Bucket<IdKey>| ids.push(bucket.key.id.0)).await?;
        Ok(Some(ids))
    }

    /// Returns how many logs the join lets pass: those by their runs, and those by themselves without the ones that are
    /// both.
    async fn walked_total(&self, logs: &EngineQuestion, join: &Join) -> Result<u64, SinkFault> {
        let by_runs = self.count_joined(logs, &join.runs).await?;
        let Some(condition) = &join.log else { return Ok(by_runs) };
        let themselves = logs.and(condition.clone());
        let by_themselves = match &join.status {
            None => self.count(&themselves, u64::MAX).await?.value,
            Some(status) => self.count_joined(&themselves, status).await?,
        };
        let by_both = self.count_joined(&themselves, &join.runs).await?;
        Ok((by_runs + by_themselves).saturating_sub(by_both))
    }

    /// Returns how many logs have a run that a question finds.
    async fn count_joined(&self, logs: &EngineQuestion, runs: &EngineQuestion) -> Result<u64, SinkFault> {
        let by_run = json!([{ "id": { "terms": { "field": "workflow_run_id" } } }]);
        let (mut total, mut after) = (0, None);
        loop {
            let (buckets, next) = self.buckets::<IdKey>(logs, &by_run, after.as_ref()).await?;
            // Nearly every run has one log: then the number of runs is that of logs, and no id has to come back.
            let (single, several): (Vec<_>, Vec<_>) = buckets.into_iter().partition(|bucket| bucket.doc_count == 1);
            if !single.is_empty() {
                let ids: Vec<_> = single.iter().map(|bucket| bucket.key.id.0).collect();
                total += self.count_of(runs, &ids).await?;
            }
            let logs_of: HashMap<_, _> = several.iter().map(|bucket| (bucket.key.id.0, bucket.doc_count)).collect();
            let ids: Vec<_> = logs_of.keys().copied().collect();
            let found = self.those_of(runs, &ids).await?;
            total += found.iter().filter_map(|run| logs_of.get(run)).sum::<u64>();
            match next {
                Some(next) => after = Some(next),
                None => return Ok(total),
            }
        }
    }

    /// Returns how many of at most [`WINDOW`] ids a question finds.
    async fn count_of(&self, question: &EngineQuestion, ids: &[RecordId]) -> Result<u64, SinkFault> {
        let by_index = json!({ "indices": { "terms": { "field": "_index", "size": INDICES } } });
        let body = json!({ "size": 0, "track_total_hits": true, "aggs": by_index });
        let outcome: Outcome<ByIndex> = self.ask(&question.and(terms("id", ids)), body).await?;
        let places: Vec<_> = outcome.aggregations.map(|found| found.indices.buckets).unwrap_or_default();
        let own =
            places.iter().filter_map(|bucket| self.names.parse(&bucket.key)).filter(|place| place.tenant.is_some());
        // Since its tenancy was changed, a tenant may have a record in an index of its own and in a shared one.
        if (1..places.len()).contains(&own.count()) {
            return Ok(self.those_of(question, ids).await?.len() as u64);
        }
        Ok(outcome.hits.total.map_or(0, |total| total.value))
    }

    /// Walks logs, newest first, as far as the page needs, and keeps those that the join lets pass.
    async fn walked_page(
        &self,
        logs: &EngineQuestion,
        join: &Join,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<AppLog>, SinkFault> {
        let (mut passed, mut wanted) = (0, Vec::new());
        let mut after = Value::Null;
        let last = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(limit);
        let mut size = last.saturating_mul(2).clamp(STRETCH, WINDOW);
        while wanted.len() < limit {
            let hits = self.log_hits(logs, size, &after, &["workflow_run_id"]).await?;
            after = hits.last().map_or(Value::Null, |last| Value::Array(last.sort.clone()));
            let found: Vec<_> =
                hits.iter().map(|hit| Ok((hit.version()?.0, hit.run()?))).collect::<Result<_, SinkFault>>()?;
            let passing = self.passing(logs, join, &found).await?;
            for (log, _) in found.iter().filter(|(log, _)| passing.contains(log)) {
                if passed >= offset && wanted.len() < limit {
                    wanted.push(*log);
                }
                passed += 1;
            }
            if hits.len() < size {
                break;
            }
            size = size.saturating_mul(4).min(WINDOW);
        }
        self.logs_by_id(logs, &wanted).await
    }

    /// Returns which of a page of logs, each with its run, the join lets pass.
    async fn passing(
        &self,
        logs: &EngineQuestion,
        join: &Join,
        page: &[(RecordId, RecordId)],
    ) -> Result<HashSet<RecordId>, SinkFault> {
        let runs: Vec<_> = page.iter().map(|(_, run)| *run).collect::<BTreeSet<_>>().into_iter().collect();
        let found = self.those_of(&join.runs, &runs).await?;
        let mut passing: HashSet<_> = page.iter().filter(|(_, run)| found.contains(run)).map(|(log, _)| *log).collect();
        if let Some(condition) = &join.log {
            let ids: Vec<_> = page.iter().map(|(log, _)| *log).collect();
            let themselves = self.those_of(&logs.and(condition.clone()), &ids).await?;
            let in_status = match &join.status {
                Some(status) => Some(self.those_of(status, &runs).await?),
                None => None,
            };
            let may = |run: &RecordId| in_status.as_ref().is_none_or(|in_status| in_status.contains(run));
            passing.extend(page.iter().filter(|(log, run)| themselves.contains(log) && may(run)).map(|(log, _)| *log));
        }
        Ok(passing)
    }

    /// Returns which of at most [`WINDOW`] ids a question finds.
    async fn those_of(&self, question: &EngineQuestion, ids: &[RecordId]) -> Result<HashSet<RecordId>, SinkFault> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let hits = self.log_hits(&question.and(terms("id", ids)), WINDOW, &Value::Null, &[]).await?;
        hits.iter().map(|hit| Ok(hit.version()?.0)).collect()
    }
}

fn of_runs(runs: &[RecordId]) -> Vec<Value> {
    runs.chunks(IDS).map(|runs| terms("workflow_run_id", runs)).collect()
}
