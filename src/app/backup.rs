//! Opens what backups work on: the store, its copies, and where they are kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{AppError, Stores, holder, open_stores};
use crate::backup::Backup;
use crate::backup::manifest::BackupSource;
use crate::config::{Settings, StoreKind};
use crate::store::Capability;
use crate::store::copies::MonthCopies;
use crate::store::elastic::SnapshotCopies;
use crate::store::payload::{PayloadSettings, PayloadStore};
use crate::store::sqlite::SqliteCopies;
use crate::telemetry::system_clock;

/// Opens the place of manifests and payloads alone.
///
/// # Errors
/// Settings that cannot be used.
pub fn open_vault(settings: &Settings) -> Result<PayloadStore, AppError> {
    PayloadStore::open_of("backup", &settings.backup.vault()).map_err(|error| AppError::Payloads(error.to_string()))
}

/// Returns the settings of another store of the same kind: `at` is a directory of SQLite, or a prefix of indices. Its full
/// texts lie apart from those of the configured store, beside its directory, or beside the configured place under the
/// name of the prefix: a sweep of either store removes every text that its own documents do not name. The same settings
/// where `at` is the configured store.
#[must_use]
pub fn settings_at(settings: &Settings, at: &str) -> Settings {
    let mut other = settings.clone();
    match settings.store.kind {
        StoreKind::Sqlite if is_same_directory(Path::new(at), &settings.store.sqlite.dir) => {}
        StoreKind::Sqlite => {
            other.store.sqlite.dir = at.into();
            other.payloads = PayloadSettings { dir: beside(Path::new(at), "payloads"), s3: None };
        }
        StoreKind::Elastic if at == settings.store.elastic.prefix => {}
        StoreKind::Elastic => {
            at.clone_into(&mut other.store.elastic.prefix);
            match &mut other.payloads.s3 {
                Some(s3) => s3.prefix = format!("{}-of-{at}", s3.prefix.trim_end_matches('/')),
                None => other.payloads.dir = beside(&settings.payloads.dir, &format!("of-{at}")),
            }
        }
    }
    other
}

/// Returns a directory beside another: `data/payloads` and `of-x` make `data/payloads-of-x`.
fn beside(dir: &Path, suffix: &str) -> PathBuf {
    match dir.file_name() {
        Some(name) => {
            let mut name = name.to_owned();
            name.push("-");
            name.push(suffix);
            dir.with_file_name(name)
        }
        None => dir.join(suffix),
    }
}

fn is_same_directory(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Opens the store that the settings name with its backups. `source`: what the copies were made of, if they were.
///
/// # Errors
/// Settings that cannot be used, and copies of another kind of store.
pub fn open_backup(settings: &Settings, source: Option<&BackupSource>) -> Result<Backup, AppError> {
    let own = match settings.store.kind {
        StoreKind::Sqlite => BackupSource::Sqlite,
        StoreKind::Elastic => BackupSource::Elastic { prefix: settings.store.elastic.prefix.clone() },
    };
    let source = source.unwrap_or(&own);
    let copies: Box<dyn MonthCopies> = match (settings.store.kind, source) {
        (StoreKind::Sqlite, BackupSource::Sqlite) => {
            let (store, months) = (settings.store.sqlite.clone(), settings.backup.months_dir());
            Box::new(SqliteCopies::new(store, months, system_clock()))
        }
        (StoreKind::Elastic, BackupSource::Elastic { prefix }) => {
            let (store, repository) = (settings.store.elastic.clone(), settings.backup.repository());
            Box::new(SnapshotCopies::new(store, repository, prefix.clone())?)
        }
        (_, other) => {
            let kind = if matches!(other, BackupSource::Sqlite) { "sqlite" } else { "elastic" };
            return Err(AppError::Other(format!("the backup is of another store: set store.kind = \"{kind}\"")));
        }
    };
    let Stores { store, payloads } = open_stores(settings)?;
    store.need(Capability::MonthCopies)?;
    Ok(Backup {
        store,
        payloads: Arc::clone(&payloads),
        copies,
        vault: open_vault(settings)?,
        source: source.clone(),
        clock: system_clock(),
        holder: holder(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::payload::S3Settings;

    #[test]
    fn another_store_has_its_texts_apart() {
        let dir = |path: &str| PayloadSettings { dir: path.into(), s3: None };
        let mut settings = crate::config::load(None, &crate::config::Environment::default(), &[]).unwrap().settings;
        settings.payloads = dir("data/payloads");
        settings.store.kind = StoreKind::Sqlite;
        settings.store.sqlite.dir = "data/sqlite".into();
        assert_eq!(settings_at(&settings, "data/sqlite").payloads, dir("data/payloads"));
        for at in ["elsewhere/x", "elsewhere/x/"] {
            assert_eq!(settings_at(&settings, at).payloads, dir("elsewhere/x-payloads"));
        }
        assert_eq!(settings_at(&settings, "..").payloads, dir("../payloads"));

        settings.store.kind = StoreKind::Elastic;
        settings.store.elastic.prefix = "dify".into();
        assert_eq!(settings_at(&settings, "dify").payloads, dir("data/payloads"));
        assert_eq!(settings_at(&settings, "other").payloads, dir("data/payloads-of-other"));
        for (prefix, other) in [("", "-of-other"), ("texts/", "texts-of-other")] {
            settings.payloads.s3 = Some(S3Settings { prefix: prefix.into(), ..S3Settings::default() });
            assert_eq!(settings_at(&settings, "other").payloads.s3.unwrap().prefix, other);
        }
    }
}
