//! Tokens and price per model: exact, per currency, of a bounded number of calls, and what a payload says is never markup.

use std::collections::BTreeMap;

use difylog::codec::mask::MaskSettings;
use difylog::domain::{AppId, JsonText, NodeExecution, NodeStatus, Record, Timestamp};
use difylog::http::api::ServeSettings;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::harness::{Beside, Place, TENANT_KEY, now};
use crate::support::records;

const HOUR: i64 = 3_600_000_000;

fn call(place: &Place, app_id: AppId, at: Timestamp, process_data: &Value, metadata: &Value) -> NodeExecution {
    let mut node = records::node(place.tenant_id, app_id, records::id(), 1, at);
    node.node_type = "llm".into();
    (node.status, node.finished_at) = (NodeStatus::Succeeded, Some(records::later(at, 1_000_000)));
    let json = |value: &Value| Some(JsonText::from_clean(value.to_string()));
    (node.process_data, node.execution_metadata) = (json(process_data), json(metadata));
    node
}

async fn store(place: &Place, nodes: impl IntoIterator<Item = NodeExecution>) {
    place.store(nodes.into_iter().map(|node| Record::Node(Box::new(node)))).await;
}

async fn told(place: &Place, query: &str) -> Value {
    let path = format!("/ui/data/{}/nodes/models{query}", place.tenant_id);
    serde_json::from_str(&place.signed_in(TENANT_KEY).await.page(&path).await).unwrap()
}

/// Ten-millionths as they are written.
fn digits(price: u64) -> String {
    let text = format!("{}.{:07}", price / 10_000_000, price % 10_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

async fn the_sums_are_those_of_the_calls(place: &Place, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let app_id = records::app();
    let mut expected = BTreeMap::<(String, String), (u64, u64, u64)>::new();
    let mut nodes = Vec::new();
    for n in 0..rng.random_range(1..700) {
        let model = *["small", "large", "模型"].choose(&mut rng).unwrap();
        let currency = *["USD", "CNY"].choose(&mut rng).unwrap();
        let (tokens, price) = (rng.random_range(0..5000_u64), rng.random_range(0..90_000_000_u64));
        let at = records::later(now(), -HOUR - n * 1000);
        let mut node = match n % 3 {
            0 => call(
                place,
                app_id,
                at,
                &json!({ "model_provider": "p", "model_name": model,
                "usage": { "total_tokens": 1, "total_price": digits(price), "currency": currency } }),
                &json!({ "total_tokens": tokens }),
            ),
            // As the metadata have it: a binary fraction, with its error in the last digit.
            _ => call(
                place,
                app_id,
                at,
                &json!({ "model_provider": "p", "model_name": model }),
                &json!({ "total_tokens": tokens, "total_price": price as f64 / 3.0 * 3.0 / 1e7, "currency": currency }),
            ),
        };
        let counts = rng.random_bool(0.8);
        match rng.random_range(0..4) {
            _ if counts => {}
            0 => node.node_type = "code".into(),
            1 => (node.status, node.finished_at) = (NodeStatus::Running, None),
            2 => node.app_id = records::app(),
            _ => node.tenant_id = records::tenant(),
        }
        if counts {
            let sum = expected.entry((model.to_owned(), currency.to_owned())).or_default();
            *sum = (sum.0 + 1, sum.1 + tokens, sum.2 + price);
        }
        nodes.push(node);
    }
    store(place, nodes).await;
    let found = told(place, &format!("?app_id={app_id}")).await;
    let page =
        place.signed_in(TENANT_KEY).await.page(&place.path(&format!("statistics?app_id={app_id}&range=7d"))).await;
    let looked_at: u64 = expected.values().map(|sum| sum.0).sum();
    assert_eq!((found["looked_at"].as_u64(), found.get("cut_at")), (Some(looked_at), None));
    assert_eq!(found["data"].as_array().unwrap().len(), expected.len());
    for row in found["data"].as_array().unwrap() {
        let of = (row["model"].as_str().unwrap().to_owned(), row["currency"].as_str().unwrap().to_owned());
        let (calls, tokens, price) = expected[&of];
        assert_eq!(
            *row,
            json!({ "provider": "p", "model": of.0, "currency": of.1, "calls": calls,
            "tokens": tokens.to_string(), "price": digits(price), "unpriced_calls": 0 })
        );
        assert!(
            page.contains(&format!("{} <bdi>{}</bdi>", digits(price), of.1)) || page.contains(&digits(price)),
            "{row}: {page}"
        );
    }
    assert!(page.contains("Tokens and price per model") || looked_at == 0, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_added_as_decimals_per_model_and_currency() {
    for seed in 0..4 {
        the_sums_are_those_of_the_calls(&Place::new().await, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_added_as_decimals_per_model_and_currency_over_the_engine() {
    the_sums_are_those_of_the_calls(&Place::over_engine().await, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_are_looked_at_are_said_to_be() {
    let place = Place::new().await;
    let app_id = records::app();
    let named = json!({ "model_provider": "p", "model_name": "m" });
    for part in 0..21 {
        let nodes = (0..1000).map(|n| {
            let at = records::later(now(), -HOUR - part * 1_000_000 - n);
            call(
                &place,
                app_id,
                at,
                &named,
                &json!({ "total_tokens": 1, "total_price": "0.0000001", "currency": "USD" }),
            )
        });
        store(&place, nodes).await;
    }
    let found = told(&place, &format!("?app_id={app_id}")).await;
    assert_eq!((found["looked_at"].as_u64(), &found["data"][0]["price"]), (Some(20_000), &json!("0.002")));
    assert_eq!(found["cut_at"], records::later(now(), -HOUR - 19 * 1_000_000 - 999).to_string());
    let page = place.signed_in(TENANT_KEY).await.page(&place.path(&format!("statistics?app_id={app_id}"))).await;
    assert!(page.contains("Only of the newest model calls, debugging included: 20,000"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_says_is_checked() {
    let place = Place::new().await;
    let app_id = records::app();
    let at = |n: i64| records::later(now(), -HOUR - n);
    let hostile = "<script>alert(1)</script>\u{202e}";
    let large = json!({ "model_name": "large", "text": "x".repeat(1 << 20) });
    let mut nodes = vec![
        call(
            &place,
            app_id,
            at(1),
            &json!({ "model_provider": hostile, "model_name": hostile }),
            &json!({ "currency": hostile, "total_price": 1, "total_tokens": 10 }),
        ),
        call(&place, app_id, at(2), &json!([1, 2]), &json!({ "total_tokens": -1, "total_price": "-3", "currency": 7 })),
        call(&place, app_id, at(3), &large, &json!({ "total_price": 1e300 })),
    ];
    let many =
        (0..1200).map(|n| call(&place, app_id, at(10 + n), &json!({ "model_name": format!("m{n}") }), &json!({})));
    nodes.extend(many);
    store(&place, nodes).await;
    let found = told(&place, &format!("?app_id={app_id}&values=1000")).await;
    assert_eq!((found["data"].as_array().unwrap().len(), &found["more_models"]), (1000, &json!(203)));
    assert_eq!((&found["data"][0]["model"], &found["data"][0]["price"]), (&json!(hostile), &json!("1")));
    let page = place.signed_in(TENANT_KEY).await.page(&place.path(&format!("statistics?app_id={app_id}"))).await;
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>alert") && !page.contains('\u{202e}'), "{page}");
    assert!(page.len() < 100_000, "{}", page.len());
    for query in ["?values=0", "?values=1001", "?by=x", "?app_id=x"] {
        let path = format!("/ui/data/{}/nodes/models{query}", place.tenant_id);
        assert_eq!(place.signed_in(TENANT_KEY).await.get(&path).await.status, 400, "{query}");
    }
    let foreign = format!("/ui/data/{}/nodes/models", records::tenant());
    assert_eq!(place.signed_in(TENANT_KEY).await.get(&foreign).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_model_is_not_told() {
    let mask = MaskSettings { fields: vec!["process_data.model_name".into()], ..MaskSettings::default() };
    let settings = ServeSettings { mask, ..ServeSettings::default() };
    let place = Place::beside(Beside { settings, ..Beside::default() }).await;
    let node = call(
        &place,
        records::app(),
        records::later(now(), -HOUR),
        &json!({ "model_name": "secret-model" }),
        &json!({}),
    );
    store(&place, [node]).await;
    let found = told(&place, "").await;
    assert_eq!(found["data"][0]["model"], "***");
}
