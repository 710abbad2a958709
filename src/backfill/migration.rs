//! A migration from its start to its end: a walk per kind, in chunks, several in flight, kept in their order; faults that
//! pass are waited out from the latest checkpoint.

mod conditions;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::chunk::{Chunk, Copier, RowBudget, Tail};
use super::error::MigrateError;
use super::rejects::{Reject, RejectsFile};
use super::removal::RemovalLease;
use super::settings::MigrateSettings;
use super::state::{Checkpoint, MigrationScope, MigrationState};
use super::tally::{Progress, Spent, Tally};
use crate::backoff::Backoff;
use crate::codec::PayloadPolicy;
use crate::domain::{Kind, Origin, Timestamp};
use crate::pipeline::gate::{Gate, GateWatch};
use crate::postgres::{Catalogue, Database, PostgresError, Range, RowSelection, TableWalk, lookup};
use crate::rate::RateLimit;
use crate::store::payload::DifyStorage;
use crate::store::{LogReader, StateStore};
use crate::telemetry::{Clock, how_it_ended};

/// Clocks of the two servers may differ by this much, and a row may become visible so long after its `created_at`.
const OVERLAP: Duration = Duration::from_mins(15);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(10) };

/// What to do.
#[derive(Debug, Clone, Default)]
pub struct Task {
    pub selection: RowSelection,
    /// Empty: all.
    pub kinds: Vec<Kind>,
    /// Rows a second.
    pub rate: Option<NonZeroU32>,
    pub start: Start,
    /// Go on after the copy with rows that change, until stopped.
    pub follow: bool,
    /// Write nothing anywhere.
    pub dry_run: bool,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// Where an earlier attempt ended, if there was one.
    #[default]
    Continue,
    /// Where an earlier attempt ended; there must be one.
    Resume,
    /// From the first row.
    Restart,
}

/// What a migration needs from outside.
pub struct MigrationPorts {
    pub database: Database,
    pub state: Arc<dyn StateStore>,
    pub tail: Tail,
    /// Looks up what is stored; `None`: nothing is.
    pub stored: Option<Arc<dyn LogReader>>,
    pub gate: GateWatch,
    pub storage: Option<DifyStorage>,
    pub clock: Clock,
    /// This process, for others that wait for its lease.
    pub holder: String,
    /// Stops it after the chunks in flight.
    pub stop: CancellationToken,
}

/// A migration that has its lease and its plans.
pub struct Migration {
    task: Task,
    settings: MigrateSettings,
    state: MigrationState,
    removal: RemovalLease,
    copier: Arc<Copier>,
    rejects: RejectsFile,
    gate: GateWatch,
    stop: CancellationToken,
    clock: Clock,
    walks: Vec<(Arc<TableWalk>, Arc<Progress>)>,
    unknown_columns: Vec<String>,
}

/// What was done in all, earlier attempts included.
#[derive(Debug, Clone, Default)]
pub struct MigrationReport {
    pub kinds: Vec<(Kind, Tally)>,
    /// Whether every walk came to its end.
    pub complete: bool,
}

impl Migration {
    /// Plans the walks and takes the lease; copies nothing yet.
    ///
    /// # Errors
    /// [`MigrateError`] with what to do.
    pub async fn prepare(
        task: Task,
        settings: MigrateSettings,
        policy: PayloadPolicy,
        ports: MigrationPorts,
    ) -> Result<Self, MigrateError> {
        let client = ports.database.client().await?;
        let catalogue = Catalogue::read(&client).await?;
        let mut walks = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| task.kinds.is_empty() || task.kinds.contains(kind)) {
            match TableWalk::plan(kind, &catalogue, task.selection.clone(), ports.storage.is_some())? {
                None => info!(%kind, "this database has no such table: nothing to copy"),
                Some(walk) => {
                    let progress = Progress::default();
                    progress.total.store(walk.estimate(&client).await?, Ordering::Relaxed);
                    walks.push((Arc::new(walk), Arc::new(progress)));
                }
            }
        }
        let identity = lookup::identity(&client).await;
        drop(client);
        let scope = MigrationScope::new(ports.database.server(), &task.selection.tenants, task.selection.created);
        let scope = scope.of_database(identity);
        let lease = Duration::from_secs(settings.lease_seconds.get().into());
        let clock = Arc::clone(&ports.clock);
        let removal = RemovalLease {
            state: Arc::clone(&ports.state),
            clock: Arc::clone(&clock),
            duration: lease,
            holder: ports.holder.clone(),
        };
        let state = MigrationState::acquire(ports.state, scope, clock, lease, &ports.holder).await?;
        let path: PathBuf = settings.rejects_dir.join(format!("{}.jsonl", state.id()));
        let copier = Copier {
            database: ports.database,
            tail: ports.tail,
            stored: ports.stored,
            storage: ports.storage,
            policy,
            origin: Some(Origin::new(state.id())),
            rate: RateLimit::new(task.rate),
            budget: RowBudget::new(settings.memory_budget_bytes),
            spent: Arc::new(Spent::default()),
        };
        Ok(Self {
            rejects: RejectsFile::new((!task.dry_run).then_some(path)),
            task,
            settings,
            state,
            removal,
            copier: Arc::new(copier),
            gate: ports.gate,
            stop: ports.stop,
            clock: ports.clock,
            walks,
            unknown_columns: catalogue.describe_unknown_columns(),
        })
    }

    /// Returns the migration's id, which its documents carry as their origin.
    #[must_use]
    pub const fn id(&self) -> uuid::Uuid {
        self.state.id()
    }

    /// Returns what is walked how, in words, and what can be watched of it.
    pub fn plans(&self) -> impl Iterator<Item = (Kind, String, Arc<Progress>)> + '_ {
        self.walks.iter().map(|(walk, progress)| (walk.kind(), walk.describe(), Arc::clone(progress)))
    }

    /// Columns that this version does not know and copies all the same, table by table, in words.
    #[must_use]
    pub fn unknown_columns(&self) -> &[String] {
        &self.unknown_columns
    }

    /// Returns where the time goes.
    #[must_use]
    pub fn spent(&self) -> Arc<Spent> {
        Arc::clone(&self.copier.spent)
    }

    /// Returns where rows are named that cannot be copied.
    #[must_use]
    pub fn rejects_path(&self) -> Option<&std::path::Path> {
        self.rejects.path()
    }

    /// Copies until everything is, or until it is told to stop.
    ///
    /// # Errors
    /// [`MigrateError`]; the checkpoints stay where they are.
    pub async fn run(&self) -> Result<MigrationReport, MigrateError> {
        self.holding(self.work()).await
    }

    /// Returns the database that it reads.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.copier.database
    }

    pub(super) fn copier(&self) -> Arc<Copier> {
        Arc::clone(&self.copier)
    }

    pub(super) fn walk_of(&self, kind: Kind) -> Option<(Arc<TableWalk>, Arc<Progress>)> {
        let found = self.walks.iter().find(|(walk, _)| walk.kind() == kind)?;
        Some((Arc::clone(&found.0), Arc::clone(&found.1)))
    }

    pub(super) async fn keep_rejects(&self, rejects: &[Reject]) -> Result<(), MigrateError> {
        self.rejects.append(rejects).await
    }

    async fn work(&self) -> Result<MigrationReport, MigrateError> {
        if self.task.start == Start::Restart {
            self.state.restart().await?;
            self.rejects.restart().await?;
        }
        let mut report = MigrationReport { complete: true, ..MigrationReport::default() };
        let mut found = self.task.start != Start::Resume;
        for (walk, progress) in &self.walks {
            let mut checkpoint = self.state.checkpoint(walk.kind(), walk.order()).await?;
            found |= checkpoint.after.is_some() || checkpoint.done;
            if !found {
                let text = "there is nothing to resume: leave out --resume";
                return Err(MigrateError::Refused(text.into()));
            }
            progress.done.store(checkpoint.tally.read, Ordering::Relaxed);
            if !checkpoint.done {
                self.walk(walk, progress, &mut checkpoint, true).await?;
            }
            report.complete &= checkpoint.done;
            report.kinds.push((walk.kind(), checkpoint.tally));
        }
        if self.task.follow && report.complete {
            self.follow(&mut report).await?;
        }
        Ok(report)
    }

    /// Walks again and again over what is new, has ended since, or has not ended. The pause grows with the length of a
    /// round, so that a table without an index by time is not read all the time.
    async fn follow(&self, report: &mut MigrationReport) -> Result<(), MigrateError> {
        let interval = Duration::from_secs(self.settings.follow_interval_seconds.get());
        let mut since = before(self.state.started_at(), OVERLAP);
        while !self.stop.is_cancelled() {
            let (begin, now) = (Instant::now(), (self.clock)());
            for ((walk, progress), (_, tally)) in self.walks.iter().zip(&mut report.kinds) {
                let changed = Arc::new(walk.changed_since(since));
                let order = walk.order();
                let mut round = Checkpoint { order, after: None, done: false, tally: Tally::default() };
                self.walk(&changed, progress, &mut round, false).await?;
                if round.tally.read > 0 {
                    info!(kind = %walk.kind(), rows = round.tally.read, "followed");
                }
                *tally += &round.tally;
            }
            since = before(now, OVERLAP);
            let pause = interval.max(begin.elapsed() * 4);
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    /// Walks on from a checkpoint to the end, through faults that pass.
    async fn walk(
        &self,
        walk: &Arc<TableWalk>,
        progress: &Arc<Progress>,
        checkpoint: &mut Checkpoint,
        keep: bool,
    ) -> Result<(), MigrateError> {
        let give_up = Duration::from_secs(self.settings.give_up_seconds.get());
        let mut rng = StdRng::seed_from_u64((self.clock)().micros().unsigned_abs());
        let mut rows = self.settings.batch_size.get();
        let (mut failures, mut since) = (0, Instant::now());
        loop {
            let before = checkpoint.after;
            let error = match self.pass(walk, progress, checkpoint, rows, keep).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Gate::Closed(reason) = &*self.gate.borrow() {
                return Err(MigrateError::Closed(reason.clone()));
            }
            if checkpoint.after != before {
                (failures, since) = (0, Instant::now());
                rows = self.settings.batch_size.get();
            }
            if !error.is_retriable() || since.elapsed() >= give_up || self.stop.is_cancelled() {
                return Err(error);
            }
            failures += 1;
            if matches!(error, MigrateError::Postgres(PostgresError::Interrupted(_))) {
                // A statement that takes too long gets less to do.
                rows = (rows / 2).max(1);
            }
            let pause = BACKOFF.pause(failures, &mut rng);
            warn!(kind = %walk.kind(), %error, seconds = pause.as_secs_f64(), "going on from the latest checkpoint after a pause");
            progress.done.store(checkpoint.tally.read, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
        }
    }

    /// Walks until the end or the first fault. Chunks fly in parallel and are kept in their order.
    async fn pass(
        &self,
        walk: &Arc<TableWalk>,
        progress: &Arc<Progress>,
        checkpoint: &mut Checkpoint,
        rows: u32,
        keep: bool,
    ) -> Result<(), MigrateError> {
        let ranges = futures::stream::try_unfold(Some(checkpoint.after), |next| async move {
            let Some(after) = next.filter(|_| !self.stop.is_cancelled()) else { return Ok(None) };
            let client = self.copier.database.client().await?;
            let through = walk.boundary(&client, after, rows).await?;
            Ok::<_, MigrateError>(Some((Range { after, through }, through.map(Some))))
        });
        let chunks = ranges.map_ok(|range| {
            let copying = Arc::clone(&self.copier).copy(Arc::clone(walk), range, Arc::clone(progress));
            let task = AbortOnDropHandle::new(tokio::spawn(copying));
            async move {
                task.await.unwrap_or_else(|crash| {
                    warn!(how = how_it_ended(&crash), "a chunk died");
                    Err(MigrateError::GivenBack)
                })
            }
        });
        let mut chunks = std::pin::pin!(chunks.try_buffered(self.settings.concurrency.get()));
        while let Some(chunk) = self.unless_stalled(chunks.next(), progress).await? {
            let Chunk { range, tally, rejects } = chunk?;
            self.rejects.append(&rejects).await?;
            let mut next = checkpoint.clone();
            next.tally += &tally;
            next.done = range.through.is_none();
            next.after = range.through.or(checkpoint.after);
            if keep {
                self.state.advance(walk.kind(), &next).await?;
            }
            *checkpoint = next;
        }
        Ok(())
    }
}

fn before(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.micros().saturating_sub(by)).unwrap_or(Timestamp::MIN)
}
