//! Databases with Dify's tables, each for one test, on the server that `DIFYLOG_TEST_PG_URL` names (`scripts/test` starts
//! it). They are loaded by `psql` and dropped with the value.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use difylog::postgres::{Database, PostgresSettings};
use uuid::Uuid;

use crate::support::site::needed;

/// The tables that names come from, beside those of the schema.
pub const NAMES: &str = "CREATE TABLE apps (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, name varchar NOT NULL, \
    mode varchar NOT NULL, icon_type varchar, icon varchar);
    CREATE TABLE tenants (id uuid PRIMARY KEY, name varchar NOT NULL);
    CREATE TABLE tenant_account_joins (tenant_id uuid NOT NULL, account_id uuid NOT NULL);";

/// Which of Dify's schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// 1.10.1, as its own migrations built it.
    V10,
    /// 1.12: an index on runs' (`created_at`, `id`), and one on nodes' `workflow_run_id` alone.
    V12,
}

const V12: &str = "
    CREATE INDEX workflow_run_created_at_id_idx ON workflow_runs (created_at, id);
    DROP INDEX workflow_node_execution_workflow_run_idx;
    CREATE INDEX workflow_node_execution_workflow_run_id_idx ON workflow_node_executions (workflow_run_id);";

/// A database of its own. Dropping it drops the database.
pub struct Postgres {
    name: String,
    server: String,
}

fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

impl Postgres {
    /// Dify's tables, without rows.
    pub fn empty(schema: Schema) -> Self {
        let server = needed("DIFYLOG_TEST_PG_URL");
        let postgres = Self { name: format!("t{}", Uuid::new_v4().simple()), server };
        psql(&postgres.server, &format!("CREATE DATABASE {}", postgres.name));
        postgres.sql(&std::fs::read_to_string(corpus("dify_pg_schema.sql")).unwrap());
        if schema == Schema::V12 {
            postgres.sql(V12);
        }
        postgres
    }

    /// With the sample: 2,184 runs, 3,031 node executions, 1,198 app logs and 16 offloads of 3 tenants.
    pub fn sample(schema: Schema) -> Self {
        let postgres = Self::empty(schema);
        let mut text = String::new();
        let gzip = std::fs::File::open(corpus("dify_pg_sample.sql.gz")).unwrap();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(gzip), &mut text).unwrap();
        postgres.sql(&text);
        postgres.sql("ANALYZE");
        postgres
    }

    pub fn url(&self) -> String {
        let (base, _) = self.server.rsplit_once('/').unwrap();
        format!("{base}/{}", self.name)
    }

    pub fn settings(&self) -> PostgresSettings {
        PostgresSettings { url: self.url().parse().unwrap(), ..PostgresSettings::default() }
    }

    pub fn database(&self) -> Database {
        Database::open(&self.settings()).unwrap()
    }

    /// Runs statements as superuser; answers what `psql` prints: a line a row, columns apart by `|`.
    pub fn sql(&self, statements: &str) -> String {
        psql(&self.url(), statements)
    }

    /// A number that a statement answers.
    pub fn number(&self, statement: &str) -> u64 {
        self.sql(statement).trim().parse().unwrap()
    }

    /// The files that the sample's offloads point to, unpacked into `folder`: Dify's local storage.
    pub fn unpack_storage(folder: &std::path::Path) {
        std::fs::create_dir_all(folder).unwrap();
        let archive = corpus("storage_sample.tar.gz");
        let status = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = client().args(["-q", "-d", &self.server, "-c", &statement]).output();
    }
}

/// `psql`. What Debian has in PATH under that name is a script of Perl that looks for it: 18 ms, some thousand times.
fn client() -> Command {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let found = versions.map(|version| version.path().join("bin/psql")).find(|program| program.exists());
        found.unwrap_or_else(|| "psql".into())
    });
    Command::new(&*PROGRAM)
}

pub fn psql(url: &str, statements: &str) -> String {
    let mut child = client()
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url])
        .env("PGOPTIONS", "-c timezone=UTC -c client_min_messages=warning")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("psql: {error}; tests/servers/install.sh postgres installs it"));
    let mut input = child.stdin.take().unwrap();
    let statements = statements.to_owned();
    let feeding = std::thread::spawn(move || input.write_all(statements.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let fed = feeding.join().unwrap();
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    fed.unwrap();
    String::from_utf8(output.stdout).unwrap()
}
