//! Rules between sections, and settings as text with the secrets masked.

use config::Config;

use super::environment::SECRET_KEYS;
use super::{ConfigError, Settings, StoreKind};
use crate::codec::mask::Mask;
use crate::domain::address::redacted;

/// Checks every rule of every section that is in force, and those between sections.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigError> {
    let mut broken = Vec::new();
    if let Err(rules) = settings.pipeline.validate() {
        broken.extend(rules);
    }
    if let Err(rules) = settings.retention.validate() {
        broken.extend(rules);
    }
    if let Err(rules) = settings.backup.validate() {
        broken.extend(rules);
    }
    if let Err(error) = settings.amqp.validate() {
        broken.push(error.to_string());
    }
    if settings.store.kind == StoreKind::Elastic
        && let Err(error) = settings.store.elastic.validate()
    {
        broken.push(format!("store.elastic.{error}"));
    }
    if let Err(error) = settings.serve.validate() {
        broken.push(error.to_string());
    }
    broken.extend(settings.http.validate().err());
    broken.extend(Mask::new(&settings.redact).err().map(|problem| format!("redact.{problem}")));
    broken.extend(between_sections(settings));
    if broken.is_empty() { Ok(()) } else { Err(ConfigError::Rules(broken)) }
}

fn between_sections(settings: &Settings) -> Vec<String> {
    let mut broken = Vec::new();
    let window: usize = settings
        .amqp
        .queues
        .iter()
        .map(|queue| usize::from(queue.prefetch.get()) * usize::from(queue.consumers.get()))
        .sum();
    let wanted = settings.pipeline.batch_actions.saturating_mul(settings.pipeline.requests_in_flight);
    if window < wanted {
        broken.push(format!(
            "amqp.queues: prefetch times consumers, over all queues, is {window}; pipeline.batch_actions times \
             pipeline.requests_in_flight needs {wanted}, or batches never fill"
        ));
    }
    if settings.amqp.release_after_seconds <= settings.pipeline.release_seconds {
        broken.push(
            "amqp.release_after_seconds must exceed pipeline.release_seconds: the breaker gives deliveries back first"
                .to_owned(),
        );
    }
    if settings.truncate.document_bytes < settings.truncate.field_bytes {
        broken.push("truncate.document_bytes must be at least truncate.field_bytes".to_owned());
    }
    if settings.truncate.field_bytes < 1024 {
        broken.push("truncate.field_bytes must be at least 1024".to_owned());
    }
    if settings.migrate.concurrency >= settings.postgres.pool_size {
        broken.push("postgres.pool_size must exceed migrate.concurrency: one more session looks ahead".to_owned());
    }
    if settings.migrate.dify_storage_dir.is_some() && settings.migrate.dify_s3.is_some() {
        broken.push("migrate.dify_storage_dir and migrate.dify_s3: Dify has one storage; set one of them".to_owned());
    }
    if settings.store.kind == StoreKind::Sqlite && settings.backup.s3.is_some() {
        broken.push("backup.s3: month files of SQLite are copied into a directory; set backup.dir instead".to_owned());
    }
    if settings.store.kind == StoreKind::Elastic
        && settings.truncate.document_bytes.saturating_mul(2) > settings.store.elastic.max_request_bytes
    {
        broken.push(
            "store.elastic.max_request_bytes must be at least twice truncate.document_bytes, or the largest document \
             never fits a request"
                .to_owned(),
        );
    }
    broken
}

/// Returns the merged settings as TOML; secrets and passwords within URLs are replaced.
pub(super) fn masked(merged: &Config) -> Result<String, ConfigError> {
    let mut root: serde_json::Value = merged.clone().try_deserialize().map_err(super::invalid)?;
    for key in SECRET_KEYS {
        let pointer = format!("/{}", key.replace('.', "/"));
        if let Some(value) = root.pointer_mut(&pointer) {
            mask(value);
        }
    }
    mask_logins(&mut root);
    toml::to_string(&root).map_err(super::invalid)
}

/// A secret: of an address, all but its password may be shown.
fn mask(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(entries) => entries.iter_mut().for_each(mask),
        serde_json::Value::Null => {}
        serde_json::Value::String(text) if text.contains("://") => *text = redacted(text),
        other => *other = "***".into(),
    }
}

/// A login may stand in any address, also where it is refused or has no meaning.
fn mask_logins(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(entries) => entries.iter_mut().for_each(mask_logins),
        serde_json::Value::Object(members) => members.values_mut().for_each(mask_logins),
        serde_json::Value::String(text) if text.contains("://") && text.contains('@') => *text = redacted(text),
        _ => {}
    }
}
