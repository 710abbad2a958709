//! `publish`: native events, captured messages or made-up traffic to the broker, each confirmed.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::Failure;
use super::output::{complain, say};
use crate::amqp::{EventPublisher, Outgoing, Patience, captured_message, set_up};
use crate::codec::{self, DecodeLimits, DecodedEvents, Message, QueueFormat};
use crate::config::Loaded;
use crate::domain::{Kind, Record, TenantId, Timestamp, printable};
use crate::synthetic::{Generator, Shape, Site};

/// Messages published before their confirms are awaited together.
const CHUNK: usize = 256;
/// Longest line of a file; a longer one is no message that a broker would carry.
const MAX_LINE: usize = 256 << 20;

#[derive(Debug, Args)]
#[group(id = "source", required = true)]
pub(super) struct PublishArguments {
    /// Native events, one event or array a line; `-` reads standard input
    #[arg(long, value_name = "FILE", group = "source")]
    events: Option<PathBuf>,
    /// Captured messages, one JSON object a line: exchange, `routing_key`, properties, headers, body or `body_base64`
    #[arg(long, value_name = "FILE", group = "source")]
    captured: Option<PathBuf>,
    /// Made-up runs with their nodes and app logs, this many
    #[arg(long, value_name = "RUNS", group = "source")]
    generate: Option<u64>,
    /// A made-up week of a small site until now, to look at in the log explorer: this many runs of three apps
    #[arg(long, value_name = "RUNS", group = "source")]
    demo: Option<u64>,
    /// Seed of the made-up traffic: the same seed makes the same records
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Start of the first made-up run, ISO 8601 [default: now]
    #[arg(long, requires = "generate")]
    start: Option<Timestamp>,
    /// Bytes of each made-up payload
    #[arg(long, default_value_t = Shape::default().payload_bytes, requires = "generate")]
    payload_bytes: usize,
    /// Publish events as they are, even those that a worker would refuse
    #[arg(long, requires = "events")]
    unchecked: bool,
    /// Messages per second at most [default: as fast as the broker confirms]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Seconds to wait while the broker blocks publishers (it is short of memory or disk); then the exit code is 4, and
    /// what was not confirmed may be published or not
    #[arg(long, default_value_t = WAIT_SECONDS)]
    wait: u64,
}

/// How long a broker that blocks publishers is waited for, unless it is said.
pub(super) const WAIT_SECONDS: u64 = 15;

/// Says what is waited for, on standard error.
fn say_blocked(reason: &str, wait: u64) {
    complain!("difylog: the broker blocks publishers ({}); waiting {wait} s for it", printable(reason));
}

/// Returns how a command that publishes waits for a broker.
pub(super) fn patience(wait: u64) -> Patience {
    Patience::new(Duration::from_secs(wait), move |reason| say_blocked(reason, wait))
}

pub(super) async fn publish(arguments: PublishArguments, loaded: &Loaded) -> Result<(), Failure> {
    set_up(&loaded.settings.amqp).await?;
    let publisher = EventPublisher::connect(&loaded.settings.amqp, patience(arguments.wait)).await?;
    let mut out = Output::new(publisher, arguments.rate, arguments.generate.or(arguments.demo));
    if let Some(path) = &arguments.events {
        for_each_line(path, async |number, line| {
            let message = native(&out.publisher, line, arguments.unchecked)
                .map_err(|problem| Failure::Other(format!("line {number}: {problem}")))?;
            out.add(message).await
        })
        .await?;
    } else if let Some(path) = &arguments.captured {
        for_each_line(path, async |number, line| {
            let text = std::str::from_utf8(&line).map_err(|_| Failure::Other(format!("line {number}: not UTF-8")))?;
            let message =
                captured_message(text).map_err(|problem| Failure::Other(format!("line {number}: {problem}")))?;
            out.add(message).await
        })
        .await?;
    } else if let Some(runs) = arguments.generate {
        let start = arguments.start.unwrap_or_else(|| crate::telemetry::system_clock()());
        let shape = Shape { payload_bytes: arguments.payload_bytes, ..Shape::default() };
        let mut generator = Generator::new(arguments.seed, start, shape);
        for _ in 0..runs {
            for record in generator.run() {
                let body = Bytes::from(codec::encode_native(&record));
                out.add(out.publisher.native(record.kind(), record.tenant_id(), body)).await?;
            }
            out.progress.inc(1);
        }
    } else if let Some(runs) = arguments.demo {
        let mut site = Site::new(arguments.seed, crate::telemetry::system_clock()());
        for _ in 0..runs {
            for record in site.run() {
                let body = Bytes::from(codec::encode_native(&record));
                out.add(out.publisher.native(record.kind(), record.tenant_id(), body)).await?;
            }
            out.progress.inc(1);
        }
    }
    out.finish().await
}

/// Makes a message of a line that holds an event or an array of events.
fn native(publisher: &EventPublisher, line: Vec<u8>, unchecked: bool) -> Result<Outgoing, String> {
    let body = Bytes::from(line);
    let message =
        Message { source: QueueFormat::Native, content_type: None, compression: None, task: None, body: body.clone() };
    let (kind, tenant) = match route(&message) {
        Ok(Some(route)) => route,
        Ok(None) | Err(_) if unchecked => (Kind::WorkflowRun, TenantId::new(uuid::Uuid::nil())),
        Ok(None) => return Err("no event in it".to_owned()),
        Err(problem) => return Err(problem),
    };
    Ok(publisher.native(kind, tenant, body))
}

/// Kind and tenant of the first event; an error if any of them would be refused.
fn route(message: &Message) -> Result<Option<(Kind, TenantId)>, String> {
    let of = |record: &Record| (record.kind(), record.tenant_id());
    let decoded = codec::decode(message, DecodeLimits::default()).map_err(|refusal| refusal.to_string())?;
    match decoded.content {
        DecodedEvents::One(record) => Ok(Some(of(&record))),
        DecodedEvents::Parts(parts) => {
            let mut first = None;
            for (position, part) in parts.into_iter().enumerate() {
                let record = part.record.map_err(|refusal| format!("event {}: {refusal}", position + 1))?;
                first.get_or_insert(of(&record));
            }
            Ok(first)
        }
    }
}

/// Calls `each` with the number (from 1) and the bytes of every line that is not blank.
async fn for_each_line(
    path: &Path,
    mut each: impl AsyncFnMut(u64, Vec<u8>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(path).map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
        Box::new(BufReader::new(file))
    };
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        // Reading a line blocks this thread; the confirms of earlier ones wait in their buffers meanwhile.
        let read = io::Read::take(&mut reader, MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        if read > MAX_LINE {
            return Err(Failure::Other(format!("line {number}: longer than {MAX_LINE} bytes")));
        }
        if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
            each(number, line).await?;
        }
    }
}

/// Publishes in chunks, at the rate wished for.
struct Output {
    publisher: EventPublisher,
    chunk: Vec<Outgoing>,
    bytes: usize,
    published: u64,
    rate: Option<u32>,
    begin: Instant,
    progress: ProgressBar,
}

impl Output {
    fn new(publisher: EventPublisher, rate: Option<u32>, runs: Option<u64>) -> Self {
        let progress = runs.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let template = if runs.is_some() { "{bar:30} {pos}/{len} runs, ETA {eta} {msg}" } else { "{spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            progress.set_style(style);
        }
        Self { publisher, chunk: Vec::new(), bytes: 0, published: 0, rate, begin: Instant::now(), progress }
    }

    async fn add(&mut self, message: Outgoing) -> Result<(), Failure> {
        self.bytes += message.body_bytes();
        self.chunk.push(message);
        let full = self.rate.map_or(CHUNK, |rate| (rate as usize / 10).clamp(1, CHUNK));
        if self.chunk.len() >= full || self.bytes >= 8 << 20 {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(self.published as f64 / f64::from(rate));
            tokio::time::sleep_until(self.begin + due).await;
        }
        self.publisher.publish(&self.chunk).await?;
        self.published += self.chunk.len() as u64;
        self.chunk.clear();
        self.bytes = 0;
        let per_second = self.published as f64 / self.begin.elapsed().as_secs_f64().max(1e-3);
        self.progress.set_message(format!("{} messages confirmed, {per_second:.0}/s", self.published));
        Ok(())
    }

    async fn finish(mut self) -> Result<(), Failure> {
        self.flush().await?;
        self.publisher.close().await;
        self.progress.finish_and_clear();
        say!("{} messages published and confirmed in {:.1} s", self.published, self.begin.elapsed().as_secs_f64());
        Ok(())
    }
}
