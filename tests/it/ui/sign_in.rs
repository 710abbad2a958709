//! Who gets in, for how long, and what a form of another site can do.

use difylog::domain::Record;

use super::harness::{ADMIN_KEY, DELETE_KEY, Place, TENANT_KEY, TOKEN, keys};
use crate::support::records;

#[tokio::test]
async fn a_key_typed_once_opens_the_pages_and_signing_out_closes_them() {
    let place = Place::new().await;
    let mut client = place.client();
    let runs = place.path("runs?status=failed");
    let closed = client.get(&runs).await;
    assert_eq!(closed.status, 303);
    assert!(closed.location().starts_with("/ui/sign-in?next="), "{}", closed.location());
    let form = client.get(closed.location()).await;
    assert!(form.text.contains("name=\"next\"") && form.text.contains("status=failed"), "{}", form.text);
    let wrong = client.sign_in("key-of-a-tenant2").await;
    assert_eq!(wrong.status, 403);
    assert!(wrong.text.contains("role=\"alert\"") && client.cookies.is_empty());
    let right = client.sign_in(TENANT_KEY).await;
    assert_eq!(right.status, 303);
    let cookie = right.headers["set-cookie"].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains(TENANT_KEY), "{cookie}");
    assert_eq!(client.get(right.location()).await.location(), "/ui/");
    assert_eq!(client.get("/ui/").await.location(), place.path("runs"));
    assert_eq!(client.get(&runs).await.status, 200);
    for typed in ["/ui/sign-out", "/ui/look"] {
        let answer = client.get(typed).await;
        assert_eq!((answer.status, answer.location()), (307, "/ui/"), "{typed}");
    }
    assert_eq!(client.get(&runs).await.status, 200, "a link signs nobody out");
    client.post("/ui/sign-out", &[], &[("sec-fetch-site", "same-origin")]).await;
    assert_eq!(client.get(&runs).await.status, 303);
}

#[tokio::test]
async fn a_cookie_is_for_https_unless_the_host_is_this_machine() {
    let place = Place::new().await;
    let form = [("key", TENANT_KEY)];
    for headers in [
        [("host", "logs.example.com"), ("origin", "http://logs.example.com")],
        [("x-forwarded-proto", "https"), ("sec-fetch-site", "same-origin")],
    ] {
        let answer = place.client().post("/ui/sign-in", &form, &headers).await;
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("__Host-difylog=") && cookie.ends_with("; Secure"), "{cookie}");
    }
    let lost = place.client().get("/ui/entered?next=/ui/").await;
    assert_eq!(lost.location(), "/ui/sign-in?problem=cookie");
}

#[tokio::test]
async fn any_replica_knows_the_cookie_and_it_ends_with_its_key() {
    let place = Place::new().await;
    let mut client = place.signed_in(TENANT_KEY).await;
    let replica = place.replica(keys(place.tenant_id));
    assert_eq!(client.at(&replica.base).get(&place.path("runs")).await.status, 200);
    let without = place.replica(keys(place.tenant_id).split_off(1));
    assert_eq!(client.at(&without.base).get(&place.path("runs")).await.status, 303);
    client.cookies[0].1.push('A');
    assert_eq!(client.get(&place.path("runs")).await.status, 303);
}

#[tokio::test]
async fn another_sites_form_and_a_foreign_way_back_do_nothing() {
    let place = Place::new().await;
    let form = [("key", TENANT_KEY), ("next", "//evil.example/")];
    for headers in [
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site"), ("origin", "http://evil.example")],
        vec![("origin", "null")],
        vec![("origin", "http://evil.example")],
        vec![],
    ] {
        let answer = place.client().post("/ui/sign-in", &form, &headers).await;
        assert_eq!(answer.location(), "/ui/sign-in?problem=form", "{headers:?}");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    let mut client = place.client();
    let entered = client.post("/ui/sign-in", &form, &[("sec-fetch-site", "same-origin")]).await;
    assert_eq!(entered.location(), "/ui/entered?next=%2Fui%2F");
    for next in ["https://evil.example", "/v1/", "/ui/../v1", "/ui/\\evil.example"] {
        let form = [("lang", "zh"), ("next", next)];
        let answer = client.post("/ui/look", &form, &[("sec-fetch-site", "same-origin")]).await;
        assert!(answer.location().starts_with("/ui/") && !answer.location().contains('\\'), "{}", answer.location());
    }
}

#[tokio::test]
async fn a_link_to_data_leads_to_the_sign_in_and_a_script_hears_of_it() {
    let place = Place::new().await;
    let data = format!("/ui/data/{}/runs?limit=50", place.tenant_id);
    let (followed, asked) = ([("sec-fetch-mode", "navigate")], [("sec-fetch-mode", "cors")]);
    let closed = place.client().get_with(&data, &followed).await;
    assert_eq!(closed.status, 303, "{closed:?}");
    let form = place.client().get(closed.location()).await;
    assert!(form.text.contains(&format!("name=\"next\" value=\"{data}\"")), "{}", form.text);
    let foreign = [("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")];
    let again = place.client().get_with(&data, &foreign).await;
    assert!(again.status == 200 && again.text.contains("http-equiv=\"refresh\""), "{again:?}");
    assert_eq!(place.client().get_with(&data, &asked).await.status, 401);
    let part = [("sec-fetch-mode", "cors"), ("x-part", "1")];
    assert_eq!(place.client().get_with(&place.path("runs"), &part).await.status, 401);
    assert_eq!(place.signed_in(TENANT_KEY).await.get_with(&data, &followed).await.status, 200);
}

#[tokio::test]
async fn guesses_are_limited() {
    let place = Place::new().await;
    let mut client = place.client();
    for _ in 0..10 {
        assert_eq!(client.sign_in("a guess").await.status, 403);
    }
    assert_eq!(client.sign_in(TENANT_KEY).await.status, 429);
}

#[tokio::test]
async fn the_link_signs_in_once_and_on_this_machine_only() {
    let place = Place::new().await;
    let mut away = place.client();
    let foreign = away.get_with(&format!("/ui/enter?token={TOKEN}"), &[("host", "logs.example.com")]).await;
    assert_eq!(foreign.location(), "/ui/sign-in?problem=link");
    let mut client = place.client();
    assert_eq!(client.get("/ui/enter?token=other").await.location(), "/ui/sign-in?problem=link");
    let entered = client.get(&format!("/ui/enter?token={TOKEN}")).await;
    assert_eq!(entered.location(), "/ui/entered?next=%2Fui%2F");
    assert_eq!(client.get("/ui/workspaces").await.status, 200);
    let again = place.client().get(&format!("/ui/enter?token={TOKEN}")).await;
    assert_eq!(again.location(), "/ui/sign-in?problem=link");
}

#[tokio::test]
async fn a_foreign_workspace_is_as_if_absent_and_rights_count() {
    let place = Place::new().await;
    let foreign = records::tenant();
    let run = records::run(foreign, records::app(), records::at("2025-12-20T11:00:00Z"));
    let node = records::node(foreign, run.app_id, run.id, 1, run.created_at);
    let (id, node_id) = (run.id, node.id);
    place.store([Record::Run(Box::new(run)), Record::Node(Box::new(node))]).await;
    let mut client = place.signed_in(TENANT_KEY).await;
    for path in [
        format!("/ui/t/{foreign}/runs"),
        format!("/ui/t/{foreign}/runs/{id}"),
        format!("/ui/t/{foreign}/nodes/{node_id}"),
        format!("/ui/t/{foreign}/errors"),
        format!("/ui/data/{foreign}/runs"),
        format!("/ui/data/{foreign}/export/runs"),
        format!("/ui/data/{foreign}/runs/{id}/text/inputs"),
        place.path(&format!("runs/{id}")),
    ] {
        let answer = client.get(&path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.text.contains("hello"), "{path}: {}", answer.text);
    }
    let mut admin = place.signed_in(ADMIN_KEY).await;
    assert!(admin.page("/ui/workspaces").await.contains(&foreign.to_string()));
    assert!(admin.page(&format!("/ui/t/{foreign}/runs/{id}")).await.contains(&id.to_string()));
    let refused = place.signed_in(DELETE_KEY).await.get(&place.path("runs")).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("This key may not do that"), "{}", refused.text);
    // A cookie is for the pages: the API takes keys.
    assert_eq!(client.get(&format!("/v1/tenants/{}/runs", place.tenant_id)).await.status, 401);
}
