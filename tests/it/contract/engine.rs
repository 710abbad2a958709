//! The contract over a search engine, in both tenancies. The engine is the one at `DIFYLOG_TEST_ENGINE_URL`, which
//! `scripts/test` starts; each run has index prefixes of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use difylog::store::StoreAdmin as _;
use difylog::store::elastic::{ElasticSettings, ElasticStore, SearchedTexts, Tenancy};
use uuid::Uuid;

use crate::contract::subject::Subject;

static RUN: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().simple().to_string()[..8].to_owned());

/// Settings for the engine under test, with a prefix that no other run and no other `purpose` has.
pub fn settings(purpose: &str, tenancy: Tenancy) -> ElasticSettings {
    let url = std::env::var("DIFYLOG_TEST_ENGINE_URL").unwrap_or_else(|_| {
        panic!("DIFYLOG_TEST_ENGINE_URL is not set: run ./scripts/test, or start an engine (tests/servers) and set it")
    });
    let prefix = format!("t{}-{purpose}", *RUN);
    ElasticSettings { hosts: vec![url], tenancy, prefix, replicas: 0, ..ElasticSettings::default() }
}

/// Over how many stores the cases are spread. A question without a time asks every month of its store, and the cases that
/// count or drop months have some fifty of their own: over one store, most of an engine's work would be to search them.
const STORES: usize = 8;

async fn subject(tenancy: Tenancy) -> Subject {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let purpose = if tenancy == Tenancy::Shared { "shared" } else { "dedicated" };
    let purpose = format!("{purpose}{}", NEXT.fetch_add(1, Ordering::Relaxed) % STORES);
    // The cases look for keywords in every text.
    let settings = ElasticSettings { search: SearchedTexts::All, ..settings(&purpose, tenancy) };
    let store = Arc::new(ElasticStore::new(settings).unwrap());
    store.install().await.unwrap();
    Subject { store, _guard: Box::new(()) }
}

crate::contract::contract!(subject(Tenancy::Dedicated));
crate::contract::cases! { subject(Tenancy::Dedicated); scan::a_walk_over_large_graphs_comes_in_short_answers, }

mod shared {
    crate::contract::contract!(super::subject(difylog::store::elastic::Tenancy::Shared));
}
