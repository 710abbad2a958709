//! Lists of runs and nodes, and their totals.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::catalog;
use super::super::copies::{CopyRank, PAGE};
use super::super::hit::Hit;
use super::super::names::IndexPlace;
use super::super::rows::{NodeRow, RunRow, summary_columns};
use super::super::scan::Graphs;
use super::super::search::{EngineReader, continue_after, nanoseconds, portions};
use super::Outcome;
use super::conditions::EngineQuestion;
use crate::domain::query::{Content, Direction, DocumentPage, Found, Page, Position, SortBy, Summary, Total};
use crate::domain::record::RecordKey;
use crate::domain::{Kind, Month, RecordId, SinkFault};
use crate::store::STRETCH_BYTES;

/// The engines count in 32 bits.
const COUNTABLE: u64 = 1 << 30;

/// Is sorted behind the name of every index.
const LAST_INDEX: &str = "~";

impl EngineReader<'_> {
    /// Returns a stretch of a list with the documents behind its rows.
    pub(super) async fn listed_documents(
        &self,
        question: &EngineQuestion,
        page: &Page,
        content: Content,
    ) -> Result<DocumentPage, SinkFault> {
        let rows = self.located(question, page).await?;
        let mut next = rows.last().filter(|_| rows.len() == page.limit).map(|(row, _)| row.position());
        let (mut documents, mut graphs, mut bytes) = (Vec::new(), Graphs::new(), 0);
        let mut last = None;
        for batch in portions(rows, |(_, hit)| hit.payload_bytes()) {
            if bytes >= STRETCH_BYTES {
                next = last;
                break;
            }
            let order: Vec<_> = batch.iter().map(|(row, _)| (row.id(), row.position())).collect();
            let addresses: Vec<_> = batch.into_iter().map(|(_, hit)| hit.address()).collect();
            let mut read = self.documents(question.kind, &addresses, content).await?;
            read.retain(|document| document.tenant_id() == question.tenant);
            let mut read: HashMap<_, _> = read.into_iter().map(|document| (document.record.id(), document)).collect();
            for (id, position) in order {
                // What was read counts without the graphs, which may be larger than all else.
                if bytes >= STRETCH_BYTES {
                    return Ok(DocumentPage { documents, next: last });
                }
                last = Some(position);
                let Some(mut document) = read.remove(&id) else { continue };
                if content == Content::Full {
                    self.put_graph_back(&mut document, &mut graphs).await?;
                }
                bytes += document.whole_footprint();
                documents.push(document);
            }
        }
        Ok(DocumentPage { documents, next })
    }

    async fn located(&self, question: &EngineQuestion, page: &Page) -> Result<Vec<(Summary, Hit)>, SinkFault> {
        let asked = self.places_of(question).await?;
        let doubled = catalog::doubled(&asked);
        let mut list = List {
            rows: Vec::new(),
            seen: HashSet::new(),
            after: page.after.map(|after| behind(page.sort, &after)),
            doubled,
        };
        for places in stretches(&asked, question, page) {
            if list.rows.len() < page.limit {
                self.continue_list(&places, question, page, &mut list).await?;
            }
        }
        Ok(list.rows)
    }

    /// Reads some months of a list. Superseded copies are left out after each page: only those rows are looked up that are
    /// not final, which is most often none.
    async fn continue_list(
        &self,
        places: &[IndexPlace],
        question: &EngineQuestion,
        page: &Page,
        list: &mut List,
    ) -> Result<(), SinkFault> {
        while list.rows.len() < page.limit {
            let size = (page.limit - list.rows.len()).min(PAGE);
            let mut body = json!({
                "size": size, "_source": summary_columns(question.kind), "docvalue_fields": ["payload_bytes"], "sort": sort(page),
            });
            if let Some(after) = &list.after {
                continue_after(&mut body, after);
            }
            let outcome: Outcome<IgnoredAny> = self.ask_in(places, question, body).await?;
            let hits = outcome.hits.hits;
            // Of all that was found, also of what is left out below.
            list.after = hits.last().map(|last| Value::Array(last.sort.clone())).or(list.after.take());
            let is_last = hits.len() < size;
            let mut found: Vec<(Summary, Hit, CopyRank)> = Vec::new();
            for hit in hits {
                let row = row(question.kind, &hit)?;
                let Some(place) = self.names.parse(&hit.index) else { continue };
                let standing = CopyRank::new(row.revision().value(), place);
                found.push((row, hit, standing));
            }
            let newest = self.newest_of_changing(question, &found, &list.doubled).await?;
            for (row, hit, standing) in found {
                let newest = newest.get(&row.id());
                if !newest.is_some_and(|newest| newest.replaces(standing)) && list.seen.insert(row.id()) {
                    list.rows.push((row, hit));
                }
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// Returns a stretch of a list; with `count_to` also how many rows there are in all, and with a keyword whether texts were
    /// cut before they were searched.
    pub(super) async fn page(
        &self,
        question: &EngineQuestion,
        page: &Page,
        count_to: Option<u64>,
    ) -> Result<Found<Summary>, SinkFault> {
        let text_truncated = async {
            match question.cut_texts() {
                Some(cut) => Ok(self.total(cut, 1).await?.value > 0),
                None => Ok(false),
            }
        };
        let total = async {
            match count_to {
                Some(count_to) => self.total(question.clone(), count_to).await,
                None => Ok(Total::default()),
            }
        };
        let (rows, total, text_truncated) = tokio::try_join!(self.located(question, page), total, text_truncated)?;
        Ok(Found { rows: rows.into_iter().map(|(row, _)| row).collect(), total, text_truncated })
    }

    pub(super) async fn total(&self, question: EngineQuestion, count_to: u64) -> Result<Total, SinkFault> {
        let question = self.without_superseded(question).await?;
        self.count(&question, count_to).await
    }

    /// Counts what a question finds, older copies too unless it leaves them out.
    pub(super) async fn count(&self, question: &EngineQuestion, count_to: u64) -> Result<Total, SinkFault> {
        // One more than wanted: an engine that stops counting at its bound does not tell whether that was all.
        let bound = count_to.min(COUNTABLE) + 1;
        let body = json!({ "size": 0, "track_total_hits": bound });
        let outcome: Outcome<IgnoredAny> = self.ask(question, body).await?;
        let found = outcome.hits.total.map_or(0, |total| total.value);
        Ok(Total { value: found.min(bound - 1), exact: found < bound })
    }

    /// Returns the copies that count of those rows that another month may supersede.
    async fn newest_of_changing(
        &self,
        question: &EngineQuestion,
        rows: &[(Summary, Hit, CopyRank)],
        doubled: &BTreeSet<Month>,
    ) -> Result<HashMap<RecordId, CopyRank>, SinkFault> {
        let is_changing =
            |standing: &CopyRank| !standing.precedence.is_final() || doubled.contains(&standing.place.month);
        let changing = rows.iter().filter(|(.., standing)| is_changing(standing));
        let key = |(row, ..): &(Summary, Hit, CopyRank)| RecordKey {
            tenant_id: question.tenant,
            kind: question.kind,
            id: row.id(),
        };
        let keys: BTreeSet<RecordKey> = changing.map(key).collect();
        let newest = self.newest_of(question.kind, &keys).await?;
        Ok(newest.into_iter().map(|(key, newest)| (key.id, newest)).collect())
    }
}

/// A list under construction.
struct List {
    rows: Vec<(Summary, Hit)>,
    seen: HashSet<RecordId>,
    /// As [`sort`] gives it.
    after: Option<Value>,
    /// See [`catalog::doubled`].
    doubled: BTreeSet<Month>,
}

/// Returns the places of a list in the order in which they are asked. A list by time most often ends within its first
/// month, so that one is asked alone, and all others, if need be, together. Months behind the page's beginning are not
/// asked.
fn stretches(places: &[IndexPlace], question: &EngineQuestion, page: &Page) -> Vec<Vec<IndexPlace>> {
    if page.sort != SortBy::CreatedAt {
        return vec![places.to_vec()];
    }
    let is_ahead = |place: &IndexPlace| match (page.after, page.direction) {
        (None, _) => true,
        (Some(after), Direction::Descending) => place.month.start() <= after.cursor.created_at,
        (Some(after), Direction::Ascending) => after.cursor.created_at <= place.month.end(),
    };
    let ahead: Vec<_> = places.iter().copied().filter(is_ahead).collect();
    let first = match page.direction {
        Direction::Descending => ahead.last(),
        Direction::Ascending => ahead.first(),
    };
    let Some(first) = first.map(|place| place.month) else { return Vec::new() };
    // A rare word, and the nodes of a run, are in no month in particular.
    if question.has_text() || question.is_of_run {
        return vec![ahead];
    }
    let (first, rest) = ahead.into_iter().partition(|place| place.month == first);
    vec![first, rest]
}

fn row(kind: Kind, hit: &Hit) -> Result<Summary, SinkFault> {
    Ok(match kind {
        Kind::NodeExecution => Summary::Node(Box::new(hit.columns::<NodeRow>()?.into())),
        _ => Summary::Run(Box::new(hit.columns::<RunRow>()?.into())),
    })
}

/// Returns the order of a page. A change of the tenancy can leave a record in two indices of a month: the index tells such
/// copies apart, for a page may end between them.
fn sort(page: &Page) -> Value {
    let order = match page.direction {
        Direction::Descending => "desc",
        Direction::Ascending => "asc",
    };
    match page.sort {
        SortBy::CreatedAt => json!([{ "created_at": order }, { "id": order }, { "_index": "asc" }]),
        SortBy::ElapsedTime => {
            json!([{ "elapsed_time": order }, { "created_at": order }, { "id": order }, { "_index": "asc" }])
        }
    }
}

/// Returns the place behind all copies of a row.
fn behind(sort: SortBy, row: &Position) -> Value {
    let (created_at, id) = (nanoseconds(row.cursor.created_at), row.cursor.id.to_string());
    match sort {
        SortBy::CreatedAt => json!([created_at, id, LAST_INDEX]),
        SortBy::ElapsedTime => json!([row.elapsed_time, created_at, id, LAST_INDEX]),
    }
}
