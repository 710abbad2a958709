//! The engine store against an engine that says what the test dictates: every answer, good or bad, has its verdicts or
//! its fault, and the requests are the bytes that were agreed.

mod erasures;
mod faults;
mod golden;
mod hosts;
mod indices;
mod reads;
mod spans;
mod tls;
mod verdicts;

use difylog::domain::{BulkAction, Record};
use difylog::store::elastic::{ElasticSettings, ElasticStore};

use crate::support::records;
use crate::support::scripted_engine::ScriptedEngine;

/// The target of writes.
const BULK: &str = "POST /_bulk";

fn settings(engine: &ScriptedEngine) -> ElasticSettings {
    ElasticSettings { hosts: vec![engine.url.clone()], ..ElasticSettings::default() }
}

fn store(engine: &ScriptedEngine) -> ElasticStore {
    ElasticStore::new(settings(engine)).unwrap()
}

/// So many app logs of one tenant and month: one action each, all for one index.
fn app_logs(number: usize) -> Vec<BulkAction> {
    let (tenant, app, run) = (records::tenant(), records::app(), records::id());
    let log = || Record::AppLog(Box::new(records::app_log(tenant, app, run, records::at("2026-11-23T15:28:34Z"))));
    std::iter::repeat_with(|| records::actions(log())).take(number).flatten().collect()
}
