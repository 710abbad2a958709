//! `difylog serve` over SQLite, asked by eight clients at once.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::{Latency, Subject};

const CLIENTS: usize = 8;
const REQUESTS: usize = 250;
const KEY: &str = "bench";

pub async fn serve(sqlite_dir: &str, subject: &Subject) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hash = format!("{:x}", Sha256::digest(KEY));
    let keys = std::env::temp_dir().join(format!("difylog-bench-keys-{}.toml", std::process::id()));
    std::fs::write(
        &keys,
        format!("[[keys]]\nname = \"bench\"\nsha256 = \"{hash}\"\nadmin = true\nrights = [\"read\"]\n"),
    )
    .unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_difylog"))
        .arg("serve")
        .env("DIFYLOG__STORE__SQLITE__DIR", sqlite_dir)
        .env("DIFYLOG__SERVE__LISTEN", address.to_string())
        .env("DIFYLOG__SERVE__KEYS_FILE", &keys)
        .env("DIFYLOG__LOG__FILTER", "error")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let base = format!("http://{address}/v1/tenants/{}", subject.tenant_id);
    let client = reqwest::Client::new();
    let get = Arc::new(move |path: String| {
        let request = client.get(format!("{base}{path}")).bearer_auth(KEY);
        async move { request.send().await?.error_for_status()?.bytes().await }
    });
    let list = format!("/apps/{}/workflow-runs?limit=20&triggered_from=app-run", subject.app_id);
    let deadline = Instant::now() + Duration::from_secs(30);
    while get(list.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "difylog serve does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("\n{CLIENTS} clients at once over HTTP, SQLite: milliseconds, p50 / p99");
    let logs = format!("/apps/{}/workflow-app-logs?keyword={}&page=1", subject.app_id, subject.rare);
    for (name, path) in [("page of runs", list), ("logs: rare word", logs)] {
        let clients = (0..CLIENTS).map(|_| {
            let (get, path) = (Arc::clone(&get), path.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                for _ in 0..REQUESTS {
                    let asked = Instant::now();
                    get(path.clone()).await.unwrap();
                    times.push(asked.elapsed());
                }
                times
            })
        });
        let (begin, mut times) = (Instant::now(), Vec::new());
        for client in clients.collect::<Vec<_>>() {
            times.extend(client.await.unwrap());
        }
        let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
        let Latency { p50, p99 } = Latency::of(times);
        println!("{name:<32} {p50:>8.2} / {p99:>8.2}   {rate:.0} answers/s");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kilobytes: f64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{:<32} {:>8.1} MB", "peak memory of serve", kilobytes / 1024.0);
    server.kill().unwrap();
    server.wait().unwrap();
    let _ = std::fs::remove_file(keys);
}
