//! Settings from environment variables and secret files.
//!
//! `DIFYLOG__SECTION__KEY` sets any key. The names that operators know from Dify's Elasticsearch settings, and
//! `AMQP_URL`, set theirs. `X_FILE` reads the value of `X` from a file.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use super::ConfigError;

const PREFIX: &str = "DIFYLOG__";

/// What such a variable is often written with, which sets nothing.
const SINGLE: &str = "DIFYLOG_";

/// Variables of the Python package inside Dify that are spelled like a key of ours; both may be in one file.
const OF_DIFY: &[&str] = &["DIFYLOG_AMQP_VERIFY"];

/// Variables known from elsewhere, and the key each sets.
const KNOWN: &[(&str, &str)] = &[
    ("AMQP_URL", "amqp.urls"),
    ("PG_URL", "postgres.url"),
    ("PG_PASSWORD", "postgres.password"),
    ("ELASTICSEARCH_HOSTS", "store.elastic.hosts"),
    ("ELASTICSEARCH_USERNAME", "store.elastic.username"),
    ("ELASTICSEARCH_PASSWORD", "store.elastic.password"),
    ("ELASTICSEARCH_VERIFY_CERTS", "store.elastic.verify_certs"),
    ("ELASTICSEARCH_CA_CERTS", "store.elastic.ca_cert"),
    ("ELASTICSEARCH_TIMEOUT", "store.elastic.timeout_seconds"),
    ("ELASTICSEARCH_INDEX_PREFIX", "store.elastic.prefix"),
    ("ELASTICSEARCH_RETENTION_DAYS", "retention.days"),
];

/// Known variables whose values are secrets and may come from a file.
const SECRET_VARIABLES: &[&str] = &["AMQP_URL", "PG_URL", "PG_PASSWORD", "ELASTICSEARCH_PASSWORD"];

/// Keys whose value may come from the file that `{key}_file` names.
pub(super) const SECRET_KEYS: &[&str] = &[
    "amqp.urls",
    "store.elastic.password",
    "payloads.s3.access_key_id",
    "payloads.s3.secret_access_key",
    "backup.s3.access_key_id",
    "backup.s3.secret_access_key",
    "postgres.url",
    "postgres.password",
    "migrate.dify_s3.access_key_id",
    "migrate.dify_s3.secret_access_key",
];

/// Keys that hold lists; one text sets a list of one, or of what it joins by `;` or `,` where those are addresses.
const LISTS: &[&str] = &["amqp.urls", "store.elastic.hosts", "store.elastic.dedicated_tenants", "amqp.queues"];

/// The variables of a process, or made up by a test.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Returns the variables of this process that are of interest.
    #[must_use]
    pub fn of_process() -> Self {
        // A variable that is no Unicode cannot be one of ours.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Key paths and values, in an order in which later ones win: known names, then `DIFYLOG__…`.
    pub(super) fn overrides(&self) -> Result<Vec<(String, Value)>, ConfigError> {
        let mut overrides = Vec::new();
        for (variable, key) in KNOWN {
            if let Some(text) = self.get(variable).filter(|text| !text.is_empty()) {
                overrides.push(((*key).to_owned(), value(variable, key, text)?));
            }
            // As above: what is empty is not set.
            let path = self.get(&format!("{variable}_FILE")).filter(|path| !path.is_empty());
            if let Some(path) = path.filter(|_| SECRET_VARIABLES.contains(variable)) {
                overrides.push((format!("{key}_file"), Value::from(path)));
            }
        }
        if let Some(ssl) = self.use_ssl(&overrides)? {
            overrides.push(ssl);
        }
        self.refuse_single_underscores()?;
        for (variable, text) in &self.0 {
            if let Some(path) = variable.strip_prefix(PREFIX) {
                let key = path.to_lowercase().replace("__", ".");
                overrides.push((key.clone(), value(variable, &key, text)?));
            }
        }
        Ok(overrides)
    }

    /// A setting that is spelled with one underscore where two belong would be ignored without a word.
    fn refuse_single_underscores(&self) -> Result<(), ConfigError> {
        let keys = known_keys()?;
        for variable in self.0.keys().filter(|variable| !variable.starts_with(PREFIX)) {
            let Some(name) = variable.strip_prefix(SINGLE).filter(|_| !OF_DIFY.contains(&variable.as_str())) else {
                continue;
            };
            let spelled = |key: &&String| key.replace('.', "_").eq_ignore_ascii_case(&name.replace("__", "_"));
            if let Some(key) = keys.iter().find(spelled) {
                let right = format!("{PREFIX}{}", key.replace('.', "__").to_uppercase());
                return Err(environment_error(variable, &format!("sets nothing: {right} sets {key}")));
            }
        }
        Ok(())
    }

    fn get(&self, variable: &str) -> Option<&str> {
        self.0.get(variable).map(String::as_str)
    }

    /// `ELASTICSEARCH_USE_SSL` decides the scheme of hosts that were given without one.
    fn use_ssl(&self, overrides: &[(String, Value)]) -> Result<Option<(String, Value)>, ConfigError> {
        let Some((key, hosts)) = overrides.iter().find(|(key, _)| key == "store.elastic.hosts") else {
            return Ok(None);
        };
        let ssl = match self.get("ELASTICSEARCH_USE_SSL").map(str::to_lowercase).as_deref() {
            None | Some("" | "false" | "0" | "no") => false,
            Some("true" | "1" | "yes") => true,
            Some(_) => return Err(environment_error("ELASTICSEARCH_USE_SSL", "expected true or false")),
        };
        let scheme = if ssl { "https" } else { "http" };
        let hosts = hosts.clone().into_array().map_err(super::invalid)?;
        let with_scheme = hosts.into_iter().map(|host| {
            let host = host.to_string();
            Value::from(if host.contains("://") { host } else { format!("{scheme}://{host}") })
        });
        Ok(Some((key.clone(), Value::from(with_scheme.collect::<Vec<_>>()))))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let ours = |name: &str| {
            [SINGLE, "ELASTICSEARCH_", "AMQP_URL", "PG_URL", "PG_PASSWORD"].iter().any(|begin| name.starts_with(begin))
        };
        Self(variables.into_iter().filter(|(name, _)| ours(name)).collect())
    }
}

/// Texts stay texts (the target's type decides what they mean); what looks like JSON is read as JSON.
pub(super) fn value(variable: &str, key: &str, text: &str) -> Result<Value, ConfigError> {
    let trimmed = text.trim();
    if trimmed.starts_with('[') || trimmed.starts_with('{') {
        let json: serde_json::Value = serde_json::from_str(trimmed)
            .map_err(|error| environment_error(variable, &format!("not valid JSON at column {}", error.column())))?;
        return Ok(from_json(json));
    }
    if key == "store.elastic.hosts" {
        let hosts = trimmed.split([',', ';']).map(str::trim).filter(|host| !host.is_empty());
        return Ok(Value::from(hosts.map(Value::from).collect::<Vec<_>>()));
    }
    if LISTS.contains(&key) {
        return Ok(Value::from(vec![Value::from(trimmed)]));
    }
    Ok(Value::from(text))
}

/// Returns every key that has a default, and every one that is a secret.
fn known_keys() -> Result<Vec<String>, ConfigError> {
    fn add(table: &config::Map<String, Value>, path: &str, keys: &mut Vec<String>) {
        for (name, value) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match &value.kind {
                ValueKind::Table(inner) => add(inner, &path, keys),
                _ => keys.push(path),
            }
        }
    }
    let defaults = config::File::from_str(super::DEFAULTS, config::FileFormat::Toml);
    let table = config::Source::collect(&defaults).map_err(super::invalid)?;
    let mut keys: Vec<_> = SECRET_KEYS.iter().map(|key| (*key).to_owned()).collect();
    add(&table, "", &mut keys);
    Ok(keys)
}

fn environment_error(variable: &str, problem: &str) -> ConfigError {
    ConfigError::Environment { variable: variable.to_owned(), problem: problem.to_owned() }
}

fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::new(None, ValueKind::Nil),
        serde_json::Value::Bool(value) => Value::from(value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Value::from(integer),
            None => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => Value::from(items.into_iter().map(from_json).collect::<Vec<_>>()),
        serde_json::Value::Object(members) => Value::from(
            members.into_iter().map(|(name, value)| (name, from_json(value))).collect::<config::Map<_, _>>(),
        ),
    }
}
