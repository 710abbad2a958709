//! `cleanup-pg`: rows that are proved to be in the store go from PostgreSQL, in small transactions.
//!
//! A run goes with all that is its own (node executions, their offloads, its app logs) or not at all: every row is locked
//! and compared with its document in the transaction that deletes it. Runs that have not ended, runs of which Dify keeps
//! a pause, and runs that rows of other tables refer to (the messages of a chat flow, trigger logs; draft variables refer to
//! their nodes) stay. Then go the rows whose parent is gone: single-step node executions, app logs and offloads left by
//! deleted runs. Files that offloads point to, and their `upload_files` rows, stay. It can be stopped at any moment and
//! started again: what is gone is gone, and nothing else is needed to go on.

mod batch;

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;

use super::report::Unended;
use super::{LifeError, StoreSide};
use crate::domain::query::TimeRange;
use crate::domain::{Kind, RecordId, TenantId, Timestamp};
use crate::postgres::{Candidate, CandidateWalk, Catalogue, Client, Database, PostgresError, Reference, lookup};
use crate::rate::RateLimit;

/// Rows that a walk meets at a time.
const STEP: u32 = 2_000;
/// Batches in a row that another session may keep from their rows.
const BUSY_LIMIT: u32 = 10;
/// Most rows that stay and are named.
const MAX_NAMED: usize = 1_000;

/// What is to go, and how.
#[derive(Debug, Clone)]
pub struct CleanupPlan {
    /// Empty: all tenants.
    pub tenants: Vec<TenantId>,
    /// Runs (and rows without a run) created in this span.
    pub created: TimeRange,
    /// Runs, or rows without a run, per transaction.
    pub batch: usize,
    /// Rows per second.
    pub rate: Option<NonZeroU32>,
    /// Milliseconds that a batch waits for a lock.
    pub lock_timeout_ms: u32,
    /// Rows with values that their documents have in a changed form only go, too.
    pub allow_changed: bool,
    /// Tables whose references keep no run; `all` stands for every one.
    pub ignored_references: Vec<String>,
    /// Runs and nodes that began before this instant go although they have not ended.
    pub unended_before: Option<Timestamp>,
    /// `false`: everything but the deletion.
    pub execute: bool,
}

/// Rows and bytes that went, or would go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    pub rows: u64,
    /// Of texts, as PostgreSQL kept them; indexes come on top.
    pub bytes: u64,
}

/// Why a run, or a row without one, stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stay {
    /// Dify keeps a pause of it.
    Paused,
    /// A row of another table refers to it.
    Referenced,
    /// Another session holds it, or it changed since it was met.
    Held,
    /// The store has no document of a row.
    Missing,
    /// The document of a row says something else.
    Different,
    /// The document of a row has a value in a changed form only.
    Changed,
    /// A row cannot be a record.
    Unreadable,
}

impl Stay {
    /// Returns the reason, for people.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Paused => "paused: Dify may resume it",
            Self::Referenced => {
                "rows of other tables refer to them: --include-referenced-by TABLE,… (or all) deletes them"
            }
            Self::Held => "held by another session, or changed meanwhile",
            Self::Missing => "not in the store",
            Self::Different => "different in the store",
            Self::Changed => "values were changed or masked on their way into the store: --allow-changed deletes them",
            Self::Unreadable => "cannot be a record",
        }
    }
}

/// Something that stays, named by the row that keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub stay: Stay,
    /// The row on account of which it stays.
    pub kind: Kind,
    pub id: RecordId,
    /// The run, or the row itself.
    pub family: RecordId,
}

/// What a cleanup did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanupOutcome {
    pub freed: BTreeMap<Kind, Freed>,
    /// Runs, and rows without a run, that stay.
    pub stayed: BTreeMap<Stay, u64>,
    /// At most 1,000 of them.
    pub kept: Vec<Kept>,
    /// Runs, and rows without one, that stay because rows of these tables refer to them or to their nodes.
    pub referenced: BTreeMap<String, u64>,
    /// Rows before the end of the span that stay because they have not ended.
    pub unended: BTreeMap<Kind, Unended>,
    /// Rows of those that go which would come back spelled otherwise, equal in value.
    pub spelled: u64,
    /// Rows of those that go whose values the store has in a changed form only.
    pub changed: u64,
    /// Files in Dify's storage that no row points to any more; they stay, with their `upload_files` rows.
    pub files_left: u64,
    /// How the tables were walked.
    pub plans: Vec<String>,
    /// It went to the end.
    pub complete: bool,
}

impl CleanupOutcome {
    fn free(&mut self, kind: Kind, rows: u64, bytes: u64) {
        let freed = self.freed.entry(kind).or_default();
        freed.rows += rows;
        freed.bytes += bytes;
    }

    fn keep(&mut self, kept: Kept) {
        *self.stayed.entry(kept.stay.clone()).or_default() += 1;
        // What other tables refer to may be most of the runs; it is counted by table.
        if self.kept.len() < MAX_NAMED && kept.stay != Stay::Referenced {
            self.kept.push(kept);
        }
    }

    /// Rows that went, of all kinds.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.freed.values().map(|freed| freed.rows).sum()
    }
}

/// A cleanup under way.
pub struct Cleanup<'a> {
    pub database: &'a Database,
    pub store: StoreSide<'a>,
    pub plan: &'a CleanupPlan,
    /// Told after each batch.
    pub progress: &'a (dyn Fn(&CleanupOutcome) + Sync),
    /// Asked before each batch; `true` ends the cleanup there.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Cleanup<'_> {
    /// Deletes, or says what it would delete.
    ///
    /// # Errors
    /// [`LifeError`] if either side cannot be used; what was committed before is gone, and another call goes on.
    pub async fn run(&self) -> Result<CleanupOutcome, LifeError> {
        let mut outcome = CleanupOutcome::default();
        let rate = RateLimit::new(self.plan.rate);
        let catalogue = Catalogue::read(&self.database.client().await?).await?;
        outcome.plans = catalogue.describe_unknown_columns();
        for kind in [Kind::WorkflowRun, Kind::NodeExecution] {
            let each = if kind == Kind::WorkflowRun { format!("{STEP} runs") } else { "batch".to_owned() };
            for Reference { name, column, .. } in self.references(&catalogue, kind).filter(|found| !found.is_indexed) {
                outcome.plans.push(format!("{name}: read whole for each {each}: no index on {column}"));
            }
        }
        for kind in [Kind::WorkflowRun, Kind::NodeExecution, Kind::AppLog, Kind::Offload] {
            let walk = CandidateWalk::new(&catalogue, kind, self.plan.created)?;
            let Some(walk) = walk else { continue };
            outcome.plans.push(walk.plan());
            if !self.walk(&catalogue, kind, walk, &rate, &mut outcome).await? {
                return Ok(outcome);
            }
        }
        outcome.complete = true;
        Ok(outcome)
    }

    /// Returns whether it came to the end; `false`: it was stopped.
    async fn walk(
        &self,
        catalogue: &Catalogue,
        kind: Kind,
        mut walk: CandidateWalk,
        rate: &RateLimit,
        outcome: &mut CleanupOutcome,
    ) -> Result<bool, LifeError> {
        let mut client = self.database.client().await?;
        let mut busy = 0;
        loop {
            // A step may hold nothing that is wanted, and so may all of them.
            if (self.stop)() {
                return Ok(false);
            }
            let met = walk.next(&client, STEP).await?;
            if met.is_empty() {
                return Ok(true);
            }
            let ids = self.choose(&client, catalogue, kind, &met, outcome).await?;
            for ids in ids.chunks(self.plan.batch.max(1)) {
                if (self.stop)() {
                    return Ok(false);
                }
                let before = outcome.rows();
                match self.batch(&mut client, catalogue, kind, ids, outcome).await {
                    Ok(()) => busy = 0,
                    // Another session holds a row for longer than the batch may wait: the next cleanup meets it again.
                    Err(LifeError::Postgres(PostgresError::Interrupted(_)))
                        if busy < BUSY_LIMIT && !client.is_closed() =>
                    {
                        busy += 1;
                        for id in ids {
                            outcome.keep(Kept { stay: Stay::Held, kind, id: *id, family: *id });
                        }
                    }
                    Err(error) => return Err(error),
                }
                (self.progress)(outcome);
                rate.pass_unless(outcome.rows() - before, self.stop).await;
            }
        }
    }

    /// Runs: all that are wanted. Other kinds: those whose parent is gone; the others go with their run.
    async fn choose(
        &self,
        client: &Client,
        catalogue: &Catalogue,
        kind: Kind,
        met: &[Candidate],
        outcome: &mut CleanupOutcome,
    ) -> Result<Vec<RecordId>, LifeError> {
        let asked_for = |tenant| self.plan.tenants.is_empty() || self.plan.tenants.contains(tenant);
        let (wanted, unended): (Vec<&Candidate>, Vec<&Candidate>) = met
            .iter()
            .filter(|candidate| candidate.is_in_span && asked_for(&candidate.tenant_id))
            .partition(|candidate| candidate.has_ended || self.is_released(candidate));
        for created_at in unended.into_iter().filter_map(|candidate| candidate.created_at) {
            outcome.unended.entry(kind).or_insert_with(|| Unended::new(kind)).add(created_at);
        }
        let parent_kind = match kind {
            Kind::WorkflowRun => {
                let ids = wanted.into_iter().map(|candidate| candidate.id).collect();
                return self.unreferenced(client, catalogue, ids, outcome).await;
            }
            Kind::NodeExecution | Kind::AppLog => Kind::WorkflowRun,
            Kind::Offload => Kind::NodeExecution,
        };
        let parents: Vec<RecordId> = wanted.iter().filter_map(|candidate| candidate.parent).collect();
        let present = lookup::present(client, catalogue, parent_kind, &parents).await?;
        let present: HashSet<RecordId> = present.into_iter().map(|(_, id)| id).collect();
        let alone = |candidate: &&Candidate| candidate.parent.is_none_or(|parent| !present.contains(&parent));
        Ok(wanted.into_iter().filter(alone).map(|candidate| candidate.id).collect())
    }

    /// Returns whether it goes although it has not ended.
    fn is_released(&self, candidate: &Candidate) -> bool {
        candidate.created_at.zip(self.plan.unended_before).is_some_and(|(created_at, before)| created_at < before)
    }

    /// Returns what refers to rows of a kind and is to be heeded.
    fn references<'c>(&'c self, catalogue: &'c Catalogue, kind: Kind) -> impl Iterator<Item = &'c Reference> {
        let ignored = |table: &str| self.plan.ignored_references.iter().any(|name| name == "all" || name == table);
        let of_kind = catalogue.references().iter().filter(move |reference| reference.target == kind);
        of_kind.filter(move |reference| !ignored(&reference.table))
    }

    /// Returns the runs that nothing refers to. No new reference to a run comes up once it has ended.
    async fn unreferenced(
        &self,
        client: &Client,
        catalogue: &Catalogue,
        mut ids: Vec<RecordId>,
        outcome: &mut CleanupOutcome,
    ) -> Result<Vec<RecordId>, LifeError> {
        for reference in self.references(catalogue, Kind::WorkflowRun) {
            if ids.is_empty() {
                break;
            }
            let found: HashSet<RecordId> = lookup::referenced(client, reference, &ids).await?.into_iter().collect();
            ids.retain(|id| !found.contains(id));
            for id in &found {
                outcome.keep(Kept { stay: Stay::Referenced, kind: Kind::WorkflowRun, id: *id, family: *id });
            }
            if !found.is_empty() {
                *outcome.referenced.entry(reference.table.clone()).or_default() += found.len() as u64;
            }
        }
        Ok(ids)
    }
}
