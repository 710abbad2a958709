//! Stretches of lists. Months do not overlap in time: a list by time goes from month to month; any other is merged.

use std::cmp::Ordering;

use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

use super::filters::Rows;
use crate::domain::query::{
    Direction, DocumentPage, NodeFilter, NodeSummary, Page, Position, RunFilter, RunSummary, SortBy, TimeRange,
};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Precedence, RecordId, Revision};
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
    let mut list: Vec<T> = Vec::new();
    for file in files {
        match page.sort {
            SortBy::CreatedAt if list.len() >= page.limit => break,
            SortBy::CreatedAt if !is_ahead(file, page) => {}
            SortBy::CreatedAt => {
                let wanted = page.limit - list.len();
                list.extend(month(months, file, rows, &Page { limit: wanted, ..*page })?);
            }
            SortBy::ElapsedTime => {
                list.extend(month(months, file, rows, page)?);
                list.sort_by(|one, other| compare(&Listed::position(one), &Listed::position(other), page.direction));
                list.truncate(page.limit);
            }
        }
    }
    Ok(list)
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

/// A stretch of one month, without what another month has newer.
fn month<T: Listed>(months: &[OpenMonth], file: &OpenMonth, rows: &Rows, page: &Page) -> Result<Vec<T>, Fault> {
    let conditions = rows.conditions_in(file)?;
    let mut list = Vec::new();
    let mut after = page.after;
    while list.len() < page.limit {
        let wanted = Page { limit: page.limit - list.len(), after, ..*page };
        let found: Vec<T> = self::rows(file, rows.kind, &conditions, &wanted)?;
        let is_last = found.len() < wanted.limit;
        after = found.last().map(Listed::position);
        let key = |id| RecordKey { tenant_id: rows.tenant_id, kind: rows.kind, id };
        let copy = |(id, revision)| (key(id), Precedence::new(revision, file.month));
        let copies: Vec<_> = found.iter().map(Listed::identity).map(copy).collect();
        let superseded = newest::superseded(months, file.month, &copies)?;
        list.extend(found.into_iter().filter(|row| !superseded.contains(&key(row.identity().0))));
        if is_last {
            break;
        }
    }
    Ok(list)
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
        table.summary("r"),
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
