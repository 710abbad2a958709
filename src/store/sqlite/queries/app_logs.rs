//! Pages of app logs. Most conditions are on the log; status and keyword also look at its run, which may lie in another
//! month than the log, or nowhere.

use std::collections::HashSet;
use std::ops::ControlFlow;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Row, params_from_iter};

use super::counts::newest_only;
use super::filters::Rows;
use crate::domain::query::{AppLogFilter, AppLogPage, AppLogRow, Keyword, LogKeyword, RunQuery, TextField, TextFilter};
use crate::domain::record::RecordKey;
use crate::domain::{AppLog, Kind, Month, Precedence, RecordId, Revision, TenantId};
use crate::store::sqlite::conditions::{Conditions, blob};
use crate::store::sqlite::fault::SqliteFault;
use crate::store::sqlite::question::OpenMonth;
use crate::store::sqlite::{decode, newest, read, tables};

/// Runs that are remembered for a keyword, 16 bytes each; with more, every log's run is looked into.
const CANDIDATES: usize = 100_000;

/// Newest first, through an index.
const ORDER: &str = "ORDER BY created_at DESC, id DESC";

/// See [`LogReader::app_logs`](crate::store::LogReader::app_logs).
pub fn page(months: &[OpenMonth], filter: &AppLogFilter, offset: u64, limit: usize) -> Result<AppLogPage, SqliteFault> {
    let files = newest_only(months, &Rows::of_app_logs(filter))?;
    let looks_at_runs = filter.run_status.is_some() || filter.keyword.is_some();
    let (logs, total) =
        if looks_at_runs { walk(months, filter, &files, offset, limit)? } else { skip(&files, offset, limit)? };
    let row = |log: AppLog| {
        let near = Some(log.created_at.month());
        let run = read::run_summary(months, log.tenant_id, log.workflow_run_id, near)?;
        Ok(AppLogRow { log, run })
    };
    Ok(AppLogPage { rows: logs.into_iter().map(row).collect::<Result<_, SqliteFault>>()?, total })
}

type Counted = (Vec<AppLog>, u64);

/// Counts in the index and reads the page only.
fn skip(files: &[(&OpenMonth, Conditions)], offset: u64, limit: usize) -> Result<Counted, SqliteFault> {
    let (mut logs, mut total) = (Vec::new(), 0);
    for (file, conditions) in files {
        let before = total;
        let sql = format!("SELECT count(*) FROM workflow_app_logs {}", conditions.clause());
        file.each_row(&sql, conditions.values(), |row| {
            total += file.ask(|_| row.get::<_, i64>(0))?.unsigned_abs();
            Ok(ControlFlow::Continue(()))
        })?;
        let skipped = offset.saturating_sub(before);
        let wanted = limit.saturating_sub(logs.len());
        if wanted > 0 && skipped < total - before {
            let wanted = Value::Integer(i64::try_from(wanted).unwrap_or(i64::MAX));
            let skipped = Value::Integer(i64::try_from(skipped).unwrap_or(i64::MAX));
            let values: Vec<_> = conditions.values().iter().cloned().chain([wanted, skipped]).collect();
            let sql = format!("{} {} {ORDER} LIMIT ? OFFSET ?", select(), conditions.clause());
            file.each_row(&sql, &values, |row| {
                logs.push(file.ask(|_| decode::app_log(row))?);
                Ok(ControlFlow::Continue(()))
            })?;
        }
    }
    Ok((logs, total))
}

/// Goes over all logs, looking at the run of each that needs it.
fn walk(
    months: &[OpenMonth],
    filter: &AppLogFilter,
    files: &[(&OpenMonth, Conditions)],
    offset: u64,
    limit: usize,
) -> Result<Counted, SqliteFault> {
    let keyword = filter.keyword.as_ref().map(|keyword| Keyword::new(&keyword.keyword));
    let possible = match &filter.keyword {
        Some(asked) => candidates(months, filter.tenant_id, &asked.keyword)?.map(|runs| possible(asked, &runs)),
        None => None,
    };
    let wanted = Wanted { filter, keyword };
    let (mut logs, mut total) = (Vec::new(), 0);
    for (file, conditions) in files {
        let mut conditions = conditions.clone();
        if let Some((text, values)) = &possible {
            conditions.add(text.as_str(), values.clone());
        }
        file.each_row(&beside_runs(&conditions), conditions.values(), |row| {
            let beside = file.ask(|_| beside(row, file.month))?;
            if wanted.is_unmet_by(beside.as_deref()) {
                return Ok(ControlFlow::Continue(()));
            }
            let is_met = wanted.is_met_by(beside.as_deref());
            let is_on_page = total >= offset && logs.len() < limit;
            if is_met && !is_on_page {
                total += 1;
                return Ok(ControlFlow::Continue(()));
            }
            let log = file.ask(|_| decode::app_log(row))?;
            if is_met || wanted.is_met(months, &log)? {
                if is_on_page {
                    logs.push(log);
                }
                total += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok((logs, total))
}

/// Returns the runs in whose inputs or outputs a keyword may be, as far as an index knows; `None`: any run.
fn candidates(
    months: &[OpenMonth],
    tenant_id: TenantId,
    keyword: &str,
) -> Result<Option<HashSet<RecordId>>, SqliteFault> {
    let text = TextFilter { keyword: keyword.to_owned(), fields: vec![TextField::Inputs, TextField::Outputs] };
    let runs = Rows::of_runs(&RunQuery { text: Some(text), ..RunQuery::default() }.within(tenant_id));
    let mut found = HashSet::new();
    for file in months {
        let Some(conditions) = runs.candidates_in(file)? else { return Ok(None) };
        let sql = format!("SELECT id FROM workflow_runs {} LIMIT {CANDIDATES}", conditions.clause());
        file.each_row(&sql, conditions.values(), |row| {
            found.insert(file.ask(|_| decode::id(row, 0))?);
            Ok(ControlFlow::Continue(()))
        })?;
        if found.len() >= CANDIDATES {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// Returns what a log must be for the keyword to find it, by its run or by itself.
fn possible(asked: &LogKeyword, runs: &HashSet<RecordId>) -> (String, Vec<Value>) {
    let list = |ids: &mut dyn Iterator<Item = &RecordId>| {
        let ids: Vec<String> = ids.map(|id| format!("\"{}\"", id.uuid().simple())).collect();
        Value::Text(format!("[{}]", ids.join(",")))
    };
    let is_one_of = |column| format!("{column} IN (SELECT unhex(value) FROM json_each(?))");
    let text = format!(
        "({} OR (created_by_role = 'end_user' AND ({} OR text_contains(creator, ?))))",
        is_one_of("workflow_run_id"),
        is_one_of("created_by")
    );
    let runs = list(&mut runs.iter().chain(&asked.run_id));
    (text, vec![runs, list(&mut asked.end_users.iter()), Value::Text(asked.keyword.clone())])
}

/// Logs, newest first, each with the status and the revision of its run, which most often lies beside it.
fn beside_runs(conditions: &Conditions) -> String {
    format!(
        "SELECT {}, r.status, r.revision FROM (SELECT * FROM workflow_app_logs {}) AS l
         LEFT JOIN workflow_runs AS r ON r.tenant_id = l.tenant_id AND r.id = l.workflow_run_id
         ORDER BY l.created_at DESC, l.id DESC",
        tables::of(Kind::AppLog).summary_list,
        conditions.clause()
    )
}

/// Returns the status of the run beside a log, if that copy is final: else a newer one may lie in another month.
fn beside(row: &Row<'_>, month: Month) -> rusqlite::Result<Option<Box<str>>> {
    let columns = row.as_ref().column_count();
    let revision = row.get::<_, Option<i64>>(columns - 1)?.map(Revision::from_stored);
    let is_final = revision.is_some_and(|revision| Precedence::new(revision, month).is_final());
    if is_final { row.get(columns - 2) } else { Ok(None) }
}

fn select() -> String {
    format!("SELECT {} FROM workflow_app_logs AS l", tables::of(Kind::AppLog).summary_list)
}

/// What a log and its run must be together.
struct Wanted<'f> {
    filter: &'f AppLogFilter,
    keyword: Option<Keyword>,
}

impl Wanted<'_> {
    /// Returns whether the end of the run settles that the log is not wanted.
    fn is_unmet_by(&self, end: Option<&str>) -> bool {
        let wanted = self.filter.run_status.as_deref();
        wanted.is_some() && end.is_some() && end != wanted
    }

    /// Returns whether it settles that it is.
    fn is_met_by(&self, end: Option<&str>) -> bool {
        self.keyword.is_none() && end.is_some() && end == self.filter.run_status.as_deref()
    }

    fn is_met(&self, months: &[OpenMonth], log: &AppLog) -> Result<bool, SqliteFault> {
        let mut of_run = Conditions::default();
        if let Some(status) = &self.filter.run_status {
            of_run.add("status = ?", [Value::Text(status.to_string())]);
        }
        if let (Some(asked), Some(keyword)) = (&self.filter.keyword, &self.keyword)
            && !is_in_log(asked, keyword, log)
        {
            let keyword = || Value::Text(asked.keyword.clone());
            of_run.add("(json_contains(inputs, ?) OR json_contains(outputs, ?))", [keyword(), keyword()]);
        }
        if of_run.values().is_empty() {
            return Ok(true);
        }
        is_run(months, log, of_run)
    }
}

/// Returns whether the keyword finds the log by itself.
fn is_in_log(asked: &LogKeyword, keyword: &Keyword, log: &AppLog) -> bool {
    let is_of_end_user = &*log.created_by_role == "end_user";
    asked.run_id == Some(log.workflow_run_id)
        || (is_of_end_user && asked.end_users.contains(&log.created_by))
        || (is_of_end_user && log.creator.as_ref().is_some_and(|creator| keyword.is_in_text(creator)))
}

/// Returns whether the run of a log, in its newest revision, meets conditions.
fn is_run(months: &[OpenMonth], log: &AppLog, mut conditions: Conditions) -> Result<bool, SqliteFault> {
    let key = RecordKey { tenant_id: log.tenant_id, kind: Kind::WorkflowRun, id: log.workflow_run_id };
    let months = newest::likeliest_first(months, Some(log.created_at.month()));
    let Some(file) = newest::place(months, key)? else { return Ok(false) };
    conditions.add("tenant_id = ? AND id = ?", [blob(key.tenant_id.as_bytes()), blob(key.id.as_bytes())]);
    let sql = format!("SELECT 1 FROM workflow_runs {}", conditions.clause());
    file.ask(|connection| {
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_row(params_from_iter(conditions.values()), |_| Ok(())).optional()?;
        Ok(found.is_some())
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::AppId;
    use crate::store::sqlite::schema;

    #[test]
    fn indices_give_the_order_of_logs_and_find_their_runs() {
        let (tenant_id, app_id) = (TenantId::new(Uuid::from_u128(1)), AppId::new(Uuid::from_u128(2)));
        let filter = AppLogFilter { run_status: Some("succeeded".into()), ..AppLogFilter::all(tenant_id, app_id) };
        let conditions = Rows::of_app_logs(&filter).conditions;
        let plan = schema::plan(&beside_runs(&conditions), conditions.values());
        for step in
            ["workflow_app_logs_newest (tenant_id=? AND app_id=?)", "workflow_runs_identity (tenant_id=? AND id=?)"]
        {
            assert!(plan.contains(step) && !plan.contains("B-TREE"), "{plan}");
        }
    }
}
