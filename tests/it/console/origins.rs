//! A console whose pages are of another origin than its API (`CONSOLE_API_URL`): a browser lets them read an answer only with
//! Dify's headers.

use difylog::domain::Record;

use crate::console::place::Place;
use crate::console::seam::ended;
use crate::support::records;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_another_origin_are_answered_by_dify_with_its_headers() {
    let place = Place::new(true).await;
    let tenant = records::tenant();
    let app = place.app(tenant, "workflow");
    place.user("anna", &[tenant]);
    let run = ended(records::run(tenant, app, records::at("2025-12-01T00:00:00Z")));
    place.store([Record::Run(Box::new(run.clone()))]).await;
    place.dify.tables.lock().unwrap().runs.push(run.clone());
    let host = place.base.strip_prefix("http://").unwrap();
    let own = format!("https://{host}");
    let web = "https://web.example";
    for (headers, is_ours) in [
        (vec![], true),
        (vec![("sec-fetch-site", "same-origin")], true),
        (vec![("sec-fetch-site", "none")], true),
        (vec![("origin", own.as_str())], true),
        // A proxy has changed the host; the browser knows better.
        (vec![("origin", web), ("sec-fetch-site", "same-origin")], true),
        (vec![("origin", web), ("sec-fetch-site", "same-site")], false),
        (vec![("origin", web), ("sec-fetch-site", "cross-site")], false),
        (vec![("sec-fetch-site", "same-site")], false),
        (vec![("origin", web)], false),
    ] {
        let path = format!("{}/console/api/apps/{app}/workflow-runs/{}", place.base, run.id);
        let mut request = place.client.get(path);
        request = request.header("cookie", "access_token=anna").header("x-csrf-token", "csrf-anna");
        request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.unwrap();
        let allowed = answer.headers().get("access-control-allow-origin").cloned();
        let json: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(json["id"], run.id.to_string(), "{headers:?}: {json}");
        assert_eq!(json["answered_by"] == "dify", !is_ours, "{headers:?}: {json}");
        let asks = headers.iter().any(|(name, _)| *name == "origin");
        assert_eq!(allowed.is_some_and(|origin| origin == web), asks && !is_ours, "{headers:?}");
    }
    // What a browser asks beforehand has always been Dify's.
    let path = format!("{}/console/api/apps/{app}/workflow-runs", place.base);
    let asked = place.client.request(reqwest::Method::OPTIONS, path).header("origin", web).send().await.unwrap();
    assert_eq!(asked.headers()["access-control-allow-origin"], web);
}
