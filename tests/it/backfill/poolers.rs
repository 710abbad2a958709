//! A real PgBouncer before PostgreSQL: it is refused, however it is set up, unless a session of it is a session of the server
//! with all that difylog asks for.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use difylog::postgres::{Database, PostgresError, PostgresSettings};
use tempfile::TempDir;

use crate::support::postgres::{Postgres, Schema};
use crate::support::server::Killed;
use crate::support::site::{eventually, free_address};

/// Host and port of the server.
fn place(postgres: &Postgres) -> String {
    let url = postgres.url();
    url.split_once('@').and_then(|(_, place)| place.split_once('/')).unwrap().0.to_owned()
}

struct PgBouncer {
    _process: Killed,
    address: String,
    _folder: TempDir,
}

impl PgBouncer {
    /// One that gives out sessions of the server by `mode`, and takes these parameters from clients without passing them on.
    async fn start(postgres: &Postgres, mode: &str, ignored: &str) -> Self {
        let (place, address) = (place(postgres), free_address());
        let (host, port) = place.rsplit_once(':').unwrap();
        let (here, own) = address.rsplit_once(':').unwrap();
        let folder = tempfile::tempdir().unwrap();
        // It ends where it is started by root, and must read its settings as somebody else.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n* = host={host} port={port} user=postgres\n[pgbouncer]\nlisten_addr = {here}\nlisten_port = {own}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\nignore_startup_parameters = {ignored}\n"
        );
        std::fs::write(&file, settings).unwrap();
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let process = Command::new("pgbouncer")
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()))
            .args(if is_root { &["-u", "postgres"][..] } else { &[] })
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer is installed by tests/servers/install.sh postgres");
        eventually(30, "PgBouncer listens", async || tokio::net::TcpStream::connect(&address).await.is_ok()).await;
        Self { _process: Killed(process), address, _folder: folder }
    }

    fn settings(&self, postgres: &Postgres) -> PostgresSettings {
        let url = postgres.url().replace(&place(postgres), &self.address);
        PostgresSettings { url: url.parse().unwrap(), ..PostgresSettings::default() }
    }
}

/// Opens two sessions side by side, and then, as the next command would, two more.
async fn sessions(open: impl Fn() -> Result<Database, PostgresError>) -> Result<(), String> {
    for _ in 0..2 {
        let database = open().unwrap();
        let one = database.client().await.map_err(|error| error.to_string())?;
        let other = database.client().await.map_err(|error| error.to_string())?;
        drop((one, other));
    }
    Ok(())
}

fn refused(opened: Result<(), String>, words: &str) {
    let said = opened.unwrap_err();
    assert!(said.contains("is a connection pooler") && said.contains(words), "{said}");
    assert!(said.contains("set postgres.url to the address of PostgreSQL itself"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_does_not_keep_the_settings_of_a_session_is_refused() {
    let postgres = Postgres::empty(Schema::V12);
    for mode in ["session", "transaction"] {
        let strict = PgBouncer::start(&postgres, mode, "extra_float_digits").await;
        refused(sessions(|| Database::open(&strict.settings(&postgres))).await, "unsupported startup parameter");
        let lax = PgBouncer::start(&postgres, mode, "options").await;
        refused(sessions(|| Database::open(&lax.settings(&postgres))).await, "does not have the settings");
    }
    // With the settings as defaults of the database, which a pooler passes on.
    let name = postgres.url().rsplit_once('/').unwrap().1.to_owned();
    postgres.sql(&format!(
        "ALTER DATABASE {name} SET timezone = 'UTC'; ALTER DATABASE {name} SET statement_timeout = '120s'"
    ));
    for mode in ["transaction", "statement"] {
        let lax = PgBouncer::start(&postgres, mode, "options").await;
        refused(sessions(|| Database::open(&lax.settings(&postgres))).await, "another client had before");
    }
    let lax = PgBouncer::start(&postgres, "session", "options").await;
    assert_eq!(sessions(|| Database::open(&lax.settings(&postgres))).await, Ok(()));
    refused(sessions(|| Database::for_walks(&lax.settings(&postgres))).await, "does not have the settings");
}
