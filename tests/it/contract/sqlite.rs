//! The contract over SQLite: compressed and with a search index, and with neither.

use std::sync::Arc;

use difylog::store::StoreAdmin as _;
use difylog::store::sqlite::{SqliteSettings, SqliteStore};

use crate::contract::subject::Subject;

/// A store in a folder of its own.
async fn subject(compress: bool, search_index: bool) -> Subject {
    let dir = tempfile::tempdir().unwrap();
    let settings = SqliteSettings { dir: dir.path().join("logs"), compress, search_index, ..SqliteSettings::default() };
    let store = Arc::new(SqliteStore::new(settings).unwrap());
    store.install().await.unwrap();
    Subject { store, _guard: Box::new(dir) }
}

crate::contract::contract!(subject(true, true));
crate::contract::cases! { subject(true, true); scan::a_walk_over_large_graphs_comes_in_short_answers, }

mod plain {
    crate::contract::contract!(super::subject(false, false));
}
