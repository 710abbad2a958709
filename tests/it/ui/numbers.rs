//! Every number of a page is the API's and that of the records themselves, over random worlds and random views.

use std::collections::{BTreeMap, BTreeSet};

use difylog::domain::{AppId, Record, RecordId, RunStatus, WorkflowRun};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use super::harness::{Client, Place, TENANT_KEY, now};
use crate::support::records;

const STATUSES: [RunStatus; 5] =
    [RunStatus::Running, RunStatus::Succeeded, RunStatus::Failed, RunStatus::Stopped, RunStatus::PartialSucceeded];
const TRIGGERS: [&str; 3] = ["app-run", "debugging", "webhook"];
const HOUR: i64 = 3_600_000_000;

/// Runs of some apps over three days, none of them in the last second.
fn world(rng: &mut StdRng, place: &Place) -> Vec<WorkflowRun> {
    let apps: Vec<AppId> = (0..3).map(|_| records::app()).collect();
    let people: Vec<RecordId> = (0..4).map(|_| records::id()).collect();
    let count = rng.random_range(1..140);
    let run = |_| {
        let at = records::later(now(), -rng.random_range(1_000_000..72 * HOUR));
        let mut run = records::run(place.tenant_id, *apps.choose(rng).unwrap(), at);
        run.status = STATUSES.choose(rng).unwrap().clone();
        run.triggered_from = (*TRIGGERS.choose(rng).unwrap()).into();
        run.created_by = *people.choose(rng).unwrap();
        run.total_tokens = rng.random_range(0..10_000);
        if run.status != RunStatus::Running {
            run.elapsed_time = f64::from(rng.random_range(1..90_u32));
            run.finished_at = Some(records::later(at, 1_000));
        }
        if run.status == RunStatus::Failed {
            run.error = Some(
                format!("{} answered 50{}", ["upstream", "model"].choose(rng).unwrap(), rng.random_range(0..9)).into(),
            );
        }
        run
    };
    (0..count).map(run).collect()
}

/// One view: its address, and which runs are in it.
struct View {
    address: String,
    statuses: Vec<RunStatus>,
    app_id: Option<AppId>,
    trigger: Option<&'static str>,
    hours: Option<i64>,
}

impl View {
    fn any(rng: &mut StdRng, runs: &[WorkflowRun]) -> Self {
        let statuses: Vec<_> = STATUSES.iter().filter(|_| rng.random_bool(0.3)).cloned().collect();
        let app_id = rng.random_bool(0.4).then(|| runs.choose(rng).unwrap().app_id);
        let trigger = rng.random_bool(0.3).then(|| *TRIGGERS.choose(rng).unwrap());
        let hours = *[Some(1), Some(6), Some(24), None].choose(rng).unwrap();
        let mut address = hours.map_or("range=all".to_owned(), |hours| format!("range={hours}h"));
        let names: Vec<_> = statuses.iter().map(RunStatus::as_str).collect();
        if !names.is_empty() {
            address.push_str("&status=");
            address.push_str(&names.join(","));
        }
        let app = app_id.map_or(String::new(), |app_id| format!("&app_id={app_id}"));
        let from = trigger.map_or(String::new(), |trigger| format!("&triggered_from={trigger}"));
        address.push_str(&(app + &from));
        Self { address, statuses, app_id, trigger, hours }
    }

    /// Whether a run is in it; a filter that is left out lets everything pass.
    fn holds(&self, run: &WorkflowRun, left_out: &str) -> bool {
        let is_recent = self.hours.is_none_or(|hours| run.created_at >= records::later(now(), -hours * HOUR));
        is_recent
            && (left_out == "status" || self.statuses.is_empty() || self.statuses.contains(&run.status))
            && (left_out == "app_id" || self.app_id.is_none_or(|app_id| run.app_id == app_id))
            && (left_out == "triggered_from" || self.trigger.is_none_or(|trigger| &*run.triggered_from == trigger))
    }

    fn counts(&self, runs: &[WorkflowRun], name: &str, of: impl Fn(&WorkflowRun) -> String) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for run in runs.iter().filter(|run| self.holds(run, name)) {
            *counts.entry(of(run)).or_default() += 1;
        }
        counts
    }
}

fn number(text: &str) -> u64 {
    text.split('<').next().unwrap().replace(',', "").trim().parse().unwrap_or_else(|_| panic!("{text:.80}"))
}

/// The counts of a facet of a page.
fn facet(page: &str, heading: &str) -> Vec<u64> {
    let Some((_, rest)) = page.split_once(&format!("<section class=\"facet\"><h2>{heading}</h2>")) else {
        return Vec::new();
    };
    let section = rest.split("</section>").next().unwrap();
    let mut counts: Vec<_> = section.split("<span class=\"number\">").skip(1).map(number).collect();
    counts.sort_unstable();
    counts
}

fn sorted(counts: &BTreeMap<String, u64>) -> Vec<u64> {
    let mut counts: Vec<_> = counts.values().copied().collect();
    counts.sort_unstable();
    counts
}

/// The sums of the columns of a page's histogram, smallest first.
fn histogram(page: &str) -> Vec<u64> {
    let Some((_, rest)) = page.split_once("<details class=\"behind\">") else { return Vec::new() };
    let mut sums = Vec::<u64>::new();
    for row in rest.split("</details>").next().unwrap().split("<tr>").skip(2) {
        for (column, cell) in row.split("<td class=\"number\">").skip(1).enumerate() {
            sums.resize(sums.len().max(column + 1), 0);
            sums[column] += number(cell);
        }
    }
    sums.sort_unstable();
    sums
}

fn total(page: &str) -> u64 {
    page.split_once("role=\"status\"><strong>").map_or(0, |(_, rest)| number(rest))
}

async fn json(client: &mut Client, path: &str) -> Value {
    serde_json::from_str(&client.page(path).await).unwrap()
}

async fn runs_page(client: &mut Client, place: &Place, runs: &[WorkflowRun], view: &View) {
    let page = client.page(&place.path(&format!("runs?{}", view.address))).await;
    let mut expected: Vec<_> = runs.iter().filter(|run| view.holds(run, "")).collect();
    expected.sort_by_key(|run| std::cmp::Reverse((run.created_at, run.id)));
    assert_eq!(total(&page), expected.len() as u64, "{}", view.address);
    let rows: Vec<_> =
        page.split("class=\"whole\" href=\"").skip(1).map(|row| row.split('"').next().unwrap()).collect();
    let first: Vec<_> = expected.iter().take(50).map(|run| place.path(&format!("runs/{}", run.id))).collect();
    assert_eq!(rows, first, "{}", view.address);
    if expected.is_empty() {
        return;
    }
    let by_status = view.counts(runs, "status", |run| run.status.as_str().to_owned());
    assert_eq!(facet(&page, "Status"), sorted(&by_status), "{}", view.address);
    let by_app = view.counts(runs, "app_id", |run| run.app_id.to_string());
    assert_eq!(facet(&page, "App"), sorted(&by_app), "{}", view.address);
    let by_trigger = view.counts(runs, "triggered_from", |run| run.triggered_from.to_string());
    assert_eq!(facet(&page, "Trigger"), sorted(&by_trigger), "{}", view.address);
    let shown = view.counts(runs, "", |run| run.status.as_str().to_owned());
    let bars: Vec<_> = histogram(&page).into_iter().filter(|sum| *sum > 0).collect();
    assert_eq!(bars, sorted(&shown), "{}", view.address);

    let query = view.address.replace("range=all", "").replace("range=", "x=");
    let from =
        view.hours.map_or(String::new(), |hours| format!("&created_at_from={}", records::later(now(), -hours * HOUR)));
    let query = query.split('&').filter(|part| !part.starts_with("x=")).collect::<Vec<_>>().join("&");
    let listed = json(client, &format!("/ui/data/{}/runs?limit=50&{query}{from}", place.tenant_id)).await;
    assert_eq!(listed["total"]["value"], expected.len() as u64, "{query}{from}");
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|row| row["row"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, expected.iter().take(50).map(|run| run.id.to_string()).collect::<Vec<_>>());
}

async fn statistics_page(client: &mut Client, place: &Place, runs: &[WorkflowRun], app_id: AppId) {
    let page = client.page(&place.path(&format!("statistics?app_id={app_id}&range=all"))).await;
    let counted: Vec<_> = runs.iter().filter(|run| run.app_id == app_id && &*run.triggered_from == "app-run").collect();
    if counted.is_empty() {
        return;
    }
    let ended = counted.iter().filter(|run| run.status != RunStatus::Running).count();
    let failed = counted.iter().filter(|run| run.status == RunStatus::Failed).count();
    assert!(page.contains(&format!("{failed} / {ended}")), "{failed} / {ended}: {page}");
    let cards: Vec<_> = page.split("<section class=\"card\">").skip(1).collect();
    let sums: Vec<u64> = cards
        .iter()
        .map(|card| card.split("<td class=\"number\">").skip(1))
        .take(3)
        .map(|cells| cells.map(number).sum())
        .collect();
    let people_of_days: BTreeSet<_> =
        counted.iter().map(|run| (run.created_at.to_string()[..10].to_owned(), run.created_by)).collect();
    let tokens: i64 = counted.iter().map(|run| run.total_tokens).sum();
    assert_eq!(sums, [counted.len() as u64, people_of_days.len() as u64, u64::try_from(tokens).unwrap()], "{page}");
}

async fn errors_page(client: &mut Client, place: &Place, runs: &[WorkflowRun]) {
    let page = client.page(&place.path("errors?range=all")).await;
    let failed: Vec<_> = runs.iter().filter(|run| run.status == RunStatus::Failed).collect();
    let mut groups = BTreeMap::<&str, u64>::new();
    for run in &failed {
        *groups.entry(run.error.as_deref().unwrap().split(' ').next().unwrap()).or_default() += 1;
    }
    if failed.is_empty() {
        assert!(page.contains("No run failed"), "{page}");
        return;
    }
    assert!(page.contains(&format!("All failed runs of this view were looked at: {}", failed.len())), "{page}");
    let table = page.split("<tbody>").skip(1).filter_map(|row| row.split_once("<td class=\"number\">"));
    let mut shown: Vec<_> = table.map(|(_, rest)| number(rest)).collect();
    shown.sort_unstable();
    let mut expected: Vec<_> = groups.into_values().collect();
    expected.sort_unstable();
    assert_eq!(shown, expected, "{page}");
}

/// More days than are drawn count in the sums.
#[tokio::test(flavor = "multi_thread")]
async fn sums_are_of_all_days_and_the_newest_are_drawn() {
    const DAYS: i64 = 401;
    let place = Place::new().await;
    let app = records::app();
    let run = |day: i64| {
        let mut run =
            records::ended(records::run(place.tenant_id, app, records::later(now(), -day * 24 * HOUR - 1)), 1);
        run.total_tokens = 10;
        run
    };
    place.store((0..DAYS).map(|day| Record::Run(Box::new(run(day))))).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let statistics = place.path(&format!("statistics?app_id={app}"));
    let page = client.page(&format!("{statistics}&range=all")).await;
    let cards: Vec<_> = page.split("<section class=\"card\">").skip(1).collect();
    let sum = |card: &str| number(card.split_once("<strong>").unwrap().1);
    assert_eq!((sum(cards[0]), sum(cards[2])), (401, 4_010), "{page:.3000}");
    assert_eq!(cards[0].matches("<td class=\"number\">").count(), 400);
    let note = "drawn are only the newest: 400";
    assert!(page.contains(note), "{page:.3000}");
    assert!(!client.page(&format!("{statistics}&range=30d")).await.contains("drawn are only"));
}

/// Nothing was created before the first instant; an upper bound there is not one that is left out.
#[tokio::test(flavor = "multi_thread")]
async fn logs_until_the_first_instant_are_none() {
    let place = Place::new().await;
    let app = records::app();
    let run = records::run(place.tenant_id, app, now());
    let log = records::app_log(place.tenant_id, app, run.id, now());
    place.store([Record::Run(Box::new(run)), Record::AppLog(Box::new(log))]).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let logs = place.path(&format!("app-logs?app_id={app}"));
    for (until, found) in [("1970-01-01T00:00:00Z", 0), ("1969-12-31T00:00", 0), ("2100-01-01T00:00:00Z", 1)] {
        let page = client.page(&format!("{logs}&until={until}")).await;
        assert_eq!(total(&page), found, "{until}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_that_of_the_records_and_of_the_api() {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let place = Place::new().await;
        let runs = world(&mut rng, &place);
        // Of another tenant as well: none of it counts.
        let foreign = runs.iter().map(|run| WorkflowRun { tenant_id: records::tenant(), ..run.clone() });
        place.store(runs.iter().cloned().chain(foreign).map(|run| Record::Run(Box::new(run)))).await;
        let mut client = place.signed_in(TENANT_KEY).await;
        for _ in 0..12 {
            let view = View::any(&mut rng, &runs);
            runs_page(&mut client, &place, &runs, &view).await;
        }
        statistics_page(&mut client, &place, &runs, runs[0].app_id).await;
        errors_page(&mut client, &place, &runs).await;
    }
}
