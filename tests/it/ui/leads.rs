//! Where a number of a page leads: to as many records as it says.

use difylog::domain::{AppId, Record, RunStatus, WorkflowRun};

use super::harness::{Client, Place, TENANT_KEY, now};
use crate::support::records;

const MINUTE: i64 = 60_000_000;

/// A run that began so many microseconds before the instant of the pages.
fn run_before(place: &Place, app_id: AppId, micros: i64) -> WorkflowRun {
    records::ended(records::run(place.tenant_id, app_id, records::later(now(), -micros)), 1_500_000)
}

async fn store(place: &Place, runs: Vec<WorkflowRun>) {
    place.store(runs.into_iter().map(|run| Record::Run(Box::new(run)))).await;
}

fn number(text: &str) -> u64 {
    text.split('<').next().unwrap().replace(',', "").trim().parse().unwrap_or_else(|_| panic!("{text:.80}"))
}

/// How many a list says that it found.
fn found(page: &str) -> u64 {
    page.split_once("<p class=\"total\" role=\"status\"><strong>").map_or(0, |(_, rest)| number(rest))
}

fn href(text: &str) -> String {
    text.split_once("href=\"").unwrap().1.split('"').next().unwrap().replace("&amp;", "&")
}

#[tokio::test]
async fn an_error_group_leads_to_the_runs_that_it_counts() {
    let place = Place::new().await;
    let long = |end: &str| format!("{}and then {end}", "a long reason of a model ".repeat(20));
    let groups = [
        vec![
            r#"Error code: 400 - {"error": {"message": "The model is overloaded with other requests"}}"#.to_owned(),
            r#"Error code: 429 - {"error": {"message": "No"}}"#.into(),
        ],
        vec!["no run 7f3abcdefghijklmnopqrst here".into(), "no run 12 here".into(), "No run\n 3x here".into()],
        vec!["bad “a very long name of a file” in use".into(), "bad “b” in use".into()],
        vec!["缺少「一个很长很长的变量名称」参数".into(), "缺少「乙」参数".into()],
        vec![long("of the first of all of them which is long enough to be taken"), long("x")],
    ];
    let mut runs = Vec::new();
    for error in groups.iter().flatten() {
        let mut run = run_before(&place, records::app(), MINUTE);
        (run.status, run.error) = (RunStatus::Failed, Some(error.as_str().into()));
        runs.push(run);
    }
    store(&place, runs).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let page = client.page(&place.path("errors?range=24h")).await;
    let rows: Vec<_> = page.split("<tbody>").skip(1).collect();
    assert_eq!(rows.len(), groups.len(), "{page}");
    for row in rows {
        let runs = number(row.split_once("<td class=\"number\">").unwrap().1);
        let leads_to = href(row);
        assert_eq!(found(&client.page(&leads_to).await), runs, "{leads_to}");
    }
}

/// Follows every bar of a page's histogram; returns how many bars there are, and the sum of their numbers.
async fn follow_bars(client: &mut Client, path: &str, query: &str) -> (usize, u64) {
    let page = client.page(&format!("{path}?{query}")).await;
    let Some((_, rest)) = page.split_once("<details class=\"behind\">") else { panic!("{page}") };
    let (mut bars, mut sum) = (0, 0);
    for row in rest.split("</details>").next().unwrap().split("<tr>").skip(2) {
        let numbers: u64 = row.split("<td class=\"number\">").skip(1).map(number).sum();
        let leads_to = href(row);
        assert_eq!(found(&client.page(&format!("{path}{leads_to}")).await), numbers, "{query}: {leads_to}");
        (bars, sum) = (bars + 1, sum + numbers);
    }
    assert_eq!(sum, found(&page), "{query}");
    (bars, sum)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bar_leads_to_as_many_as_it_counts() {
    let place = Place::new().await;
    let app_id = records::app();
    store(&place, (1..400).map(|number| run_before(&place, app_id, number * 7 * MINUTE + 1)).collect()).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let path = place.path("runs");
    for query in [
        "range=all",
        "range=7d",
        "range=24h",
        "range=1003m",
        "range=61m",
        "from=2025-12-19T13:07&until=2025-12-20T05:23",
        "until=2025-12-19T13:07",
        "from=2025-12-20T09:07",
    ] {
        follow_bars(&mut client, &path, query).await;
    }
    // Today until midnight, at noon: hours that have not come are no reason for wide bars.
    let (bars, sum) = follow_bars(&mut client, &path, "from=2025-12-20T00:00&until=2025-12-21T00:00").await;
    assert!(bars > 30 && sum == 102, "{bars} bars of {sum}");
}

#[tokio::test]
async fn another_search_in_the_logs_of_an_app_begins_at_its_first_page() {
    let place = Place::new().await;
    let app_id = records::app();
    let runs: Vec<_> = (1..=60).map(|number| run_before(&place, app_id, number * MINUTE)).collect();
    let logs = runs.iter().map(|run| records::app_log(place.tenant_id, app_id, run.id, run.created_at));
    place.store(logs.map(|log| Record::AppLog(Box::new(log))).collect::<Vec<_>>()).await;
    store(&place, runs).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let second = client.page(&place.path(&format!("app-logs?app_id={app_id}&page=2"))).await;
    assert_eq!((found(&second), second.matches("class=\"whole\"").count()), (60, 10));
    assert!(!second.contains("name=\"page\""), "{second}");
    let beyond = client.page(&place.path(&format!("app-logs?app_id={app_id}&page=3"))).await;
    let (_, rest) = beyond.split_once("<section class=\"state none\">").unwrap();
    assert!(!rest.contains("Look at all time"), "{rest}");
    let first = client.page(&href(rest)).await;
    assert_eq!((found(&first), first.matches("class=\"whole\"").count()), (60, 50), "{}", href(rest));
}

#[tokio::test]
async fn statistics_are_of_the_runs_that_were_chosen_from_and_of_one_span() {
    let place = Place::new().await;
    let (published, tried, other) = (records::app(), records::app(), records::app());
    let hour = 60 * MINUTE;
    let mut runs: Vec<_> = (0..4).map(|number| run_before(&place, published, number * 7 * hour + 1)).collect();
    // Yesterday before noon: of the first day, but not of the last 24 hours.
    let mut failed = run_before(&place, published, 30 * hour);
    (failed.status, failed.error) = (RunStatus::Failed, Some("no answer".into()));
    runs.push(failed);
    let debugged = [(published, 3), (tried, 2)];
    for (app_id, count) in debugged {
        runs.extend((0..count).map(|number| {
            let run = run_before(&place, app_id, number * hour + 2);
            WorkflowRun { triggered_from: "debugging".into(), ..run }
        }));
    }
    store(&place, runs).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let choice = client.page(&place.path("statistics?range=7d")).await;
    let rows: Vec<_> = choice.split("<tbody class=\"linked\">").skip(1).collect();
    assert!(rows.len() == 1 && rows[0].contains("<td class=\"number\">5<"), "{choice}");
    let chosen = client.page(&href(rows[0])).await;
    assert!(chosen.contains("1 / 5") && chosen.contains("20.0 %"), "{chosen}");
    // The error rate is of the same days as the sums.
    let day = client.page(&place.path(&format!("statistics?app_id={published}&range=24h"))).await;
    assert!(day.contains("1 / 5") && day.contains("<strong>5</strong>"), "{day}");
    // An app that was tried only: why there is nothing, and where its runs are.
    let none = client.page(&place.path(&format!("statistics?app_id={tried}&range=7d"))).await;
    let (_, rest) = none.split_once("<section class=\"state none\">").unwrap();
    assert!(rest.contains("published") && rest.contains("range=all"), "{rest}");
    let runs = rest.split("<a ").skip(1).map(href).find(|href| href.contains("/runs?")).unwrap();
    assert_eq!(found(&client.page(&runs).await), 2, "{runs}");
    for path in [format!("statistics?app_id={other}&range=all"), "statistics?range=all&triggered_from=plugin".into()] {
        let none = client.page(&place.path(&path)).await;
        let (_, rest) = none.split_once("<section class=\"state none\">").unwrap();
        assert!(!rest.split("</section>").next().unwrap().contains("Look at all time"), "{rest}");
    }
}
