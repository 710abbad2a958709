//! What the pages say: the same as the API, in both languages, as links.

use difylog::domain::{NodeStatus, Record, RunStatus, TenantId, Timestamp};
use difylog::http::api::ServeSettings;

use super::harness::{Beside, Client, Place, TENANT_KEY, now};
use crate::support::records;

/// Runs of one app over the last day: some of each status, and one with a word in it.
async fn filled(place: &Place) -> Vec<difylog::domain::WorkflowRun> {
    let app_id = records::app();
    let mut runs = Vec::new();
    for number in 0..60_i64 {
        let created_at = records::later(now(), -(number + 1) * 900_000_000);
        let mut run = records::ended(records::run(place.tenant_id, app_id, created_at), 1_500_000);
        if number % 10 == 3 {
            run.status = RunStatus::Failed;
            run.error = Some(format!("upstream answered 50{number} for <order>").into());
        }
        if number == 7 {
            run.inputs = records::json(r#"{"query": "where is my <b>parcel</b> 包裹?"}"#);
        }
        runs.push(run);
    }
    place.store(runs.iter().cloned().map(|run| Record::Run(Box::new(run)))).await;
    runs
}

#[tokio::test]
async fn the_runs_of_the_last_day_with_their_numbers_as_the_api_has_them() {
    runs_with_their_numbers(&Place::new().await).await;
}

#[tokio::test]
async fn the_runs_of_the_last_day_over_the_engine() {
    runs_with_their_numbers(&Place::over_engine().await).await;
}

async fn runs_with_their_numbers(place: &Place) {
    filled(place).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let page = client.page(&place.path("runs")).await;
    assert_eq!(page.matches("class=\"whole\"").count(), 50, "a page of rows");
    assert!(page.contains("<strong>60</strong> found"), "{page}");
    let json = client.page(&link(&page, "/runs?", "JSON")).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["total"]["value"].as_u64(), json["data"].as_array().unwrap().len()), (Some(60), 50));
    for row in json["data"].as_array().unwrap() {
        assert!(page.contains(&format!("runs/{}\"", row["row"]["id"].as_str().unwrap())), "{row}");
    }
    // The bars of the histogram, the facet and the rows count the same runs.
    assert_eq!(table_sum(&page), 60);
    let next = link(&page, "/runs?", "Next page");
    let second = client.page(&next).await;
    assert_eq!(second.matches("class=\"whole\"").count(), 10);
    assert!(second.contains("<strong>60</strong> found") && second.contains("First page"));
    let failed = client.page(&place.path("runs?status=failed")).await;
    assert!(failed.contains("<strong>6</strong> found"));
    assert_eq!(table_sum(&failed), 6);
    for form in ["CSV", "NDJSON"] {
        let taken = client.page(&link(&failed, "/export/runs?", form)).await;
        let lines = taken.trim_end().lines().count();
        assert_eq!(lines, if form == "CSV" { 7 } else { 6 }, "{taken}");
    }
}

/// The sum of the numbers of the histogram's table.
fn table_sum(page: &str) -> u64 {
    let table = page.split("<details class=\"behind\">").nth(1).unwrap().split("</details>").next().unwrap();
    let cells = table.split("<td class=\"number\">").skip(1);
    cells.map(|cell| cell.split('<').next().unwrap().replace(',', "").parse::<u64>().unwrap()).sum()
}

/// The address of the link with a text, below a path.
fn link(page: &str, path: &str, text: &str) -> String {
    let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    let found = links.filter(|(_, rest)| rest.split_once('>').is_some_and(|(_, rest)| rest.starts_with(text)));
    let mut found = found.map(|(href, _)| href.replace("&amp;", "&")).filter(|href| href.contains(path));
    found.next().unwrap_or_else(|| panic!("no link {text} to {path} in {page}"))
}

#[tokio::test]
async fn a_word_is_found_and_marked_and_what_is_not_there_is_said() {
    let place = Place::new().await;
    let runs = filled(&place).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    for word in ["PARCEL", "%E5%8C%85", "%3Cb%3E"] {
        let page = client.page(&place.path(&format!("runs?q={word}"))).await;
        assert!(page.contains("<strong>1</strong> found") && page.contains("<mark>"), "{word}: {page}");
        assert!(page.contains(&runs[7].id.to_string()) && !page.contains("<b>"), "{word}");
    }
    let none = client.page(&place.path("runs?q=nowhere")).await;
    assert!(none.contains("Nothing in this view") && none.contains("range=all"), "{none}");
    let old = client.page(&place.path("runs?range=1h&status=stopped")).await;
    assert!(old.contains("Nothing in this view"));
    for wrong in
        ["runs?staus=failed", "runs?range=soon", "runs?app_id=1", "runs?sort=name", "runs?cursor=x", "runs?from=now"]
    {
        let answer = client.get(&place.path(wrong)).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.text.contains("This address cannot be read"), "{}", answer.text);
    }
}

pub(super) async fn long_run(place: &Place) -> (difylog::domain::WorkflowRun, Vec<difylog::domain::NodeExecution>) {
    let mut run =
        records::ended(records::run(place.tenant_id, records::app(), records::at("2025-12-20T11:00:00Z")), 60_000_000);
    run.graph = records::json(
        r#"{"nodes": [{"id": "each", "position": {"x": 0, "y": 0}, "data": {"title": "Each", "type": "iteration"}},
            {"id": "never", "position": {"x": 400, "y": 0}, "data": {"title": "Never <reached>", "type": "llm"}}], "edges": []}"#,
    );
    let at = |number: i64| records::later(run.created_at, number * 10_000);
    let node = |number: i64, id: &str, kind: &str| {
        let mut node = records::node(place.tenant_id, run.app_id, run.id, number + 1, at(number));
        (node.node_id, node.node_type, node.title) = (id.into(), kind.into(), format!("{kind} <{number}>").into());
        (node.status, node.finished_at, node.elapsed_time) = (NodeStatus::Succeeded, Some(at(number + 1)), 0.01);
        node
    };
    let mut nodes = vec![node(0, "each", "iteration")];
    for number in 1..1200 {
        let mut inner = node(number, "inner", "code");
        inner.execution_metadata = records::json(r#"{"iteration_id": "each", "iteration_index": 1}"#);
        nodes.push(inner);
    }
    nodes[700].status = NodeStatus::Failed;
    nodes[700].error = Some("division by <zero>".into());
    let records = nodes.iter().cloned().map(|node| Record::Node(Box::new(node)));
    place.store(records.chain([Record::Run(Box::new(run.clone()))])).await;
    (run, nodes)
}

#[tokio::test]
async fn a_run_leads_to_dify_where_that_is_configured() {
    let link = Some("https://dify.example/app/{app_id}/logs?run={run_id}".to_owned());
    let settings = ServeSettings { dify_link: link, ..ServeSettings::default() };
    let place = Place::beside(Beside { settings, ..Beside::default() }).await;
    let runs = filled(&place).await;
    let page = place.signed_in(TENANT_KEY).await.page(&place.path(&format!("runs/{}", runs[0].id))).await;
    let href = format!("href=\"https://dify.example/app/{}/logs?run={}\"", runs[0].app_id, runs[0].id);
    assert!(page.contains(&href), "{page}");
    for wrong in ["javascript:alert({app_id})", "https://dify.example/app/"] {
        let settings = ServeSettings { dify_link: Some(wrong.into()), ..ServeSettings::default() };
        assert!(settings.validate().unwrap_err().to_string().contains("dify_link"), "{wrong}");
    }
}

#[tokio::test]
async fn a_run_of_1200_nodes_is_whole_in_every_view() {
    let place = Place::new().await;
    let (run, nodes) = long_run(&place).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let here = place.path(&format!("runs/{}", run.id));
    let timeline = client.page(&here).await;
    for node in &nodes {
        assert!(timeline.contains(&format!("../nodes/{}\"", node.id)), "{}", node.index);
    }
    assert!(timeline.contains("1,199 inside") && timeline.contains("division by &lt;zero&gt;"));
    assert!(!timeline.contains("<0>") && timeline.len() < 1 << 20, "{}", timeline.len());
    let graph = client.page(&format!("{here}?view=graph")).await;
    assert!(graph.contains("Never &lt;reached&gt;") && graph.contains("node pale") && graph.contains("<title>Each"));
    let mut page = format!("{here}?view=transcript");
    let mut steps = 0;
    loop {
        let text = client.page(&page).await;
        steps += text.matches("<article>").count();
        if !text.contains("Next page") {
            break;
        }
        page = link(&text, "cursor=", "Next page");
    }
    assert_eq!(steps, 1200);
    let payloads = client.page(&format!("{here}?view=payloads")).await;
    assert!(payloads.contains("sys.query") && payloads.contains("hello"));
    let node = client.page(&place.path(&format!("nodes/{}", nodes[700].id))).await;
    assert!(node.contains("division by &lt;zero&gt;") && node.contains(&run.id.to_string()));
    let part = client.get_with(&place.path(&format!("nodes/{}", nodes[700].id)), &[("x-part", "1")]).await;
    assert!(part.text.contains("division by") && !part.text.contains("<html"), "{}", part.text);
    let error =
        client.get(&format!("/ui/data/{}/nodes/{}/text/error?download=true", place.tenant_id, nodes[700].id)).await;
    assert_eq!(
        (error.text.as_str(), &error.headers["content-type"]),
        ("division by <zero>", &"text/plain; charset=utf-8".parse().unwrap())
    );
    assert!(error.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
}

#[tokio::test]
async fn errors_statistics_nodes_and_app_logs_have_their_numbers() {
    every_screen_with_its_numbers(&Place::new().await).await;
}

#[tokio::test]
async fn errors_statistics_nodes_and_app_logs_over_the_engine() {
    every_screen_with_its_numbers(&Place::over_engine().await).await;
}

async fn every_screen_with_its_numbers(place: &Place) {
    let runs = filled(place).await;
    let app_id = runs[0].app_id;
    let log = records::app_log(place.tenant_id, app_id, runs[0].id, records::at("2025-12-20T11:45:00Z"));
    let mut node = records::node(place.tenant_id, app_id, runs[0].id, 1, runs[0].created_at);
    node.title = "Ask the model".into();
    place.store([Record::AppLog(Box::new(log)), Record::Node(Box::new(node))]).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let errors = client.page(&place.path("errors")).await;
    assert!(errors.contains("All failed runs of this view were looked at: 6"), "{errors}");
    assert!(errors.contains("for &lt;order&gt;") && errors.matches("<tbody>").count() == 1, "{errors}");
    let told: serde_json::Value = serde_json::from_str(&client.page(&link(&errors, "/errors?", "JSON")).await).unwrap();
    assert_eq!(
        (told["data"][0]["runs"].as_u64(), told["looked_at"].as_u64(), told["cut"].as_bool()),
        (Some(6), Some(6), Some(false))
    );
    assert_eq!(told["data"][0]["apps"][0]["value"], app_id.to_string());
    assert_eq!(told["data"][0]["fingerprint"], "upstream answered # for <order>");
    let of_error = link(&errors, "/runs?", "<bdi>upstream");
    assert!(client.page(&of_error).await.contains("<strong>6</strong> found"), "{of_error}");
    let choice = client.page(&place.path("statistics")).await;
    let statistics = client.page(&link(&choice, "app_id=", "<code")).await;
    assert!(statistics.contains("10.0 %") && statistics.contains("6 / 60"), "{statistics}");
    assert!(statistics.contains("<strong>1.50 s · 1.50 s</strong>"), "{statistics}");
    assert!(statistics.contains("<strong>2,520</strong>"), "60 runs of 42 tokens: {statistics}");
    let nodes = client.page(&place.path("nodes?q=model")).await;
    assert!(nodes.contains("Ask the <mark>model</mark>"), "{nodes}");
    let logs = client.page(&place.path(&format!("app-logs?app_id={app_id}"))).await;
    assert!(logs.contains("<strong>1</strong> found") && logs.contains(&runs[0].id.to_string()), "{logs}");
}

#[tokio::test]
async fn the_state_of_the_parts_is_for_admin_keys_and_names_no_host() {
    let place = Place::new().await;
    assert_eq!(place.signed_in(TENANT_KEY).await.get("/ui/system").await.status, 403);
    let page = place.signed_in(super::harness::ADMIN_KEY).await.page("/ui/system").await;
    for part in ["difylog.events", "1,234", "5,678", "3.0 MB", "1 min 1 s", "cannot be seen now"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("internal") && !page.contains("secret"), "{page}");
}

async fn language(client: &mut Client, code: &str) -> String {
    let form = [("lang", code), ("next", "/ui/workspaces")];
    let answer = client.post("/ui/look", &form, &[("sec-fetch-site", "same-origin")]).await;
    client.page(answer.location()).await
}

#[tokio::test]
async fn language_colours_and_zone_are_chosen_and_kept() {
    let place = Place::new().await;
    filled(&place).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let chinese = client.get_with(&place.path("runs"), &[("accept-language", "zh-CN,en")]).await.text;
    assert!(chinese.contains("lang=\"zh-Hans\"") && chinese.contains("运行记录") && chinese.contains("成功"));
    assert!(language(&mut client, "zh").await.contains("工作空间"));
    assert!(language(&mut client, "en").await.contains("Workspaces"));
    client.post("/ui/look", &[("theme", "dark"), ("next", "/ui/")], &[("origin", place.base.as_str())]).await;
    client.cookies.push(("tz".into(), "Asia%2FShanghai".into()));
    let page = client.page(&place.path("runs")).await;
    assert!(page.contains("data-theme=\"dark\"") && page.contains("<span>19:45:00</span>"), "{page}");
    let at: Timestamp = records::at("2025-12-20T11:45:00Z");
    assert!(page.contains(&format!("datetime=\"{at}\"")));
    let exact = client.page(&place.path("runs?from=2025-12-20T19:00&until=2025-12-20T19:46")).await;
    assert!(exact.contains("<strong>4</strong> found"), "{exact}");
}

#[tokio::test]
async fn every_page_forbids_what_a_browser_should_not_do_and_its_files_are_kept() {
    let place = Place::new().await;
    let mut client = place.signed_in(TENANT_KEY).await;
    for path in ["/ui/sign-in".to_owned(), place.path("runs"), "/ui/nowhere".into(), place.path("runs?x=1")] {
        let answer = client.get(&path).await;
        let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert_eq!((header("x-frame-options"), header("cache-control")), ("DENY".into(), "no-store".into()), "{path}");
        assert!(
            !answer.text.contains("style=\"") && !answer.text.contains("onclick") && !answer.text.contains("<style")
        );
        assert!(!answer.text.contains("http://") && !answer.text.contains("https://"), "{path}: {}", answer.text);
        assert!(answer.text.contains("<main") && answer.text.contains("class=\"skip\""), "{path}");
    }
    let page = client.page("/ui/sign-in").await;
    for name in ["style.css", "app.js", "icon.svg"] {
        let href = page.split('"').find(|part| part.ends_with(name)).unwrap();
        let file = client.get(href).await;
        assert_eq!(file.status, 200);
        assert!(file.headers["cache-control"].to_str().unwrap().contains("immutable"));
        let etag = file.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(client.get_with(href, &[("if-none-match", &etag)]).await.status, 304);
        let stale = href.replace(&etag.trim_matches('"')[..4], "0000");
        assert_eq!(client.get(&stale).await.status, 404);
    }
}

#[tokio::test]
async fn the_first_step_from_another_site_comes_again_from_ours() {
    let place = Place::new().await;
    let mut stranger = place.client();
    let answer = stranger.get_with(&place.path("runs"), &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.contains("http-equiv=\"refresh\""), "{}", answer.text);
    let nobody = TenantId::new(uuid::Uuid::nil());
    assert_eq!(stranger.get(&format!("/ui/data/{nobody}/runs")).await.status, 401);
}
