//! A real nginx with config/nginx-dify.conf before a bridge and a Dify: with difylog, without it, and without its name.

use std::net::UdpSocket;
use std::process::{Command, Stdio};

use difylog::domain::{AppId, Record};

use crate::console::place::{Place, eventually};
use crate::console::seam::ended;
use crate::support::records;
use crate::support::server::Killed;
use crate::support::site::free_address;

/// Addresses in the file that an operator puts his own in the place of.
const NAMES: [&str; 3] = ["api:5001", "difylog:8089", "127.0.0.11"];

struct Nginx {
    _process: Killed,
    base: String,
    _folder: tempfile::TempDir,
}

/// A name server that knows one name, `difylog`, as Docker's own would. Answers its address.
fn name_server() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut question) {
            // Header of 12 bytes, the name, its type and its class.
            let body = &question[12..length];
            let end = body.iter().position(|byte| *byte == 0).unwrap() + 5;
            let (is_known, is_v4) = (body.starts_with(b"\x07difylog\0"), body[end - 3] == 1);
            let mut answer = question[..2].to_vec();
            answer.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(is_known && is_v4), 0, 0, 0, 0]);
            answer.extend(&body[..end]);
            if is_known && is_v4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&answer, peer);
        }
    });
    address
}

/// nginx as one process, with the locations of the file and Dify behind all other paths.
async fn nginx(place: &Place, dify: &str, difylog: &str) -> Nginx {
    let mut locations = include_str!("../../../config/nginx-dify.conf").to_owned();
    for (name, own) in NAMES.into_iter().zip([dify, difylog, &name_server()]) {
        assert!(locations.contains(name), "config/nginx-dify.conf does not name {name}");
        locations = locations.replace(name, own);
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, address) = (folder.path().display(), free_address());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {path}/{name};\n"))
        .concat();
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\nevents {{}}\nhttp {{ access_log off;\n\
         {temporary} server {{ listen {address};\n{locations}\nlocation / {{ proxy_pass http://{dify}; }} }} }}"
    );
    std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let log = folder.path().join("start.log");
    let process = Command::new("nginx")
        .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()))
        .arg("-e")
        .arg(&log)
        .arg("-c")
        .arg(folder.path().join("nginx.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is installed by tests/servers/install.sh nginx");
    let base = format!("http://{address}");
    let health = format!("{base}/console/api/workspaces");
    let client = &place.client;
    eventually(async || client.get(&health).send().await.is_ok()).await;
    Nginx { _process: Killed(process), base, _folder: folder }
}

fn authority(base: &str) -> &str {
    base.strip_prefix("http://").unwrap()
}

/// A run that has ended, in the store and in Dify's table.
async fn scene(place: &Place) -> (AppId, String) {
    let tenant = records::tenant();
    let app = place.app(tenant, "workflow");
    place.user("anna", &[tenant]);
    let run = ended(records::run(tenant, app, records::at("2025-12-01T00:00:01Z")));
    place.store([Record::Run(Box::new(run.clone()))]).await;
    let path = format!("/console/api/apps/{app}/workflow-runs/{}", run.id);
    place.dify.tables.lock().unwrap().runs.push(run);
    (app, path)
}

/// Every page that the bridge answers, and some that are Dify's alone.
fn pages(app: AppId, run: &str) -> Vec<String> {
    let id = run.rsplit_once('/').unwrap().1;
    let console = [
        "workflow-runs?triggered_from=app-run",
        "workflow-runs?triggered_from=app-run&limit=1&status=succeeded",
        "workflow-runs/count?triggered_from=app-run",
        "advanced-chat/workflow-runs?triggered_from=app-run",
        "advanced-chat/workflow-runs/count",
        "workflow-app-logs?page=1&limit=10",
        "workflow-archived-logs?page=1",
        "workflow/statistics/daily-conversations",
        "workflow/statistics/daily-terminals",
        "workflow/statistics/token-costs",
        "workflow/statistics/average-app-interactions",
        "workflows/draft",
        "workflow-runs?limit=1000",
        "workflow-runs/not-an-id",
    ];
    let mut pages: Vec<_> = console.iter().map(|tail| format!("/console/api/apps/{app}/{tail}")).collect();
    pages.extend([run.to_owned(), format!("{run}/node-executions"), format!("/v1/workflows/run/{id}")]);
    pages.extend(["/v1/workflows/logs".to_owned(), "/console/api/apps".to_owned()]);
    pages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_asks_difylog_and_where_it_is_stopped_dify() {
    let place = Place::new(true).await;
    let (app, run) = scene(&place).await;
    let port = authority(&place.base).rsplit_once(':').unwrap().1;
    let nginx = nginx(&place, authority(&place.dify_base), &format!("difylog:{port}")).await;
    let (through, straight) = (place.at(&nginx.base), place.at(&place.dify_base));
    assert!(through.ask("anna", &run).await.text.contains("stored"), "difylog answers");
    let stop = format!("/console/api/apps/{app}/workflow-runs/tasks/x/stop");
    let other = format!("/console/api/apps/{app}/workflows/draft");
    let works = async || {
        for (method, path, body) in [("POST", &stop, "a body"), ("GET", &other, "")] {
            let echo = through.request(method, "anna", path, body).await.json();
            assert_eq!(
                (&echo["method"], &echo["path"], &echo["body"]),
                (&method.into(), &(*path).clone().into(), &body.into())
            );
        }
        assert_eq!(through.ask("", &run).await.status, 401, "Dify's own refusal");
        assert_eq!(through.ask("expired", &run).await.status, 401, "Dify's own refusal");
        assert_eq!(through.ask_with_key("no-key", "/v1/workflows/logs").await.status, 401);
    };
    works().await;
    place.stop.cancel();
    eventually(async || place.client.get(&place.base).send().await.is_err()).await;
    works().await;
    for page in pages(app, &run) {
        for token in ["anna", "expired", ""] {
            let (found, difys) = (through.ask(token, &page).await, straight.ask(token, &page).await);
            assert_eq!((found.status, found.text), (difys.status, difys.text), "{token:?}: {page}");
        }
    }
    let answer = through.ask("anna", &run).await;
    assert_eq!(answer.json()["answered_by"], "dify", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_starts_and_asks_dify_where_nobody_knows_difylogs_name() {
    let place = Place::new(true).await;
    let (_, run) = scene(&place).await;
    let nginx = nginx(&place, authority(&place.dify_base), "nowhere:8089").await;
    let answer = place.at(&nginx.base).ask("anna", &run).await;
    assert_eq!(answer.json()["answered_by"], "dify", "{answer:?}");
}
