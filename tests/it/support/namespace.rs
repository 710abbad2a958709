//! What a case has in an engine that it shares with the others.

use difylog::store::elastic::{ElasticSettings, Tenancy};
use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use crate::support::engine::try_call;
use crate::support::site::needed;

/// Names of indices in one request at most: an address may have 4 kB.
const NAMES: usize = 30;

/// The indices and templates of the engine under test whose names hold one prefix. They go when it is dropped: an engine
/// that keeps thousands of indices needs half as long again for every case after them.
pub struct Namespace {
    pub url: String,
    pub prefix: String,
}

impl Namespace {
    /// One that no other case of any process has.
    pub fn new() -> Self {
        Self { url: needed("DIFYLOG_TEST_ENGINE_URL"), prefix: unique_name() }
    }

    /// Settings of a store in it.
    pub fn settings(&self, tenancy: Tenancy) -> ElasticSettings {
        settings(self.url.clone(), self.prefix.clone(), tenancy)
    }

    async fn remove(&self) -> (u16, String) {
        let all = format!("/_cat/indices/*{}*?h=index&expand_wildcards=all", self.prefix);
        let (status, listed) = try_call(&self.url, Method::GET, &all, &Value::Null).await;
        if status >= 300 {
            return (status, listed);
        }
        // By their names: some engines refuse to delete by a pattern.
        for names in listed.split_whitespace().collect::<Vec<_>>().chunks(NAMES) {
            let these = format!("/{}?ignore_unavailable=true&expand_wildcards=all", names.join(","));
            let (status, said) = try_call(&self.url, Method::DELETE, &these, &Value::Null).await;
            if status >= 300 {
                return (status, said);
            }
        }
        try_call(&self.url, Method::DELETE, &format!("/_index_template/*{}*", self.prefix), &Value::Null).await
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // In a thread, because a case's own runtime may be the one that drops it. What cannot be removed fails no case.
        let removed = std::thread::scope(|scope| {
            let removing = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(self.remove())
            });
            removing.join()
        });
        if !matches!(removed, Ok((200 | 404, _))) {
            eprintln!("{} is left in the engine: {removed:?}", self.prefix);
        }
    }
}

pub fn settings(url: String, prefix: String, tenancy: Tenancy) -> ElasticSettings {
    ElasticSettings { hosts: vec![url], tenancy, prefix, replicas: 0, ..ElasticSettings::default() }
}

/// A name that nothing else has.
pub fn unique_name() -> String {
    format!("t{}", &Uuid::new_v4().simple().to_string()[..12])
}
