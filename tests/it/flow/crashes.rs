//! The worker is killed at random moments of a load: nothing is missing, nothing is doubled.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::effort::rounds;
use crate::support::load::Load;
use crate::support::site::{Site, StoreUnderTest, eventually};

async fn killed_again_and_again(store: StoreUnderTest) {
    let site = Site::new(&store);
    site.setup();
    let (kills, messages) = rounds((6, 12_000), (20, 50_000));
    let load = Load::new(20, messages);
    load.write_events(&site.file("events.jsonl"));
    site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
    let published = load.records.len() as u64;

    let mut rng = StdRng::seed_from_u64(20);
    for kill in 0..kills {
        let mut worker = site.worker();
        // The next death is due once this many more messages are done, or at a random moment of the start.
        let before = site.depth("events").await;
        let share = published / (kills + 5);
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
async fn killed_again_and_again_over_sqlite() {
    killed_again_and_again(StoreUnderTest::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_over_the_engine() {
    killed_again_and_again(StoreUnderTest::engine("dedicated")).await;
}
