//! Which indices there are, by the engine's own list of names and aliases. Reads no document.
//!
//! A name of ours may be an alias: of an index that was shrunk, moved to a searchable snapshot or restored under another
//! name. Whatever is listed here says the name that we spell (`place`) and the index behind it (`index`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::hosts::{EngineRequest, Hosts, Method};
use super::names::{Family, IndexNames, IndexPlace};
use crate::domain::query::TimeRange;
use crate::domain::{Month, SinkFault, TenantId};
use crate::store::StoreError;

/// Open indices only, and none is no error.
pub(super) const LENIENT: [(&str, &str); 3] =
    [("ignore_unavailable", "true"), ("allow_no_indices", "true"), ("expand_wildcards", "open")];

/// Closed indices only, and none is no error.
const CLOSED: [(&str, &str); 3] =
    [("ignore_unavailable", "true"), ("allow_no_indices", "true"), ("expand_wildcards", "closed")];

/// How old the knowledge of a question may be: a month that another process began is met after it. No longer than the
/// engines need to show a new document anyway (`refresh_interval`, 1 s and more on any site that thought about it).
const FRESH: Duration = Duration::from_secs(1);

/// Lists kept, each some 48 bytes an index; with more, all are read anew.
const LISTS: usize = 1_024;

/// Bytes of index names in one URL, which the engines bound at 4,096; the rest is for the path and the parameters.
pub(super) const NAMES_BYTES: usize = 3_000;

/// An index that holds a place's documents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListedIndex {
    pub(super) place: IndexPlace,
    /// Its own name: the place's, or that which the place's name is an alias of.
    pub(super) index: String,
    /// Whether it has names that are none of ours.
    pub(super) has_other_aliases: bool,
}

/// What is known of the indices that questions ask.
#[derive(Default)]
pub(super) struct Catalog(Mutex<Lists>);

#[derive(Default)]
struct Lists {
    known: HashMap<(Family, TenantId), Known>,
    /// How often all were forgotten: a list that was asked for before then is not kept.
    forgotten: u64,
}

struct Known {
    places: Arc<[IndexPlace]>,
    read_at: Instant,
}

/// The indices that a search asks.
pub(super) struct Target {
    /// The path's first part.
    pub(super) expression: String,
    /// The tenant, if all of them are routed by it.
    pub(super) routing: Option<String>,
}

impl Target {
    /// Returns how it is asked: as leniently, and by its tenant.
    pub(super) fn options<'t>(&'t self, lenient: &[(&'static str, &'t str)]) -> Vec<(&'static str, &'t str)> {
        let routing = self.routing.as_deref().map(|tenant| ("routing", tenant));
        lenient.iter().copied().chain(routing).collect()
    }
}

impl Catalog {
    /// Returns the places that may hold a tenant's documents, oldest month first. One request, or none within a second.
    pub(super) async fn places(
        &self,
        hosts: &Hosts,
        names: &IndexNames,
        family: Family,
        tenant: TenantId,
    ) -> Result<Arc<[IndexPlace]>, SinkFault> {
        let fresh = |known: &&Known| known.read_at.elapsed() < FRESH;
        let forgotten = {
            let lists = self.lock();
            if let Some(known) = lists.known.get(&(family, tenant)).filter(fresh) {
                return Ok(Arc::clone(&known.places));
            }
            lists.forgotten
        };
        let read_at = Instant::now();
        let mut places = list(hosts, names, &names.readable(family, tenant), &LENIENT).await?;
        places.retain(|place| place.tenant.is_none_or(|owner| owner == tenant));
        let places: Arc<[IndexPlace]> = places.into();
        let mut lists = self.lock();
        if lists.forgotten == forgotten {
            if lists.known.len() >= LISTS {
                lists.known.clear();
            }
            lists.known.insert((family, tenant), Known { places: Arc::clone(&places), read_at });
        }
        Ok(places)
    }

    /// Reads anew before the next question: this process created or dropped an index.
    pub(super) fn forget(&self) {
        let mut lists = self.lock();
        lists.known.clear();
        lists.forgotten += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a place may hold a document of a span.
pub(super) fn overlaps(place: IndexPlace, span: TimeRange) -> bool {
    span.from.is_none_or(|from| from.month() <= place.month)
        && span.until.is_none_or(|until| place.month.start() < until)
}

/// Returns the months of which a tenant has both an index of its own and a shared one: its tenancy was changed
/// meanwhile, and a record may lie in both.
pub(super) fn doubled(places: &[IndexPlace]) -> BTreeSet<Month> {
    let own: BTreeSet<Month> = places.iter().filter(|place| place.tenant.is_some()).map(|place| place.month).collect();
    places
        .iter()
        .filter(|place| place.tenant.is_none() && own.contains(&place.month))
        .map(|place| place.month)
        .collect()
}

/// Returns what asks for these places of a tenant; `None`: there is nothing to ask.
pub(super) fn target(names: &IndexNames, family: Family, tenant: TenantId, places: &[IndexPlace]) -> Option<Target> {
    if places.is_empty() {
        return None;
    }
    let indices: Vec<_> = places.iter().map(|place| names.index(*place)).collect();
    let expression = indices.join(",");
    let expression = if expression.len() > NAMES_BYTES { names.readable(family, tenant) } else { expression };
    let routing = places.iter().all(|place| place.tenant.is_none()).then(|| tenant.to_string());
    Some(Target { expression, routing })
}

/// Returns once it is sure that none of some places of a month is closed: a search passes over such, and answers as if they
/// held nothing. Ask it after the search, so that what was closed meanwhile is met, too.
///
/// # Errors
/// [`StoreError::Closed`] that names the index.
pub(super) async fn ensure_open(
    hosts: &Hosts,
    names: &IndexNames,
    month: Month,
    is_meant: impl Fn(IndexPlace) -> bool,
) -> Result<(), StoreError> {
    let is_meant = |place: IndexPlace| place.month == month && is_meant(place);
    refuse_closed(list_indices(hosts, names, &names.of_month(month), &CLOSED).await?, is_meant)
}

/// As [`ensure_open`], of every month.
///
/// # Errors
/// As there.
pub(super) async fn ensure_all_open(hosts: &Hosts, names: &IndexNames) -> Result<(), StoreError> {
    refuse_closed(list_indices(hosts, names, &names.everything(), &CLOSED).await?, |_| true)
}

fn refuse_closed(closed: Vec<ListedIndex>, is_meant: impl Fn(IndexPlace) -> bool) -> Result<(), StoreError> {
    match closed.into_iter().find(|found| is_meant(found.place)) {
        None => Ok(()),
        Some(ListedIndex { index, .. }) => Err(StoreError::Closed(format!(
            "the index {index} is closed, and nobody can tell what it holds: open it (POST /{index}/_open), or delete it"
        ))),
    }
}

/// Returns the places that an expression covers, oldest month first, each once.
pub(super) async fn list(
    hosts: &Hosts,
    names: &IndexNames,
    expression: &str,
    query: &[(&str, &str)],
) -> Result<Vec<IndexPlace>, SinkFault> {
    let mut places: Vec<_> =
        list_indices(hosts, names, expression, query).await?.into_iter().map(|listed| listed.place).collect();
    places.dedup();
    Ok(places)
}

/// Returns the indices of ours that an expression covers, oldest month first. Learns which names are aliases.
pub(super) async fn list_indices(
    hosts: &Hosts,
    names: &IndexNames,
    expression: &str,
    query: &[(&str, &str)],
) -> Result<Vec<ListedIndex>, SinkFault> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        aliases: Map<String, Value>,
    }
    let path = format!("/{expression}/_alias");
    let answer = hosts.send(&EngineRequest::new(Method::Get, &path).query(query)).await?;
    let indices: HashMap<String, Index> = answer.json()?;
    let mut listed = Vec::new();
    for (index, Index { aliases }) in indices {
        let own = names.parse_name(&index);
        let by_alias: Vec<_> = aliases.keys().filter_map(|alias| names.parse_name(alias)).collect();
        let has_other_aliases = aliases.keys().any(|alias| names.parse_name(alias).is_none());
        if own.is_none() {
            names.learn(&index, by_alias.first().copied());
        }
        let found = own.into_iter().chain(by_alias.into_iter().filter(|_| own.is_none()));
        listed.extend(found.map(|place| ListedIndex { place, index: index.clone(), has_other_aliases }));
    }
    listed.sort_unstable_by(|one, other| (one.place.month, one).cmp(&(other.place.month, other)));
    Ok(listed)
}
