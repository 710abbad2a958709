//! Dead letters over HTTP and in a browser, on a real broker: who may, what is seen of them, replay and purge.

use difylog::amqp::settings::QueueSource;
use difylog::amqp::{AmqpSettings, QueueSettings, QueueType};
use difylog::codec::encode_native;
use difylog::domain::{Disposition, Record, Refusal, RefusalClass};
use lapin::BasicProperties;
use serde_json::{Value, json};

use super::browser::Browser;
use super::harness::{ADMIN_KEY, Answer, Beside, Client, OPERATE_KEY, Place, TENANT_KEY, now};
use crate::broker::harness::{Worker, connect, publish_on};
use crate::support::records;
use crate::support::site::needed;

const OURS: &[(&str, &str)] = &[("sec-fetch-site", "same-origin")];

/// A broker's queues of this test alone.
fn broker() -> AmqpSettings {
    let name = uuid::Uuid::new_v4().simple().to_string();
    let queue = QueueSettings {
        name: format!("{name}.events"),
        source: QueueSource::Native,
        queue_type: QueueType::Classic,
        prefetch: 2000.try_into().unwrap(),
        consumers: 1.try_into().unwrap(),
        forward_to: None,
    };
    AmqpSettings {
        urls: vec![needed("DIFYLOG_TEST_AMQP_URL").parse().unwrap()],
        queues: vec![queue],
        native_exchange: format!("{name}.logs"),
        dead_letter_exchange: format!("{name}.dlx"),
        dead_letter_queue: format!("{name}.letters"),
        ..AmqpSettings::default()
    }
}

/// A place with letters: `runs` of its tenant that were refused for a field, and two messages that nobody can read.
pub async fn with_letters(runs: usize) -> (Place, AmqpSettings) {
    let settings = broker();
    difylog::amqp::set_up(&settings).await.unwrap();
    let place = Place::beside(Beside::broker(settings.clone())).await;
    let event = |_| {
        let mut run = records::run(place.tenant_id, records::app(), now());
        run.inputs = records::json(r#"{"query": "a secret parcel"}"#);
        encode_native(&Record::Run(Box::new(run)))
    };
    let unreadable = ["a secret <b>letter</b> \u{202e}", "{\"v\": 1, \"secret\""].map(|text| text.as_bytes().to_vec());
    let bodies: Vec<Vec<u8>> = (0..runs).map(event).chain(unreadable).collect();
    let count = bodies.len();
    let (_connection, channel) = connect(&needed("DIFYLOG_TEST_AMQP_URL")).await;
    let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
    publish_on(&channel, &settings.queues[0].name, bodies, &properties).await;
    let mut worker = Worker::start(settings.clone());
    for (number, delivery) in worker.take(count).await.into_iter().enumerate() {
        let (class, detail) = if number < runs {
            (RefusalClass::InvalidField, "version: longer than 255 <characters>")
        } else {
            (RefusalClass::UndecodableBody, "not JSON at line 1")
        };
        delivery.receipt.settle(&Disposition::DeadLetter(Refusal::new(class, detail)));
    }
    worker.eventually("all letters", |stats| stats.dead_lettered() == count as u64).await;
    worker.stop().await;
    (place, settings)
}

/// A request of the API.
async fn api(place: &Place, method: &str, path: &str, key: &str, body: Option<Value>) -> Answer {
    let mut request = reqwest::Client::new().request(method.parse().unwrap(), format!("{}{path}", place.base));
    request = request.bearer_auth(key);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { status, headers, text: answer.text().await.unwrap() }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Waits until a replay has ended.
async fn ended(place: &Place, id: &str) -> Value {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let told = json_of(&api(place, "GET", &format!("/v1/dead-letters/replays/{id}"), OPERATE_KEY, None).await);
        if told["state"] != "running" {
            return told;
        }
        assert!(tokio::time::Instant::now() < deadline, "{told}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The addresses of the letters of a page.
pub fn letters_of(page: &str) -> Vec<String> {
    let links = page.split("href=\"/ui/dead-letters/").skip(1).filter_map(|rest| rest.split('"').next());
    links.filter(|rest| rest.len() == 64).map(|hash| format!("/ui/dead-letters/{hash}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_for_keys_that_operate_and_show_no_text() {
    let (place, _) = with_letters(4).await;
    for key in [TENANT_KEY, ADMIN_KEY] {
        assert_eq!(place.signed_in(key).await.get("/ui/dead-letters").await.status, 403, "{key}");
        assert!(!place.signed_in(key).await.page("/ui/workspaces").await.contains("/ui/dead-letters"), "{key}");
        let refused = api(&place, "GET", "/v1/dead-letters", key, None).await;
        assert_eq!((refused.status, json_of(&refused)["code"].as_str()), (403, Some("forbidden")), "{key}");
    }
    let mut client = place.signed_in(OPERATE_KEY).await;
    assert!(client.page("/ui/workspaces").await.contains("href=\"/ui/dead-letters\""));
    let page = client.page("/ui/dead-letters").await;
    assert!(page.contains("<strong>6</strong> found") && page.contains("A field has the wrong type"), "{page}");
    let letters = letters_of(&page);
    assert_eq!(letters.len(), 6, "{page}");
    let few = client.page("/ui/dead-letters?reason=undecodable-body").await;
    assert!(few.contains("<strong>2</strong> found") && letters_of(&few).len() == 2, "{few}");
    let ours = client.page(&format!("/ui/dead-letters?tenant_id={}", place.tenant_id)).await;
    assert!(ours.contains("<strong>4</strong> found"), "{ours}");
    for letter in &letters {
        let shown = client.page(letter).await;
        assert!(shown.contains("<h1>Letter") && !shown.contains("secret") && !shown.contains('\u{202e}'), "{shown}");
    }
    assert!(client.page(&letters[0]).await.contains("longer than 255 &lt;characters&gt;"));
    let listed = json_of(&api(&place, "GET", "/v1/dead-letters?limit=1", OPERATE_KEY, None).await);
    assert_eq!(
        (listed["walked"].as_u64(), listed["selected"].as_u64(), listed["next"].as_u64()),
        (Some(6), Some(6), Some(1))
    );
    assert_eq!(
        listed["reasons"],
        json!([{"value": "invalid-field", "count": 4}, {"value": "undecodable-body", "count": 2}])
    );
    let second = json_of(&api(&place, "GET", "/v1/dead-letters?limit=2&after=1", OPERATE_KEY, None).await);
    assert_eq!((second["data"][0]["position"].as_u64(), second["next"].as_u64()), (Some(2), Some(3)));
    let hash = listed["data"][0]["sha256"].as_str().unwrap();
    let whole = api(&place, "GET", &format!("/v1/dead-letters/{hash}"), OPERATE_KEY, None).await;
    assert!(json_of(&whole)["body"].as_str().unwrap().contains("characters›") && !whole.text.contains("secret"));
    for wrong in ["?kind=run", "?sha256=1", "?limit=1001", "?tenant=x", "/0", "?since=soon"] {
        assert_eq!(
            api(&place, "GET", &format!("/v1/dead-letters{wrong}"), OPERATE_KEY, None).await.status,
            400,
            "{wrong}"
        );
    }
}

async fn act(client: &mut Client, fields: &[(&str, &str)]) -> Answer {
    client.post("/ui/dead-letters/act", fields, OURS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_a_replay_moves_and_a_purge_asks_for_the_number() {
    let (place, settings) = with_letters(4).await;
    let mut client = place.signed_in(OPERATE_KEY).await;
    let reason = ("reason", "invalid-field");
    let foreign = client.post("/ui/dead-letters/act", &[reason, ("act", "replay")], &[]).await;
    assert_eq!(foreign.location(), "/ui/sign-in?problem=form", "another site's form does nothing");
    let dry = act(&mut client, &[reason, ("act", "dry"), ("rate", "50")]).await;
    assert!(dry.text.contains("<strong>4</strong> letters would go back"), "{}", dry.text);
    let dry =
        api(&place, "POST", "/v1/dead-letters/replays", OPERATE_KEY, Some(json!({"selection": {}, "dry_run": true})))
            .await;
    assert_eq!((dry.status, json_of(&dry)["expected"].as_u64(), json_of(&dry)["id"].is_null()), (200, Some(6), true));
    for wrong in [json!({}), json!({"selection": {"tenant": "x"}}), json!({"selection": {}, "rate": 0})] {
        assert_eq!(api(&place, "POST", "/v1/dead-letters/replays", OPERATE_KEY, Some(wrong)).await.status, 422);
    }
    let begun = act(&mut client, &[reason, ("act", "replay"), ("rate", "1000")]).await;
    let id = begun.location().strip_prefix("/ui/dead-letters/replays/").unwrap().to_owned();
    let told = ended(&place, &id).await;
    assert_eq!(
        (told["state"].as_str(), told["replayed"].as_u64(), told["refused"].as_u64()),
        (Some("done"), Some(4), Some(0))
    );
    assert!(client.page(begun.location()).await.contains("data-ended"));
    let mut worker = Worker::start(settings);
    for delivery in worker.take(4).await {
        delivery.receipt.settle(&Disposition::Ack);
    }
    worker.eventually("settled", |stats| stats.acked() == 4).await;
    worker.stop().await;
    for number in ["", "3", "x", "-2"] {
        let refused = act(&mut client, &[("act", "purge"), ("number", number)]).await;
        assert!(matches!(refused.status, 400 | 409), "{number}: {refused:?}");
    }
    let other =
        api(&place, "POST", "/v1/dead-letters/purges", OPERATE_KEY, Some(json!({"selection": {}, "expected": 3})))
            .await;
    assert_eq!((other.status, json_of(&other)["code"].as_str()), (409, Some("count_changed")));
    let gone = act(&mut client, &[("act", "purge"), ("number", "2")]).await;
    assert_eq!(gone.location(), "/ui/dead-letters?purged=2");
    let page = client.page(gone.location()).await;
    assert!(page.contains("2 letters were deleted") && page.contains("No dead letters"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_holds_the_letters_until_it_ends_or_is_stopped() {
    let (place, _) = with_letters(30).await;
    let asked = json!({"selection": {}, "rate": 1});
    let begun = api(&place, "POST", "/v1/dead-letters/replays", OPERATE_KEY, Some(asked.clone())).await;
    assert_eq!((begun.status, json_of(&begun)["expected"].as_u64()), (202, Some(32)));
    let id = json_of(&begun)["id"].as_str().unwrap().to_owned();
    for (method, path, body) in [
        ("GET", "/v1/dead-letters", None),
        ("POST", "/v1/dead-letters/replays", Some(asked)),
        ("POST", "/v1/dead-letters/purges", Some(json!({"selection": {}, "expected": 32}))),
    ] {
        let held = api(&place, method, path, OPERATE_KEY, body).await;
        assert_eq!((held.status, json_of(&held)["code"].as_str()), (409, Some("replay_under_way")), "{path}");
    }
    let mut client = place.signed_in(OPERATE_KEY).await;
    let address = client.get("/ui/dead-letters").await.location().to_owned();
    assert_eq!(address, format!("/ui/dead-letters/replays/{id}"));
    assert!(client.page(&address).await.contains("<progress"));
    // What is done meanwhile, as by a second click, leads to the replay; so does what is gone back to after a sign-in.
    for fields in
        [[("act", "replay"), ("rate", "1")], [("act", "dry"), ("rate", "1")], [("act", "purge"), ("number", "32")]]
    {
        let held = act(&mut client, &fields).await;
        assert_eq!((held.status, held.location()), (303, address.as_str()), "{fields:?}");
    }
    let stop = client.get(&format!("{address}/stop")).await;
    assert_eq!((stop.status, stop.location()), (303, address.as_str()), "{stop:?}");
    let list = client.get("/ui/dead-letters/act").await;
    assert_eq!((list.status, list.location()), (303, "/ui/dead-letters"), "{list:?}");
    client.post(&format!("{address}/stop"), &[], OURS).await;
    let told = ended(&place, &id).await;
    let replayed = told["replayed"].as_u64().unwrap();
    assert!(told["state"] == "stopped" && replayed < 32, "{told}");
    let listed = json_of(&api(&place, "GET", "/v1/dead-letters?limit=0", OPERATE_KEY, None).await);
    assert_eq!(listed["selected"].as_u64(), Some(32 - replayed));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_the_page_says_so_and_names_no_host() {
    let place = Place::new().await;
    let mut client = place.signed_in(OPERATE_KEY).await;
    let none = client.get("/ui/dead-letters").await;
    assert!(none.status == 503 && none.text.contains("AMQP_URL"), "{}", none.text);
    let mut settings = broker();
    let place = Place::beside(Beside::broker(settings.clone())).await;
    let missing = place.signed_in(OPERATE_KEY).await.get("/ui/dead-letters").await;
    assert!(missing.status == 503 && missing.text.contains("difylog setup"), "{}", missing.text);
    settings.urls = vec!["amqp://secret-user:secret-word@127.0.0.1:1/%2f".parse().unwrap()];
    let place = Place::beside(Beside::broker(settings)).await;
    let away = place.signed_in(OPERATE_KEY).await.get("/ui/dead-letters").await;
    assert!(away.status == 503 && away.text.contains("The broker does not answer"), "{}", away.text);
    assert!(!away.text.contains("127.0.0.1:1") && !away.text.contains("secret"), "{}", away.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_chosen_and_replayed_in_the_browser() {
    let (place, _) = with_letters(3).await;
    place.store([Record::Run(Box::new(records::run(place.tenant_id, records::app(), now())))]).await;
    let browser = Browser::new(1280, "UTC").await;
    browser.enter(&place).await;
    browser.there("a[href='/ui/dead-letters']").await.click().await.unwrap();
    browser.there(".letters input[type=checkbox]").await.click().await.unwrap();
    browser.there("button[value=replay]").await.click().await.unwrap();
    browser.until("document.querySelector('[data-ended]')").await;
    assert!(browser.there("main").await.text().await.unwrap().contains("1 back in their queues, of 1"));
    browser.there(".state a.button[href='/ui/dead-letters']").await.click().await.unwrap();
    browser.until("document.querySelector('.total strong')?.textContent === '4'").await;
    browser.end().await;
}
