//! Stretches of lists. Months do not overlap in time: a list by time goes from month to month; any other is merged.

use std::cmp::Ordering;
use std::collections::VecDeque;

use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

use super::filters::Rows;
use crate::domain::query::{
    Direction, DocumentPage, NodeFilter, NodeSummary, Page, Position, RunFilter, RunSummary, SortBy, TimeRange,
};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Month, Precedence, RecordId, Revision};
use crate::store::sqlite::conditions::{Conditions, blob};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::question::OpenMonth;
use crate::store::sqlite::{decode, newest, read, tables};
use crate::store::{STRETCH_BYTES, Subject};

/// See [`LogQueries::runs`](crate::store::LogQueries::runs).
pub fn runs(months: &[OpenMonth], filter: &RunFilter, page: &Page) -> Result<Vec<RunSummary>, Fault> {
    stretch(months, &Rows::of_runs(filter), page)
}

/// See [`LogQueries::nodes`](crate::store::LogQueries::nodes).
pub fn nodes(months: &[OpenMonth], filter: &NodeFilter, page: &Page) -> Result<Vec<NodeSummary>, Fault> {
    stretch(months, &Rows::of_nodes(filter), page)
}

/// See [`LogQueries::documents`](crate::store::LogQueries::documents).
pub fn documents(months: &[OpenMonth], subject: &Subject, page: &Page) -> Result<DocumentPage, Fault> {
    let rows = Rows::of(subject);
    let places: Vec<Position> = match subject {
        Subject::Runs(_) => stretch(months, &rows, page)?.iter().map(RunSummary::position).collect(),
        Subject::Nodes(_) => stretch(months, &rows, page)?.iter().map(NodeSummary::position).collect(),
    };
    let mut found =
        DocumentPage { next: places.last().filter(|_| places.len() == page.limit).copied(), ..Default::default() };
    let (mut bytes, mut last) = (0, None);
    for place in places {
        if bytes >= STRETCH_BYTES {
            found.next = last;
            break;
        }
        last = Some(place);
        let key = RecordKey { tenant_id: rows.tenant_id, kind: rows.kind, id: place.cursor.id };
        let Some(file) = months.iter().find(|file| file.month == place.cursor.created_at.month()) else { continue };
        let document = file.ask(|connection| read::whole_document(connection, key))?;
        bytes += document.as_ref().map_or(0, Document::whole_footprint);
        found.documents.extend(document);
    }
    Ok(found)
}

/// A row of a list.
trait Listed: Sized {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self>;
    fn position(&self) -> Position;
    fn identity(&self) -> (RecordId, Revision);
}

impl Listed for RunSummary {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        decode::run_summary(row)
    }

    fn position(&self) -> Position {
        self.position()
    }

    fn identity(&self) -> (RecordId, Revision) {
        (self.id, self.revision)
    }
}

impl Listed for NodeSummary {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        decode::node_summary(row)
    }

    fn position(&self) -> Position {
        self.position()
    }

    fn identity(&self) -> (RecordId, Revision) {
        (self.id, self.revision)
    }
}

fn stretch<T: Listed>(months: &[OpenMonth], rows: &Rows, page: &Page) -> Result<Vec<T>, Fault> {
    let mut files: Vec<&OpenMonth> = months.iter().filter(|file| file.overlaps(rows.created)).collect();
    if page.direction == Direction::Ascending {
        files.reverse();
    }
    let is_by_time = page.sort == SortBy::CreatedAt;
    let files = files.into_iter().filter(|file| !is_by_time || is_ahead(file, page));
    let mut unread: VecDeque<Unread<'_>> = files.map(|file| Unread::new(file, page)).collect();
    let mut list: Vec<T> = Vec::new();
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
fn merge<T: Listed>(list: &mut Vec<T>, unread: &mut VecDeque<Unread<'_>>, page: &Page) {
    let order = |one: &Position, other: &Position| compare(one, other, page.direction);
    list.sort_by(|one, other| order(&Listed::position(one), &Listed::position(other)));
    list.truncate(page.limit);
    let Some(end) = list.last().filter(|_| list.len() == page.limit).map(Listed::position) else { return };
    unread.retain(|month| month.after.is_some_and(|after| order(&after, &end).is_lt()));
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

    /// The next rows, older copies with them, and whether there may be more.
    fn next<T: Listed>(&mut self, rows: &Rows, page: &Page) -> Result<(Vec<T>, bool), Fault> {
        let conditions = match self.conditions.take() {
            Some(conditions) => conditions,
            None => rows.conditions_in(self.file)?,
        };
        let found: Vec<T> = self::rows(self.file, rows.kind, &conditions, &Page { after: self.after, ..*page })?;
        self.conditions = Some(conditions);
        self.after = found.last().map(Listed::position).or(self.after);
        let is_last = found.len() < page.limit;
        Ok((found, !is_last))
    }
}

/// As many rows as a page holds, month by month.
fn in_order<T: Listed>(unread: &mut VecDeque<Unread<'_>>, rows: &Rows, page: &Page) -> Result<Vec<(Month, T)>, Fault> {
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
fn of_each<T: Listed>(unread: &mut VecDeque<Unread<'_>>, rows: &Rows, page: &Page) -> Result<Vec<(Month, T)>, Fault> {
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
fn newest_of<T: Listed>(months: &[OpenMonth], rows: &Rows, round: Vec<(Month, T)>) -> Result<Vec<T>, Fault> {
    let key = |id| RecordKey { tenant_id: rows.tenant_id, kind: rows.kind, id };
    let copy = |(month, row): &(Month, T)| {
        let (id, revision) = row.identity();
        (key(id), Precedence::new(revision, *month))
    };
    let copies: Vec<_> = round.iter().map(copy).collect();
    let superseded = newest::superseded(months, rows.kind, &copies)?;
    let counts = |(month, row): &(Month, T)| !superseded.contains(&(*month, key(row.identity().0)));
    Ok(round.into_iter().filter(counts).map(|(_, row)| row).collect())
}

/// Whether a month may have rows after the position, in a list by time.
fn is_ahead(file: &OpenMonth, page: &Page) -> bool {
    let Some(Position { cursor, .. }) = page.after else { return true };
    match page.direction {
        Direction::Descending => file.month.start() <= cursor.created_at,
        Direction::Ascending => file.overlaps(TimeRange { from: Some(cursor.created_at), until: None }),
    }
}

fn compare(one: &Position, other: &Position, direction: Direction) -> Ordering {
    let ascending = one.elapsed_time.total_cmp(&other.elapsed_time).then_with(|| one.cursor.cmp(&other.cursor));
    if direction == Direction::Ascending { ascending } else { ascending.reverse() }
}

fn rows<T: Listed>(file: &OpenMonth, kind: Kind, conditions: &Conditions, page: &Page) -> Result<Vec<T>, Fault> {
    let (sql, values) = statement(kind, conditions, page);
    file.ask(|connection| {
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_map(params_from_iter(values), T::read)?;
        found.collect()
    })
}

/// What reads a stretch of a month, older copies with it.
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
        table.summary_list("r"),
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
    use crate::domain::query::TextField;
    use crate::domain::{AppId, TenantId};
    use crate::store::sqlite::schema;
    use crate::store::sqlite::search::Search;

    /// How SQLite goes about a list by time.
    fn plan(rows: &Rows, direction: Direction) -> String {
        let (sql, values) = statement(rows.kind, &rows.conditions, &Page { direction, ..Page::newest(20) });
        schema::plan(&sql, &values)
    }

    #[test]
    fn an_index_gives_the_order_of_lists_by_time() {
        let tenant_id = TenantId::new(Uuid::from_u128(1));
        let of_app = RunFilter { app_id: Some(AppId::new(Uuid::from_u128(2))), ..RunFilter::all(tenant_id) };
        for direction in [Direction::Descending, Direction::Ascending] {
            for (rows, index) in [
                (Rows::of_runs(&of_app), "workflow_runs_newest (tenant_id=? AND app_id=?)"),
                (Rows::of_runs(&RunFilter::all(tenant_id)), "workflow_runs_by_time"),
                (Rows::of_nodes(&NodeFilter::all(tenant_id)), "workflow_node_executions_by_time"),
            ] {
                let plan = plan(&rows, direction);
                assert!(plan.contains(index) && !plan.contains("B-TREE"), "{plan}");
            }
        }
    }

    #[test]
    fn few_hits_lead_to_their_rows_and_many_do_not() {
        let tenant_id = TenantId::new(Uuid::from_u128(1));
        let search = Search::new(Kind::WorkflowRun, &[TextField::Inputs], "refund").unwrap();
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
        let all = NodeFilter::all(TenantId::new(Uuid::from_u128(1)));
        let of_run = NodeFilter { workflow_run_id: id, ..all.clone() };
        assert!(plan(&Rows::of_nodes(&of_run), Direction::Ascending).contains("workflow_node_executions_of_run"));
        let of_node = NodeFilter { workflow_id: id, node_id: Some("17".into()), ..all };
        let plan = plan(&Rows::of_nodes(&of_node), Direction::Descending);
        assert!(plan.contains("workflow_node_executions_of_node"), "{plan}");
    }
}
