//! Removal of texts that no document names, beside writers that are about to name them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;

use super::*;
use crate::domain::Document;
use crate::domain::query::{Found, ListFilter, Lookup, Page, Scan, Summary, Total};
use crate::store::{LogReader, StoreError};

/// Documents that name all texts from some question on.
struct NamedFrom {
    question: usize,
    asked: AtomicUsize,
    answers: bool,
}

impl NamedFrom {
    fn new(question: usize) -> Self {
        Self { question, asked: AtomicUsize::new(0), answers: true }
    }
}

#[async_trait]
impl LogReader for NamedFrom {
    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn lookup(&self, _: &Lookup) -> Result<Vec<Document>, StoreError> {
        Ok(Vec::new())
    }

    async fn walk(&self, _: &Scan) -> Result<Vec<Document>, StoreError> {
        Ok(Vec::new())
    }

    async fn page(&self, _: &ListFilter, _: &Page, _: Option<u64>) -> Result<Found<Summary>, StoreError> {
        Ok(Found { rows: Vec::new(), total: Total::default(), text_truncated: false })
    }

    async fn named_texts(
        &self,
        _: TenantId,
        _: Month,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) + 1 < self.question {
            return Ok(HashSet::new());
        }
        if self.answers { Ok(hashes.iter().copied().collect()) } else { Err(StoreError::Unavailable("away".into())) }
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Payloads(#[from] PayloadError),
}

const NEVER: usize = usize::MAX;

fn path(dir: &tempfile::TempDir, tenant: TenantId, month: Month, sha256: ContentHash) -> PathBuf {
    dir.path().join(format!("payloads/{tenant}/{month}/{sha256}.json.zst"))
}

fn make_old(path: &PathBuf, age: Duration) {
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

#[tokio::test]
async fn a_text_that_a_document_names_meanwhile_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = local(&dir);
    let (tenant, month) = (tenant(), month("2026-11"));
    let sha256 = put(&store, tenant, month, "{}").await;
    let removed = store.remove_unnamed::<Failed>(&NamedFrom::new(2), tenant, month, &[sha256], Younger::Go).await;
    assert_eq!(removed, Ok(Removed::default()));
    assert!(store.get(tenant, month, sha256).await.unwrap().is_some());
    // Nobody can say whether one names it.
    let away = NamedFrom { answers: false, ..NamedFrom::new(2) };
    let removed = store.remove_unnamed::<Failed>(&away, tenant, month, &[sha256], Younger::Go).await;
    assert_eq!(removed, Err(Failed::Store(StoreError::Unavailable("away".into()))));
    assert!(store.get(tenant, month, sha256).await.unwrap().is_some());
    let removed = store.remove_unnamed::<Failed>(&NamedFrom::new(NEVER), tenant, month, &[sha256], Younger::Go).await;
    assert_eq!(removed.unwrap().objects, 1);
    assert_eq!(store.get(tenant, month, sha256).await, Ok(None));
}

#[tokio::test]
async fn a_put_makes_an_old_text_young_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = local(&dir);
    let (tenant, month) = (tenant(), month("2026-11"));
    let sha256 = put(&store, tenant, month, "{}").await;
    make_old(&path(&dir, tenant, month, sha256), Duration::from_hours(30));
    put(&store, tenant, month, "{}").await;
    let day = Younger::Stay(Duration::from_hours(24));
    let removed = store.remove_unnamed::<Failed>(&NamedFrom::new(NEVER), tenant, month, &[sha256], day).await;
    assert_eq!(removed, Ok(Removed::default()), "a document under way may name it");
    assert!(store.has(tenant, month, sha256).await.unwrap());
}

#[tokio::test]
async fn files_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = local(&dir);
    let (tenant, month) = (tenant(), month("2026-11"));
    let sha256 = put(&store, tenant, month, "{}").await;
    store.put_note("backups", "a", "{}".to_owned()).await.unwrap();
    store.local_folder(true).await.unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = path(&dir, tenant, month, sha256);
    for folder in ["payloads".to_owned(), format!("payloads/{tenant}"), format!("payloads/{tenant}/{month}")] {
        assert_eq!(mode(dir.path().join(&folder)), 0o700, "{folder}");
    }
    for file in [file, dir.path().join("payloads/backups/a.json"), dir.path().join("payloads/difylog.folder")] {
        assert_eq!(mode(file.clone()), 0o600, "{}", file.display());
    }
    assert_eq!(store.local_folder(false).await.unwrap().unwrap().open_to_others, None);
    fs::set_permissions(dir.path().join("payloads"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(store.local_folder(false).await.unwrap().unwrap().open_to_others, Some(0o755));
}

#[tokio::test]
async fn links_are_followed_by_no_write_and_no_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let store = local(&dir);
    let (ours, month) = (tenant(), month("2026-11"));
    let elsewhere = dir.path().join("elsewhere");
    let sha256 = hash("{}");
    let victim = elsewhere.join(format!("{month}/{sha256}.json.zst"));
    fs::create_dir_all(victim.parent().unwrap()).unwrap();
    fs::write(&victim, "of another program").unwrap();
    symlink(&elsewhere, dir.path().join(format!("payloads/{ours}"))).unwrap();
    let text = Arc::new(JsonText::from_clean("{\"a\": 1}"));
    let refused = store.put(ours, month, hash("{\"a\": 1}"), text).await.unwrap_err();
    assert!(refused.to_string().contains("payloads.dir") && refused.to_string().contains("symbolic link"), "{refused}");
    assert!(store.drop_tenant_month(ours, month).await.is_err());
    let removed = store.remove_unnamed::<Failed>(&NamedFrom::new(NEVER), ours, month, &[sha256], Younger::Go).await;
    assert!(removed.is_err(), "{removed:?}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "of another program");
    assert_eq!(fs::read_dir(victim.parent().unwrap()).unwrap().count(), 1);
    // A probe does not write through a link, either.
    symlink(&victim, dir.path().join("payloads/difylog.probe")).unwrap();
    store.probe().await.unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "of another program");
}

#[tokio::test]
async fn s3_pages_may_be_empty_and_a_deletion_may_fail_in_part() {
    let (settings, bucket) = s3().await;
    let store = over(settings).unwrap();
    let (tenant, month) = (tenant(), month("2026-11"));
    let mut texts = Vec::new();
    for number in 0..7 {
        texts.push(put(&store, tenant, month, &format!("[{number}]")).await);
    }
    bucket.page.store(3, Ordering::Relaxed);
    assert_eq!(store.tenants().await, Ok(vec![tenant]));
    assert_eq!(store.months_of(tenant).await, Ok(vec![month]));
    let none = Duration::ZERO;
    let found = store.sweep_month::<Failed>(&NamedFrom::new(NEVER), tenant, month, none, false).await.unwrap();
    assert_eq!(found.objects, 7);
    *bucket.locked.lock().unwrap() = Some(texts[3].to_string());
    let refused = store.drop_tenant_month(tenant, month).await.unwrap_err();
    assert!(refused.to_string().contains("payloads.s3 (bucket logs at "), "{refused}");
    assert!(store.has(tenant, month, texts[3]).await.unwrap());
    *bucket.locked.lock().unwrap() = None;
    store.sweep_month::<Failed>(&NamedFrom::new(NEVER), tenant, month, none, true).await.unwrap();
    assert_eq!(bucket.objects.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_text_that_cannot_be_written_back_keeps_no_other_away() {
    let (settings, bucket) = s3().await;
    let store = over(settings).unwrap();
    let (tenant, month) = (tenant(), month("2026-11"));
    let texts = [put(&store, tenant, month, "[1]").await, put(&store, tenant, month, "[2]").await];
    bucket.young.store(true, Ordering::Relaxed);
    *bucket.refused.lock().unwrap() = Some(texts[0].to_string());
    let removed = store.remove_unnamed::<Failed>(&NamedFrom::new(2), tenant, month, &texts, Younger::Go).await;
    assert!(matches!(removed, Err(Failed::Payloads(PayloadError::Unauthorized(_)))), "{removed:?}");
    assert!(store.has(tenant, month, texts[1]).await.unwrap());
    // One that works again in time loses nothing.
    *bucket.refused.lock().unwrap() = Some(texts[1].to_string());
    let mending = tokio::spawn(async move {
        let key = texts[1].to_string();
        while bucket.objects.lock().unwrap().keys().any(|other| other.contains(&key)) {
            tokio::task::yield_now().await;
        }
        *bucket.refused.lock().unwrap() = None;
    });
    let removed = store.remove_unnamed::<Failed>(&NamedFrom::new(2), tenant, month, &texts[1..], Younger::Go).await;
    assert_eq!(removed, Ok(Removed::default()));
    mending.await.unwrap();
    assert!(store.has(tenant, month, texts[1]).await.unwrap());
}

#[tokio::test]
async fn a_payload_store_that_is_away_is_named_by_its_setting() {
    let (settings, _) = s3().await;
    let away = S3Settings { endpoint: Some("http://127.0.0.1:1".into()), timeout_ms: 200, ..settings };
    for (section, error) in [
        ("payloads", over(away.clone()).unwrap().look().await.unwrap_err()),
        (
            "backup",
            PayloadStore::open_of("backup", &PayloadSettings { s3: Some(away), ..PayloadSettings::default() })
                .unwrap()
                .probe()
                .await
                .unwrap_err(),
        ),
    ] {
        assert!(error.is_retriable());
        assert!(error.to_string().contains(&format!("{section}.s3 (bucket logs at http://127.0.0.1:1)")), "{error}");
    }
}
