//! `difylog serve` as a program: its metrics and its log.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use difylog::domain::Record;
use difylog::store::sqlite::SqliteStore;
use difylog::store::{BulkSink as _, StoreAdmin as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::records;
use crate::support::server::Killed;
use crate::support::site::{Site, StoreUnderTest};

pub(super) const KEY: &str = "a-key-of-an-admin";

pub(super) struct Serving {
    /// Before the site: fields are dropped in this order.
    pub child: Killed,
    pub site: Site,
    pub address: String,
}

impl Serving {
    pub async fn start(site: Site) -> Self {
        let mut command = site.command(&["serve"]);
        command.env("DIFYLOG__SERVE__LISTEN", "127.0.0.1:0");
        Self::of(site, command).await
    }

    /// Under limits of the shell.
    pub async fn within(site: Site, limits: &str) -> Self {
        let mut command = site.command_within(limits, &["serve"]);
        command.env("DIFYLOG__SERVE__LISTEN", "127.0.0.1:0");
        Self::of(site, command).await
    }

    pub async fn of(site: Site, mut command: Command) -> Self {
        let log = std::fs::File::create(site.file("serve.log")).unwrap();
        let mut serving = Self { child: Killed(command.stderr(log).spawn().unwrap()), address: String::new(), site };
        serving.logged("serving the API").await;
        let log = serving.log();
        let line = log.lines().find(|line| line.contains("serving the API")).unwrap();
        let (_, address) = line.split_once("address=").unwrap();
        address.split_whitespace().next().unwrap().clone_into(&mut serving.address);
        serving
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.site.file("serve.log")).unwrap()
    }

    /// Waits until the log holds a text.
    pub async fn logged(&self, text: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !self.log().contains(text) {
            assert!(tokio::time::Instant::now() < deadline, "no {text} in\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub async fn ask(&self, method: &str, path: &str, key: &str) -> String {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        self.raw(&format!("{head}Authorization: Bearer {key}\r\n\r\n")).await
    }
}

pub(super) async fn site() -> Site {
    let keys = format!(
        "[[serve.keys]]\nname = \"the \\u001b[31mops\"\nsha256 = \"{}\"\nadmin = true\nrights = [\"read\", \"delete\"]\n",
        records::sha256(KEY)
    );
    let site = Site::with(&StoreUnderTest::Sqlite, "amqp://127.0.0.1:9", &keys);
    let store = SqliteStore::new(site.settings.store.sqlite.clone()).unwrap();
    store.install().await.unwrap();
    store.close().await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_send_becomes_no_label() {
    let serving = Serving::start(site().await).await;
    for number in 0..50 {
        let path = if number % 2 == 0 { "/healthz" } else { "/v1/tenants/x/runs" };
        let answer = serving.ask(&format!("ATTACK{number}"), path, "no-key").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        serving.ask("GET", &format!("/invented/{number}"), "no-key").await;
        serving.ask("GET", &format!("/v1/tenants/x{number}/runs"), "no-key").await;
    }
    serving.ask(&"A".repeat(60_000), "/healthz", "no-key").await;
    let metrics = serving.ask("GET", "/metrics", "no-key").await;
    let series = metrics.lines().filter(|line| line.starts_with("difylog_http_request_seconds_count")).count();
    assert!((1..=6).contains(&series), "{metrics}");
    assert!(metrics.contains("method=\"other\"") && !metrics.contains("ATTACK") && !metrics.contains("invented"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_and_refused_keys_are_in_the_log() {
    let site = site().await;
    let (tenant, app) = (records::tenant(), records::app());
    let mut run = records::run(tenant, app, records::at("2025-12-01T00:00:00Z"));
    run.inputs = records::json(r#"{"q": "a text of a user"}"#);
    let id = run.id;
    let store = SqliteStore::new(site.settings.store.sqlite.clone()).unwrap();
    store.apply(&records::actions(Record::Run(Box::new(run)))).await.unwrap();
    store.close().await;
    let serving = Serving::start(site).await;
    let path = format!("/v1/tenants/{tenant}/runs/{id}");
    assert!(serving.ask("GET", &path, "guessed-key").await.starts_with("HTTP/1.1 401"));
    serving.logged("an unknown key").await;
    let refused = serving.log().lines().find(|line| line.contains("an unknown key")).unwrap().to_owned();
    assert!(refused.contains("audit=\"refused\"") && refused.contains("127.0.0.1"), "{refused}");
    serving.ask("DELETE", &path, KEY).await;
    serving.logged(&id.to_string()).await;
    let log = serving.log();
    let deleted = log.lines().find(|line| line.contains(&id.to_string())).unwrap();
    for part in ["audit=\"delete\"", "\\u{1b}[31mops", &tenant.to_string(), "request_id="] {
        assert!(deleted.contains(part), "{deleted}");
    }
    assert!(!log.contains("a text of a user") && !log.contains("guessed-key") && !log.contains(KEY), "{log}");
}

/// What a store says of itself, its folder for one, is for the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_read_says_nothing_of_this_machine() {
    let site = site().await;
    let tenant = records::tenant();
    let run = records::run(tenant, records::app(), records::at("2025-12-01T00:00:00Z"));
    let store = SqliteStore::new(site.settings.store.sqlite.clone()).unwrap();
    store.apply(&records::actions(Record::Run(Box::new(run)))).await.unwrap();
    store.close().await;
    let serving = Serving::start(site).await;
    let folder = serving.site.file("sqlite");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(&path, "no database at all, and longer than its head").unwrap();
        }
    }
    let paths = ["/readyz".to_owned(), format!("/v1/tenants/{tenant}/runs"), "/v1/admin/errors".to_owned()];
    for path in &paths {
        let answer = serving.ask("GET", path, KEY).await;
        let status = if path == "/readyz" { "503" } else { "500" };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        for part in [folder.to_str().unwrap(), ".sqlite", "process", &serving.child.id().to_string()] {
            assert!(!answer.contains(part), "{path} says {part}: {answer}");
        }
    }
}

/// The image asks whatever role it runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_images_health_check_asks_serve_on_its_own_port() {
    let mut serving = Serving::start(site().await).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/healthcheck");
    let check = |pid: u32, listen: &str| {
        let mut command = Command::new("sh");
        command.args([script, &pid.to_string()]).env("DIFYLOG__SERVE__LISTEN", listen);
        // Nobody listens there: the port of a worker, which this is none of.
        command.env("DIFYLOG__HTTP__LISTEN", "127.0.0.1:9").status().unwrap().success()
    };
    let (pid, address) = (serving.child.id(), serving.address.clone());
    assert!(check(pid, &address), "it answers");
    assert!(!check(pid, "127.0.0.1:9"), "nobody answers");
    assert!(check(std::process::id(), "127.0.0.1:9"), "a command that ends by itself is not asked");
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
}

/// Old programs only need it low.
#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_of_open_files_is_raised() {
    let serving = Serving::within(site().await, "ulimit -Sn 256").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", serving.child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = files.split_whitespace().skip(3).take(2).collect::<Vec<_>>()[..] else { panic!("{files}") };
    assert!(soft == hard && soft != "256", "{files}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_serves_what_it_stores_where_other_commands_look() {
    let site = Site::with(&StoreUnderTest::Sqlite, "amqp://127.0.0.1:9", "");
    let program = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_difylog"));
        command.args(arguments).current_dir(site.file("")).env("AMQP_URL", "amqp://127.0.0.1:9").stdin(Stdio::null());
        command.env("DIFYLOG__HTTP__LISTEN", "127.0.0.1:0").env("DIFYLOG__SERVE__LISTEN", "127.0.0.1:0");
        command
    };
    let (mut dev, mut counts) = (program(&["dev"]), program(&["counts"]));
    let folder = site.file("");
    dev.stdout(Stdio::piped());
    let mut serving = Serving::of(site, dev).await;
    let printed = BufReader::new(serving.child.stdout.take().unwrap());
    let key = printed.lines().map(Result::unwrap).find_map(|line| Some(line.split_once("KEY=")?.1.to_owned())).unwrap();
    let path = format!("/v1/tenants/{}/runs", records::tenant());
    assert!(serving.ask("GET", &path, &key).await.starts_with("HTTP/1.1 200"));
    assert!(serving.ask("GET", &path, "another").await.starts_with("HTTP/1.1 401"));
    assert!(!serving.log().contains(&key));
    assert!(counts.output().unwrap().status.success());
    assert!(folder.join("data/sqlite").is_dir() && folder.join("data/payloads").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tries_what_the_settings_name_on_this_machine() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (certificate, another) =
        (rcgen::generate_simple_self_signed(Vec::new()).unwrap(), rcgen::KeyPair::generate().unwrap());
    let site = Site::with(&StoreUnderTest::Sqlite, "amqp://127.0.0.1:9", "");
    std::fs::write(site.file("cert.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(site.file("key.pem"), another.serialize_pem()).unwrap();
    let mut command = site.command(&["check"]);
    command.env("DIFYLOG__SERVE__LISTEN", taken.local_addr().unwrap().to_string());
    command.env("DIFYLOG__SERVE__KEYS_FILE", "/no/such/keys.toml");
    command.env("DIFYLOG__SERVE__TLS__CERT_FILE", site.file("cert.pem"));
    command.env("DIFYLOG__SERVE__TLS__KEY_FILE", site.file("key.pem"));
    command.env("DIFYLOG__MIGRATE__REJECTS_DIR", site.file("cert.pem"));
    command.env("DIFYLOG__BACKUP__DIR", site.file("backups"));
    let answering = std::thread::spawn(move || drop(taken.accept()));
    let output = command.output().unwrap();
    answering.join().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    for line in [
        "ok      http.listen",
        "FAILED  serve.listen: 127.0.0.1:",
        "FAILED  serve.keys: serve.keys_file: /no/such/keys.toml",
        "FAILED  serve.tls: serve.tls: ",
        "FAILED  migrate.rejects_dir: ",
        "ok      backup",
    ] {
        assert!(said.contains(line), "no {line} in\n{said}");
    }
    assert!(said.contains("end it, or choose another address") && said.contains("key_file its private key"), "{said}");
}
