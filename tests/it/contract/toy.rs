//! The contract over the toy store, as far as its capabilities go: none.

use std::future::{Ready, ready};
use std::sync::Arc;

use difylog::domain::TenantSet;
use difylog::domain::query::{Page, RunQuery, TextField, TextFilter};
use difylog::store::{Capability, Erasure, Remains, StoreError};

use crate::contract::subject::Subject;
use crate::support::records::{self, app, at, run, tenant};
use crate::support::toy_store::ToyStore;

fn subject() -> Ready<Subject> {
    ready(Subject { store: Arc::new(ToyStore::default()), _guard: Box::new(()) })
}

crate::contract::of_every_store!(cases!(subject()));

#[tokio::test]
async fn what_it_lacks_is_refused_by_name() {
    let subject = subject().await;
    assert_eq!(subject.store.capabilities(), []);
    let run = run(tenant(), app(), at("2026-11-01T00:00:00"));
    let text = Some(TextFilter { keyword: "x".to_owned(), fields: vec![TextField::Inputs] });
    let filter = RunQuery { text, ..RunQuery::default() }.within(run.tenant_id);
    let searched = subject.store.search_runs(&filter, &Page::newest(1), Some(1)).await;
    assert_eq!(searched, Err(StoreError::Unsupported(Capability::TextSearch)));
    let erasure = Erasure { key: difylog::domain::Record::Run(Box::new(run.clone())).key(), revision: None };
    for remains in [Remains::Nothing, Remains::Tombstone(records::later(run.created_at, 1))] {
        let erased = subject.store.erase(&[erasure], remains).await;
        assert_eq!(erased, Err(StoreError::Unsupported(Capability::Erasure)));
    }
    let retired = subject.store.retire_month(run.created_at.month(), &TenantSet::everybody(), run.created_at).await;
    assert_eq!(retired, Err(StoreError::Unsupported(Capability::Erasure)));
    assert_eq!(subject.store.need(Capability::MonthCopies), Err(StoreError::Unsupported(Capability::MonthCopies)));
}
