//! Calls to the engine under test behind the store's back, as its operator makes them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::client;

/// Returns the status and the text of an answer.
pub async fn try_call(url: &str, method: Method, path: &str, body: &Value) -> (u16, String) {
    let request = client().request(method, format!("{url}{path}"));
    // Elasticsearch refuses a body where it expects none.
    let is_empty = body.is_null() || body.as_object().is_some_and(serde_json::Map::is_empty);
    let request = if is_empty { request } else { request.json(body) };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Returns the text of an answer to a call that must succeed.
pub async fn call(url: &str, method: Method, path: &str, body: Value) -> String {
    let (status, text) = try_call(url, method, path, &body).await;
    assert!(status < 300, "{path}: {text}");
    text
}

/// Copies an index into one of another name and lets an alias stand for it, as after a shrink.
pub async fn put_behind_an_alias(url: &str, index: &str, behind: &str) {
    let block = json!({ "index.blocks.write": true });
    call(url, Method::PUT, &format!("/{index}/_settings"), block).await;
    let settings = json!({ "settings": { "index.blocks.write": null } });
    call(url, Method::PUT, &format!("/{index}/_clone/{behind}?wait_for_active_shards=1"), settings).await;
    call(url, Method::DELETE, &format!("/{index}"), Value::Null).await;
    call(url, Method::PUT, &format!("/{behind}/_alias/{index}"), Value::Null).await;
}
