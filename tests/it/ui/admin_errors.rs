//! Errors over all workspaces: the numbers are those of the records, bounded whatever there is, for admin keys that read.

use std::collections::{BTreeMap, BTreeSet};

use difylog::codec::mask::MaskSettings;
use difylog::domain::{Record, RunStatus, TenantId, Timestamp, WorkflowRun};
use difylog::http::api::ServeSettings;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use super::harness::{ADMIN_KEY, Beside, DELETE_KEY, Place, TENANT_KEY, now};
use crate::support::records;

const HOUR: i64 = 3_600_000_000;

fn failed(tenant_id: TenantId, at: Timestamp, error: &str) -> WorkflowRun {
    let mut run = records::ended(records::run(tenant_id, records::app(), at), 1_000_000);
    (run.status, run.error) = (RunStatus::Failed, Some(error.into()));
    run
}

async fn store(place: &Place, runs: &[WorkflowRun]) {
    for part in runs.chunks(500) {
        place.store(part.iter().cloned().map(|run| Record::Run(Box::new(run)))).await;
    }
}

/// The API's answer for the tenants of the place.
async fn told(place: &Place, query: &str) -> Value {
    let url = format!("{}/v1/admin/errors{query}", place.base);
    let answer = reqwest::Client::new().get(url).bearer_auth(ADMIN_KEY).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

/// Runs per group and tenant.
fn sums(told: &Value) -> BTreeMap<(String, String), u64> {
    let groups = told["data"].as_array().unwrap().iter();
    let tenants = groups.flat_map(|group| {
        let of = group["fingerprint"].as_str().unwrap().to_owned();
        let tenants = group["tenants"].as_array().unwrap();
        assert_eq!(
            tenants.iter().map(|tenant| tenant["runs"].as_u64().unwrap()).sum::<u64>(),
            group["runs"].as_u64().unwrap()
        );
        tenants.iter().map(move |tenant| {
            ((of.clone(), tenant["id"].as_str().unwrap().to_owned()), tenant["runs"].as_u64().unwrap())
        })
    });
    tenants.collect()
}

/// A span before all others, so that an engine that is shared has nothing else in it.
fn begin() -> Timestamp {
    records::at("2025-12-17T12:00:00Z")
}

async fn the_numbers_are_those_of_the_records(place: &Place, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let tenants: Vec<_> = (0..5).map(|_| records::tenant()).chain([place.tenant_id]).collect();
    let errors =
        ["upstream answered 503", "model \"a\" is overloaded", "<img src=x onerror=alert(1)> \u{202e}evil", ""];
    let mut runs = Vec::new();
    for _ in 0..rng.random_range(1..400) {
        let at = records::later(begin(), rng.random_range(0..60) * HOUR / 7 + rng.random_range(0..3));
        let mut run = failed(*tenants.choose(&mut rng).unwrap(), at, errors.choose(&mut rng).unwrap());
        if rng.random_bool(0.3) {
            (run.status, run.error) = (RunStatus::Succeeded, None);
        }
        runs.push(run);
    }
    // One that was paused, and failed when it was resumed in a later month.
    let mut resumed = records::run(place.tenant_id, records::app(), records::at("2025-11-30T23:00:00Z"));
    resumed.status = RunStatus::Paused;
    store(place, std::slice::from_ref(&resumed)).await;
    (resumed.status, resumed.created_at, resumed.error) = (RunStatus::Failed, begin(), Some("resumed".into()));
    resumed.finished_at = Some(records::later(begin(), HOUR));
    runs.push(resumed);
    store(place, &runs).await;
    let all = told(place, "?seconds=3600").await;
    let failed: Vec<_> = runs.iter().filter(|run| run.status == RunStatus::Failed).collect();
    assert_eq!(
        (all["looked_at"].as_u64(), all["failed"].as_u64()),
        (Some(failed.len() as u64), Some(failed.len() as u64))
    );
    assert_eq!(all.get("cut_at"), None);
    let sums = sums(&all);
    let mut client = place.signed_in(ADMIN_KEY).await;
    for tenant_id in &tenants {
        let own: Value = serde_json::from_str(&client.page(&format!("/ui/data/{tenant_id}/errors")).await).unwrap();
        for group in own["data"].as_array().unwrap() {
            let of = (group["fingerprint"].as_str().unwrap().to_owned(), tenant_id.to_string());
            assert_eq!(sums.get(&of).copied(), group["runs"].as_u64(), "{of:?}");
        }
        let of_tenant =
            sums.iter().filter(|((_, id), _)| *id == tenant_id.to_string()).map(|(_, runs)| runs).sum::<u64>();
        assert_eq!(of_tenant, failed.iter().filter(|run| run.tenant_id == *tenant_id).count() as u64);
    }
    for group in all["data"].as_array().unwrap() {
        let spans: u64 =
            group["over_time"].as_array().unwrap().iter().map(|span| span["count"].as_u64().unwrap()).sum();
        assert_eq!(Some(spans), group["runs"].as_u64());
        for tenant in group["tenants"].as_array().unwrap().iter().filter(|_| group["example"] != "") {
            // The path that the answer names finds the same runs.
            let url = format!("{}{}&limit=1", place.base, tenant["runs_path"].as_str().unwrap());
            let found: Value =
                reqwest::Client::new().get(url).bearer_auth(ADMIN_KEY).send().await.unwrap().json().await.unwrap();
            assert_eq!(found["total"]["value"], tenant["runs"], "{group}");
        }
    }
    let page = client.page("/ui/errors?range=7d").await;
    assert!(page.contains(&format!("looked at: {0} / {0}", failed.len())) || failed.is_empty(), "{page}");
    assert!(!page.contains("<img src=x") && !page.contains('\u{202e}'), "{page}");
    for tenant_id in failed.iter().map(|run| run.tenant_id).collect::<BTreeSet<_>>() {
        assert!(page.contains(&format!("/ui/t/{tenant_id}/runs?")), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tenant_counts() {
    for seed in 0..4 {
        the_numbers_are_those_of_the_records(&Place::new().await, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tenant_counts_over_the_engine() {
    the_numbers_are_those_of_the_records(&Place::over_engine().await, 7).await;
}

/// So many runs of so many tenants in turn: some far apart, hundreds within one second, hundreds at one instant.
fn storm(count: usize, tenants: usize) -> Vec<WorkflowRun> {
    let tenants: Vec<_> = (0..tenants).map(|_| records::tenant()).collect();
    let run = |place: usize| {
        let n = i64::try_from(place).unwrap();
        let at = match place % 4 {
            0 => records::later(begin(), n * HOUR / 700),
            1 => records::later(begin(), 50 * HOUR + n),
            2 => records::later(begin(), 51 * HOUR),
            _ => records::later(begin(), -n * 24 * HOUR / 100),
        };
        failed(
            tenants[place % tenants.len()],
            at,
            if place.is_multiple_of(3) { "rare" } else { "upstream answered 503" },
        )
    };
    (0..count).map(run).collect()
}

async fn whatever_fails_the_look_ends_at_its_bounds(place: &Place, count: usize, tenants: usize) {
    let runs = storm(count, tenants);
    store(place, &runs).await;
    let found = told(place, "").await;
    let looked_at = usize::try_from(found["looked_at"].as_u64().unwrap()).unwrap();
    assert_eq!(found["failed"].as_u64(), Some(count as u64));
    assert!(looked_at > 1700 && looked_at <= 2000, "{looked_at}");
    let cut_at: Timestamp = found["cut_at"].as_str().unwrap().parse().unwrap();
    let since = runs.iter().filter(|run| run.created_at >= cut_at).count();
    assert!(since <= looked_at && looked_at - since <= 200, "{since} {looked_at}");
    let groups = found["data"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    for group in groups {
        let shown = group["tenants"].as_array().unwrap().len();
        let all = usize::try_from(group["more_tenants"].as_u64().unwrap()).unwrap() + shown;
        let runs = usize::try_from(group["runs"].as_u64().unwrap()).unwrap();
        assert!(shown == all.min(20) && all <= tenants && (tenants < count || all == runs), "{shown} {all} {runs}");
    }
    let page = place.signed_in(ADMIN_KEY).await.page("/ui/errors?range=all").await;
    assert!(page.contains("Only the newest failed runs were looked at"), "{page}");
    assert!(page.len() < 100_000, "{}", page.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_tenants_are_looked_at_within_the_bounds() {
    whatever_fails_the_look_ends_at_its_bounds(&Place::new().await, 2600, 2600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_looked_at_within_the_bounds_over_the_engine() {
    whatever_fails_the_look_ends_at_its_bounds(&Place::over_engine().await, 2600, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_failures_of_one_instant_than_are_looked_at_do_not_keep_it() {
    let place = Place::new().await;
    let runs: Vec<_> = (0..2500).map(|_| failed(records::tenant(), begin(), "all at once")).collect();
    store(&place, &runs).await;
    let found = told(&place, "").await;
    let looked_at = found["looked_at"].as_u64().unwrap();
    assert!((1800..=2000).contains(&looked_at) && found["failed"] == 2500, "{looked_at}");
    assert!(found["cut_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_an_admin_key_that_reads() {
    let place = Place::new().await;
    store(&place, &[failed(records::tenant(), begin(), "secret")]).await;
    for key in [TENANT_KEY, DELETE_KEY] {
        let mut client = place.signed_in(key).await;
        for path in ["/ui/errors", "/ui/data/errors"] {
            let answer = client.get(path).await;
            assert!(answer.status == 403 && !answer.text.contains("secret"), "{path}: {}", answer.text);
        }
        let url = format!("{}/v1/admin/errors", place.base);
        assert_eq!(reqwest::Client::new().get(url).bearer_auth(key).send().await.unwrap().status(), 403);
        assert!(!client.page("/ui/workspaces").await.contains("/ui/errors"));
    }
    let mut admin = place.signed_in(ADMIN_KEY).await;
    for page in ["/ui/workspaces", "/ui/system"] {
        assert!(admin.page(page).await.contains("href=\"/ui/errors\""), "{page}");
    }
    for query in ["?values=0", "?seconds=0", "?created_at_from=soon", "?tenant_id=x", "?app_id=x"] {
        assert_eq!(admin.get(&format!("/ui/data/errors{query}")).await.status, 400, "{query}");
    }
    assert_eq!(admin.get("/ui/errors?q=x").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_masked_is_masked_here_too() {
    let mask = MaskSettings { patterns: vec!["card \\d+".into()], ..MaskSettings::default() };
    let settings = ServeSettings { mask, ..ServeSettings::default() };
    let place = Place::beside(Beside { settings, ..Beside::default() }).await;
    store(&place, &[failed(records::tenant(), records::later(now(), -HOUR), "refused card 4111111 of Ann")]).await;
    let page = place.signed_in(ADMIN_KEY).await.page("/ui/errors").await;
    assert!(page.contains("refused *** of Ann") && !page.contains("4111111"), "{page}");
    assert!(!told(&place, "").await.to_string().contains("4111111"));
}
