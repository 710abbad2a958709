//! People whom a proxy in front has signed in: who is believed, what they reach, and what a page of another site can do.

use difylog::domain::Record;
use difylog::http::api::{AccessEntry, ForwardAuthSettings, Right, ServeSettings, SharedSecretSettings};
use serde_json::{Value, json};

use super::harness::{Answer, Beside, Place, TENANT_KEY, keys};
use crate::support::records;

const USER: &str = "x-forwarded-user";
const GROUPS: &str = "x-forwarded-groups";
const SECRET: &str = "x-proxy-secret";

fn entry(user: Option<&str>, group: Option<&str>, tenants: &[String], rights: &[Right]) -> AccessEntry {
    AccessEntry {
        user: user.map(Into::into),
        group: group.map(Into::into),
        tenants: tenants.to_vec(),
        admin: tenants.is_empty(),
        apps: None,
        rights: rights.to_vec(),
    }
}

/// The tests come from 127.0.0.1.
fn settings(access: Vec<AccessEntry>) -> ForwardAuthSettings {
    ForwardAuthSettings {
        user_header: "X-Forwarded-User".into(),
        groups_header: Some("X-Forwarded-Groups".into()),
        groups_separator: ",".into(),
        trusted_proxies: vec!["127.0.0.0/8".into()],
        shared_secret: None,
        access,
    }
}

/// With one run; `alice` reads its tenant, `support` reads and deletes there, `ops` are administrators.
async fn place(change: impl FnOnce(&mut ForwardAuthSettings)) -> (Place, String) {
    let tenant_id = records::tenant();
    let tenants = [tenant_id.to_string()];
    let mut forward = settings(vec![
        entry(Some("alice"), None, &tenants, &[Right::Read]),
        entry(None, Some("support"), &tenants, &[Right::Read, Right::Delete]),
        entry(None, Some("ops"), &[], &[Right::Read, Right::Operate]),
    ]);
    change(&mut forward);
    let settings = ServeSettings { forward_auth: Some(forward), ..ServeSettings::default() };
    let place = Place::of(tenant_id, keys(tenant_id), Beside { settings, ..Beside::default() }).await;
    let run = records::run(tenant_id, records::app(), records::at("2025-12-20T11:00:00Z"));
    let id = run.id.to_string();
    place.store([Record::Run(Box::new(run))]).await;
    (place, id)
}

/// A request of the API.
async fn ask(place: &Place, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = reqwest::Client::new().request(method.parse().unwrap(), format!("{}{path}", place.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

async fn page(place: &Place, path: &str, headers: &[(&str, &str)]) -> Answer {
    place.client().get_with(path, headers).await
}

/// Whether the page says that alice is in.
fn is_signed_in(answer: &Answer) -> bool {
    answer.text.split_once("Signed in as").is_some_and(|(_, rest)| rest.get(..40).unwrap_or(rest).contains("alice"))
}

#[tokio::test]
async fn who_is_named_by_a_trusted_proxy_is_in_without_a_form() {
    let (place, id) = place(|_| {}).await;
    let alice = [(USER, "alice")];
    let runs = page(&place, &place.path("runs?range=all"), &alice).await;
    assert_eq!(runs.status, 200, "{}", runs.text);
    assert!(runs.text.contains(&id) && is_signed_in(&runs), "{}", runs.text);
    assert!(!runs.text.contains("/ui/sign-out"), "{}", runs.text);
    let form = page(&place, "/ui/sign-in?next=/ui/workspaces", &alice).await;
    assert_eq!((form.status, form.location()), (303, "/ui/workspaces"));
    let absent = page(&place, &place.path(&format!("runs/{}", records::id())), &alice).await;
    assert_eq!(absent.status, 404);
    assert!(is_signed_in(&absent) && !absent.text.contains("/ui/sign-out"), "{}", absent.text);
    let (status, me) = ask(&place, "GET", "/v1/me", &alice).await;
    assert_eq!((status, &me["user"], &me["key"]), (200, &json!("alice"), &json!("user:alice")));
    assert_eq!(me["tenants"][0]["id"], place.tenant_id.to_string());
    // A key is still a key, and who brings one is not asked who they are.
    let bearer = format!("Bearer {TENANT_KEY}");
    let (_, me) = ask(&place, "GET", "/v1/me", &[(USER, "alice"), ("authorization", &bearer)]).await;
    assert_eq!((&me["user"], &me["key"]), (&Value::Null, &json!("tenant")));
    // One that is none is no reason to send the person away: some proxies hand a token of their own on.
    let (status, _) = ask(&place, "GET", "/v1/me", &[(USER, "alice"), ("authorization", "Bearer token")]).await;
    assert_eq!(status, 200);
    assert_eq!(page(&place, &place.path("runs"), &[]).await.status, 303, "without the header there is the form");
}

#[tokio::test]
async fn from_anywhere_else_the_headers_are_as_if_absent() {
    let (place, _) = place(|forward| forward.trusted_proxies = vec!["192.0.2.0/24".into(), "fd00::/8".into()]).await;
    let spoofed = [(USER, "root"), (GROUPS, "ops")];
    assert!(page(&place, &place.path("runs"), &spoofed).await.location().starts_with("/ui/sign-in"));
    assert_eq!(ask(&place, "GET", "/v1/me", &spoofed).await.0, 401);
    assert_eq!(page(&place, "/ui/sign-in", &spoofed).await.status, 200);
    let bearer = format!("Bearer {TENANT_KEY}");
    let (status, me) = ask(&place, "GET", "/v1/me", &[spoofed[0], spoofed[1], ("authorization", &bearer)]).await;
    assert_eq!((status, &me["key"], &me["admin"]), (200, &json!("tenant"), &json!(false)));
    let mut client = place.signed_in(TENANT_KEY).await;
    let runs = client.get_with(&place.path("runs"), &spoofed).await;
    assert!(runs.status == 200 && !runs.text.contains("Signed in as") && !runs.text.contains("/ui/system"));
}

#[tokio::test]
async fn a_shared_secret_is_a_second_proof() {
    let sha256 = records::sha256("the secret").to_string();
    let (place, _) =
        place(|forward| forward.shared_secret = Some(SharedSecretSettings { header: SECRET.into(), sha256 })).await;
    for (headers, status) in [
        (vec![(USER, "alice")], 401),
        (vec![(USER, "alice"), (SECRET, "a guess")], 401),
        (vec![(USER, "alice"), (SECRET, "")], 401),
        (vec![(USER, "alice"), (SECRET, "the secret"), (SECRET, "a guess")], 401),
        (vec![(USER, "alice"), (SECRET, "the secret")], 200),
        (vec![(SECRET, "the secret")], 401),
    ] {
        assert_eq!(ask(&place, "GET", "/v1/me", &headers).await.0, status, "{headers:?}");
    }
}

#[tokio::test]
async fn two_values_and_names_that_are_none_are_nobody() {
    let (place, _) = place(|_| {}).await;
    let long = "a".repeat(257);
    for headers in [
        vec![(USER, "alice"), (USER, "alice")],
        vec![(USER, "mallory"), (USER, "alice")],
        vec![(USER, "mallory"), (GROUPS, "guests"), (GROUPS, "ops")],
        vec![(USER, "")],
        vec![(USER, "   ")],
        vec![(USER, long.as_str())],
        vec![(USER, ""), (GROUPS, "ops")],
    ] {
        let (status, problem) = ask(&place, "GET", "/v1/me", &headers).await;
        assert_eq!((status, &problem["code"]), (403, &json!("no_access")), "{headers:?}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("serve.forward_auth"), "{problem}");
        assert_eq!(page(&place, "/ui/", &headers).await.status, 403, "{headers:?}");
    }
    assert_eq!(ask(&place, "GET", "/v1/me", &[(GROUPS, "ops")]).await.0, 401, "groups alone are nobody");
}

#[tokio::test]
async fn groups_are_mapped_and_the_first_entry_that_fits_counts() {
    let (place, id) = place(|_| {}).await;
    let run = format!("/v1/tenants/{}/runs/{id}", place.tenant_id);
    for (headers, rights) in [
        (vec![(USER, "bob"), (GROUPS, "guests, support")], json!(["read", "delete"])),
        (vec![(USER, "alice"), (GROUPS, "support,ops")], json!(["read"])),
        (vec![(USER, "carol"), (GROUPS, "ops,support")], json!(["read", "delete"])),
        (vec![(USER, "carol"), (GROUPS, "ops")], json!(["read", "operate"])),
    ] {
        assert_eq!(ask(&place, "GET", "/v1/me", &headers).await.1["rights"], rights, "{headers:?}");
    }
    let (status, _) = ask(&place, "DELETE", &run, &[(USER, "alice")]).await;
    assert_eq!(status, 403);
    assert_eq!(ask(&place, "GET", &format!("/v1/admin/runs/{id}"), &[(USER, "alice")]).await.0, 403);
    assert_eq!(ask(&place, "GET", &format!("/v1/admin/runs/{id}"), &[(USER, "c"), (GROUPS, "ops")]).await.0, 200);
    assert_eq!(ask(&place, "DELETE", &run, &[(USER, "bob"), (GROUPS, "support")]).await.0, 200);
}

#[tokio::test]
async fn who_has_no_entry_is_told_what_to_do() {
    let (place, _) = place(|_| {}).await;
    for headers in [
        vec![(USER, "mallory")],
        vec![(USER, "Alice")],
        vec![(USER, "alice, ops")],
        vec![(USER, "mallory"), (GROUPS, "support-eu,supporters,Ops")],
    ] {
        let refused = page(&place, "/ui/", &headers).await;
        assert_eq!(refused.status, 403, "{headers:?}");
        for part in ["You have no access yet", "serve.forward_auth.access", headers[0].1] {
            assert!(refused.text.contains(part), "{part}: {}", refused.text);
        }
        assert!(!refused.text.contains("type=\"password\"") && !refused.text.contains("/ui/sign-out"));
        assert_eq!(ask(&place, "GET", "/v1/me", &headers).await.1["code"], "no_access");
    }
    let hostile = page(&place, "/ui/", &[(USER, "<script>alert(1)</script>")]).await;
    assert!(hostile.status == 403 && !hostile.text.contains("<script>alert"), "{}", hostile.text);
    let chinese = page(&place, "/ui/", &[(USER, "mallory"), ("accept-language", "zh-CN")]).await;
    assert!(chinese.text.contains("尚未获得访问权限"), "{}", chinese.text);
}

#[tokio::test]
async fn an_entry_can_be_limited_to_apps() {
    let other = records::app();
    let (place, id) = place(|forward| forward.access[0].apps = Some(vec![other.to_string()])).await;
    let alice = [(USER, "alice")];
    let run = format!("/v1/tenants/{}/runs/{id}", place.tenant_id);
    assert_eq!(ask(&place, "GET", &run, &alice).await.0, 404);
    assert_eq!(ask(&place, "GET", &run, &[(USER, "bob"), (GROUPS, "support")]).await.0, 200);
    assert_eq!(ask(&place, "GET", "/v1/me", &alice).await.1["apps"][0]["id"], other.to_string());
    assert_eq!(page(&place, &place.path(&format!("runs/{id}")), &alice).await.status, 404);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_post_for_somebody() {
    let (place, id) = place(|_| {}).await;
    let own = [("sec-fetch-site", "same-origin")];
    let foreign: [&[(&str, &str)]; 5] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", "http://evil.example")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[],
    ];
    for headers in foreign {
        let support = [headers, &[(USER, "bob"), (GROUPS, "support")]].concat();
        let answer = place.client().post("/ui/look", &[("theme", "dark")], &support).await;
        assert_eq!(answer.status, 403, "{support:?}: {}", answer.text);
        assert!(!answer.headers.contains_key("set-cookie"));
        let ops = [headers, &[(USER, "carol"), (GROUPS, "ops")]].concat();
        let act = place.client().post("/ui/dead-letters/act", &[("act", "purge")], &ops).await;
        assert_eq!(act.status, 403, "{ops:?}");
    }
    let answer = place.client().post("/ui/look", &[("theme", "dark")], &[own[0], (USER, "alice")]).await;
    assert!(answer.status == 303 && answer.headers.contains_key("set-cookie"), "{answer:?}");
    // The API as well: a browser sends what the proxy knows it by along with any request.
    let (run, support) = (format!("/v1/tenants/{}/runs/{id}", place.tenant_id), [(USER, "bob"), (GROUPS, "support")]);
    for headers in foreign.iter().filter(|headers| !headers.is_empty()) {
        let headers = [*headers, &support].concat();
        assert_eq!(ask(&place, "DELETE", &run, &headers).await.0, 403, "{headers:?}");
    }
    assert_eq!(ask(&place, "GET", &run, &[support[0], support[1], ("sec-fetch-site", "cross-site")]).await.0, 200);
    assert_eq!(ask(&place, "DELETE", &run, &[support[0], support[1], own[0]]).await.0, 200);
}

/// What makes settings wrong.
type Change<'c> = Box<dyn Fn(&mut ForwardAuthSettings) + 'c>;

#[test]
fn settings_that_make_no_sense_are_an_error_at_the_start() {
    let tenants = [records::tenant().to_string()];
    let alice = || entry(Some("alice"), None, &tenants, &[Right::Read]);
    let cases: Vec<(&str, Change<'_>)> = vec![
        ("user_header: \"a b\"", Box::new(|forward| forward.user_header = "a b".into())),
        (
            "user_header: authorization is sent by clients",
            Box::new(|forward| forward.user_header = "Authorization".into()),
        ),
        ("three different headers", Box::new(|forward| forward.groups_header = Some("x-forwarded-USER".into()))),
        ("trusted_proxies: name the proxies", Box::new(|forward| forward.trusted_proxies.clear())),
        ("trusted_proxies: \"0.0.0.0/0\"", Box::new(|forward| forward.trusted_proxies = vec!["0.0.0.0/0".into()])),
        ("trusted_proxies: \"10.1.2.3/8\"", Box::new(|forward| forward.trusted_proxies = vec!["10.1.2.3/8".into()])),
        ("trusted_proxies: \"proxy\"", Box::new(|forward| forward.trusted_proxies = vec!["proxy".into()])),
        ("groups_separator", Box::new(|forward| forward.groups_separator.clear())),
        ("access: 1 to", Box::new(|forward| forward.access.clear())),
        ("either user or group", Box::new(|forward| forward.access[0].user = None)),
        ("either user or group", Box::new(|forward| forward.access[0].group = Some("g".into()))),
        ("no header can hold", Box::new(|forward| forward.access[0].user = Some(" alice".into()))),
        ("is there twice", Box::new(|forward| forward.access.push(alice()))),
        ("user \"alice\": name its tenants", Box::new(|forward| forward.access[0].tenants.clear())),
        ("user \"alice\": admin reaches", Box::new(|forward| forward.access[0].admin = true)),
        ("user \"alice\": apps: the list is empty", Box::new(|forward| forward.access[0].apps = Some(Vec::new()))),
        ("user \"alice\": rights", Box::new(|forward| forward.access[0].rights.clear())),
        (
            "group \"g\": set groups_header",
            Box::new(|forward| {
                forward.groups_header = None;
                forward.access.push(entry(None, Some("g"), &tenants, &[Right::Read]));
            }),
        ),
        (
            "shared_secret.sha256",
            Box::new(|forward| {
                forward.shared_secret = Some(SharedSecretSettings { header: SECRET.into(), sha256: "secret".into() });
            }),
        ),
    ];
    for (said, change) in cases {
        let mut forward = settings(vec![alice()]);
        change(&mut forward);
        let settings = ServeSettings { forward_auth: Some(forward), ..ServeSettings::default() };
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.starts_with("serve.forward_auth.") && error.contains(said), "{said}: {error}");
    }
    let right = ServeSettings { forward_auth: Some(settings(vec![alice()])), ..ServeSettings::default() };
    assert_eq!(right.validate(), Ok(()));
    assert_eq!(right.all_keys(), Ok(Vec::new()), "no key is needed");
}
