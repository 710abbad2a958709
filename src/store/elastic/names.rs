//! The names of indices and documents: built from typed ids only, and parsed exactly. Nothing else spells a name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, GraphHash, Kind, Month, TenantId};

use super::settings::{ElasticSettings, Tenancy};

/// Aliased indices remembered; with more, all are learned anew by the next lists.
const ALIASED: usize = 10_000;

/// What an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Family {
    Records(Kind),
    Graphs,
}

impl Family {
    pub(super) const ALL: [Self; 5] = [
        Self::Records(Kind::WorkflowRun),
        Self::Records(Kind::NodeExecution),
        Self::Records(Kind::AppLog),
        Self::Records(Kind::Offload),
        Self::Graphs,
    ];

    pub(super) const fn index_part(self) -> &'static str {
        match self {
            Self::Records(kind) => kind.index_part(),
            Self::Graphs => "workflow-graphs",
        }
    }

    /// Returns the name in counts.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Records(kind) => kind.as_str(),
            Self::Graphs => "graph",
        }
    }

    pub(super) fn of(action: &BulkAction) -> Self {
        match action {
            BulkAction::Graph(_) => Self::Graphs,
            BulkAction::Document(document) => Self::Records(document.record.kind()),
        }
    }
}

/// One index: a family, a month, and the tenant if it has the index for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct IndexPlace {
    pub(super) family: Family,
    pub(super) tenant: Option<TenantId>,
    pub(super) month: Month,
}

/// The naming rules of one configuration.
#[derive(Debug, Clone)]
pub(super) struct IndexNames {
    prefix: String,
    tenancy: Tenancy,
    dedicated: Vec<TenantId>,
    /// Indices with foreign names, and the names of ours that are aliases of them, as far as they were listed.
    aliased: Arc<Mutex<HashMap<String, Option<IndexPlace>>>>,
}

impl IndexNames {
    pub(super) fn new(settings: &ElasticSettings) -> Self {
        let mut dedicated = settings.dedicated_tenants.clone();
        dedicated.sort_unstable();
        Self { prefix: settings.prefix.clone(), tenancy: settings.tenancy, dedicated, aliased: Arc::default() }
    }

    /// Returns where a tenant's documents of a month are written.
    pub(super) fn place(&self, family: Family, tenant: TenantId, month: Month) -> IndexPlace {
        let own = self.tenancy == Tenancy::Dedicated || self.dedicated.binary_search(&tenant).is_ok();
        IndexPlace { family, tenant: own.then_some(tenant), month }
    }

    pub(super) fn place_of(&self, action: &BulkAction) -> IndexPlace {
        self.place(Family::of(action), action.tenant_id(), action.month())
    }

    /// `dify-workflow-runs-{tenant}-2026.11`, or without the tenant.
    pub(super) fn index(&self, place: IndexPlace) -> String {
        let stem = self.template(place.family);
        match place.tenant {
            Some(tenant) => format!("{stem}-{tenant}-{}", place.month.dotted()),
            None => format!("{stem}-{}", place.month.dotted()),
        }
    }

    /// Returns the place that an index holds: by its name, or by an alias that was listed (`catalog`).
    pub(super) fn parse(&self, index: &str) -> Option<IndexPlace> {
        self.parse_name(index).or_else(|| self.aliased().get(index).copied().flatten())
    }

    /// Returns whether it is known what an index holds, be it nothing of ours.
    pub(super) fn is_known(&self, index: &str) -> bool {
        self.parse_name(index).is_some() || self.aliased().contains_key(index)
    }

    /// Remembers which place an index holds whose own name says nothing; `None`: none of ours.
    pub(super) fn learn(&self, index: &str, place: Option<IndexPlace>) {
        let mut aliased = self.aliased();
        if aliased.len() >= ALIASED {
            aliased.clear();
        }
        aliased.insert(index.to_owned(), place);
    }

    fn aliased(&self) -> MutexGuard<'_, HashMap<String, Option<IndexPlace>>> {
        self.aliased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the place that a name stands for; `None` for every name that [`Self::index`] cannot have built.
    pub(super) fn parse_name(&self, index: &str) -> Option<IndexPlace> {
        Family::ALL.into_iter().find_map(|family| {
            let rest = index.strip_prefix(&self.template(family))?.strip_prefix('-')?;
            let (tenant, month) = match rest.rsplit_once('-') {
                Some((tenant, month)) => (Some(tenant.parse().ok()?), month),
                None => (None, rest),
            };
            let place = IndexPlace { family, tenant, month: month.parse().ok()? };
            (self.index(place) == index).then_some(place)
        })
    }

    /// Returns the name of a family's template, and the stem of its indices.
    pub(super) fn template(&self, family: Family) -> String {
        format!("{}-{}", self.prefix, family.index_part())
    }

    /// Returns what a family's template applies to.
    pub(super) fn pattern(&self, family: Family) -> String {
        format!("{}-*", self.template(family))
    }

    /// Returns the index of difylog's own state.
    pub(super) fn state(&self) -> String {
        format!("{}-difylog-state", self.prefix)
    }

    /// Returns an expression that covers every index of this prefix; more may match it, so answers are parsed.
    pub(super) fn everything(&self) -> String {
        format!("{}-workflow-*", self.prefix)
    }

    /// Returns an expression that covers every index of a month; more may match it.
    pub(super) fn of_month(&self, month: Month) -> String {
        format!("{}{}", self.everything(), month.dotted())
    }

    /// Returns every index that may hold documents of the tenant: its own, and the shared ones (those whose name has no
    /// hyphen after the stem). Both, whatever the tenancy is now: it may have been another when they were written.
    pub(super) fn readable(&self, family: Family, tenant: TenantId) -> String {
        let stem = self.template(family);
        format!("{stem}-*,-{stem}-*-*,{stem}-{tenant}-*")
    }

    /// Both indices that may hold a tenant's documents of one month.
    pub(super) fn candidates(family: Family, tenant: TenantId, month: Month) -> [IndexPlace; 2] {
        [IndexPlace { family, tenant: Some(tenant), month }, IndexPlace { family, tenant: None, month }]
    }
}

/// Returns the `_id` of a record. In a shared index the tenant is part of it: none can overwrite another's row by its
/// id.
pub(super) fn record_id(place: IndexPlace, key: RecordKey) -> String {
    match place.tenant {
        Some(_) => key.id.to_string(),
        None => format!("{}:{}", key.tenant_id, key.id),
    }
}

/// Returns the `_id` of a graph.
pub(super) fn graph_id(place: IndexPlace, tenant: TenantId, hash: GraphHash) -> String {
    match place.tenant {
        Some(_) => hash.to_string(),
        None => format!("{tenant}:{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "669dd85a-0949-4cda-99c9-4984b192aea0";

    fn names(tenancy: Tenancy, dedicated: &[TenantId]) -> IndexNames {
        IndexNames::new(&ElasticSettings { tenancy, dedicated_tenants: dedicated.into(), ..ElasticSettings::default() })
    }

    #[test]
    fn names_and_back_in_both_tenancies() {
        let (tenant, month) = (TENANT.parse().unwrap(), "2026-11".parse().unwrap());
        for (names, suffix) in [
            (names(Tenancy::Dedicated, &[]), format!("-{TENANT}-2026.11")),
            (names(Tenancy::Shared, &[]), "-2026.11".to_owned()),
            (names(Tenancy::Shared, &[tenant]), format!("-{TENANT}-2026.11")),
        ] {
            for family in Family::ALL {
                let place = names.place(family, tenant, month);
                let index = names.index(place);
                assert_eq!(index, format!("dify-{}{suffix}", family.index_part()));
                assert_eq!(names.parse(&index), Some(place));
            }
        }
    }

    #[test]
    fn foreign_names_are_no_places() {
        let names = names(Tenancy::Dedicated, &[]);
        for foreign in [
            "",
            "dify-workflow-runs-",
            "dify-workflow-runs-*",
            "dify-workflow-runs-2026-11",
            "dify-workflow-runs-2026.13",
            "dify-workflow-runs-2026.11-old",
            "dify-workflow-runs-reports-2026.11",
            &format!("dify-workflow-runs-{}-2026.11", TENANT.to_uppercase()),
            &format!("dify-workflow-runs-{}-2026.11", TENANT.replace('-', "")),
            "other-workflow-runs-2026.11",
            "dify-workflow-runs-+026.11",
        ] {
            assert_eq!(names.parse(foreign), None, "{foreign}");
        }
    }
}
