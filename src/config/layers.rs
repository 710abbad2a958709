//! The layers that settings are merged from, where they name secrets: by their values, or by files that hold them.

use std::path::PathBuf;

use config::{Config, Value, ValueKind};

use super::ConfigError;
use super::environment::{SECRET_KEYS, value};

/// Returns key paths and values as one table.
pub(super) fn of(settings: &[(String, Value)]) -> Result<config::Map<String, Value>, ConfigError> {
    let mut builder = Config::builder();
    for (key, value) in settings {
        builder = builder.set_override(key, value.clone()).map_err(super::invalid)?;
    }
    builder.build().map_err(super::invalid)?.cache.into_table().map_err(super::invalid)
}

/// Refuses a layer that names a secret and a file of the same secret: which of them is meant cannot be known.
pub(super) fn refuse_both(layer: &config::Map<String, Value>, name: &str) -> Result<(), ConfigError> {
    let both = SECRET_KEYS.iter().find(|key| has(layer, key) && has(layer, &format!("{key}_file")));
    match both {
        Some(key) => Err(ConfigError::Invalid(format!("{name} sets both {key} and {key}_file: leave one of them out"))),
        None => Ok(()),
    }
}

/// Takes out of an earlier layer the files of secrets that a later one sets, which would be read all the same.
pub(super) fn drop_replaced(earlier: &mut config::Map<String, Value>, later: &config::Map<String, Value>) {
    for key in SECRET_KEYS.iter().filter(|key| has(later, key)) {
        remove(earlier, &format!("{key}_file"));
    }
}

fn has(table: &config::Map<String, Value>, path: &str) -> bool {
    match path.split_once('.') {
        None => table.contains_key(path),
        Some((first, rest)) => match table.get(first).map(|value| &value.kind) {
            Some(ValueKind::Table(inner)) => has(inner, rest),
            _ => false,
        },
    }
}

/// Replaces each `{key}_file` by the content of that file under `{key}`, without the trailing line end.
pub(super) fn read_secret_files(merged: &Config) -> Result<Config, ConfigError> {
    let mut secrets = Vec::new();
    for key in SECRET_KEYS {
        let Ok(path) = merged.get_string(&format!("{key}_file")) else { continue };
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::SecretFile {
            key,
            path: path.clone(),
            source,
        })?;
        secrets.push((*key, value(key, key, text.trim_end_matches(['\r', '\n']))?));
    }
    let mut root = merged.cache.clone().into_table().map_err(super::invalid)?;
    for key in SECRET_KEYS {
        remove(&mut root, &format!("{key}_file"));
    }
    let mut builder = Config::builder().add_source(Layer(root));
    for (key, secret) in secrets {
        builder = builder.set_override(key, secret).map_err(super::invalid)?;
    }
    builder.build().map_err(super::invalid)
}

fn remove(table: &mut config::Map<String, Value>, path: &str) {
    match path.split_once('.') {
        None => {
            table.remove(path);
        }
        Some((first, rest)) => {
            if let Some(Value { kind: ValueKind::Table(inner), .. }) = table.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

/// A table of settings as a source of others.
#[derive(Debug, Clone)]
pub(super) struct Layer(pub config::Map<String, Value>);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}
