//! The broker and the engine are restarted under load, and nobody touches the worker.

use crate::support::effort::rounds;
use crate::support::load::Load;
use crate::support::server::Server;
use crate::support::site::{Site, StoreUnderTest, needed};

#[tokio::test(flavor = "multi_thread")]
async fn broker_and_engine_restart_again_and_again() {
    let broker = Server::start("rabbitmq.sh", None);
    let engine = Server::start("engine.sh", Some(needed("DIFYLOG_TEST_ENGINE_NAME")));
    let store = StoreUnderTest::Engine { url: engine.url(), tenancy: "dedicated" };
    let site = Site::with(&store, &broker.url(), "");
    site.setup();
    let mut worker = site.worker();
    let pid = worker.pid();
    worker.ready().await;

    let mut loads = Vec::new();
    for round in 0..rounds(3, 5_u64) {
        let load = Load::new(100 + round, 3_000);
        load.write_events(&site.file("events.jsonl"));
        site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
        loads.push(load);
        // Both in the middle of the work: the messages were confirmed a moment ago.
        broker.verb("restart");
        if round % 2 == 0 {
            engine.verb(if round == 2 { "kill" } else { "stop" });
            engine.verb("start");
        }
    }
    Load::joined(loads).stored(180, &site, &worker).await;
    assert_eq!(worker.has_ended(), None, "the worker is still the first one");
    assert_eq!(worker.pid(), pid);
    assert_eq!(site.depth("dead").await, 0);
}
