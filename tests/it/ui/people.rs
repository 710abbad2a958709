//! Conversations and people: the runs that belong together, of the own workspace only.

use std::time::Duration;

use difylog::domain::{Record, TenantId, WorkflowRun};
use difylog::query::DifyDirectory;
use serde_json::{Value, json};

use super::harness::{Beside, Place, TENANT_KEY, now};
use crate::support::postgres::{NAMES, Postgres, Schema};
use crate::support::records;

const MESSAGES: &str = "CREATE TABLE messages (id uuid PRIMARY KEY, app_id uuid NOT NULL, conversation_id uuid NOT NULL, \
    workflow_run_id uuid, created_at timestamp NOT NULL);";

/// Turns of one conversation, the oldest first.
fn turns(tenant_id: TenantId, count: i64) -> Vec<WorkflowRun> {
    let (app_id, person) = (records::app(), records::id());
    let turn = |number: i64| {
        let at = records::later(now(), (number - count) * 60_000_000);
        let mut run = records::ended(records::run(tenant_id, app_id, at), 1_000_000);
        run.created_by = person;
        run.inputs = records::json(&json!({ "sys.query": format!("question <{number}>") }).to_string());
        run.outputs = records::json(&json!({ "answer": format!("answer {number}") }).to_string());
        run
    };
    (0..count).map(turn).collect()
}

fn insert(postgres: &Postgres, runs: &[WorkflowRun], conversation: impl std::fmt::Display) -> Vec<String> {
    let insert = |run: &WorkflowRun| {
        let id = records::id();
        postgres.sql(&format!(
            "INSERT INTO messages VALUES ('{id}', '{}', '{conversation}', '{}', '{}')",
            run.app_id,
            run.id,
            run.created_at.to_string().trim_end_matches('Z')
        ));
        id.to_string()
    };
    runs.iter().map(insert).collect()
}

async fn filled() -> (Place, Postgres, Vec<WorkflowRun>, Vec<WorkflowRun>) {
    let postgres = Postgres::empty(Schema::V12);
    postgres.sql(NAMES);
    postgres.sql(MESSAGES);
    let directory = DifyDirectory::new(postgres.database()).within(Duration::from_secs(30));
    let place = Place::beside(Beside::directory(directory)).await;
    let foreign = records::tenant();
    let (ours, theirs) = (turns(place.tenant_id, 4), turns(foreign, 2));
    for (runs, tenant) in [(&ours, place.tenant_id), (&theirs, foreign)] {
        place.store(runs.iter().cloned().map(|run| Record::Run(Box::new(run)))).await;
        postgres.sql(&format!("INSERT INTO apps VALUES ('{}', '{tenant}', 'A chat', 'advanced-chat')", runs[0].app_id));
    }
    (place, postgres, ours, theirs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_its_runs_in_order_and_nobody_elses() {
    let (place, postgres, ours, theirs) = filled().await;
    let (conversation, foreign) = (records::id(), records::id());
    let messages = insert(&postgres, &ours, conversation);
    let foreign_messages = insert(&postgres, &theirs, foreign);
    let mut client = place.signed_in(TENANT_KEY).await;
    let run = client.page(&place.path(&format!("runs/{}", ours[2].id))).await;
    let address = place.path(&format!("conversations/{conversation}"));
    assert!(run.contains(&format!("href=\"{address}\"")), "{run}");
    let page = client.page(&address).await;
    assert!(page.contains("<strong>4</strong> runs, oldest first"), "{page}");
    let places: Vec<_> = ours.iter().map(|run| page.find(&run.id.to_string()).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.contains("question &lt;3&gt;") && page.contains("answer 3"), "{page}");
    assert_eq!(client.get(&place.path(&format!("conversations/{foreign}"))).await.status, 404);

    let api = format!("{}/v1/tenants/{}", place.base, place.tenant_id);
    let ask = async |path: String| {
        let answer = reqwest::Client::new().get(format!("{api}{path}")).bearer_auth(TENANT_KEY).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (_, told) = ask(format!("/conversations/{conversation}")).await;
    let ids: Vec<_> = told["data"].as_array().unwrap().iter().map(|turn| turn["run"]["id"].clone()).collect();
    assert_eq!(ids, ours.iter().map(|run| json!(run.id.to_string())).collect::<Vec<_>>());
    let (_, message) = ask(format!("/messages/{}", messages[1])).await;
    assert_eq!(message["workflow_run_id"], ours[1].id.to_string());
    assert_eq!(ask(format!("/runs/{}/message", ours[1].id)).await.1, message);
    for absent in [format!("/messages/{}", foreign_messages[0]), format!("/conversations/{foreign}")] {
        assert_eq!(ask(absent.clone()).await.0, 404, "{absent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_one_person_did_stands_on_one_page() {
    let (place, _postgres, ours, theirs) = filled().await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let person = place.path(&format!("people/{}", ours[0].created_by));
    let run = client.page(&place.path(&format!("runs/{}", ours[0].id))).await;
    assert!(run.contains(&format!("href=\"{person}\"")), "{run}");
    let page = client.page(&person).await;
    assert!(page.contains("<strong>4</strong> found") && page.contains("A chat"), "{page}");
    for run in &ours {
        assert!(page.contains(&run.id.to_string()));
    }
    assert!(page.contains("question &lt;0&gt;") && !page.contains(&theirs[0].id.to_string()));
    let foreign = client.page(&place.path(&format!("people/{}", theirs[0].created_by))).await;
    assert!(foreign.contains("Nothing in this view") && !foreign.contains("question"), "{foreign}");
}

#[tokio::test]
async fn without_names_conversations_are_not_known_and_it_is_said_how_they_would_be() {
    let place = Place::new().await;
    let answer = place.signed_in(TENANT_KEY).await.get(&place.path(&format!("conversations/{}", records::id()))).await;
    assert_eq!(answer.status, 404);
}
