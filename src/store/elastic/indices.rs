//! Makes sure that an index exists, with difylog's shape, before anything is written to it. It never writes or deletes
//! documents.
//!
//! Leaving creation to the engines would be one template away from a guessed mapping, and is forbidden on many
//! clusters (`action.auto_create_index`). So each index is looked at once per process, and created when missing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;

use super::hosts::{EngineAnswer, EngineRequest, Hosts, Method};
use super::names::{IndexNames, IndexPlace};
use super::reason::Words;
use super::settings::ElasticSettings;
use super::shards::ShardBudget;
use super::{templates, verdicts};
use crate::domain::{FaultKind, RetryCause, SinkFault};

/// Indices remembered as existing, in two generations: at most twice this number, some 48 bytes each.
const GENERATION: usize = 16_384;

/// Looks at and creations of indices under way at once.
const CONCURRENCY: usize = 8;

/// What is known of indices.
pub(super) struct Indices {
    known: Mutex<Known>,
    /// Grows whenever an index was created, or turned out to be gone.
    generation: AtomicU64,
    budget: ShardBudget,
    settings: ElasticSettings,
}

/// What became of places that are about to be written to.
pub(super) struct Ensured {
    /// Those that cannot be written to now.
    pub(super) unready: HashMap<IndexPlace, RetryCause>,
    /// Whether some were new to this process.
    pub(super) looked: bool,
}

#[derive(Default)]
struct Known {
    young: HashSet<IndexPlace>,
    old: HashSet<IndexPlace>,
}

impl Known {
    fn contains(&mut self, place: IndexPlace) -> bool {
        if self.young.contains(&place) {
            return true;
        }
        let known = self.old.contains(&place);
        if known {
            self.insert(place);
        }
        known
    }

    fn insert(&mut self, place: IndexPlace) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(place);
    }

    fn remove(&mut self, place: IndexPlace) {
        self.young.remove(&place);
        self.old.remove(&place);
    }
}

impl Indices {
    pub(super) fn new(settings: &ElasticSettings) -> Self {
        let budget = ShardBudget::new(settings);
        Self { known: Mutex::default(), generation: AtomicU64::new(0), budget, settings: settings.clone() }
    }

    /// Creates what is missing. Returns the places that cannot be written to now, each with the cause.
    ///
    /// # Errors
    /// If the store cannot be reached or refuses the credentials: then nothing can be written anywhere.
    pub(super) async fn ensure(
        &self,
        hosts: &Hosts,
        names: &IndexNames,
        places: impl IntoIterator<Item = IndexPlace>,
    ) -> Result<Ensured, SinkFault> {
        let unknown: Vec<IndexPlace> = {
            let mut known = self.lock();
            places.into_iter().filter(|place| !known.contains(*place)).collect()
        };
        let looked = !unknown.is_empty();
        let checks = unknown.into_iter().map(|place| async move {
            let result = self.ensure_one(hosts, names, place).await?;
            Ok::<_, SinkFault>((place, result))
        });
        let results: Vec<_> = stream::iter(checks).buffer_unordered(CONCURRENCY).try_collect().await?;
        let mut known = self.lock();
        let mut unready = HashMap::new();
        for (place, result) in results {
            match result {
                Ok(()) => known.insert(place),
                Err(cause) => {
                    unready.insert(place, cause);
                }
            }
        }
        Ok(Ensured { unready, looked })
    }

    /// Says that an index is gone, so that the next write looks again.
    pub(super) fn forget(&self, place: IndexPlace) {
        self.lock().remove(place);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the places that this process has found or made, as far as they are remembered.
    pub(super) fn known(&self) -> Vec<IndexPlace> {
        let known = self.lock();
        let mut places: Vec<_> = known.young.union(&known.old).copied().collect();
        places.sort_unstable();
        places
    }

    /// See [`BulkSink::generation`](crate::store::BulkSink::generation).
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Looks at an index again whose first operation a write of ours was. Returns the cause for which nothing in it counts,
    /// if it has not difylog's shape.
    pub(super) async fn look_again(
        &self,
        hosts: &Hosts,
        names: &IndexNames,
        place: IndexPlace,
    ) -> Result<Result<(), RetryCause>, SinkFault> {
        let index = names.index(place);
        let path = format!("/{index}/_mapping");
        let query = [("filter_path", "*.mappings._meta")];
        let answer = hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?;
        let looked = if answer.status == 200 { has_our_shape(&answer, &index) } else { unready(&answer, &index)? };
        if looked.is_err() {
            self.forget(place);
        }
        Ok(looked)
    }

    async fn ensure_one(
        &self,
        hosts: &Hosts,
        names: &IndexNames,
        place: IndexPlace,
    ) -> Result<Result<(), RetryCause>, SinkFault> {
        let index = names.index(place);
        let path = format!("/{index}/_mapping");
        let query = [("filter_path", "*.mappings._meta")];
        let answer = hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?;
        match answer.status {
            200 => Ok(has_our_shape(&answer, &index)),
            404 => match self.budget.claim(hosts).await? {
                Ok(()) => self.create(hosts, place, &index).await,
                Err(detail) => Ok(Err(RetryCause::new(None, format!("{index} not created: {detail}")))),
            },
            _ => unready(&answer, &index),
        }
    }

    async fn create(&self, hosts: &Hosts, place: IndexPlace, index: &str) -> Result<Result<(), RetryCause>, SinkFault> {
        let path = format!("/{index}");
        let body = templates::index(place.family, &self.settings);
        let answer = hosts.send(&EngineRequest::new(Method::Put, &path).json(&body)).await?;
        match answer.status {
            200..=299 => {
                self.generation.fetch_add(1, Ordering::AcqRel);
                Ok(Ok(()))
            }
            // Another worker was faster.
            400 if Words::of_answer(&answer.body).kind == "resource_already_exists_exception" => Ok(Ok(())),
            _ => unready(&answer, index),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An index that something else created under our name has a mapping that is not ours: writing to it would make
/// fields out of data.
fn has_our_shape(answer: &EngineAnswer, index: &str) -> Result<(), RetryCause> {
    // By an alias, the answer is of the index behind it.
    if mapping_versions(answer).ok().is_some_and(|versions| !versions.is_empty()) {
        return Ok(());
    }
    let detail = format!("{index} was not created by difylog (its mapping lacks the mark): rename or delete it");
    Err(RetryCause::new(None, detail))
}

/// Returns the versions of the mappings in an answer, by index; indices without difylog's mark are left out.
pub(super) fn mapping_versions(answer: &EngineAnswer) -> Result<HashMap<String, u64>, SinkFault> {
    #[derive(Deserialize)]
    struct Index {
        mappings: Mappings,
    }
    #[derive(Deserialize)]
    struct Mappings {
        #[serde(rename = "_meta")]
        meta: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        difylog: Option<Mark>,
    }
    #[derive(Deserialize)]
    struct Mark {
        version: u64,
    }
    let indices: HashMap<String, Index> = answer.json()?;
    let version = |(name, index): (String, Index)| Some((name, index.mappings.meta.difylog?.version));
    Ok(indices.into_iter().filter_map(version).collect())
}

/// An error about one index holds back its actions only; missing rights and a store in distress hold back all.
fn unready(answer: &EngineAnswer, index: &str) -> Result<Result<(), RetryCause>, SinkFault> {
    let words = Words::of_answer(&answer.body);
    let remedy = verdicts::blameless(&words);
    match answer.success() {
        Err(fault) if remedy.is_none() && fault.kind != FaultKind::Malformed => Err(fault),
        _ => {
            let detail = remedy.unwrap_or_else(|| words.detail());
            Ok(Err(RetryCause::new(answer.status, format!("{index} not created: {detail}"))))
        }
    }
}
