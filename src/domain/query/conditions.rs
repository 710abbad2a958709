//! What filters demand of columns. Said once: every store reads it in its own language.

use uuid::Uuid;

use super::{AppLogFilter, AppScope, Bounds, NodeQuery, RunQuery, Scan, Scoped, TextField, TimeRange};
use crate::domain::{AppId, RecordId};

/// What one column must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition<'f> {
    /// Its name in the table.
    pub column: &'static str,
    pub demand: Demand<'f>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Demand<'f> {
    /// One of these ids.
    Ids(Vec<Uuid>),
    /// One of these texts.
    Texts(Vec<&'f str>),
    Integers(Bounds<i64>),
    Seconds(Bounds<f64>),
    Instants(TimeRange),
}

impl Condition<'_> {
    /// Returns whether it leaves anything out.
    fn is_set(&self) -> bool {
        match &self.demand {
            Demand::Ids(ids) => !ids.is_empty(),
            Demand::Texts(texts) => !texts.is_empty(),
            Demand::Integers(bounds) => *bounds != Bounds::default(),
            Demand::Seconds(bounds) => bounds.min.is_some() || bounds.max.is_some(),
            Demand::Instants(range) => *range != TimeRange::default(),
        }
    }
}

fn ids(column: &'static str, ids: impl IntoIterator<Item = Uuid>) -> Condition<'static> {
    Condition { column, demand: Demand::Ids(ids.into_iter().collect()) }
}

fn texts<'f>(column: &'static str, texts: impl IntoIterator<Item = &'f Box<str>>) -> Condition<'f> {
    Condition { column, demand: Demand::Texts(texts.into_iter().map(|text| &**text).collect()) }
}

const fn created(range: TimeRange) -> Condition<'static> {
    Condition { column: "created_at", demand: Demand::Instants(range) }
}

const fn elapsed(bounds: Bounds<f64>) -> Condition<'static> {
    Condition { column: "elapsed_time", demand: Demand::Seconds(bounds) }
}

/// Returns the app that is asked for, the apps that the question is held to beside it, and the other conditions that are set.
fn of_apps<'f, const N: usize>(
    apps: &AppScope,
    app_id: Option<AppId>,
    others: [Condition<'f>; N],
) -> Vec<Condition<'f>> {
    let held = apps.beside(app_id).map(|apps| ids("app_id", apps.iter().map(|app_id| app_id.uuid())));
    let asked = Some(ids("app_id", app_id.map(AppId::uuid))).filter(Condition::is_set);
    asked.into_iter().chain(others.into_iter().filter(Condition::is_set)).chain(held).collect()
}

impl Scoped<RunQuery> {
    /// Returns all but the keyword; the apps included.
    #[must_use]
    pub fn demands(&self) -> Vec<Condition<'_>> {
        of_apps(
            &self.apps,
            self.app_id,
            [
                ids("workflow_id", self.workflow_id.map(RecordId::uuid)),
                created(self.created),
                texts("type", &self.types),
                texts("status", &self.statuses),
                texts("triggered_from", &self.triggered_from),
                ids("created_by", self.created_by.map(RecordId::uuid)),
                elapsed(self.elapsed_time),
                Condition { column: "total_tokens", demand: Demand::Integers(self.total_tokens) },
            ],
        )
    }
}

impl Scoped<NodeQuery> {
    /// Returns all but the keyword; the apps included.
    #[must_use]
    pub fn demands(&self) -> Vec<Condition<'_>> {
        of_apps(
            &self.apps,
            self.app_id,
            [
                ids("workflow_id", self.workflow_id.map(RecordId::uuid)),
                ids("workflow_run_id", self.workflow_run_id.map(RecordId::uuid)),
                texts("node_id", &self.node_id),
                created(self.created),
                texts("node_type", &self.node_types),
                texts("status", &self.statuses),
                texts("triggered_from", &self.triggered_from),
                ids("created_by", self.created_by.map(RecordId::uuid)),
                elapsed(self.elapsed_time),
            ],
        )
    }
}

impl AppLogFilter {
    /// Returns those on the logs themselves, the apps included; status and keyword look at their runs.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition<'_>> {
        of_apps(
            &self.apps,
            Some(self.app_id),
            [
                created(self.created),
                texts("created_by_role", &self.created_by_role),
                ids("created_by", self.created_by.iter().map(|id| id.uuid())),
                texts("creator", &self.creator),
            ],
        )
    }
}

impl Scan {
    /// Returns all but the origin, which is no column of a record; the apps included.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition<'_>> {
        of_apps(
            &self.apps,
            self.app_id,
            [
                ids("tenant_id", self.tenants.iter().map(|id| id.uuid())),
                created(self.created),
                texts("status", &self.statuses),
            ],
        )
    }
}

impl TextField {
    /// Returns the column that holds it.
    #[must_use]
    pub const fn column(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Outputs => "outputs",
            Self::Error => "error",
            Self::Title => "title",
            Self::ProcessData => "process_data",
        }
    }
}
