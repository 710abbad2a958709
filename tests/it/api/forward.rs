//! What `difylog serve` logs of people whom a proxy names: who did it, never a header of somebody who is not believed.

use difylog::domain::Record;
use difylog::store::sqlite::SqliteStore;
use difylog::store::{BulkSink as _, StoreAdmin as _};

use super::serving::Serving;
use crate::support::records;
use crate::support::site::{Site, StoreUnderTest};

async fn serving(trusted: &str) -> (Serving, String) {
    let more = format!(
        "[serve.forward_auth]\nuser_header = \"X-Forwarded-User\"\ntrusted_proxies = [\"{trusted}\"]\n\
         [serve.forward_auth.shared_secret]\nheader = \"X-Proxy-Secret\"\nsha256 = \"{}\"\n\
         [[serve.forward_auth.access]]\nuser = \"alice\"\nadmin = true\n",
        records::sha256("the-secret")
    );
    let site = Site::with(&StoreUnderTest::Sqlite, "amqp://127.0.0.1:9", &more);
    let store = SqliteStore::new(site.settings.store.sqlite.clone()).unwrap();
    store.install().await.unwrap();
    let run = records::run(records::tenant(), records::app(), records::at("2025-12-01T00:00:00Z"));
    let path = format!("/v1/tenants/{}/runs/{}", run.tenant_id, run.id);
    store.apply(&records::actions(Record::Run(Box::new(run)))).await.unwrap();
    store.close().await;
    (Serving::start(site).await, path)
}

async fn ask(serving: &Serving, path: &str, user: &str) -> String {
    let (name, secret) = ("X-Forwarded-User", "X-Proxy-Secret: the-secret");
    serving
        .raw(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{name}: {user}\r\n{secret}\r\n\r\n"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_name_the_user_and_refusals_too() {
    let (serving, path) = Box::pin(serving("127.0.0.1")).await;
    assert!(ask(&serving, &path, "alice").await.starts_with("HTTP/1.1 200"));
    serving.logged("audit=\"read\"").await;
    assert!(ask(&serving, &path, "mallory").await.starts_with("HTTP/1.1 403"));
    serving.logged("no entry of serve.forward_auth.access fits the user").await;
    let log = serving.log();
    let line = |text: &str| log.lines().find(|line| line.contains(text)).unwrap().to_owned();
    assert!(line("audit=\"read\"").contains("key=\"user:alice\""), "{log}");
    assert!(line("audit=\"refused\"").contains("key=\"user:mallory\""), "{log}");
    assert!(!log.contains("the-secret"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spoofed_headers_are_one_line_a_minute_without_their_values() {
    let (serving, path) = Box::pin(serving("192.0.2.0/24")).await;
    for _ in 0..5 {
        assert!(ask(&serving, &path, "alice").await.starts_with("HTTP/1.1 401"));
    }
    serving.logged("headers that name a user do not count").await;
    let log = serving.log();
    assert_eq!(log.matches("headers that name a user do not count").count(), 1, "{log}");
    assert!(log.contains("127.0.0.1"), "{log}");
    assert!(!log.contains("alice") && !log.contains("the-secret"), "{log}");
}
