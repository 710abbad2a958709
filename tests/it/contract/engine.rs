//! The contract over a search engine, in both tenancies. The engine is the one at `DIFYLOG_TEST_ENGINE_URL`, which
//! `scripts/test` starts; each run has prefixes of its own, which stay in the engine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use difylog::store::StoreAdmin as _;
use difylog::store::elastic::{ElasticSettings, ElasticStore, SearchedTexts, Tenancy};

use crate::contract::subject::Subject;
use crate::support::namespace::{settings, unique_name};
use crate::support::site::needed;

/// Over how many stores the cases are spread. A store of its own for each would be twice the work for an engine: templates
/// and indices are made and removed in turn. A question without a time asks every month of its store, and the cases that count
/// or drop months have some fifty of their own: over one store, most of the work would be to search them.
const STORES: usize = 8;

async fn subject(tenancy: Tenancy) -> Subject {
    static RUN: LazyLock<String> = LazyLock::new(unique_name);
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let prefix = format!("{}-{tenancy:?}{}", *RUN, NEXT.fetch_add(1, Ordering::Relaxed) % STORES).to_lowercase();
    // The cases look for keywords in every text.
    let settings = settings(needed("DIFYLOG_TEST_ENGINE_URL"), prefix, tenancy);
    let store = Arc::new(ElasticStore::new(ElasticSettings { search: SearchedTexts::All, ..settings }).unwrap());
    store.install().await.unwrap();
    Subject { store, _guard: Box::new(()) }
}

crate::contract::contract!(subject(Tenancy::Dedicated));
crate::contract::cases! { subject(Tenancy::Dedicated); scan::a_walk_over_large_graphs_comes_in_short_answers, }

mod shared {
    crate::contract::contract!(super::subject(difylog::store::elastic::Tenancy::Shared));
}
