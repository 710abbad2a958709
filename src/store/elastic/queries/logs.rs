//! The list of app logs: pages by offset, exact totals, and the join with runs where a filter asks for it.
//!
//! The engines do not join. Where few runs satisfy the conditions on runs, the logs are found by these runs' ids; else
//! all logs of the filter are walked, a page at a time, and each page's runs are looked up. Memory is bounded by a page
//! and by the ids of the few.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::copies::PAGE;
use super::super::hit::Hit;
use super::super::rows::AppLogRow as StoredLog;
use super::super::search::{Reader, continue_after};
use super::super::settings::Search;
use super::conditions::{self, Question, either, terms};
use super::{IDS, Outcome};
use crate::domain::query::{AppLogFilter, AppLogPage, AppLogRow, RunFilter, TextField, TextFilter};
use crate::domain::{AppLog, RecordId, SinkFault};

/// How deep the engines page by offset, and the largest page.
const WINDOW: usize = 10_000;

/// Runs by whose ids logs are looked for.
const FEW: usize = 50_000;

/// What a filter asks of a log's run, and instead of its run.
struct Join {
    /// The runs whose logs are found.
    runs: Question,
    /// What finds a log by itself.
    log: Option<Value>,
    /// The runs that a log found by itself must have one of; `None`: any, or none.
    status: Option<Question>,
}

impl Join {
    fn of(filter: &AppLogFilter, search: Search) -> Result<Option<Self>, SinkFault> {
        let keyword = filter.keyword.as_ref();
        if keyword.is_none() && filter.run_status.is_none() {
            return Ok(None);
        }
        let of_status =
            RunFilter { statuses: filter.run_status.iter().cloned().collect(), ..RunFilter::all(filter.tenant_id) };
        let text = keyword.map(|keyword| TextFilter {
            keyword: keyword.keyword.clone(),
            fields: vec![TextField::Inputs, TextField::Outputs],
        });
        let status = (keyword.is_some() && filter.run_status.is_some()).then(|| Question::runs(&of_status, search));
        Ok(Some(Self {
            status: status.transpose()?,
            runs: Question::runs(&RunFilter { text, ..of_status }, search)?,
            log: keyword.map(conditions::log_itself),
        }))
    }
}

impl Reader<'_> {
    pub(super) async fn app_logs(
        &self,
        filter: &AppLogFilter,
        offset: u64,
        limit: usize,
    ) -> Result<AppLogPage, SinkFault> {
        let question = Question::logs(filter);
        let (logs, total) = match Join::of(filter, self.search)? {
            None => self.log_page(question, offset, limit).await?,
            Some(join) => self.joined_page(question, join, offset, limit).await?,
        };
        let ids: Vec<_> = logs.iter().map(|log| log.workflow_run_id).collect();
        let runs = self.run_summaries(filter.tenant_id, &ids).await?;
        let runs: HashMap<_, _> = runs.into_iter().map(|run| (run.id, run)).collect();
        let row = |log: AppLog| AppLogRow { run: runs.get(&log.workflow_run_id).cloned(), log };
        Ok(AppLogPage { rows: logs.into_iter().map(row).collect(), total })
    }

    /// A page of the logs that satisfy conditions of their own only.
    async fn log_page(&self, question: Question, offset: u64, limit: usize) -> Result<(Vec<AppLog>, u64), SinkFault> {
        let total = self.total(question.clone(), u64::MAX).await?.value;
        let mut logs = Vec::new();
        if offset >= total {
            return Ok((logs, total));
        }
        let mut offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut after = Value::Null;
        if offset.saturating_add(limit) > WINDOW {
            while offset > 0 {
                let size = offset.min(WINDOW);
                let hits = self.log_hits(&question, size, &after, &[]).await?;
                let Some(last) = hits.last().filter(|_| hits.len() == size) else { return Ok((logs, total)) };
                after = Value::Array(last.sort.clone());
                offset -= size;
            }
        }
        while logs.len() < limit {
            let size = (limit - logs.len()).min(PAGE);
            let mut body = json!({ "size": size, "_source": true, "sort": newest_first() });
            if after.is_null() && offset > 0 {
                body = json!({ "from": offset, "size": size, "_source": true, "sort": newest_first() });
            }
            continue_after(&mut body, &after);
            let outcome: Outcome<IgnoredAny> = self.ask(&question, body).await?;
            for hit in &outcome.hits.hits {
                logs.push(log(hit)?);
                after = Value::Array(hit.sort.clone());
            }
            if outcome.hits.hits.len() < size {
                break;
            }
        }
        Ok((logs, total))
    }

    async fn joined_page(
        &self,
        mut question: Question,
        mut join: Join,
        offset: u64,
        limit: usize,
    ) -> Result<(Vec<AppLog>, u64), SinkFault> {
        join.runs = self.without_superseded(join.runs).await?;
        if let Some(status) = join.status {
            join.status = Some(self.without_superseded(status).await?);
        }
        let Some(condition) = self.by_few_runs(&join).await? else {
            return self.walked_page(&question, &join, offset, limit).await;
        };
        question.add(condition);
        self.log_page(question, offset, limit).await
    }

    /// The join as a condition on logs, if few runs are in it.
    async fn by_few_runs(&self, join: &Join) -> Result<Option<Value>, SinkFault> {
        let Some(runs) = self.few(&join.runs).await? else { return Ok(None) };
        let mut conditions = of_runs(&runs);
        if let Some(log) = &join.log {
            match &join.status {
                None => conditions.push(log.clone()),
                Some(status) => {
                    let Some(runs) = self.few(status).await? else { return Ok(None) };
                    conditions.push(json!({ "bool": { "filter": [log, either(&of_runs(&runs))] } }));
                }
            }
        }
        Ok(Some(either(&conditions)))
    }

    /// The ids of all records that a question finds, if they are few.
    async fn few(&self, question: &Question) -> Result<Option<Vec<RecordId>>, SinkFault> {
        let mut ids = Vec::new();
        let mut after = Value::Null;
        loop {
            let hits = self.log_hits(question, WINDOW, &after, &[]).await?;
            after = hits.last().map_or(Value::Null, |last| Value::Array(last.sort.clone()));
            for hit in &hits {
                ids.push(hit.version()?.0);
            }
            if ids.len() > FEW {
                return Ok(None);
            }
            if hits.len() < WINDOW {
                return Ok(Some(ids));
            }
        }
    }

    /// Walks all logs of a question, and keeps those that the join lets pass.
    async fn walked_page(
        &self,
        question: &Question,
        join: &Join,
        offset: u64,
        limit: usize,
    ) -> Result<(Vec<AppLog>, u64), SinkFault> {
        let (mut total, mut wanted) = (0, Vec::new());
        let mut after = Value::Null;
        loop {
            let hits = self.log_hits(question, WINDOW, &after, &["workflow_run_id"]).await?;
            after = hits.last().map_or(Value::Null, |last| Value::Array(last.sort.clone()));
            let logs: Vec<_> =
                hits.iter().map(|hit| Ok((hit.version()?.0, hit.run()?))).collect::<Result<_, SinkFault>>()?;
            let passing = self.passing(question, join, &logs).await?;
            for (log, _) in logs.iter().filter(|(log, _)| passing.contains(log)) {
                if total >= offset && wanted.len() < limit {
                    wanted.push(*log);
                }
                total += 1;
            }
            if hits.len() < WINDOW {
                break;
            }
        }
        Ok((self.logs_by_id(question, &wanted).await?, total))
    }

    /// Which of a page of logs, each with its run, the join lets pass.
    async fn passing(
        &self,
        question: &Question,
        join: &Join,
        logs: &[(RecordId, RecordId)],
    ) -> Result<HashSet<RecordId>, SinkFault> {
        let runs: Vec<_> = logs.iter().map(|(_, run)| *run).collect::<BTreeSet<_>>().into_iter().collect();
        let found = self.those_of(&join.runs, &runs).await?;
        let mut passing: HashSet<_> = logs.iter().filter(|(_, run)| found.contains(run)).map(|(log, _)| *log).collect();
        if let Some(condition) = &join.log {
            let mut themselves = question.clone();
            themselves.add(condition.clone());
            let ids: Vec<_> = logs.iter().map(|(log, _)| *log).collect();
            let themselves = self.those_of(&themselves, &ids).await?;
            let in_status = match &join.status {
                Some(status) => Some(self.those_of(status, &runs).await?),
                None => None,
            };
            let may = |run: &RecordId| in_status.as_ref().is_none_or(|in_status| in_status.contains(run));
            passing.extend(logs.iter().filter(|(log, run)| themselves.contains(log) && may(run)).map(|(log, _)| *log));
        }
        Ok(passing)
    }

    /// Which of at most [`WINDOW`] ids a question finds.
    async fn those_of(&self, question: &Question, ids: &[RecordId]) -> Result<HashSet<RecordId>, SinkFault> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let mut question = question.clone();
        question.add(terms("id", ids));
        let hits = self.log_hits(&question, WINDOW, &Value::Null, &[]).await?;
        hits.iter().map(|hit| Ok(hit.version()?.0)).collect()
    }

    async fn logs_by_id(&self, question: &Question, ids: &[RecordId]) -> Result<Vec<AppLog>, SinkFault> {
        let mut logs = Vec::new();
        for ids in ids.chunks(PAGE) {
            let mut question = question.clone();
            question.add(terms("id", ids));
            let body = json!({ "size": PAGE, "_source": true, "sort": newest_first() });
            let outcome: Outcome<IgnoredAny> = self.ask(&question, body).await?;
            for hit in &outcome.hits.hits {
                logs.push(log(hit)?);
            }
        }
        Ok(logs)
    }

    /// Ids and places in the list, newest first, and more columns.
    async fn log_hits(
        &self,
        question: &Question,
        size: usize,
        after: &Value,
        columns: &[&str],
    ) -> Result<Vec<Hit>, SinkFault> {
        let columns = [&["id", "revision"], columns].concat();
        let mut body = json!({ "size": size, "docvalue_fields": columns, "sort": newest_first() });
        continue_after(&mut body, after);
        let outcome: Outcome<IgnoredAny> = self.ask(question, body).await?;
        Ok(outcome.hits.hits)
    }
}

fn newest_first() -> Value {
    json!([{ "created_at": "desc" }, { "id": "desc" }])
}

fn of_runs(runs: &[RecordId]) -> Vec<Value> {
    runs.chunks(IDS).map(|runs| terms("workflow_run_id", runs)).collect()
}

fn log(hit: &Hit) -> Result<AppLog, SinkFault> {
    Ok(hit.columns::<StoredLog>()?.into_log())
}
