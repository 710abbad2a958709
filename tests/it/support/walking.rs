//! Every question, answered by a walk over all documents: in the most obvious way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::DateTime;
use chrono_tz::Tz;
use difylog::domain::document::ContentHash;
use difylog::domain::query::{
    AppLogFilter, AppLogPage, AppLogRow, Breakdown, BreakdownCounts, BreakdownTally, Content, Cursor, Day, DayTallies,
    Found, Keyword, ListFilter, Lookup, Page, RunFilter, Scan, Summary, TenantCount, TextField, TextFilter, TimeRange,
    Total,
};
use difylog::domain::record::RecordKey;
use difylog::domain::schema::Value;
use difylog::domain::{AppLog, Document, Kind, Month, Record, RecordId, TenantId};
use difylog::store::{LogReader, StoreError};

use crate::support::toy_store::meets;

fn has_keyword(record: &Record, text: &TextFilter) -> bool {
    let keyword = Keyword::new(&text.keyword);
    let is_asked = |name| text.fields.iter().any(|field| field.column() == name);
    record.columns().filter(|(column, _)| is_asked(column.name)).any(|(_, value)| match value {
        Value::Text(text) => keyword.is_in_text(text),
        Value::Json(json) => keyword.is_in_json(json.as_str()),
        _ => false,
    })
}

/// Goes over all documents of a walk.
async fn each<R: LogReader + ?Sized>(
    reader: &R,
    scan: &Scan,
    mut each: impl FnMut(Document) + Send,
) -> Result<(), StoreError> {
    let mut scan = Scan { limit: 1_000, ..scan.clone() };
    loop {
        let step = reader.scan(&scan).await?;
        let Some(last) = step.last() else { return Ok(()) };
        scan.after = Some(last.cursor());
        step.into_iter().for_each(&mut each);
    }
}

/// Goes over the records that a list covers.
async fn each_listed<R: LogReader + ?Sized>(
    reader: &R,
    list: &ListFilter,
    mut listed: impl FnMut(Document) + Send,
) -> Result<(), StoreError> {
    let scan = Scan {
        tenants: vec![list.tenant_id()],
        created: list.created(),
        content: Content::Payloads,
        ..Scan::all(list.kind(), 1)
    };
    each(reader, &scan, |document| {
        let record = &document.record;
        if meets(record, &list.conditions()) && list.text().is_none_or(|text| has_keyword(record, text)) {
            listed(document);
        }
    })
    .await
}

/// See [`LogReader::page`].
pub async fn page<R: LogReader + ?Sized>(
    reader: &R,
    list: &ListFilter,
    page: &Page,
    count_to: Option<u64>,
) -> Result<Found<Summary>, StoreError> {
    let (mut rows, mut count): (Vec<Summary>, u64) = (Vec::new(), 0);
    each_listed(reader, list, |document| {
        count += 1;
        let row = Summary::of(document).unwrap();
        if page.after.is_none_or(|after| page.compare(&after, &row.position()).is_lt()) {
            rows.push(row);
        }
    })
    .await?;
    rows.sort_by(|one, other| page.compare(&one.position(), &other.position()));
    rows.truncate(page.limit);
    let total = count_to.map(|bound| Total { value: count.min(bound), exact: count <= bound });
    Ok(Found { rows, total: total.unwrap_or_default(), text_truncated: false })
}

/// See [`LogReader::daily`].
pub async fn daily<R: LogReader + ?Sized>(reader: &R, filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, StoreError> {
    let mut days = DayTallies::default();
    each_listed(reader, &ListFilter::Runs(filter.clone()), |document| {
        if let Record::Run(run) = document.record
            && let Some(at) = DateTime::from_timestamp_micros(run.created_at.micros())
        {
            let date = at.with_timezone(&zone).date_naive();
            days.add_runs(date, run.created_by, 1);
            days.add_tokens(date, run.total_tokens.into());
        }
    })
    .await?;
    Ok(days.finish())
}

/// See [`LogReader::break_down`].
pub async fn break_down<R: LogReader + ?Sized>(
    reader: &R,
    list: &ListFilter,
    by: &Breakdown,
) -> Result<BreakdownCounts, StoreError> {
    let mut tally = BreakdownTally::new(by);
    each_listed(reader, list, |document| {
        let value = |name: &str| match document.record.columns().find(|(column, _)| column.name == name)? {
            (_, Value::Text(text)) => Some(text.to_owned()),
            (_, Value::Id(id)) => Some(id.to_string()),
            _ => None,
        };
        for (place, facet) in by.facets.iter().enumerate() {
            if let Some(value) = facet.column(list.kind()).and_then(value) {
                tally.add_value(place, &value, 1);
            }
        }
        if by.seconds.is_some() {
            tally.add_span(&value("status").unwrap(), document.record.created_at().micros(), 1);
        }
    })
    .await?;
    Ok(tally.finish().unwrap())
}

/// See [`LogReader::app_logs`].
pub async fn app_logs<R: LogReader + ?Sized>(
    reader: &R,
    filter: &AppLogFilter,
    offset: u64,
    limit: usize,
) -> Result<AppLogPage, StoreError> {
    let mut logs = Vec::new();
    let scan = Scan { tenants: vec![filter.tenant_id], created: filter.created, ..Scan::all(Kind::AppLog, 1) };
    each(reader, &scan, |document| match document.record {
        Record::AppLog(log) if meets(&Record::AppLog(log.clone()), &filter.conditions()) => logs.push(log),
        _ => {}
    })
    .await?;
    let ids: Vec<RecordId> = logs.iter().map(|log| log.workflow_run_id).collect();
    let runs = reader.newest(&Lookup::new(filter.tenant_id, Kind::WorkflowRun, &ids, Content::Payloads)).await?;
    let runs: HashMap<RecordId, Document> = runs.into_iter().map(|run| (run.record.id(), run)).collect();
    let mut rows = Vec::new();
    for log in logs {
        let run = runs.get(&log.workflow_run_id);
        if finds(filter, &log, run.map(|run| &run.record)) {
            let run = run.cloned().and_then(Summary::of).and_then(Summary::into_run);
            rows.push(AppLogRow { log: *log, run });
        }
    }
    rows.sort_by_key(|row| Reverse((row.log.created_at, row.log.id)));
    let total = rows.len() as u64;
    let rows = rows.into_iter().skip(usize::try_from(offset).unwrap()).take(limit).collect();
    Ok(AppLogPage { rows, total })
}

/// What a filter asks of a log beside its columns.
fn finds(filter: &AppLogFilter, log: &AppLog, run: Option<&Record>) -> bool {
    let is_of_end_user = &*log.created_by_role == "end_user";
    let has_status = |status: &str| matches!(run, Some(Record::Run(run)) if run.status.as_str() == status);
    filter.run_status.as_ref().is_none_or(|status| has_status(status))
        && filter.keyword.as_ref().is_none_or(|asked| {
            let fields = vec![TextField::Inputs, TextField::Outputs];
            let text = TextFilter { keyword: asked.keyword.clone(), fields };
            let in_creator = |creator: &str| Keyword::new(&asked.keyword).is_in_text(creator);
            asked.run_id == Some(log.workflow_run_id)
                || (is_of_end_user && asked.end_users.contains(&log.created_by))
                || (is_of_end_user && log.creator.as_deref().is_some_and(in_creator))
                || run.is_some_and(|run| has_keyword(run, &text))
        })
}

/// See [`LogReader::scan_count`].
pub async fn scan_count<R: LogReader + ?Sized>(reader: &R, scan: &Scan) -> Result<u64, StoreError> {
    let mut count = 0;
    each(reader, &Scan { content: Content::Light, ..scan.clone() }, |_| count += 1).await?;
    Ok(count)
}

/// See [`LogReader::scan_end`].
pub async fn scan_end<R: LogReader + ?Sized>(reader: &R, scan: &Scan) -> Result<Option<Cursor>, StoreError> {
    let all = Scan { content: Content::Light, after: None, superseded_too: true, ..scan.clone() };
    let mut end = None;
    each(reader, &all, |document| end = Some(document.cursor())).await?;
    Ok(end)
}

/// See [`LogReader::owners`].
pub async fn owners<R: LogReader + ?Sized>(reader: &R, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, StoreError> {
    let mut owners = BTreeSet::new();
    each(reader, &every_copy(kind), |document| {
        if document.record.id() == id {
            owners.insert(document.tenant_id());
        }
    })
    .await?;
    Ok(owners.into_iter().collect())
}

/// See [`LogReader::children`].
pub async fn children<R: LogReader + ?Sized>(
    reader: &R,
    tenant_id: TenantId,
    runs: &[RecordId],
) -> Result<Vec<RecordKey>, StoreError> {
    let runs: HashSet<RecordId> = runs.iter().copied().collect();
    let (mut keys, mut nodes) = (BTreeSet::new(), HashSet::new());
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    // Offloads belong to nodes: those are known by then.
    for kind in [Kind::NodeExecution, Kind::AppLog, Kind::Offload] {
        each(reader, &Scan { tenants: vec![tenant_id], ..every_copy(kind) }, |document| {
            let (parents, parent) = match &document.record {
                Record::Node(node) => (&runs, node.workflow_run_id),
                Record::AppLog(log) => (&runs, Some(log.workflow_run_id)),
                Record::Offload(offload) => (&nodes, offload.node_execution_id),
                Record::Run(_) => return,
            };
            if parent.is_some_and(|parent| parents.contains(&parent)) {
                keys.insert(document.key());
            }
        })
        .await?;
        if kind == Kind::NodeExecution {
            nodes = keys.iter().map(|key: &RecordKey| key.id).collect();
        }
    }
    Ok(keys.into_iter().collect())
}

/// See [`LogReader::tenant_counts`].
pub async fn tenant_counts<R: LogReader + ?Sized>(reader: &R, month: Month) -> Result<Vec<TenantCount>, StoreError> {
    let mut counts: BTreeMap<(TenantId, Kind), u64> = BTreeMap::new();
    for kind in Kind::ALL {
        each(reader, &Scan { created: span(month), ..every_copy(kind) }, |document| {
            *counts.entry((document.tenant_id(), kind)).or_default() += 1;
        })
        .await?;
    }
    let count = |((tenant_id, kind), documents)| TenantCount { tenant_id, month, kind, documents };
    Ok(counts.into_iter().map(count).collect())
}

/// See [`LogReader::named_texts`].
pub async fn named_texts<R: LogReader + ?Sized>(
    reader: &R,
    tenant_id: TenantId,
    month: Month,
    hashes: &[ContentHash],
) -> Result<HashSet<ContentHash>, StoreError> {
    let wanted: HashSet<ContentHash> = hashes.iter().copied().collect();
    let mut named = HashSet::new();
    for kind in Kind::ALL {
        let scan = Scan { tenants: vec![tenant_id], created: span(month), ..every_copy(kind) };
        each(reader, &scan, |document| {
            let texts = document.truncated.iter().map(|mark| mark.sha256);
            named.extend(texts.filter(|text| wanted.contains(text)));
        })
        .await?;
    }
    Ok(named)
}

fn every_copy(kind: Kind) -> Scan {
    Scan { content: Content::Light, superseded_too: true, ..Scan::all(kind, 1) }
}

fn span(month: Month) -> TimeRange {
    TimeRange { from: Some(month.start()), until: Some(month.end()) }
}
