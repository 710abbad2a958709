//! A run beside another one.

use difylog::domain::{NodeExecution, NodeStatus, Record, RunStatus, WorkflowRun};
use serde_json::{Value, json};

use super::harness::{Place, TENANT_KEY};
use crate::support::records;

fn nodes(run: &WorkflowRun, names: &[&str]) -> Vec<NodeExecution> {
    let node = |(place, name): (usize, &&str)| {
        let place = i64::try_from(place).unwrap();
        let at = records::later(run.created_at, place * 1000);
        let mut node = records::node(run.tenant_id, run.app_id, run.id, place + 1, at);
        (node.node_id, node.title, node.status) = ((*name).into(), format!("<{name}>").into(), NodeStatus::Succeeded);
        (node.finished_at, node.elapsed_time) = (Some(records::later(at, 500)), 0.5);
        node
    };
    names.iter().enumerate().map(node).collect()
}

#[tokio::test]
async fn what_differs_between_two_runs_of_an_app_is_told() {
    let place = Place::new().await;
    let app_id = records::app();
    let run = |at: &str| records::ended(records::run(place.tenant_id, app_id, records::at(at)), 1_000_000);
    let (mut before, mut after) = (run("2025-12-20T10:00:00Z"), run("2025-12-20T11:00:00Z"));
    before.inputs = records::json(r#"{"query": "one <b>", "same": 1}"#);
    after.inputs = records::json(r#"{"query": "two", "same": 1}"#);
    (after.status, after.error, after.version) = (RunStatus::Failed, Some("broke <down>".into()), "v2".into());
    let of_before = nodes(&before, &["start", "each", "each", "end"]);
    let mut of_after = nodes(&after, &["start", "each", "new"]);
    of_after[1].status = NodeStatus::Failed;
    let other = records::run(place.tenant_id, records::app(), records::at("2025-12-20T09:00:00Z"));
    let runs = [before.clone(), after.clone(), other.clone()].map(|run| Record::Run(Box::new(run)));
    let nodes = of_before.iter().chain(&of_after).cloned().map(|node| Record::Node(Box::new(node)));
    place.store(runs.into_iter().chain(nodes)).await;

    let mut client = place.signed_in(TENANT_KEY).await;
    let choice = client.page(&place.path(&format!("runs/{}?view=compare", after.id))).await;
    let link = format!("{}?view=compare&amp;with={}", place.path(&format!("runs/{}", after.id)), before.id);
    assert!(choice.contains(&link) && !choice.contains(&other.id.to_string()), "{choice}");
    let page = client.page(&link.replace("&amp;", "&")).await;
    for part in ["one &lt;b&gt;", "broke &lt;down&gt;", "v2", "&lt;new&gt;", "not reached"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<code>1</code>"), "what is the same is not told: {page}");
    for (with, status) in [(other.id.to_string(), 400), (records::id().to_string(), 404), ("x".into(), 400)] {
        let answer = client.get(&place.path(&format!("runs/{}?view=compare&with={with}", after.id))).await;
        assert_eq!(answer.status, status, "{with}");
    }
    let address = format!("{}/v1/tenants/{}/runs/{}/compare/{}", place.base, place.tenant_id, before.id, after.id);
    let told: Value =
        reqwest::Client::new().get(address).bearer_auth(TENANT_KEY).send().await.unwrap().json().await.unwrap();
    assert_eq!(told["inputs"], json!([{"path": "query", "left": "\"one <b>\"", "right": "\"two\""}]));
    let pairs = told["nodes"].as_array().unwrap();
    let sides: Vec<_> = pairs.iter().map(|pair| (!pair["left"].is_null(), !pair["right"].is_null())).collect();
    assert_eq!(sides, [(true, true), (true, true), (true, false), (true, false), (false, true)]);
    assert_eq!((&pairs[1]["left"]["status"], &pairs[1]["right"]["status"]), (&json!("succeeded"), &json!("failed")));
    assert_eq!((&told["right"]["version"], &told["cut"]), (&json!("v2"), &json!(false)));
}
