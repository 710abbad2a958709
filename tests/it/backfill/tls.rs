//! TLS to a real PostgreSQL that has a certificate of a private authority, and a password that is checked over it.

use std::path::{Path, PathBuf};

use difylog::postgres::{Database, PostgresSettings};

use crate::support::postgres::psql;
use crate::support::server::Server;
use crate::support::site::eventually;

/// The certificates of the engine's tests: for localhost and 127.0.0.1.
fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/elastic/tls").join(name)
}

/// A server that offers TLS. It writes its key itself: nobody else may be able to read it.
fn server() -> Server {
    let server = Server::start("postgres.sh", None);
    for (name, place) in [("server.pem", "server.crt"), ("server_key.pem", "server.key")] {
        let text = std::fs::read_to_string(certificate(name)).unwrap();
        let lines = text.lines().map(|line| format!("('{line}')")).collect::<Vec<_>>().join(", ");
        psql(&server.url(), &format!("COPY (VALUES {lines}) TO PROGRAM 'umask 077; cat > {place}'"));
    }
    psql(&server.url(), "ALTER SYSTEM SET ssl = on");
    psql(&server.url(), "SELECT pg_reload_conf()");
    server
}

/// Returns whether a session is encrypted, or why there is none.
async fn encrypted(url: &str, ca_file: Option<PathBuf>, verify: Option<bool>) -> Result<bool, String> {
    let settings = PostgresSettings { url: url.parse().unwrap(), ca_file, verify, ..PostgresSettings::default() };
    let client = Database::open(&settings).unwrap().client().await.map_err(|error| error.to_string())?;
    let row = client.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap();
    Ok(row.get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_address_says_of_certificates_holds_for_a_real_handshake() {
    let server = server();
    let place = server.url().rsplit_once('@').unwrap().1.to_owned();
    let port = place.split_once('/').unwrap().0.rsplit_once(':').unwrap().1.to_owned();
    let authority = certificate("authority.pem");
    let root = format!("sslrootcert={}", authority.display());
    let url = |query: &str| format!("postgres://difylog:difylog@{place}?{query}");
    let named = |more: &str| {
        format!("host=db.example hostaddr=127.0.0.1 port={port} user=difylog password=difylog dbname=difylog {more}")
    };

    // The reload is asynchronous.
    eventually(30, "TLS is offered", async || encrypted(&url("sslmode=require"), None, None).await == Ok(true)).await;
    for (address, ca_file, verify, expected) in [
        (url("sslmode=disable"), None, None, Some(false)),
        (url("sslmode=prefer"), None, None, Some(true)),
        (url(""), None, Some(false), Some(true)),
        (url(""), Some(&authority), None, Some(true)),
        (url("sslmode=require"), Some(&authority), Some(true), Some(true)),
        (url(&format!("sslmode=require&{root}")), None, None, Some(true)),
        (url(&format!("sslmode=verify-full&{root}")), None, None, Some(true)),
        (named(&format!("sslmode=verify-ca {root}")), None, None, Some(true)),
        // Nobody that the system knows has signed it, or it is for another name.
        (url(""), None, None, None),
        (url("sslmode=verify-ca"), None, None, None),
        (url("sslmode=verify-full&sslrootcert=system"), None, None, None),
        (named(&format!("sslmode=verify-full {root}")), None, None, None),
        (named("sslmode=require"), Some(&authority), Some(true), None),
    ] {
        let found = encrypted(&address, ca_file.cloned(), verify).await;
        assert_eq!(found.as_ref().ok().copied(), expected, "{address} {ca_file:?} {verify:?}: {found:?}");
        if let Err(said) = found {
            assert!(said.contains("certificate of PostgreSQL") && said.contains("postgres.ca_file"), "{said}");
            assert!(!said.contains("difylog:difylog") && !said.contains("password=difylog"), "{said}");
        }
    }
    let wrong = encrypted(&url("sslmode=require").replace("difylog:difylog@", "difylog:hunter2@"), None, None).await;
    let said = wrong.unwrap_err();
    assert!(said.contains("refused access") && !said.contains("hunter2"), "{said}");
}
