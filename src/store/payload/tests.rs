//! Over a local directory, and over an in-process server that speaks as much of S3 as is used.

mod removal;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use uuid::Uuid;

use super::*;

fn tenant() -> TenantId {
    TenantId::new(Uuid::new_v4())
}

fn month(text: &str) -> Month {
    text.parse().unwrap()
}

fn hash(text: &str) -> ContentHash {
    ContentHash::new(Sha256::digest(text.as_bytes()).into())
}

fn local(dir: &tempfile::TempDir) -> PayloadStore {
    PayloadStore::open(&PayloadSettings { dir: dir.path().join("payloads"), s3: None }).unwrap()
}

async fn put(store: &PayloadStore, tenant: TenantId, month: Month, text: &str) -> ContentHash {
    store.put(tenant, month, hash(text), Arc::new(JsonText::from_clean(text))).await.unwrap();
    hash(text)
}

/// What holds over every kind of object store.
async fn keeps_and_drops(store: &PayloadStore) {
    store.probe().await.unwrap();
    let (ours, theirs) = (tenant(), tenant());
    let (october, november) = (month("2026-10"), month("2026-11"));
    let text = format!(r#"{{"text": "{}"}}"#, "你好 🦀 ".repeat(50_000));
    let sha256 = put(store, ours, october, &text).await;
    put(store, ours, october, &text).await;
    put(store, ours, november, &text).await;
    put(store, theirs, october, "{}").await;
    assert_eq!(store.get(ours, october, sha256).await, Ok(Some(JsonText::from_clean(text.as_str()))));
    assert_eq!(store.get(theirs, october, sha256).await, Ok(None), "a tenant has its own objects");
    assert_eq!(store.drop_month(october).await, Ok(2));
    assert_eq!(store.drop_month(october).await, Ok(0));
    assert_eq!(store.get(ours, october, sha256).await, Ok(None));
    assert!(store.get(ours, november, sha256).await.unwrap().is_some());
    put(store, ours, october, &text).await;
    assert!(store.get(ours, october, sha256).await.unwrap().is_some());
}

#[tokio::test]
async fn a_local_directory_keeps_and_drops() {
    let dir = tempfile::tempdir().unwrap();
    keeps_and_drops(&local(&dir)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_probe_at_the_same_moment() {
    let dir = tempfile::tempdir().unwrap();
    let probes = (0..8).map(|_| {
        let store = local(&dir);
        tokio::spawn(async move {
            for _ in 0..100 {
                store.probe().await.unwrap();
            }
        })
    });
    for probe in probes.collect::<Vec<_>>() {
        probe.await.unwrap();
    }
}

#[tokio::test]
async fn damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = local(&dir);
    let (tenant, month) = (tenant(), month("2026-11"));
    let sha256 = put(&store, tenant, month, r#"{"a": 1}"#).await;
    let path = dir.path().join(format!("payloads/{tenant}/{month}/{sha256}.json.zst"));
    let bomb = zstd::bulk::compress(&vec![b'x'; 1 << 20], 3).unwrap();
    for content in [&b"nonsense"[..], b"", &bomb] {
        std::fs::write(&path, content).unwrap();
        let error = store.get(tenant, month, sha256).await.unwrap_err();
        assert!(matches!(&error, PayloadError::Damaged(key) if key.contains(&sha256.to_string())), "{error}");
        assert!(!error.is_retriable());
    }
}

#[tokio::test]
async fn writing_into_nothing_is_retriable_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = local(&dir);
    let tenant = tenant();
    // A file in place of the tenant's directory.
    let blocked = dir.path().join(format!("payloads/{tenant}"));
    std::fs::write(&blocked, "").unwrap();
    let text = JsonText::from_clean("{}");
    let error = store.put(tenant, month("2026-11"), hash("{}"), Arc::new(text)).await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
    std::fs::remove_file(&blocked).unwrap();
    put(&store, tenant, month("2026-11"), "{}").await;
    let names: Vec<_> = std::fs::read_dir(blocked.join("2026-11")).unwrap().collect();
    assert_eq!(names.len(), 1, "no unfinished file is left");
}

#[tokio::test]
async fn what_is_not_ours_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = local(&dir);
    let foreign = dir.path().join("payloads/not-a-tenant/2026-11");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("a"), "").unwrap();
    assert_eq!(store.drop_month(month("2026-11")).await, Ok(0));
    assert!(foreign.join("a").exists());
}

/// The bucket `logs`: path-style requests on objects, and listings.
#[derive(Default)]
struct Bucket {
    objects: Mutex<BTreeMap<String, Bytes>>,
    uploads: Mutex<usize>,
    /// Keys of one page of a listing, which begins with an empty one then; 0: all keys come at once.
    page: AtomicUsize,
    /// Keys with this text cannot be deleted.
    locked: Mutex<Option<String>>,
    /// Keys with this text cannot be written.
    refused: Mutex<Option<String>>,
    /// Objects were written just now, not days ago.
    young: AtomicBool,
}

async fn answer(
    State(bucket): State<Arc<Bucket>>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !headers.get("authorization").is_some_and(|value| value.to_str().unwrap().contains("Credential=the-id/")) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut objects = bucket.objects.lock().unwrap();
    let key = uri.path().trim_start_matches("/logs").trim_start_matches('/').to_owned();
    let is_refused = bucket.refused.lock().unwrap().as_ref().is_some_and(|refused| key.contains(refused));
    match (method.as_str(), objects.get(&key)) {
        ("PUT", _) if is_refused => StatusCode::FORBIDDEN.into_response(),
        ("GET", _) if key.is_empty() => listing(&objects, &query, bucket.page.load(Ordering::Relaxed)).into_response(),
        ("PUT", _) => {
            objects.insert(key, body);
            *bucket.uploads.lock().unwrap() += 1;
            ([("etag", "\"1\"")], "").into_response()
        }
        ("POST", _) if query.contains_key("delete") => {
            let text = String::from_utf8(body.to_vec()).unwrap();
            let locked = bucket.locked.lock().unwrap().clone();
            let is_locked = |key: &str| locked.as_ref().is_some_and(|locked| key.contains(locked));
            objects.retain(|key, _| is_locked(key) || !text.contains(&format!("<Key>{key}</Key>")));
            deleted(&text, is_locked).into_response()
        }
        ("DELETE", _) => {
            objects.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        (_, Some(content)) => {
            let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now())
                .format("%a, %d %b %Y %H:%M:%S GMT")
                .to_string();
            let old = || "Mon, 23 Nov 2026 15:28:34 GMT".to_owned();
            let written = if bucket.young.load(Ordering::Relaxed) { now } else { old() };
            let headers = [("etag", "\"1\"".to_owned()), ("last-modified", written)];
            (headers, content.clone()).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Says of every key of a request whether it was deleted.
fn deleted(request: &str, is_locked: impl Fn(&str) -> bool) -> String {
    let keys = request.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
    let entry = |key: &str| {
        if is_locked(key) {
            format!("<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>locked</Message></Error>")
        } else {
            format!("<Deleted><Key>{key}</Key></Deleted>")
        }
    };
    let entries: Vec<_> = keys.map(|(key, _)| entry(key)).collect();
    format!("<DeleteResult>{}</DeleteResult>", entries.concat())
}

fn listing(objects: &BTreeMap<String, Bytes>, query: &BTreeMap<String, String>, page: usize) -> String {
    let prefix = query.get("prefix").map_or("", String::as_str);
    let mut entries = std::collections::BTreeSet::new();
    for (key, content) in objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
        let folder = key[prefix.len()..].split_once('/').filter(|_| query.contains_key("delimiter"));
        entries.insert(match folder {
            Some((folder, _)) => format!("<CommonPrefixes><Prefix>{prefix}{folder}/</Prefix></CommonPrefixes>"),
            None => format!(
                "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-11-23T15:28:34Z</LastModified></Contents>",
                content.len()
            ),
        });
    }
    if page == 0 {
        return format!("<ListBucketResult>{}</ListBucketResult>", entries.into_iter().collect::<String>());
    }
    let token = query.get("continuation-token").map(|token| token.parse::<usize>().unwrap());
    let (first, length) = token.map_or((0, 0), |token| (token, page));
    let next = first + length;
    // As S3 does: the last page has no token.
    let more = (next < entries.len())
        .then(|| format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"));
    let entries: String = entries.into_iter().skip(first).take(length).collect();
    format!("<ListBucketResult>{entries}{}</ListBucketResult>", more.unwrap_or_default())
}

async fn s3() -> (S3Settings, Arc<Bucket>) {
    let bucket = Arc::new(Bucket::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = axum::Router::new().fallback(answer).with_state(Arc::clone(&bucket));
    tokio::spawn(async move { axum::serve(listener, server).await.unwrap() });
    let settings = S3Settings {
        bucket: "logs".into(),
        endpoint: Some(endpoint),
        access_key_id: Some("the-id".into()),
        secret_access_key: Some("the-secret".into()),
        allow_http: true,
        prefix: "dify/payloads".into(),
        ..S3Settings::default()
    };
    (settings, bucket)
}

fn over(s3: S3Settings) -> Result<PayloadStore, PayloadError> {
    PayloadStore::open(&PayloadSettings { s3: Some(s3), ..PayloadSettings::default() })
}

#[tokio::test]
async fn s3_keeps_and_drops() {
    let (settings, bucket) = s3().await;
    keeps_and_drops(&over(settings).unwrap()).await;
    assert!(bucket.objects.lock().unwrap().keys().all(|key| key.starts_with("dify/payloads/")));
    // The probe, three objects, one again after the drop, and one that was there: the stand-in's objects are days old, and
    // what is old is sent again, so that no sweep takes it for left behind.
    assert_eq!(*bucket.uploads.lock().unwrap(), 6);
}

#[tokio::test]
async fn s3_refusing_the_key_is_held_not_refused() {
    let (settings, _) = s3().await;
    let store = over(S3Settings { access_key_id: Some("another".into()), ..settings }).unwrap();
    let error = store.probe().await.unwrap_err();
    assert!(matches!(error, PayloadError::Unauthorized(_)), "{error}");
    assert!(error.is_retriable());
    assert!(!error.to_string().contains("the-secret"));
}

#[tokio::test]
async fn wrong_settings_are_named_and_secrets_masked() {
    let (settings, _) = s3().await;
    assert!(!format!("{settings:?}").contains("the-secret"));
    for (wrong, name) in [
        (S3Settings { bucket: String::new(), ..settings.clone() }, "s3.bucket"),
        (S3Settings { secret_access_key: None, ..settings.clone() }, "s3.secret_access_key"),
        (S3Settings { allow_http: false, ..settings.clone() }, "s3.allow_http"),
    ] {
        let error = over(wrong).err().unwrap();
        assert!(matches!(&error, PayloadError::Settings(text) if text.contains(name)), "{error}");
    }
}
