//! `difylog check` tells a Dify from what is none.

use difylog::http::console::probe;
use difylog::http::console::settings::ConsoleSettings;
use serde_json::json;

use crate::console::dify::{Dify, Fault};

fn settings(url: &str) -> ConsoleSettings {
    serde_json::from_value(json!({ "url": url, "answer_ms": 1000 })).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_address_of_dify_is_told_from_a_right_one() {
    let dify = Dify::default();
    let url = dify.clone().serve().await;
    assert_eq!(probe(&settings(&url)).await, Ok(None));
    for (fault, word) in [
        (Fault::Html, "API server"),
        (Fault::Redirect, "API server"),
        (Fault::ServerError, "API server"),
        (Fault::Hang, "answer_ms"),
    ] {
        dify.tables.lock().unwrap().fault = Some(fault);
        let problem = probe(&settings(&url)).await.unwrap_err();
        assert!(problem.contains(word), "{fault:?}: {problem}");
    }
    let problem = probe(&settings("http://127.0.0.1:1")).await.unwrap_err();
    assert!(problem.contains("connection failed") && problem.contains("url"), "{problem}");
    assert!(probe(&settings("http://u:hunter2@127.0.0.1:1")).await.is_err_and(|problem| !problem.contains("hunter2")));
}
