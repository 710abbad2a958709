//! The list of app logs: pages by offset, and exact totals.

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::copies::PAGE;
use super::super::hit::Hit;
use super::super::rows::LogRow;
use super::super::search::{EngineReader, continue_after};
use super::Outcome;
use super::conditions::{EngineQuestion, terms};
use super::joins::Join;
use crate::domain::query::AppLogFilter;
use crate::domain::{AppLog, RecordId, SinkFault};
use crate::store::StoreError;

/// How deep the engines page by offset, and the largest page.
pub(super) const WINDOW: usize = 10_000;

impl EngineReader<'_> {
    /// Returns a page of logs, and how many there are in all.
    pub(super) async fn app_logs(
        &self,
        filter: &AppLogFilter,
        offset: u64,
        limit: usize,
    ) -> Result<(Vec<AppLog>, u64), StoreError> {
        let question = EngineQuestion::logs(filter);
        Ok(match Join::of(filter, self.search)? {
            None => self.log_page(question, offset, limit).await?,
            Some(join) => self.joined_page(question, join, offset, limit).await?,
        })
    }

    /// Returns a page of the logs that satisfy conditions of their own only.
    pub(super) async fn log_page(
        &self,
        question: EngineQuestion,
        offset: u64,
        limit: usize,
    ) -> Result<(Vec<AppLog>, u64), SinkFault> {
        let question = self.without_superseded(question).await?;
        let total = self.count(&question, u64::MAX).await?.value;
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
        let mut taken = 0;
        while taken < limit {
            let size = (limit - taken).min(PAGE);
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
            taken += outcome.hits.hits.len();
            if outcome.hits.hits.len() < size {
                break;
            }
        }
        Ok((logs, total))
    }

    pub(super) async fn logs_by_id(
        &self,
        question: &EngineQuestion,
        ids: &[RecordId],
    ) -> Result<Vec<AppLog>, SinkFault> {
        let mut logs = Vec::new();
        for ids in ids.chunks(PAGE) {
            let body = json!({ "size": PAGE, "_source": true, "sort": newest_first() });
            let outcome: Outcome<IgnoredAny> = self.ask(&question.and(terms("id", ids)), body).await?;
            for hit in &outcome.hits.hits {
                logs.push(log(hit)?);
            }
        }
        logs.dedup_by_key(|log: &mut AppLog| log.id);
        Ok(logs)
    }

    /// Ids and places in the list, newest first, and more columns.
    pub(super) async fn log_hits(
        &self,
        question: &EngineQuestion,
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

fn log(hit: &Hit) -> Result<AppLog, SinkFault> {
    Ok(hit.columns::<LogRow>()?.0)
}
