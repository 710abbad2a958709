//! Stretches of lists. Months do not overlap in time: a list by time goes from month to month; any other is merged.

use std::collections::VecDeque;

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::counts;
use super::filters::Rows;
use crate::domain::query::{
    Content, Direction, DocumentPage, Found, ListFilter, Page, Position, SortBy, Summary, TimeRange, Total,
};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Month, Precedence};
use crate::store::STRETCH_BYTES;
use crate::store::sqlite::conditions::{Conditions, blob};
use crate::store::sqlite::fault::SqliteFault;
use crate::store::sqlite::question::OpenMonth;
use crate::store::sqlite::{decode, newest, read, tables};

/// See [`LogReader::page`](crate::store::LogReader::page).
pub fn page(
    months: &[OpenMonth],
    list: &ListFilter,
    page: &Page,
    count_to: Option<u64>,
) -> Result<Found<Summary>, SqliteFault> {
    let rows = Rows::of(list);
    let found = stretch(months, &rows, page)?;
    let total = match count_to {
        None => Total::default(),
        // The first page has them all.
        Some(bound) if page.after.is_none() && found.len() < page.limit && found.len() as u64 <= bound => {
            Total { value: found.len() as u64, exact: true }
        }
        Some(bound) => counts::up_to(months, &rows, bound)?,
    };
    // Texts are searched whole.
    Ok(Found { rows: found, total, text_truncated: false })
}

/// See [`LogReader::documents`](crate::store::LogReader::documents).
pub fn documents(
    months: &[OpenMonth],
    list: &ListFilter,
    page: &Page,
    content: Content,
) -> Result<DocumentPage, SqliteFault> {
    let rows = Rows::of(list);
    let places: Vec<Position> = stretch(months, &rows, page)?.iter().map(Summary::position).collect();
    let mut found =
        DocumentPage { next: places.last().filter(|_| places.len() == page.limit).copied(), ..Default::default() };
    let by_id = tables::of(rows.kind).by_id(content);
    let (mut bytes, mut end) = (0, None);
    for place in places {
        if bytes >= STRETCH_BYTES {
            found.next = end;
            break;
        }
        end = Some(place);
        let key = RecordKey { tenant_id: rows.tenant_id, kind: rows.kind, id: place.cursor.id };
        let Some(file) = months.iter().find(|file| file.month == place.cursor.created_at.month()) else { continue };
        let document = file.ask(|connection| read::document(connection, key, &by_id, content))?;
        bytes += document.as_ref().map_or(0, Document::whole_footprint);
        found.documents.extend(document);
    }
    Ok(found)
}

fn stretch(months: &[OpenMonth], rows: &Rows, page: &Page) -> Result<Vec<Summary>, SqliteFault> {
    let mut files: Vec<&OpenMonth> = months.iter().filter(|file| file.overlaps(rows.created)).collect();
    if page.direction == Direction::Ascending {
        files.reverse();
    }
    let is_by_time = page.sort == SortBy::CreatedAt;
    let files = files.into_iter().filter(|file| !is_by_time || is_ahead(file, page));
    let mut unread: VecDeque<Unread<'_>> = files.map(|file| Unread::new(file, page)).collect();
    let mut list: Vec<Summary> = Vec::new();
    // Each round is looked up in the other months at once. Where all rows of a round counted, it is the only one.
    while !unread.is_empty() && page.limit > 0 && (!is_by_time || list.len() < page.limit) {
        let round = if is_by_time { in_order(&mut unread, rows, page)? } else { of_each(&mut unread, rows, page)? };
        list.extend(newest_of(months, rows, round)?);
        if !is_by_time {
            merge(&mut list, &mut unread, page);
        }
    }
    list.truncate(page.limit);
    Ok(list)
}

/// Brings a list in order, and leaves out what is behind its end: rows, and months whose other rows can only be there.
fn merge(list: &mut Vec<Summary>, unread: &mut VecDeque<Unread<'_>>, page: &Page) {
    list.sort_by(|one, other| page.compare(&one.position(), &other.position()));
    list.truncate(page.limit);
    let Some(end) = list.last().filter(|_| list.len() == page.limit).map(Summary::position) else { return };
    unread.retain(|month| month.after.is_some_and(|after| page.compare(&after, &end).is_lt()));
}

/// A month of which rows are left.
struct Unread<'m> {
    file: &'m OpenMonth,
    /// `None`: the month was not opened yet.
    conditions: Option<Conditions>,
    after: Option<Position>,
}

impl<'m> Unread<'m> {
    const fn new(file: &'m OpenMonth, page: &Page) -> Self {
        Self { file, conditions: None, after: page.after }
    }

    /// Returns the next rows, older copies with them, and whether there may be more.
    fn next(&mut self, rows: &Rows, page: &Page) -> Result<(Vec<Summary>, bool), SqliteFault> {
        let conditions = match self.conditions.take() {
            Some(conditions) => conditions,
            None => rows.conditions_in(self.file)?,
        };
        let found = self::rows(self.file, rows.kind, &conditions, &Page { after: self.after, ..*page })?;
        self.conditions = Some(conditions);
        self.after = found.last().map(Summary::position).or(self.after);
        let is_last = found.len() < page.limit;
        Ok((found, !is_last))
    }
}

/// As many rows as a page holds, month by month.
fn in_order(unread: &mut VecDeque<Unread<'_>>, rows: &Rows, page: &Page) -> Result<Vec<(Month, Summary)>, SqliteFault> {
    let mut round = Vec::new();
    while let Some(month) = unread.front_mut().filter(|_| round.len() < page.limit) {
        let (found, has_more) = month.next(rows, &Page { limit: page.limit - round.len(), ..*page })?;
        let of = month.file.month;
        round.extend(found.into_iter().map(|row| (of, row)));
        if !has_more {
            unread.pop_front();
        }
    }
    Ok(round)
}

/// As many rows of each month as a page holds.
fn of_each(unread: &mut VecDeque<Unread<'_>>, rows: &Rows, page: &Page) -> Result<Vec<(Month, Summary)>, SqliteFault> {
    let mut round = Vec::new();
    for mut month in std::mem::take(unread) {
        let (found, has_more) = month.next(rows, page)?;
        let of = month.file.month;
        round.extend(found.into_iter().map(|row| (of, row)));
        if has_more {
            unread.push_back(month);
        }
    }
    Ok(round)
}

/// Rows without what another month has newer.
fn newest_of(months: &[OpenMonth], rows: &Rows, round: Vec<(Month, Summary)>) -> Result<Vec<Summary>, SqliteFault> {
    let key = |id| RecordKey { tenant_id: rows.tenant_id, kind: rows.kind, id };
    let copy = |(month, row): &(Month, Summary)| (key(row.id()), Precedence::new(row.revision(), *month));
    let copies: Vec<_> = round.iter().map(copy).collect();
    let superseded = newest::superseded(months, rows.kind, &copies)?;
    let counts = |(month, row): &(Month, Summary)| !superseded.contains(&(*month, key(row.id())));
    Ok(round.into_iter().filter(counts).map(|(_, row)| row).collect())
}

/// Returns whether a month may have rows after the position, in a list by time.
fn is_ahead(file: &OpenMonth, page: &Page) -> bool {
    let Some(Position { cursor, .. }) = page.after else { return true };
    match page.direction {
        Direction::Descending => file.month.start() <= cursor.created_at,
        Direction::Ascending => file.overlaps(TimeRange { from: Some(cursor.created_at), until: None }),
    }
}

fn rows(file: &OpenMonth, kind: Kind, conditions: &Conditions, page: &Page) -> Result<Vec<Summary>, SqliteFault> {
    let (sql, values) = statement(kind, conditions, page);
    file.ask(|connection| {
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_map(params_from_iter(values), |row| match kind {
            Kind::NodeExecution => Ok(Summary::Node(Box::new(decode::node_summary(row)?))),
            _ => Ok(Summary::Run(Box::new(decode::run_summary(row)?))),
        })?;
        found.collect()
    })
}

/// Returns what reads a stretch of a month, older copies with it.
fn statement(kind: Kind, conditions: &Conditions, page: &Page) -> (String, Vec<Value>) {
    let (sign, order) = match page.direction {
        Direction::Descending => ("<", "DESC"),
        Direction::Ascending => (">", "ASC"),
    };
    let columns: &[&str] = match page.sort {
        SortBy::CreatedAt => &["created_at", "id"],
        SortBy::ElapsedTime => &["elapsed_time", "created_at", "id"],
    };
    let mut conditions = conditions.clone();
    if let Some(Position { cursor, elapsed_time }) = page.after {
        let place = [Value::Real(elapsed_time), Value::Integer(cursor.created_at.micros()), blob(cursor.id.as_bytes())];
        let marks = vec!["?"; columns.len()].join(", ");
        let place = place.into_iter().skip(3 - columns.len());
        conditions.add(format!("({}) {sign} ({marks})", columns.join(", ")), place);
    }
    let table = tables::of(kind);
    let sorted: Vec<_> = columns.iter().map(|column| format!("{column} {order}")).collect();
    let sql = format!(
        "SELECT {} FROM {} AS r {} ORDER BY {} LIMIT ?",
        table.summary_list,
        table.name,
        conditions.clause(),
        sorted.join(", ")
    );
    let limit = Value::Integer(i64::try_from(page.limit).unwrap_or(i64::MAX));
    (sql, conditions.values().iter().cloned().chain([limit]).collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::query::{NodeFilter, NodeQuery, RunFilter, RunQuery, TextField};
    use crate::domain::{AppId, RecordId, TenantId};
    use crate::store::sqlite::schema;
    use crate::store::sqlite::search::IndexSearch;

    /// Returns how SQLite goes about a list by time.
    fn plan(rows: &Rows, direction: Direction) -> String {
        let (sql, values) = statement(rows.kind, &rows.conditions, &Page { direction, ..Page::newest(20) });
        schema::plan(&sql, &values)
    }

    #[test]
    fn an_index_gives_the_order_of_lists_by_time() {
        let tenant_id = TenantId::new(Uuid::from_u128(1));
        let of_app = RunQuery { app_id: Some(AppId::new(Uuid::from_u128(2))), ..RunQuery::default() }.within(tenant_id);
        for direction in [Direction::Descending, Direction::Ascending] {
            for (rows, index) in [
                (Rows::of_runs(&of_app), "workflow_runs_newest (tenant_id=? AND app_id=?)"),
                (Rows::of_runs(&RunFilter::all(tenant_id)), "workflow_runs_by_time"),
                (Rows::of(&ListFilter::Nodes(NodeFilter::all(tenant_id))), "workflow_node_executions_by_time"),
            ] {
                let plan = plan(&rows, direction);
                assert!(plan.contains(index) && !plan.contains("B-TREE"), "{plan}");
            }
        }
    }

    #[test]
    fn few_hits_lead_to_their_rows_and_many_do_not() {
        let tenant_id = TenantId::new(Uuid::from_u128(1));
        let search = IndexSearch::new(Kind::WorkflowRun, &[TextField::Inputs], "refund").unwrap();
        for (few, expected) in
            [(true, "SEARCH r USING INTEGER PRIMARY KEY (rowid=?)"), (false, "USING INDEX workflow_runs_by_time")]
        {
            let mut rows = Rows::of_runs(&RunFilter::all(tenant_id));
            let (text, values) = search.condition_if(few);
            rows.conditions.add(text, values);
            let plan = plan(&rows, Direction::Descending);
            assert!(plan.contains(expected), "{plan}");
        }
    }

    #[test]
    fn an_index_finds_the_nodes_of_a_run_and_of_a_node() {
        let id = Some(RecordId::new(Uuid::from_u128(3)));
        let tenant_id = TenantId::new(Uuid::from_u128(1));
        let of_run = NodeQuery { workflow_run_id: id, ..NodeQuery::default() }.within(tenant_id);
        assert!(
            plan(&Rows::of(&ListFilter::Nodes(of_run)), Direction::Ascending)
                .contains("workflow_node_executions_of_run")
        );
        let of_node =
            NodeQuery { workflow_id: id, node_id: Some("17".into()), ..NodeQuery::default() }.within(tenant_id);
        let plan = plan(&Rows::of(&ListFilter::Nodes(of_node)), Direction::Descending);
        assert!(plan.contains("workflow_node_executions_of_node"), "{plan}");
    }
}
