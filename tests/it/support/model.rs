//! The plain model of a store: records in a list, questions answered in the most obvious way. It shares no code with the
//! stores, so that what both say is likely to be right.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, TimeDelta};
use chrono_tz::Tz;
use difylog::domain::query::{
    AppLogFilter, AppLogRow, Bounds, Day, Direction, Facet, FacetCount, HistogramBucket, ListFilter, NodeFilter,
    NodeQuery, NodeSummary, Page, Position, RunFilter, RunQuery, RunSummary, SortBy, TextField, TextFilter, Total,
};
use difylog::domain::{AppLog, JsonText, NodeExecution, Record, RecordId, Revision, TenantId, Timestamp, WorkflowRun};
use unicode_normalization::UnicodeNormalization as _;

/// The newest revision of each record.
#[derive(Default)]
pub struct Model {
    records: Vec<Record>,
}

impl Model {
    pub fn put(&mut self, record: Record) {
        match self.records.iter_mut().find(|known| known.key() == record.key()) {
            None => self.records.push(record),
            Some(known) if Revision::of(known) <= Revision::of(&record) => *known = record,
            Some(_) => {}
        }
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    fn matching_runs(&self, filter: &RunFilter) -> Vec<&WorkflowRun> {
        let runs =
            self.records.iter().filter_map(|record| if let Record::Run(run) = record { Some(&**run) } else { None });
        runs.filter(|run| is_run(filter, run)).collect()
    }

    fn matching_nodes(&self, filter: &NodeFilter) -> Vec<&NodeExecution> {
        let nodes = self.records.iter().filter_map(|record| match record {
            Record::Node(node) => Some(&**node),
            _ => None,
        });
        nodes.filter(|node| is_node(filter, node)).collect()
    }

    pub fn runs(&self, filter: &RunFilter, page: &Page) -> Vec<RunSummary> {
        let rows = self.matching_runs(filter).into_iter().map(run_summary).collect();
        stretch(rows, RunSummary::position, page)
    }

    pub fn nodes(&self, filter: &NodeFilter, page: &Page) -> Vec<NodeSummary> {
        let rows = self.matching_nodes(filter).into_iter().map(node_summary).collect();
        stretch(rows, NodeSummary::position, page)
    }

    pub fn count(&self, subject: &ListFilter, count_to: u64) -> Total {
        let found = self.values(subject, |_, _, _| ()).len() as u64;
        Total { value: found.min(count_to), exact: found <= count_to }
    }

    /// All logs that a filter finds, newest first.
    pub fn app_logs(&self, filter: &AppLogFilter) -> Vec<AppLogRow> {
        let logs = self.records.iter().filter_map(|record| match record {
            Record::AppLog(log) => Some(&**log),
            _ => None,
        });
        let mut found: Vec<_> = logs
            .map(|log| (log, self.run(log.tenant_id, log.workflow_run_id)))
            .filter(|(log, run)| is_app_log(filter, log, *run))
            .map(|(log, run)| AppLogRow { log: log.clone(), run: run.map(run_summary) })
            .collect();
        found.sort_by_key(|row| std::cmp::Reverse((row.log.created_at, row.log.id)));
        found
    }

    fn run(&self, tenant_id: TenantId, id: RecordId) -> Option<&WorkflowRun> {
        self.matching_runs(&RunFilter::all(tenant_id)).into_iter().find(|run| run.id == id)
    }

    pub fn daily(&self, filter: &RunFilter, zone: Tz) -> Vec<Day> {
        let mut days: BTreeMap<NaiveDate, Vec<&WorkflowRun>> = BTreeMap::new();
        for run in self.matching_runs(filter) {
            let at = DateTime::UNIX_EPOCH + TimeDelta::microseconds(run.created_at.micros());
            days.entry(at.with_timezone(&zone).date_naive()).or_default().push(run);
        }
        let day = |(date, runs): (NaiveDate, Vec<&WorkflowRun>)| Day {
            date,
            runs: runs.len() as u64,
            users: runs.iter().map(|run| run.created_by).collect::<BTreeSet<_>>().len() as u64,
            tokens: runs.iter().map(|run| i128::from(run.total_tokens)).sum(),
        };
        days.into_iter().map(day).collect()
    }

    pub fn facet(&self, subject: &ListFilter, facet: Facet, limit: usize) -> Vec<FacetCount> {
        let values = self.values(subject, |run, node, _| match (facet, run, node) {
            (Facet::Status, Some(run), _) => Some(run.status.as_str().to_owned()),
            (Facet::Status, _, Some(node)) => Some(node.status.as_str().to_owned()),
            (Facet::AppId, Some(run), _) => Some(run.app_id.to_string()),
            (Facet::AppId, _, Some(node)) => Some(node.app_id.to_string()),
            (Facet::TriggeredFrom, Some(run), _) => Some(run.triggered_from.to_string()),
            (Facet::TriggeredFrom, _, Some(node)) => Some(node.triggered_from.to_string()),
            (Facet::CreatedBy, Some(run), _) => Some(run.created_by.to_string()),
            (Facet::CreatedBy, _, Some(node)) => Some(node.created_by.to_string()),
            (Facet::NodeType, _, node) => node.map(|node| node.node_type.to_string()),
            (_, None, None) => None,
        });
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for value in values.into_iter().flatten() {
            *counts.entry(value).or_default() += 1;
        }
        let mut counts: Vec<_> =
            counts.into_iter().map(|(value, count)| FacetCount { value: value.into(), count }).collect();
        // Stable: of equals, the lesser value stays first.
        counts.sort_by_key(|count| std::cmp::Reverse(count.count));
        counts.truncate(limit);
        counts
    }

    pub fn histogram(&self, subject: &ListFilter, seconds: u32) -> Vec<HistogramBucket> {
        let span = i64::from(seconds) * 1_000_000;
        let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
        for at in self.values(subject, |_, _, at| at.micros()) {
            *counts.entry(at / span).or_default() += 1;
        }
        let bucket = |(number, count)| HistogramBucket { from: Timestamp::from_micros(number * span).unwrap(), count };
        counts.into_iter().map(bucket).collect()
    }

    /// The histogram of each status.
    pub fn spans(&self, subject: &ListFilter, seconds: u32) -> Vec<(Box<str>, Vec<HistogramBucket>)> {
        let mut statuses: Vec<_> =
            self.facet(subject, Facet::Status, usize::MAX).into_iter().map(|of| of.value).collect();
        statuses.sort();
        let of_status = |status: &str| {
            let statuses = vec![status.into()];
            match subject.clone() {
                ListFilter::Runs(filter) => {
                    let conditions = RunQuery { statuses, ..filter.conditions };
                    ListFilter::Runs(RunFilter { conditions, ..filter })
                }
                ListFilter::Nodes(filter) => {
                    let conditions = NodeQuery { statuses, ..filter.conditions };
                    ListFilter::Nodes(NodeFilter { conditions, ..filter })
                }
            }
        };
        let spans = |status: Box<str>| (status.clone(), self.histogram(&of_status(&status), seconds));
        statuses.into_iter().map(spans).collect()
    }

    /// One value of each row that is meant.
    fn values<T>(
        &self,
        subject: &ListFilter,
        value: impl Fn(Option<&WorkflowRun>, Option<&NodeExecution>, Timestamp) -> T,
    ) -> Vec<T> {
        match subject {
            ListFilter::Runs(filter) => {
                self.matching_runs(filter).into_iter().map(|run| value(Some(run), None, run.created_at)).collect()
            }
            ListFilter::Nodes(filter) => {
                self.matching_nodes(filter).into_iter().map(|node| value(None, Some(node), node.created_at)).collect()
            }
        }
    }
}

fn stretch<T>(mut rows: Vec<T>, position: fn(&T) -> Position, page: &Page) -> Vec<T> {
    let key = |position: Position| {
        // Only the sign of elapsed times would compare otherwise as bits, and they have none.
        let elapsed = if page.sort == SortBy::ElapsedTime { position.elapsed_time.to_bits() } else { 0 };
        (elapsed, position.cursor)
    };
    rows.sort_by_key(|row| key(position(row)));
    if page.direction == Direction::Descending {
        rows.reverse();
    }
    if let Some(after) = page.after {
        rows.retain(|row| match page.direction {
            Direction::Ascending => key(position(row)) > key(after),
            Direction::Descending => key(position(row)) < key(after),
        });
    }
    rows.truncate(page.limit);
    rows
}

fn any(wanted: &[Box<str>], value: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| &**wanted == value)
}

fn equal<T: PartialEq + Copy>(wanted: Option<T>, value: T) -> bool {
    wanted.is_none_or(|wanted| wanted == value)
}

fn within<T: PartialOrd + Copy>(bounds: Bounds<T>, value: T) -> bool {
    bounds.min.is_none_or(|min| value >= min) && bounds.max.is_none_or(|max| value <= max)
}

fn is_run(filter: &RunFilter, run: &WorkflowRun) -> bool {
    let text = |filter: &TextFilter| {
        filter.fields.iter().any(|field| match field {
            TextField::Inputs => json_holds(run.inputs.as_ref(), &filter.keyword),
            TextField::Outputs => json_holds(run.outputs.as_ref(), &filter.keyword),
            TextField::Error => run.error.as_ref().is_some_and(|error| holds(error, &filter.keyword)),
            TextField::Title | TextField::ProcessData => false,
        })
    };
    run.tenant_id == filter.tenant_id
        && filter.apps.holds(run.app_id)
        && equal(filter.app_id, run.app_id)
        && equal(filter.workflow_id, run.workflow_id)
        && any(&filter.types, &run.r#type)
        && any(&filter.statuses, run.status.as_str())
        && any(&filter.triggered_from, &run.triggered_from)
        && filter.created.contains(run.created_at)
        && equal(filter.created_by, run.created_by)
        && within(filter.elapsed_time, run.elapsed_time)
        && within(filter.total_tokens, run.total_tokens)
        && filter.text.as_ref().is_none_or(text)
}

fn is_node(filter: &NodeFilter, node: &NodeExecution) -> bool {
    let text = |filter: &TextFilter| {
        filter.fields.iter().any(|field| match field {
            TextField::Inputs => json_holds(node.inputs.as_ref(), &filter.keyword),
            TextField::Outputs => json_holds(node.outputs.as_ref(), &filter.keyword),
            TextField::ProcessData => json_holds(node.process_data.as_ref(), &filter.keyword),
            TextField::Error => node.error.as_ref().is_some_and(|error| holds(error, &filter.keyword)),
            TextField::Title => holds(&node.title, &filter.keyword),
        })
    };
    node.tenant_id == filter.tenant_id
        && filter.apps.holds(node.app_id)
        && equal(filter.app_id, node.app_id)
        && equal(filter.workflow_id, node.workflow_id)
        && filter.workflow_run_id.is_none_or(|run| node.workflow_run_id == Some(run))
        && equal(filter.node_id.as_ref(), &node.node_id)
        && any(&filter.node_types, &node.node_type)
        && any(&filter.statuses, node.status.as_str())
        && any(&filter.triggered_from, &node.triggered_from)
        && filter.created.contains(node.created_at)
        && equal(filter.created_by, node.created_by)
        && within(filter.elapsed_time, node.elapsed_time)
        && filter.text.as_ref().is_none_or(text)
}

fn is_app_log(filter: &AppLogFilter, log: &AppLog, run: Option<&WorkflowRun>) -> bool {
    let of_end_user = &*log.created_by_role == "end_user";
    let keyword = filter.keyword.as_ref().is_none_or(|asked| {
        run.is_some_and(|run| json_holds(run.inputs.as_ref(), &asked.keyword))
            || run.is_some_and(|run| json_holds(run.outputs.as_ref(), &asked.keyword))
            || (of_end_user && log.creator.as_ref().is_some_and(|creator| holds(creator, &asked.keyword)))
            || asked.run_id == Some(log.workflow_run_id)
            || (of_end_user && asked.end_users.contains(&log.created_by))
    });
    log.tenant_id == filter.tenant_id
        && filter.apps.holds(log.app_id)
        && log.app_id == filter.app_id
        && filter.created.contains(log.created_at)
        && equal(filter.created_by_role.as_ref(), &log.created_by_role)
        && (filter.created_by.is_empty() || filter.created_by.contains(&log.created_by))
        && filter.creator.as_ref().is_none_or(|creator| log.creator.as_ref() == Some(creator))
        && filter.run_status.as_ref().is_none_or(|status| run.is_some_and(|run| run.status.as_str() == &**status))
        && keyword
}

fn holds(text: &str, keyword: &str) -> bool {
    let folded = |text: &str| {
        let seen = text.nfkc().filter(|character| !matches!(character, '\u{200d}' | '\u{fe0f}'));
        seen.collect::<String>().to_lowercase()
    };
    folded(text).contains(&folded(keyword))
}

/// Every string of a JSON text is decoded by a parser and put back between its quotes.
fn json_holds(json: Option<&JsonText>, keyword: &str) -> bool {
    json.is_some_and(|json| holds(&decoded(json.as_str()), keyword))
}

pub fn decoded(json: &str) -> String {
    let (mut text, mut string, mut is_escaped) = (String::new(), None::<String>, false);
    for character in json.chars() {
        match &mut string {
            None if character == '"' => string = Some(String::from('"')),
            None => text.push(character),
            Some(literal) => {
                literal.push(character);
                if character == '"' && !is_escaped {
                    let value: String = serde_json::from_str(literal).unwrap();
                    text.extend(["\"", &value, "\""]);
                    string = None;
                }
                is_escaped = character == '\\' && !is_escaped;
            }
        }
    }
    text
}

pub fn run_summary(run: &WorkflowRun) -> RunSummary {
    RunSummary {
        run: WorkflowRun { graph: None, inputs: None, outputs: None, error: None, ..run.clone() },
        revision: Revision::of(&Record::Run(Box::new(run.clone()))),
    }
}

pub fn node_summary(node: &NodeExecution) -> NodeSummary {
    let metadata: serde_json::Value =
        node.execution_metadata.as_ref().map(|json| serde_json::from_str(json.as_str()).unwrap()).unwrap_or_default();
    NodeSummary {
        node: NodeExecution {
            inputs: None,
            process_data: None,
            outputs: None,
            error: None,
            execution_metadata: None,
            ..node.clone()
        },
        iteration_id: metadata["iteration_id"].as_str().map(Into::into),
        loop_id: metadata["loop_id"].as_str().map(Into::into),
        revision: Revision::of(&Record::Node(Box::new(node.clone()))),
    }
}
