//! Settings of the whole program: defaults, then a file, then the environment; every key known, every rule checked
//! before anything starts, every complaint naming its key. Secrets are masked wherever settings are shown.

mod environment;
mod layers;
mod rules;

use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde::Deserialize;

use crate::amqp::AmqpSettings;
use crate::backfill::MigrateSettings;
use crate::backup::BackupSettings;
use crate::codec::mask::MaskSettings;
use crate::codec::truncate::Limits;
use crate::http::HttpSettings;
use crate::http::api::ServeSettings;
use crate::pipeline::PipelineSettings;
use crate::postgres::PostgresSettings;
use crate::retention::RetentionSettings;
use crate::store::elastic::ElasticSettings;
use crate::store::payload::PayloadSettings;
use crate::store::sqlite::SqliteSettings;
use crate::telemetry::LogFormat;

pub use environment::Environment;

/// Every key with its default and what it means.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub store: StoreSettings,
    pub payloads: PayloadSettings,
    pub amqp: AmqpSettings,
    pub pipeline: PipelineSettings,
    pub truncate: Limits,
    pub redact: MaskSettings,
    pub postgres: PostgresSettings,
    pub migrate: MigrateSettings,
    pub retention: RetentionSettings,
    pub backup: BackupSettings,
    pub http: HttpSettings,
    pub serve: ServeSettings,
    pub log: LogSettings,
}

/// Which store, and the settings of each.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    pub kind: StoreKind,
    pub sqlite: SqliteSettings,
    pub elastic: ElasticSettings,
}

/// The stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    Sqlite,
    /// Elasticsearch and OpenSearch alike.
    #[serde(alias = "elasticsearch", alias = "opensearch")]
    Elastic,
}

/// How the log looks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{variable}: {problem}")]
    Environment { variable: String, problem: String },
    #[error("{key}_file: cannot read {}: {source}", path.display())]
    SecretFile { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("configuration: {0}")]
    Invalid(String),
    #[error("configuration:\n  {}", .0.join("\n  "))]
    Rules(Vec<String>),
}

/// Settings, and the same as text for people, with secrets masked.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// TOML of what is in force.
    pub shown: String,
}

/// Loads the settings: [`DEFAULTS`], then `file`, then `environment`, then `overrides` (key path and value).
///
/// # Errors
/// [`ConfigError`]: the first thing that cannot be read, or every broken rule.
pub fn load(
    file: Option<&Path>,
    environment: &Environment,
    overrides: &[(&str, String)],
) -> Result<Loaded, ConfigError> {
    let merged = merge(file, environment, overrides)?;
    let shown = rules::masked(&merged)?;
    let settings: Settings = serde_path_to_error::deserialize(merged).map_err(|error| {
        let path = error.path().to_string();
        let problem = without_value(&path, error.into_inner().to_string());
        ConfigError::Invalid(if path == "." { problem } else { format!("{path}: {problem}") })
    })?;
    rules::check(&settings)?;
    Ok(Loaded { settings, shown })
}

/// Merges the layers. A secret and the file that it is read from are one setting: a later layer that sets either of them
/// takes the place of both.
fn merge(file: Option<&Path>, environment: &Environment, overrides: &[(&str, String)]) -> Result<Config, ConfigError> {
    let mut of_file = config::Map::new();
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        // Read once before: the error of the merge would print the line, and with it a password.
        if let Err(error) = text.parse::<toml::Table>() {
            let line =
                error.span().map_or(0, |span| 1 + text.get(..span.start).unwrap_or_default().matches('\n').count());
            let said = error.message();
            return Err(ConfigError::Invalid(format!("{}, line {line}: not TOML: {said}", path.display())));
        }
        of_file = config::Source::collect(&File::from_str(&text, FileFormat::Toml)).map_err(invalid)?;
        layers::refuse_both(&of_file, &path.display().to_string())?;
    }
    let variables = environment.overrides()?;
    let of_environment = layers::of(&variables)?;
    layers::refuse_both(&of_environment, "the environment")?;
    layers::drop_replaced(&mut of_file, &of_environment);
    let mut builder =
        Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml)).add_source(layers::Layer(of_file));
    for (key, value) in variables {
        builder = builder.set_override(key, value).map_err(invalid)?;
    }
    for (key, value) in overrides {
        builder = builder.set_override(*key, value.clone()).map_err(invalid)?;
    }
    layers::read_secret_files(&builder.build().map_err(invalid)?)
}

/// Returns what is wrong with a value, without the value where that may be secret. `invalid type: string "…", expected
/// …` is what such a problem reads.
fn without_value(path: &str, problem: String) -> String {
    let may_be_secret = environment::SECRET_KEYS.iter().any(|key| path.starts_with(key))
        || problem.contains("://")
        || problem.contains('@');
    match problem.rsplit_once(", expected ") {
        Some((found, expected)) if may_be_secret => {
            let found = found.split_once(['"', '`']).map_or("", |(found, _)| found.trim_end());
            format!("{found}, expected {expected}")
        }
        _ => problem,
    }
}

fn invalid(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Invalid(error.to_string())
}

#[cfg(test)]
mod tests;
