//! The log explorer in a real browser: what a script adds, what a keyboard alone reaches, what a narrow screen shows.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use difylog::domain::{NodeStatus, Record, RunStatus};
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use super::harness::{Place, TOKEN, now};
use crate::support::records;
use crate::support::server::Killed;

const PATIENCE: Duration = Duration::from_secs(60);

/// A driver with a browser of its own, whose profile goes with it.
pub struct Browser {
    pub client: Client,
    _driver: Killed,
    profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Of a case that failed: the browser outlives its driver.
        let profile = format!("user-data-dir={}", self.profile.path().display());
        let _ = Command::new("pkill").args(["-KILL", "-f", &profile]).status();
    }
}

impl Browser {
    /// A window of this width, on a machine whose clock shows `zone`.
    pub async fn new(width: u32, zone: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let (driver, port) = driver(zone);
        let options = json!({
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--lang=en", format!("--user-data-dir={}", profile.path().display()),
            ],
            "mobileEmulation": { "deviceMetrics": { "width": width, "height": 800, "pixelRatio": 1, "mobile": width < 500 } },
        });
        let Value::Object(capabilities) = json!({ "goog:chromeOptions": options }) else { unreachable!() };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await.unwrap();
        Self { client, _driver: driver, profile }
    }

    pub async fn open(&self, place: &Place, path: &str) {
        self.client.goto(&format!("{}{path}", place.base)).await.unwrap();
    }

    pub async fn enter(&self, place: &Place) {
        self.open(place, &format!("/ui/enter?token={TOKEN}")).await;
        self.there(".top nav a[aria-current]").await;
    }

    pub async fn there(&self, css: &str) -> fantoccini::elements::Element {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("{css}: {error}\n{}", self.client.source().await.unwrap()),
        }
    }

    pub async fn says(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until an expression of the page is true.
    pub async fn until(&self, expression: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        // A page on its way to the next answers nothing.
        while self.client.execute(&format!("return Boolean({expression})"), Vec::new()).await.ok()
            != Some(Value::Bool(true))
        {
            assert!(tokio::time::Instant::now() < deadline, "{expression}\n{}", self.client.source().await.unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn press(&self, keys: &str) {
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    pub async fn end(self) {
        self.client.clone().close().await.unwrap();
    }
}

/// Returns a driver that listens, and its port. It takes a free port of IPv6 and then the same one of IPv4, which may be another
/// process's: such a driver ends, and another one takes another port.
fn driver(zone: &str) -> (Killed, String) {
    for _ in 0..20 {
        let started = Command::new("chromedriver").arg("--port=0").env("TZ", zone).stdout(Stdio::piped()).spawn();
        let mut driver = Killed(started.expect("chromedriver is missing: tests/servers/install.sh browser"));
        let printed = BufReader::new(driver.stdout.take().unwrap());
        let port = printed
            .lines()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("successfully on port ")?.1.trim_end_matches('.').to_owned()));
        match port {
            Some(port) => return (driver, port),
            None => driver.wait().unwrap(),
        };
    }
    panic!("chromedriver finds no port of its own");
}

/// One failed run with two nodes, whose texts would like to be scripts.
pub(super) async fn filled(place: &Place) -> difylog::domain::WorkflowRun {
    let hostile = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>";
    let created_at = records::later(now(), -3_600_000_000);
    let mut run = records::ended(records::run(place.tenant_id, records::app(), created_at), 2_000_000);
    (run.status, run.error) = (RunStatus::Failed, Some(format!("no answer: {hostile}").into()));
    run.inputs = records::json(&json!({ "query": format!("the parcel {hostile}") }).to_string());
    let mut nodes = Vec::new();
    for number in 0..2 {
        let mut node = records::node(
            place.tenant_id,
            run.app_id,
            run.id,
            number + 1,
            records::later(created_at, number * 1_000_000),
        );
        (node.status, node.finished_at) = (NodeStatus::Succeeded, Some(records::later(node.created_at, 900_000)));
        node.elapsed_time = 0.9;
        node.inputs = records::json(&json!({ "number": number, "text": hostile }).to_string());
        nodes.push(node);
    }
    (nodes[1].status, nodes[1].error) = (NodeStatus::Failed, Some(format!("no answer: {hostile}").into()));
    let nodes = nodes.into_iter().map(|node| Record::Node(Box::new(node)));
    place.store(nodes.chain([Record::Run(Box::new(run.clone()))])).await;
    run
}

#[tokio::test]
async fn from_the_link_to_the_reason_of_a_failure_by_the_keyboard_alone() {
    let place = Place::new().await;
    let run = filled(&place).await;
    let browser = Browser::new(1280, "Asia/Shanghai").await;
    browser.enter(&place).await;
    // The page comes again in the zone of the machine.
    browser.until("document.querySelector('time')?.textContent === '2025-12-20 19:00:00'").await;
    browser.press("/").await;
    browser.until("document.activeElement?.id === 'q'").await;
    browser.press(&format!("parcel{}", char::from(Key::Enter))).await;
    browser
        .until("location.search.includes('q=parcel') && document.querySelector('mark')?.textContent === 'parcel'")
        .await;
    for _ in 0..60 {
        if browser.says("return document.activeElement.classList.contains('whole')").await == json!(true) {
            break;
        }
        browser.press(&char::from(Key::Tab).to_string()).await;
    }
    browser.press(&char::from(Key::Enter).to_string()).await;
    browser.until(&format!("location.pathname.endsWith('{}')", run.id)).await;
    // What failed is open, with its reason; its payloads have come by the script.
    let reason = browser.there(".timeline li.bad details[open] .part").await;
    assert!(reason.text().await.unwrap().contains("no answer"));
    browser.until("document.querySelector('.timeline li.bad .part h3')").await;
    browser.press("n").await;
    browser.until("document.activeElement.matches('.timeline li.bad > details > summary')").await;
    assert_eq!(browser.says("return window.hacked ?? null").await, Value::Null);
    browser.end().await;
}

#[tokio::test]
async fn newer_rows_are_announced_and_come_when_asked_for() {
    let place = Place::new().await;
    filled(&place).await;
    let browser = Browser::new(1280, "UTC").await;
    browser.enter(&place).await;
    browser.open(&place, &place.path("runs?range=all")).await;
    browser.there(".rows.runs").await;
    let later = records::run(place.tenant_id, records::app(), records::later(now(), 1_000_000));
    place.store([Record::Run(Box::new(later))]).await;
    browser.says("document.dispatchEvent(new Event('visibilitychange'))").await;
    browser.until("document.querySelector('.newer a:not([hidden])')?.textContent.startsWith('1 newer')").await;
    let rows = browser.says("return document.querySelectorAll('.rows.runs a.whole').length").await;
    assert_eq!(rows, json!(1), "nothing moves under the reader");
    browser.there(".newer a").await.click().await.unwrap();
    browser.until("document.querySelectorAll('.rows.runs a.whole').length === 2").await;
    browser.end().await;
}

#[tokio::test]
async fn every_screen_fits_a_narrow_window_in_both_languages_and_runs_no_foreign_script() {
    let place = Place::new().await;
    let run = filled(&place).await;
    let browser = Browser::new(360, "UTC").await;
    browser.enter(&place).await;
    for lang in ["en", "zh"] {
        browser.open(&place, "/ui/workspaces").await;
        browser.there(&format!("footer button[value={lang}]")).await.click().await.unwrap();
        browser.until(&format!("document.documentElement.lang.startsWith('{lang}')")).await;
        for path in [
            "runs".to_owned(),
            "runs?q=parcel".into(),
            "runs?q=nowhere".into(),
            "runs?x=1".into(),
            format!("runs/{}", run.id),
            format!("runs/{}?view=transcript", run.id),
            format!("runs/{}?view=graph", run.id),
            format!("runs/{}?view=payloads", run.id),
            "nodes".into(),
            "errors".into(),
            format!("statistics?app_id={}", run.app_id),
            format!("app-logs?app_id={}", run.app_id),
        ] {
            browser.open(&place, &place.path(&path)).await;
            browser.there("main h1, main h2").await;
            let over = browser.says("return document.documentElement.scrollWidth - innerWidth").await;
            assert!(over.as_f64().is_some_and(|over| over <= 0.0), "{path} in {lang} is {over} pixels too wide");
            assert_eq!(browser.says("return window.hacked ?? null").await, Value::Null, "{path}");
            // What is pressed or followed has a name.
            let unnamed = "return [...document.querySelectorAll('a, button, input:not([type=hidden])')].filter(one => \
                           !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length || one.title)).map(one => one.outerHTML)";
            assert_eq!(browser.says(unnamed).await, json!([]), "{path}");
        }
    }
    browser.end().await;
}
