//! The worker is killed at random moments of a load: nothing is missing, nothing is doubled.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::load::Load;
use crate::support::site::{Site, StoreUnderTest, eventually};

const MESSAGES: usize = 50_000;
const KILLS: usize = 20;

async fn killed_twenty_times(store: StoreUnderTest) {
    let site = Site::new(&store);
    site.setup();
    let load = Load::new(20, MESSAGES);
    load.write_events(&site.file("events.jsonl"));
    site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
    let published = load.records.len() as u64;

    let mut rng = StdRng::seed_from_u64(20);
    for kill in 0..KILLS {
        let mut worker = site.worker();
        // The next death is due once this many more messages are done, or at a random moment of the start.
        let before = site.depth("events").await;
        let share = published / (KILLS as u64 + 5);
        let goal = before.saturating_sub(rng.random_range(0..=share));
        let moment = Duration::from_millis(rng.random_range(0..400));
        if kill % 4 == 0 {
            tokio::time::sleep(moment).await;
        } else {
            eventually(60, "the worker makes progress", async || site.depth("events").await <= goal).await;
        }
        worker.kill();
    }
    let worker = site.worker();
    load.stored(180, &site, &worker).await;
    assert_eq!(site.depth("dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_over_sqlite() {
    killed_twenty_times(StoreUnderTest::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_over_the_engine() {
    killed_twenty_times(StoreUnderTest::engine("dedicated")).await;
}
