//! Two `difylog serve` of one site: a replay of one is seen, refused and stopped by the other, and known to be over when its
//! process dies.

use std::process::{Command, Stdio};

use difylog::domain::document::ContentHash;
use lapin::BasicProperties;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::broker::harness::{connect, publish_on};
use crate::support::server::Killed;
use crate::support::site::{Site, StoreUnderTest, eventually, free_address, needed};

const KEY: &str = "a-key-of-an-operator";
const LETTERS: u64 = 60;

/// A replica as a process.
struct Replica {
    child: Killed,
    base: String,
}

impl Replica {
    async fn start(site: &Site) -> Self {
        let address = free_address();
        let log = std::fs::File::create(site.file(&format!("{}.log", address.replace(':', "-")))).unwrap();
        let mut command = site.command(&["serve"]);
        command.env("DIFYLOG__SERVE__LISTEN", &address).stdout(Stdio::null()).stderr(log);
        let replica = Self { child: Killed(command.spawn().unwrap()), base: format!("http://{address}") };
        let ready = format!("{}/readyz", replica.base);
        eventually(60, "the replica is ready", async || {
            reqwest::get(&ready).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        replica
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/v1/dead-letters{path}", self.base);
        let mut request = reqwest::Client::new().request(method.parse().unwrap(), url).bearer_auth(KEY);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// Begins a replay of all letters; returns its id.
    async fn begin(&self, rate: u32) -> String {
        let (status, begun) = self.ask("POST", "/replays", Some(json!({ "selection": {}, "rate": rate }))).await;
        assert_eq!(status, 202, "{begun}");
        begun["id"].as_str().unwrap().to_owned()
    }

    async fn replay(&self, id: &str) -> Value {
        let (status, told) = self.ask("GET", &format!("/replays/{id}"), None).await;
        assert_eq!(status, 200, "{told}");
        told
    }

    async fn until(&self, seconds: u64, id: &str, state: &str) -> Value {
        eventually(seconds, state, async || self.replay(id).await["state"] == state).await;
        self.replay(id).await
    }
}

/// A site whose dead-letter queue holds [`LETTERS`].
async fn with_letters(store: &StoreUnderTest) -> Site {
    let hash = ContentHash::new(Sha256::digest(KEY).into());
    let more = format!(
        "[[serve.keys]]\nname = \"night shift\"\nsha256 = \"{hash}\"\nadmin = true\nrights = [\"read\", \"operate\"]\n"
    );
    let site = Site::with(store, &needed("DIFYLOG_TEST_AMQP_URL"), &more);
    site.setup();
    let (_connection, channel) = connect(&needed("DIFYLOG_TEST_AMQP_URL")).await;
    let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
    let bodies = (0..LETTERS).map(|number| format!("{{\"v\": 1, \"number\": {number}").into_bytes());
    publish_on(&channel, &format!("{}.events", site.name), bodies, &properties).await;
    let mut worker = site.worker();
    eventually(60, "all are dead letters", async || site.depth("dead").await == LETTERS).await;
    worker.kill();
    site
}

async fn a_replay_is_every_replicas(store: &StoreUnderTest) {
    let site = with_letters(store).await;
    let (mut one, other) = (Replica::start(&site).await, Replica::start(&site).await);
    let id = one.begin(1).await;
    let seen = other.replay(&id).await;
    assert_eq!(
        (&seen["state"], &seen["by"], &seen["expected"], &seen["rate"]),
        (&json!("running"), &json!("night shift"), &json!(LETTERS), &json!(1))
    );
    eventually(30, "progress", async || other.replay(&id).await["replayed"].as_u64() > Some(0)).await;
    for (method, path, body) in [
        ("GET", "", None),
        ("POST", "/replays", Some(json!({ "selection": {} }))),
        ("POST", "/purges", Some(json!({ "selection": {}, "expected": LETTERS }))),
    ] {
        let (status, held) = other.ask(method, path, body).await;
        assert_eq!((status, held["code"].as_str()), (409, Some("replay_under_way")), "{path}: {held}");
        assert!(held["detail"].as_str().unwrap().contains(&id), "{held}");
    }
    assert_eq!(other.ask("DELETE", &format!("/replays/{id}"), None).await.0, 200);
    let (told, seen) = (one.until(30, &id, "stopped").await, other.until(30, &id, "stopped").await);
    assert_eq!(told, seen);
    let moved = seen["replayed"].as_u64().unwrap();
    assert!(moved > 0 && moved < LETTERS && seen["ended_at"].is_string() && seen["reason"].is_null(), "{seen}");

    // The next one's process is killed.
    let id = one.begin(1).await;
    eventually(30, "progress", async || other.replay(&id).await["replayed"].as_u64() > Some(0)).await;
    one.child.kill().unwrap();
    one.child.wait().unwrap();
    assert_eq!(other.replay(&id).await["state"], "running", "its lease is not over");
    let seen = other.until(30, &id, "failed").await;
    assert!(seen["reason"].as_str().unwrap().starts_with("the process that ran it ended"), "{seen}");

    // The letters that it held are the broker's again, and another one can begin.
    eventually(30, "the letters are back", async || {
        let (status, listed) = other.ask("GET", "?limit=0", None).await;
        status == 200 && listed["selected"].as_u64() > Some(0)
    })
    .await;
    let id = other.begin(1000).await;
    let told = other.until(30, &id, "done").await;
    assert_eq!(told["replayed"], told["expected"]);
    let again = Replica::start(&site).await;
    assert_eq!(again.replay(&id).await, told, "a replica that came later knows it, too");
    assert_eq!(again.ask("GET", &format!("/replays/{}", uuid::Uuid::new_v4()), None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_every_replicas_over_sqlite() {
    a_replay_is_every_replicas(&StoreUnderTest::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_every_replicas_over_the_engine() {
    a_replay_is_every_replicas(&StoreUnderTest::engine("shared")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_says_how_its_replay_ended() {
    let site = with_letters(&StoreUnderTest::Sqlite).await;
    let (mut one, other) = (Replica::start(&site).await, Replica::start(&site).await);
    let id = one.begin(1).await;
    assert!(Command::new("kill").args(["-TERM", &one.child.id().to_string()]).status().unwrap().success());
    assert!(one.child.wait().unwrap().success());
    assert_eq!(other.replay(&id).await["state"], "stopped");
}
