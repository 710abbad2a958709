//! A site under test: a broker, a store, a configuration file, and `difylog` run as a program over them.
//!
//! The broker comes from `DIFYLOG_TEST_AMQP_URL`, the engine from `DIFYLOG_TEST_ENGINE_URL`; `scripts/test` starts both.
//! Each site has queues, files and an index prefix of its own.

use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use difylog::config::{self, Environment, Settings};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::client::client;
use crate::support::namespace::{Namespace, unique_name};
use crate::support::server::Killed;

/// A variable that `scripts/test` sets.
pub fn needed(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run ./scripts/test, which starts the servers, or start one (tests/servers) and set it")
    })
}

/// What the caller has exported for a difylog of his own, which would win over a site's file, begins so.
const FOREIGN: [&str; 5] = ["DIFYLOG__", "ELASTICSEARCH_", "AMQP_URL", "PG_URL", "PG_PASSWORD"];

/// Which store a site uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUnderTest {
    Sqlite,
    /// The engine at this URL, with this tenancy.
    Engine {
        url: String,
        tenancy: &'static str,
    },
}

impl StoreUnderTest {
    /// The engine that `scripts/test` started.
    pub fn engine(tenancy: &'static str) -> Self {
        Self::Engine { url: needed("DIFYLOG_TEST_ENGINE_URL"), tenancy }
    }
}

pub struct Site {
    folder: TempDir,
    _namespace: Option<Namespace>,
    pub name: String,
    pub http: String,
    pub settings: Settings,
}

impl Site {
    pub fn new(store: &StoreUnderTest) -> Self {
        Self::with(store, &needed("DIFYLOG_TEST_AMQP_URL"), "")
    }

    /// A site on a given broker, with more lines of configuration.
    pub fn with(store: &StoreUnderTest, amqp_url: &str, more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let namespace = matches!(store, StoreUnderTest::Engine { .. }).then(Namespace::new);
        let name = namespace.as_ref().map_or_else(unique_name, |namespace| namespace.prefix.clone());
        let http = free_address();
        let data = folder.path().display();
        let store = match store {
            StoreUnderTest::Sqlite => format!("[store]\nkind = \"sqlite\"\n[store.sqlite]\ndir = \"{data}/sqlite\"\n"),
            StoreUnderTest::Engine { url, tenancy } => format!(
                "[store]\nkind = \"elastic\"\n[store.elastic]\nhosts = [\"{url}\"]\nprefix = \"{name}\"\nreplicas = 0\n\
                 tenancy = \"{tenancy}\"\nrefresh_interval = \"1s\"\n"
            ),
        };
        let text = format!(
            "{store}\n[payloads]\ndir = \"{data}/payloads\"\n\
             [amqp]\nurls = [\"{amqp_url}\"]\nnative_exchange = \"{name}.logs\"\n\
             dead_letter_exchange = \"{name}.dlx\"\ndead_letter_queue = \"{name}.dead\"\n\
             [[amqp.queues]]\nname = \"{name}.celery\"\nsource = \"celery\"\n\
             [[amqp.queues]]\nname = \"{name}.events\"\nsource = \"native\"\n\
             [http]\nlisten = \"{http}\"\n{more}"
        );
        fs::write(folder.path().join("difylog.toml"), text).unwrap();
        let loaded = config::load(Some(&folder.path().join("difylog.toml")), &Environment::default(), &[]).unwrap();
        Self { folder, _namespace: namespace, name, http, settings: loaded.settings }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn celery_queue(&self) -> String {
        format!("{}.celery", self.name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_difylog"));
        command.arg("--config").arg(self.file("difylog.toml")).args(arguments).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if FOREIGN.iter().any(|foreign| name.to_string_lossy().starts_with(foreign)) {
                command.env_remove(name);
            }
        }
        command
    }

    /// A command under limits of the shell, as `ulimit -n 1024`.
    pub fn command_within(&self, limits: &str, arguments: &[&str]) -> Command {
        let plain = self.command(arguments);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
            .arg(plain.get_program())
            .args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; answers its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "difylog {arguments:?} failed: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn setup(&self) {
        self.ok(&["setup"]);
    }

    /// Starts a worker; its log goes to a file of the site.
    pub fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    /// Starts a worker with environment variables.
    pub fn worker_with(&self, environment: &[(&str, &str)]) -> Worker {
        let mut command = self.command(&["worker"]);
        command.envs(environment.iter().copied());
        self.worker_of(command)
    }

    /// Starts a worker under limits of the shell.
    pub fn worker_within(&self, limits: &str) -> Worker {
        self.worker_of(self.command_within(limits, &["worker"]))
    }

    fn worker_of(&self, mut command: Command) -> Worker {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.file("worker.log")).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        Worker { child: Killed(command.spawn().unwrap()), http: self.http.clone(), log: self.file("worker.log") }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.file("worker.log")).unwrap_or_default()
    }

    /// Messages ready in a queue of the site, or in its dead-letter queue ("dead").
    pub async fn depth(&self, queue: &str) -> u64 {
        let wanted = format!("{}.{queue}", self.name);
        let depths = difylog::amqp::queue_depths(&self.settings.amqp).await.unwrap();
        depths.into_iter().find(|depth| depth.queue == wanted).map_or(0, |depth| depth.ready)
    }

    /// The site's store, opened by this process to read.
    pub fn store(&self) -> std::sync::Arc<dyn difylog::store::Store> {
        difylog::app::open_stores(&self.settings).unwrap().store
    }
}

/// A worker as a process; killed when dropped.
pub struct Worker {
    child: Killed,
    http: String,
    log: PathBuf,
}

impl Worker {
    /// SIGKILL, and wait for the end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory at the peak, in MiB.
    pub fn peak_megabytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    /// SIGTERM, and wait for the end within the promised 25 seconds.
    pub async fn terminate(&mut self) -> ExitStatus {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        let mut ended = None;
        eventually(25, "the worker ends after SIGTERM", async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.unwrap()
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// An HTTP answer, or `None` while nobody listens.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = client().get(format!("http://{}{path}", self.http)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    pub async fn is_ready(&self) -> bool {
        self.get("/readyz").await.is_some_and(|(status, _)| status == 200)
    }

    pub async fn ready(&mut self) {
        eventually(60, "the worker is ready", async || {
            assert_eq!(
                self.child.try_wait().unwrap(),
                None,
                "the worker ended: {}",
                fs::read_to_string(&self.log).unwrap()
            );
            self.is_ready().await
        })
        .await;
    }

    /// Waits until the worker has acked so many messages. An empty queue and nothing in flight do not say so: the broker
    /// may have sent what the worker has not read from its socket yet.
    pub async fn acked(&self, seconds: u64, messages: usize) {
        eventually(seconds, "every message is acked", async || {
            self.metric("difylog_deliveries_total", "outcome=\"acked\"").await >= messages as f64
        })
        .await;
    }

    /// The sum of a metric over the series whose labels contain `labels`; 0 if there is none.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let Some((_, text)) = self.get("/metrics").await else { return 0.0 };
        text.lines()
            .filter(|line| line.starts_with(name) && line.contains(labels))
            .filter(|line| matches!(line.as_bytes().get(name.len()), Some(b' ' | b'{')))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

/// An address that nobody listens on, below the range from which the system takes ports for connections: one of those
/// could be taken again before the worker binds it. No test of any process gets it again while this process lives: it is
/// claimed by holding the same port of another loopback address.
pub fn free_address() -> String {
    const PORTS: Range<u32> = 10_000..20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static CLAIMS: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());
    loop {
        let offset = std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + offset % (PORTS.end - PORTS.start);
        let address = format!("127.0.0.1:{port}");
        if let Ok(claim) = TcpListener::bind(format!("127.0.0.2:{port}"))
            && TcpListener::bind(&address).is_ok()
        {
            CLAIMS.lock().unwrap().push(claim);
            return address;
        }
    }
}

/// Waits for a condition, at most `seconds`.
pub async fn eventually(seconds: u64, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
