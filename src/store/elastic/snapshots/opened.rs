//! Copies that are read: each is restored under a prefix that no other process has.

use std::collections::BTreeSet;

use serde::Deserialize;
use uuid::Uuid;

use super::super::catalog::{LENIENT, list_indices};
use super::super::hosts::{EngineRequest, Method};
use super::super::names::IndexNames;
use super::super::settings::{ElasticSettings, InvalidSetting};
use super::{ElasticStore, SnapshotCopies};
use crate::domain::{Month, SinkFault, Timestamp};
use crate::store::copies::{BackupId, CopyName, OpenedCopy};
use crate::store::{StoreAdmin as _, StoreError};
use crate::telemetry::system_clock;

/// Characters that tell the opened copies of one second apart.
const READER: usize = 8;

/// Microseconds after which an opened copy is taken for one of a process that died: a day, for months are large.
const ABANDONED: i64 = 24 * 3_600 * 1_000_000;

impl SnapshotCopies {
    /// See [`MonthCopies::open`](crate::store::copies::MonthCopies::open).
    pub(super) async fn open_copy(&self, name: &CopyName) -> Result<OpenedCopy, StoreError> {
        self.remove_left_behind().await?;
        let place = self.reading_prefix();
        let reading = self.reading(&place)?;
        if let Err(error) = self.restore_under(name, &place, 0, &BTreeSet::new()).await {
            // As far as it came; what cannot be removed now goes after a day.
            let _ = reading.drop_month(name.month).await;
            return Err(error);
        }
        let parts = parts(&reading, name.month).await?;
        Ok(OpenedCopy { name: name.clone(), reader: Box::new(reading), place, parts })
    }

    /// See [`MonthCopies::close`](crate::store::copies::MonthCopies::close).
    pub(super) async fn close_copy(&self, copy: OpenedCopy) -> Result<(), StoreError> {
        let reading = self.reading(&copy.place)?;
        let there = parts(&reading, copy.name.month).await?;
        reading.drop_month(copy.name.month).await?;
        match copy.parts.difference(&there).next() {
            Some(gone) => Err(StoreError::Unavailable(format!(
                "index {gone} was deleted while the copy in it was read: run the command again"
            ))),
            None => Ok(()),
        }
    }

    /// Returns the same cluster under the prefix of an opened copy.
    fn reading(&self, prefix: &str) -> Result<ElasticStore, StoreError> {
        let invalid = |error: InvalidSetting| StoreError::Corrupt(format!("store.elastic.{error}"));
        let mut store = ElasticStore::new(self.settings.clone()).map_err(invalid)?;
        let settings = ElasticSettings { prefix: prefix.to_owned(), ..self.settings.clone() };
        store.names = IndexNames::new(&settings);
        store.settings = settings;
        Ok(store)
    }

    /// Returns where a copy is put to be read: a prefix that is no other process', and that says since when.
    fn reading_prefix(&self) -> String {
        let random = Uuid::new_v4().simple().to_string();
        let random: String = random.chars().take(READER).collect();
        format!("{}-copy-{}-{random}", self.settings.prefix, BackupId::at(system_clock()()))
    }

    /// Removes opened copies that nobody has closed for a day: a process that dies leaves its own.
    async fn remove_left_behind(&self) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct Row {
            index: String,
        }
        let opened = format!("{}-copy-", self.settings.prefix);
        let path = format!("/_cat/indices/{opened}*");
        let query = [("format", "json"), ("h", "index"), ("expand_wildcards", "open,closed")];
        let rows: Vec<Row> = self.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?.json()?;
        let now = system_clock()();
        let dead = BackupId::at(Timestamp::from_micros(now.micros().saturating_sub(ABANDONED)).unwrap_or(now));
        for Row { index } in rows {
            if index.strip_prefix(&opened).and_then(opened_at).is_some_and(|at| at < dead) {
                let answer = self.send(&EngineRequest::new(Method::Delete, &format!("/{index}"))).await?;
                if answer.status != 404 {
                    answer.success()?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the indices that an opened copy is read from.
async fn parts(reading: &ElasticStore, month: Month) -> Result<BTreeSet<String>, SinkFault> {
    let listed = list_indices(&reading.hosts, &reading.names, &reading.names.everything(), &LENIENT).await?;
    Ok(listed.into_iter().filter(|found| found.place.month == month).map(|found| found.index).collect())
}

/// Returns when a copy was opened, of what follows the site's part in the name of one of its indices.
fn opened_at(rest: &str) -> Option<BackupId> {
    let (opened, _) = rest.split_once("-workflow-")?;
    let (at, random) = opened.split_once('-')?;
    (random.len() == READER).then(|| at.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_opened_copy_says_since_when() {
        let at = "20261201t013000z".parse().unwrap();
        assert_eq!(opened_at("20261201t013000z-1a2b3c4d-workflow-runs-2026.11"), Some(at));
        for other in ["20261201t013000z-1a2b3c4d", "workflow-runs-2026.11", "x-1a2b3c4d-workflow-runs-2026.11"] {
            assert_eq!(opened_at(other), None, "{other}");
        }
        assert_eq!(opened_at("20261201t013000z-site-workflow-runs-2026.11"), None);
    }
}
