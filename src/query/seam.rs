//! What a reader needs that merges the store's rows with those of Dify's own tables.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{QueryError, RunList, RunQuery, TenantLogs};
use crate::domain::query::{Content, Cursor, Direction, Lookup, Page, Position, RunSummary};
use crate::domain::{Kind, Record, RecordId};

/// Runs whose errors are read at once: each may have as many bytes as a payload.
const ERRORS: usize = 16;
/// Bytes of the error texts of one list at most.
const ERROR_BYTES: usize = 16 << 20;

impl TenantLogs {
    /// Returns the runs of a list that follow `after` strictly, newest first by (`created_at`, id), at most `limit`; fewer
    /// only at the end. `list.after` and `list.limit` do not count. As fresh as lists are.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn runs_after(
        &self,
        list: &RunList,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, QueryError> {
        let after = after.map(|cursor| Position { cursor, elapsed_time: 0.0 });
        let page = Page { after, ..Page::newest(limit) };
        Ok(self.reader.runs(&Self::query_of(list), &page).await?)
    }

    /// Returns the runs of a list that stand strictly before `place`, the nearest first, at most `limit`. `list.after` and
    /// `list.limit` do not count.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn runs_before(
        &self,
        list: &RunList,
        place: Cursor,
        limit: usize,
    ) -> Result<Vec<RunSummary>, QueryError> {
        let after = Some(Position { cursor: place, elapsed_time: 0.0 });
        let page = Page { after, direction: Direction::Ascending, ..Page::newest(limit) };
        Ok(self.reader.runs(&Self::query_of(list), &page).await?)
    }

    fn query_of(list: &RunList) -> RunQuery {
        RunQuery {
            app_id: Some(list.app_id),
            triggered_from: list.triggered_from.clone(),
            statuses: list.status.iter().cloned().collect(),
            ..RunQuery::default()
        }
    }

    /// Returns runs by their ids, whatever their app, in no order, absent ones left out. Sees every acknowledged write.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn run_summaries(&self, ids: &[RecordId]) -> Result<Vec<RunSummary>, QueryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.reader.run_summaries(ids).await?)
    }

    /// Returns the error texts of runs, those without one left out; `None` if they have more than 16 MiB together. Reads nothing
    /// else of them, and some at a time.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn run_errors<'r>(
        &self,
        runs: impl IntoIterator<Item = &'r RunSummary>,
    ) -> Result<Option<HashMap<RecordId, Box<str>>>, QueryError> {
        let places: BTreeSet<_> = runs.into_iter().map(RunSummary::cursor).collect();
        let places: Vec<_> = places.into_iter().collect();
        let (mut errors, mut bytes) = (HashMap::new(), 0);
        for places in places.chunks(ERRORS) {
            for (id, error) in self.errors_at(places).await? {
                bytes += error.len();
                errors.insert(id, error);
            }
            // One text alone is shown, whatever its size.
            if bytes > ERROR_BYTES && errors.len() > 1 {
                return Ok(None);
            }
        }
        Ok(Some(errors))
    }

    async fn errors_at(&self, places: &[Cursor]) -> Result<Vec<(RecordId, Box<str>)>, QueryError> {
        let ids: Vec<_> = places.iter().map(|place| place.id).collect();
        let near = places.iter().map(|place| place.created_at.month()).collect();
        let content = Content::Only(&["error"]);
        let lookup = Lookup { near, ..Lookup::new(self.tenant_id(), Kind::WorkflowRun, &ids, content) };
        let found = self.reader.newest(&lookup).await?.into_iter().map(|document| self.shown(document));
        let errors = found.filter_map(|document| match document.record {
            Record::Run(run) => Some((run.id, run.error?)),
            _ => None,
        });
        Ok(errors.collect())
    }

    /// Returns which of these app logs are stored. Sees every acknowledged write.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn stored_app_logs(&self, ids: &[RecordId]) -> Result<HashSet<RecordId>, QueryError> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let found = self.reader.records(Kind::AppLog, ids).await?;
        Ok(found.iter().map(|document| document.record.id()).collect())
    }
}
