//! The writer: one thread that owns the write connections and takes everything that waits into one group.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::runtime::Runtime;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::erase;
use super::fault::SqliteFault;
use super::files::WriteFiles;
use super::write::{WriteRequest, write_group};
use crate::domain::record::RecordKey;
use crate::domain::{Month, TenantId, TenantSet, Timestamp};
use crate::store::{Erasure, Remains};
use crate::telemetry::system_clock;

/// Requests that wait for the writer; what waits beyond them waits in `apply`.
const QUEUE: usize = 16;

/// A group ends before it exceeds these: a commit is then long enough to share, and short enough to wait for. Rows that
/// come in no order of time (a migration by primary key) go into all months at once and touch the same pages of every index
/// with each commit: 500,000 nodes over 14 months took 1.6 times as long in groups of 2,000 as in groups of 16,000.
const GROUP_ROWS: usize = 16_384;
const GROUP_BYTES: usize = 32 << 20;

/// How long no command must come before the search index is seen to: a flow that is busy writes again at once, and an
/// acknowledgement should not wait for the index.
const PAUSE: Duration = Duration::from_millis(20);

/// How often requests of other processes are looked for, at least.
const TICK: Duration = Duration::from_millis(50);

/// How often it is looked whether files are gone, and logs that may hold what was erased are emptied.
const TIDY: Duration = Duration::from_millis(500);

/// Work for the writer thread, each with the place of its answer.
pub enum Command {
    Write(WriteRequest),
    /// Takes the right to write.
    Claim(oneshot::Sender<Result<(), SqliteFault>>),
    Probe(oneshot::Sender<Result<(), SqliteFault>>),
    Install(oneshot::Sender<Result<Vec<String>, SqliteFault>>),
    DropMonth(Month, oneshot::Sender<Result<bool, SqliteFault>>),
    /// Drops a month that late writes must not bring back.
    RetireMonth(Month, TenantSet, Timestamp, oneshot::Sender<Result<Option<bool>, SqliteFault>>),
    Erase(Vec<Erasure>, Remains, oneshot::Sender<Result<Vec<bool>, SqliteFault>>),
    EraseGraphs(Month, TenantId, oneshot::Sender<Result<u64, SqliteFault>>),
    LiftTombstones(Vec<RecordKey>, oneshot::Sender<Result<u64, SqliteFault>>),
    PurgeTombstones(Timestamp, oneshot::Sender<Result<u64, SqliteFault>>),
    /// Gives space back to the disk.
    Compact(oneshot::Sender<Result<Vec<String>, SqliteFault>>),
    /// Answers when the search indices of all months are up to date.
    CatchUp(oneshot::Sender<()>),
    /// Ends the thread once the files are closed.
    Close(oneshot::Sender<()>),
    #[cfg(test)]
    Panic,
}

/// The way to the writer thread.
pub struct WriterHandle {
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    /// Cancelled when the thread ends, however it does.
    ended: CancellationToken,
}

impl WriterHandle {
    pub fn spawn(files: WriteFiles) -> io::Result<Self> {
        let (commands, queue) = mpsc::channel(QUEUE);
        let builder = thread::Builder::new().name(String::from("sqlite-writer"));
        // Only its clock is needed.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let ended = CancellationToken::new();
        let ending = ended.clone().drop_guard();
        let thread = builder.spawn(move || {
            let _ending = ending;
            run(files, Inbox { queue, runtime, quiet: Quiet::default() });
        })?;
        Ok(Self { commands: Some(commands), thread: Some(thread), ended })
    }

    /// Waits until the thread has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Gives a command to the thread and waits for its answer.
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, SqliteFault> {
        let gone = || SqliteFault::Unavailable(String::from("the sqlite writer has ended: restart difylog"));
        let (answer, answered) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(gone)?;
        commands.send(command(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

impl Drop for WriterHandle {
    /// Waits until the files are closed: the next process that opens the directory finds them tidy and unlocked.
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already, and its requests were answered with a fault.
            let _ = thread.join();
        }
    }
}

/// Where commands come from, and whether there is time for other work.
struct Inbox {
    queue: mpsc::Receiver<Command>,
    runtime: Runtime,
    quiet: Quiet,
}

/// Whether writing has paused.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Quiet {
    /// There is no other work to do.
    #[default]
    Done,
    /// There is, once no command has come for [`PAUSE`].
    NotYet,
    /// No command has come for long enough.
    Now,
}

impl Inbox {
    /// Returns the next command; `Ok(None)`: none for now, and other work may be done; it waits at most [`TICK`].
    /// `Err`: there will be none.
    fn next(&mut self) -> Result<Option<Command>, ()> {
        let mut within = |pause| self.runtime.block_on(async { timeout(pause, self.queue.recv()).await });
        let next = match self.quiet {
            Quiet::Done => match within(TICK) {
                Ok(command) => command.ok_or(()).map(Some),
                // There is still nothing else to do.
                Err(_) => return Ok(None),
            },
            Quiet::Now => match self.queue.try_recv() {
                Ok(command) => Ok(Some(command)),
                Err(TryRecvError::Empty) => Ok(None),
                Err(TryRecvError::Disconnected) => Err(()),
            },
            Quiet::NotYet => match within(PAUSE) {
                Ok(command) => command.ok_or(()).map(Some),
                Err(_) => Ok(None),
            },
        };
        self.quiet = if matches!(next, Ok(None)) { Quiet::Now } else { Quiet::NotYet };
        next
    }
}

fn run(mut files: WriteFiles, mut inbox: Inbox) {
    let mut waiting = None;
    let mut caught_up = Vec::new();
    let clock = system_clock();
    let (mut ticked, mut tidied) = (Instant::now(), Instant::now());
    loop {
        if ticked.elapsed() >= TICK {
            files.serve_new_requests(clock());
            ticked = Instant::now();
        }
        if tidied.elapsed() >= TIDY {
            files.tidy();
            tidied = Instant::now();
        }
        let command = match waiting.take() {
            Some(command) => command,
            None => match inbox.next() {
                Ok(Some(command)) => command,
                Ok(None) => {
                    if inbox.quiet == Quiet::Now && !files.catch_up() {
                        inbox.quiet = Quiet::Done;
                        caught_up.drain(..).for_each(|answer| reply(answer, ()));
                    }
                    continue;
                }
                Err(()) => return,
            },
        };
        match command {
            Command::Write(first) => {
                let (group, next) = gather(first, &mut inbox.queue);
                waiting = next;
                let rows = group.iter().map(|request| request.rows.len()).sum();
                write_group(&mut files, group);
                files.keep_up(rows);
            }
            Command::Claim(answer) => reply(answer, files.claim()),
            Command::Probe(answer) => reply(answer, files.probe()),
            Command::Install(answer) => reply(answer, files.install()),
            Command::DropMonth(month, answer) => reply(answer, files.drop_month(month)),
            Command::RetireMonth(month, past, at, answer) => reply(answer, files.retire_month(month, &past, at)),
            Command::Erase(erasures, remains, answer) => reply(answer, erase::erase(&mut files, &erasures, remains)),
            Command::EraseGraphs(month, tenant_id, answer) => {
                let gone = files.erase(month, |rows| erase::erase_graphs(rows, tenant_id));
                reply(answer, gone.map(Option::unwrap_or_default));
            }
            Command::LiftTombstones(keys, answer) => reply(answer, files.lift_tombstones(&keys)),
            Command::PurgeTombstones(before, answer) => reply(answer, files.purge_tombstones(before)),
            Command::Compact(answer) => reply(answer, files.compact()),
            Command::CatchUp(answer) => caught_up.push(answer),
            Command::Close(answer) => {
                drop(files);
                return reply(answer, ());
            }
            #[cfg(test)]
            Command::Panic => std::panic::resume_unwind(Box::new("dictated by a test")),
        }
    }
}

/// Takes what waits behind a request into its group; a command that is no write, or too much, is next.
fn gather(first: WriteRequest, queue: &mut mpsc::Receiver<Command>) -> (Vec<WriteRequest>, Option<Command>) {
    let (mut rows, mut bytes) = (first.rows.len(), first.weight);
    let mut group = vec![first];
    while let Ok(command) = queue.try_recv() {
        match command {
            Command::Write(request)
                if rows + request.rows.len() <= GROUP_ROWS && bytes + request.weight <= GROUP_BYTES =>
            {
                rows += request.rows.len();
                bytes += request.weight;
                group.push(request);
            }
            other => return (group, Some(other)),
        }
    }
    (group, None)
}

fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    // A caller that has gone away does not want its answer.
    let _ = answer.send(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::BulkSink as _;
    use crate::store::sqlite::{SqliteSettings, SqliteStore};

    #[tokio::test]
    async fn a_writer_that_panics_is_known_to_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        let settings = SqliteSettings { dir: dir.path().to_owned(), ..SqliteSettings::default() };
        let store = SqliteStore::new(settings).unwrap();
        assert!(timeout(Duration::from_millis(50), store.ended()).await.is_err(), "it runs");
        store.writer.commands.as_ref().unwrap().send(Command::Panic).await.unwrap();
        let ended = timeout(Duration::from_secs(60), store.ended()).await.unwrap();
        assert!(ended.contains("writing thread"), "{ended}");
        assert!(store.probe().await.unwrap_err().to_string().contains("restart difylog"));
    }
}
