//! One group of requests: a transaction per month file, a verdict per action. The only place that says `Stored`, and it
//! says so after the commit.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Transaction, params_from_iter};
use tokio::sync::oneshot;

use super::encode::EncodedRow;
use super::fault::SqliteFault;
use super::files::WriteFiles;
use super::tables;
use crate::domain::{BulkAction, Month, Refusal, RetryCause, SinkFault, Verdict};

/// The answer to one request.
pub type WriteAnswer = Result<Vec<Verdict>, SinkFault>;

/// The rows of one `apply`, and where its answer goes.
pub struct WriteRequest {
    pub rows: Vec<EncodedRow>,
    /// Bytes of text in the rows, about.
    pub weight: usize,
    pub answer: oneshot::Sender<WriteAnswer>,
}

/// A row's place in the group: its request, and its position there.
#[derive(Clone, Copy)]
struct Place {
    request: usize,
    position: usize,
}

/// Writes a group and answers each of its requests.
pub fn write_group(files: &mut WriteFiles, group: Vec<WriteRequest>) {
    let mut answers: Vec<WriteAnswer> =
        group.iter().map(|request| Ok(vec![unanswered(); request.rows.len()])).collect();
    let retired = files.retired();
    let mut faults: Vec<(Vec<Place>, SqliteFault)> = Vec::new();
    let mut others = OtherMonths::None;
    for (month, mut places) in by_month(&group) {
        let row = |place: &Place| group.get(place.request)?.rows.get(place.position);
        if let Some(past) = retired.as_ref().ok().and_then(|retired| retired.get(&month)) {
            let is_late = |place: &Place| row(place).is_some_and(|row| past.contains(row.action().tenant_id()));
            let late: Vec<Place> = places.extract_if(.., |place| is_late(place)).collect();
            place_verdicts(&mut answers, &late, std::iter::repeat_n(Verdict::Superseded, late.len()));
            if places.is_empty() {
                continue;
            }
        }
        let rows = || places.iter().filter_map(row);
        let written = match &retired {
            Ok(_) => files.transact(month, |transaction, path| write_rows(transaction, path, rows())),
            Err(fault) => Err(fault.clone()),
        };
        match written {
            Ok(verdicts) => {
                others = others.max(OtherMonths::of(rows(), &verdicts));
                place_verdicts(&mut answers, &places, verdicts);
            }
            Err(fault) => faults.push((places, fault)),
        }
    }
    for (places, fault) in faults {
        match fault {
            SqliteFault::Damaged(detail) => hold(&mut answers, &places, &detail),
            SqliteFault::Unavailable(detail) if others.take_rows(files) => hold(&mut answers, &places, &detail),
            fault => place_fault(&mut answers, &places, &SinkFault::from(fault)),
        }
    }
    for (request, answer) in group.into_iter().zip(answers) {
        // A caller that has gone away does not want its answer.
        let _ = request.answer.send(answer);
    }
}

/// What the months of a group that are not at fault say of the directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum OtherMonths {
    None,
    /// All rows were superseded: that writes nothing, and a full disk lets it pass.
    Untouched,
    Written,
}

impl OtherMonths {
    fn of<'a>(rows: impl Iterator<Item = &'a EncodedRow>, verdicts: &[Verdict]) -> Self {
        // A graph that is there already counts as stored.
        let is_written = |(row, verdict): (&EncodedRow, &Verdict)| {
            matches!(row.action(), BulkAction::Document(_)) && *verdict == Verdict::Stored
        };
        if rows.zip(verdicts).any(is_written) { Self::Written } else { Self::Untouched }
    }

    /// Returns whether the directory takes rows, so that a fault is that of one file.
    fn take_rows(self, files: &mut WriteFiles) -> bool {
        match self {
            Self::None => false,
            Self::Untouched => files.probe().is_ok(),
            Self::Written => true,
        }
    }
}

/// Returns what an action is worth until something better is known: never an ack.
fn unanswered() -> Verdict {
    Verdict::Retry(RetryCause::new(None, "not attempted"))
}

fn by_month(group: &[WriteRequest]) -> BTreeMap<Month, Vec<Place>> {
    let mut months: BTreeMap<Month, Vec<Place>> = BTreeMap::new();
    for (request, content) in group.iter().enumerate() {
        for (position, row) in content.rows.iter().enumerate() {
            months.entry(row.action().month()).or_default().push(Place { request, position });
        }
    }
    months
}

fn place_verdicts(answers: &mut [WriteAnswer], places: &[Place], verdicts: impl IntoIterator<Item = Verdict>) {
    for (place, verdict) in places.iter().zip(verdicts) {
        if let Some(Ok(answer)) = answers.get_mut(place.request)
            && let Some(slot) = answer.get_mut(place.position)
        {
            *slot = verdict;
        }
    }
}

/// Lets the rows of one month wait, and no others.
fn hold(answers: &mut [WriteAnswer], places: &[Place], detail: &str) {
    let verdict = Verdict::Retry(RetryCause::new(None, detail));
    place_verdicts(answers, places, std::iter::repeat_n(verdict, places.len()));
}

fn place_fault(answers: &mut [WriteAnswer], places: &[Place], fault: &SinkFault) {
    for place in places {
        if let Some(answer) = answers.get_mut(place.request) {
            *answer = Err(fault.clone());
        }
    }
}

/// Verdicts that hold once the transaction is committed.
fn write_rows<'a>(
    transaction: &Transaction<'_>,
    path: &Path,
    rows: impl Iterator<Item = &'a EncodedRow>,
) -> Result<Vec<Verdict>, SqliteFault> {
    rows.map(|row| match write_row(transaction, row) {
        Ok(verdict) => Ok(verdict),
        // A refused statement undoes only itself; any other error ends the transaction.
        Err(error) => match SqliteFault::of(&error, path) {
            SqliteFault::Refused(detail) => Ok(Verdict::Refused(Refusal::by_store(None, detail))),
            fault => Err(fault),
        },
    })
    .collect()
}

fn write_row(transaction: &Transaction<'_>, row: &EncodedRow) -> rusqlite::Result<Verdict> {
    match row.action() {
        BulkAction::Graph(graph) => {
            let mut insert = transaction.prepare_cached(tables::INSERT_GRAPH)?;
            insert.execute((graph.tenant_id.as_bytes(), graph.hash.as_bytes(), row.graph_text(&graph.text)))?;
            Ok(Verdict::Stored)
        }
        BulkAction::Document(document) => {
            let mut upsert = transaction.prepare_cached(&tables::of(document.kind()).upsert)?;
            let changed = upsert.execute(params_from_iter(row.document_values(document)))?;
            Ok(if changed == 0 { Verdict::Superseded } else { Verdict::Stored })
        }
    }
}
