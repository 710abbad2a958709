//! `difylog serve` with 1,024 descriptors under clients that are slow, many and greedy: another key gets its answers.

use std::net::SocketAddr;
use std::time::Duration;

use difylog::domain::{BulkAction, Record};
use difylog::store::sqlite::SqliteStore;
use difylog::store::{BulkSink as _, StoreAdmin as _};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::serving::{KEY, Serving, site};
use crate::support::records;

const MONTHS: i64 = 36;
const GREEDY: &str = "a-key-of-a-greedy-reader";
/// Descriptors, and what README promises of memory.
const DESCRIPTORS: usize = 1_024;
const MEBIBYTES: u64 = 1_024;

/// A connection from one of many addresses, so that the bound of one address is not what holds them off.
async fn connect(address: SocketAddr, from: usize) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    let own = SocketAddr::from(([127, 0, 0, u8::try_from(2 + from % 6).unwrap()], 0));
    socket.bind(own).unwrap();
    tokio::time::timeout(Duration::from_secs(5), socket.connect(address)).await.ok()?.ok()
}

/// Opens connections that begin with this text, and says no more on them.
async fn begun(address: SocketAddr, number: usize, text: &str) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for from in 0..number {
        let Some(mut stream) = connect(address, from).await else { continue };
        // One that was closed already is one that did not harm.
        let _ = stream.write_all(text.as_bytes()).await;
        open.push(stream);
    }
    open
}

/// Asks for much, one question after the other, until aborted.
async fn greed(address: SocketAddr, tenant: String, number: usize) {
    let paths = ["runs?limit=1&q=hello", "runs?limit=100", "runs/facets?by=status", "export/runs"];
    for turn in number.. {
        let Some(mut stream) = connect(address, number).await else { continue };
        let path = paths[turn % paths.len()];
        let head = format!(
            "GET /v1/tenants/{tenant}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {GREEDY}\r\nConnection: close\r\n\r\n"
        );
        if stream.write_all(head.as_bytes()).await.is_ok() {
            let mut answer = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
        }
    }
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn peak_mebibytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_greedy_clients_keep_no_other_key_waiting() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let site = site().await;
    let (tenant, app) = (records::tenant(), records::app());
    let config = std::fs::read_to_string(site.file("difylog.toml")).unwrap();
    let key = format!(
        "[[serve.keys]]\nname = \"greedy\"\nsha256 = \"{}\"\ntenants = [\"{tenant}\"]\nrights = [\"read\", \"delete\"]\n",
        records::sha256(GREEDY)
    );
    std::fs::write(site.file("difylog.toml"), config + &key).unwrap();
    // Many months, and an export of some 12 MB.
    let store = SqliteStore::new(site.settings.store.sqlite.clone()).unwrap();
    let inputs = json!({ "q": "hello", "text": "x".repeat(4_000) }).to_string();
    let first = records::at("2023-12-15T00:00:00Z");
    for month in 0..MONTHS {
        let actions: Vec<BulkAction> = (0..80)
            .flat_map(|second| {
                let at = records::later(first, (month * 30 * 86_400 + second) * 1_000_000);
                let mut run = records::run(tenant, app, at);
                run.inputs = records::json(&inputs);
                records::actions(Record::Run(Box::new(run)))
            })
            .collect();
        store.apply(&actions).await.unwrap();
    }
    store.close().await;

    let serving = Serving::within(site, &format!("ulimit -n {DESCRIPTORS}")).await;
    let address: SocketAddr = serving.address.parse().unwrap();
    let tenant = tenant.to_string();
    let post = format!(
        "POST /v1/tenants/{tenant}/deletions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {GREEDY}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let export =
        format!("GET /v1/tenants/{tenant}/export/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {GREEDY}\r\n\r\n");
    let mut held = begun(address, 64, &export).await;
    held.extend(begun(address, 70, &post).await);
    held.extend(begun(address, 300, "GET /v1/tenants/x/runs HTTP/1.1\r\nHost: x\r\n").await);
    held.extend(begun(address, 1_500, "").await);
    let mut greedy = JoinSet::new();
    for number in 0..12 {
        greedy.spawn(greed(address, tenant.clone(), number));
    }
    let (begin, mut slowest, mut most, mut asked) = (Instant::now(), Duration::ZERO, 0, 0);
    while begin.elapsed() < Duration::from_secs(20) {
        for path in ["runs?limit=20", "runs/facets?by=status", "runs?limit=1&q=hello"] {
            let asking = Instant::now();
            let answer = serving.ask("GET", &format!("/v1/tenants/{tenant}/{path}"), KEY).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "after {asked} answers, {path}: {answer:.300}");
            (slowest, asked) = (slowest.max(asking.elapsed()), asked + 1);
            most = most.max(descriptors(serving.child.id()));
        }
        // Slow heads go on by a line now and then, and new idle connections come.
        for stream in held.iter().skip(134).take(300) {
            let _ = stream.try_write(b"X-a: b\r\n");
        }
        held.extend(begun(address, 50, "").await);
    }
    let peak = peak_mebibytes(serving.child.id());
    println!("{asked} answers, the slowest {slowest:?}; at most {most} descriptors, {peak} MiB");
    assert!(most <= DESCRIPTORS && peak < MEBIBYTES, "{most} descriptors, {peak} MiB at the peak");
    greedy.shutdown().await;
    drop(held);
}
