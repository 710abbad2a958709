//! One verdict per action, by revision and by tenant.

use difylog::domain::{BulkAction, Record, Verdict};

use crate::contract::subject::Subject;
use crate::support::nodes::nodes_of_run;
use crate::support::records::{self, actions, app, at, ended, node, run, tenant};

fn document(record: Record) -> BulkAction {
    actions(record).pop().unwrap()
}

pub async fn older_is_superseded_and_equal_is_stored(subject: &Subject) {
    let running = run(tenant(), app(), at("2026-11-23T10:00:00"));
    let [old, new] = [running.clone(), ended(running, 5)].map(|run| Record::Run(Box::new(run)));
    subject.store([new.clone()]).await;
    assert_eq!(subject.apply(&[document(old)]).await, [Verdict::Superseded]);
    assert_eq!(subject.apply(&[document(new.clone())]).await, [Verdict::Stored]);
    subject.refresh().await;
    assert_eq!(subject.read(new.key()).await, Some(records::whole(new)));
}

pub async fn one_verdict_per_action_in_order(subject: &Subject) {
    let (tenant, app) = (tenant(), app());
    let mut prepared = Vec::new();
    let mut mixed = Vec::new();
    let mut expected = Vec::new();
    // Places alternate between three months, so that an answer put together per file or index shows its order.
    let places = ["2026-09-01T00:00:00", "2026-10-31T23:59:59.999999", "2026-11-15T12:00:00"];
    for (number, place) in (0..30).zip(places.into_iter().cycle()) {
        let start = at(place);
        let running = run(tenant, app, start);
        let ended = Record::Run(Box::new(ended(running.clone(), number)));
        if number % 4 == 0 {
            prepared.push(ended);
            mixed.push(document(Record::Run(Box::new(running))));
            expected.push(Verdict::Superseded);
        } else {
            let stored = actions(ended);
            expected.extend(vec![Verdict::Stored; stored.len()]);
            mixed.extend(stored);
        }
    }
    subject.store(prepared).await;
    assert_eq!(subject.apply(&mixed).await, expected);
}

pub async fn no_actions_no_verdicts(subject: &Subject) {
    assert_eq!(subject.apply(&[]).await, []);
}

pub async fn tenants_with_the_same_id_never_mix(subject: &Subject) {
    let (app, start) = (app(), at("2026-11-23T10:00:00"));
    let ours = run(tenant(), app, start);
    let mut theirs = ended(run(tenant(), app, start), 9);
    theirs.id = ours.id;
    theirs.graph = records::json(r#"{"theirs": true}"#);
    let our_node = node(ours.tenant_id, app, ours.id, 1, start);
    let mut their_node = node(theirs.tenant_id, app, ours.id, 2, start);
    their_node.id = our_node.id;
    let all = [
        Record::Run(Box::new(ours.clone())),
        Record::Node(Box::new(our_node)),
        Record::Run(Box::new(theirs.clone())),
        Record::Node(Box::new(their_node)),
    ];
    subject.store(all.clone()).await;
    subject.refresh().await;
    for record in all {
        assert_eq!(subject.read(record.key()).await, Some(records::whole(record)));
    }
    for run in [ours, theirs] {
        let nodes = nodes_of_run(&*subject.store, run.tenant_id, run.id).await.unwrap();
        assert_eq!(nodes.iter().map(difylog::domain::Document::tenant_id).collect::<Vec<_>>(), [run.tenant_id]);
    }
}
