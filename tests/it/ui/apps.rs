//! A key that is limited to apps, on the pages: every address that they link to looks as if its tenant had no other app.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use difylog::domain::TenantId;
use difylog::http::api::{ApiKey, Right};

use super::harness::{Beside, Client, Place, TENANT_KEY};
use crate::support::app_records::{AppRecords, AppsDirectory};
use crate::support::keys::key;
use crate::support::records;

/// Addresses that are looked at.
const MOST: usize = 400;
/// A page shows the id of a request where something went wrong.
const REQUEST: (&str, &str) = ("x-request-id", "a-request");

async fn serving(tenant_id: TenantId, ours: &AppRecords, apps: Vec<AppRecords>) -> Place {
    let of_app = key("app", TENANT_KEY, vec![tenant_id.to_string()], &[Right::Read]);
    let keys = vec![ApiKey { apps: Some(vec![ours.app_id.to_string()]), ..of_app }];
    let beside = Beside { directory: Arc::new(AppsDirectory(apps.clone())), ..Beside::default() };
    let place = Place::of(tenant_id, keys, beside).await;
    place.store(apps.iter().flat_map(AppRecords::records)).await;
    place
}

/// The addresses of links, parts and pictures of a page.
fn links(text: &str) -> Vec<String> {
    let found = text.split(['"']).filter(|part| part.starts_with("/ui/") && !part.starts_with("/ui/assets/"));
    found.map(|address| address.replace("&amp;", "&")).collect()
}

/// The same address about the other app.
fn about(address: &str, ours: &AppRecords, theirs: &AppRecords) -> String {
    ours.secrets().iter().zip(theirs.secrets()).fold(address.to_owned(), |path, (own, other)| path.replace(own, &other))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_tells_that_there_is_another_app() {
    let tenant_id = records::tenant();
    let (ours, theirs) = (AppRecords::new(tenant_id, "quince"), AppRecords::new(tenant_id, "zebra"));
    let both = serving(tenant_id, &ours, vec![ours.clone(), theirs.clone()]).await;
    let alone = serving(tenant_id, &ours, vec![ours.clone()]).await;
    let mut reader = both.signed_in(TENANT_KEY).await;
    let mut expected = alone.signed_in(TENANT_KEY).await;
    let path = |rest: &str| format!("/ui/t/{tenant_id}/{rest}");
    let mut waiting: VecDeque<_> = VecDeque::from([
        path("runs?range=all"),
        path(&format!("runs/{}", ours.run.id)),
        path(&format!("runs/{}?view=compare&with={}", ours.run.id, ours.other_run.id)),
        path(&format!("conversations/{}", ours.conversation_id)),
        path(&format!("people/{}", ours.run.created_by)),
        path(&format!("people/{}", ours.node.created_by)),
        path(&format!("nodes/{}", ours.node.id)),
        path(&format!("statistics?app_id={}", ours.app_id)),
        path(&format!("app-logs?app_id={}", ours.app_id)),
        path("runs?range=all&q=quince"),
        path("errors?range=all"),
        path("nodes?range=all"),
        "/ui/workspaces".into(),
        "/ui/system".into(),
        "/ui/dead-letters".into(),
    ]);
    let mut seen = BTreeSet::new();
    let mut shown = 0;
    while let Some(address) = waiting.pop_front()
        && seen.len() < MOST
    {
        if !seen.insert(address.clone()) {
            continue;
        }
        let text = looks_the_same(&mut reader, &mut expected, &address, &theirs).await;
        shown += usize::from(text.contains("quince"));
        waiting.extend(links(&text));
        looks_the_same(&mut reader, &mut expected, &about(&address, &ours, &theirs), &theirs).await;
    }
    assert!(shown > 30, "{shown} of {} pages show the app", seen.len());
}

/// A page of both servers, which must not differ; the text.
async fn looks_the_same(reader: &mut Client, expected: &mut Client, address: &str, theirs: &AppRecords) -> String {
    let page = reader.get_with(address, &[REQUEST]).await;
    let other = expected.get_with(address, &[REQUEST]).await;
    assert_eq!((page.status, &page.text), (other.status, &other.text), "{address}");
    // What was asked for is on the page again: in its links, and in the field of the keyword.
    let secrets = theirs.secrets().into_iter().filter(|secret| !address.contains(secret));
    for secret in secrets {
        assert!(!page.text.contains(&secret), "{address}: {secret}: {}", page.text);
    }
    page.text
}
