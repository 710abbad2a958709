use std::io::Write as _;

use super::*;
use crate::pipeline::PipelineSettings;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn from_text(text: &str) -> Result<Loaded, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load(Some(file.path()), &Environment::default(), &[])
}

fn with(variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    load(None, &environment(variables), &[])
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let settings = with(&[]).unwrap().settings;
    assert_eq!(settings.pipeline, PipelineSettings::default());
    assert_eq!(settings.truncate, Limits::default());
    assert_eq!(settings.http, HttpSettings::default());
    assert_eq!(settings.amqp, AmqpSettings::default());
    assert_eq!(settings.store.sqlite, SqliteSettings::default());
    assert_eq!(settings.store.elastic, ElasticSettings::default());
    assert_eq!(settings.payloads, PayloadSettings::default());
}

#[test]
fn what_is_commented_out_can_be_taken_in_by_removing_the_mark() {
    let is_setting = |line: &&str| {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let settings: Vec<_> = DEFAULTS.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting).collect();
    assert!(settings.len() > 30, "{settings:?}");
    for setting in settings {
        assert!(toml::from_str::<toml::Table>(setting).is_ok(), "{setting}");
    }
}

#[test]
fn unknown_keys_and_wrong_types_are_named() {
    for (text, expected) in [
        ("[pipeline]\nbatch_sise = 3", "batch_sise"),
        ("[stor]\nkind = \"sqlite\"", "stor"),
        ("[pipeline]\nlinger_ms = \"soon\"", "pipeline.linger_ms"),
        ("[store]\nkind = \"postgres\"", "store.kind"),
        ("[store.sqlite]\nsynchronous = \"sometimes\"", "store.sqlite.synchronous"),
        ("[[amqp.queues]]\nname = \"q\"\nsource = \"carrier-pigeon\"", "amqp.queues"),
        ("[pipeline\n", "expected"),
    ] {
        let error = from_text(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn every_rule_names_its_keys() {
    for (text, keys) in [
        ("[pipeline]\nbatch_actions = 0", &["pipeline.batch_actions"][..]),
        ("[pipeline]\nbatch_actions = 5000", &["amqp.queues", "pipeline.batch_actions", "pipeline.requests_in_flight"]),
        ("[amqp]\nrelease_after_seconds = 100", &["amqp.release_after_seconds", "pipeline.release_seconds"]),
        ("[truncate]\nfield_bytes = 9000000", &["truncate.document_bytes", "truncate.field_bytes"]),
        ("[truncate]\nfield_bytes = 10", &["truncate.field_bytes"]),
        ("[store]\nkind = \"elastic\"\n[store.elastic]\nprefix = \"-X\"", &["store.elastic.prefix"]),
        ("[store]\nkind = \"elastic\"\n[store.elastic]\nusername = \"x\"", &["store.elastic.username"]),
        (
            "[store]\nkind = \"elastic\"\n[store.elastic]\nmax_request_bytes = 70000",
            &["store.elastic.max_request_bytes", "truncate.document_bytes"],
        ),
    ] {
        let error = from_text(text).unwrap_err().to_string();
        for key in keys {
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let loaded = with(&[
        ("DIFYLOG__PIPELINE__BATCH_ACTIONS", "250"),
        ("DIFYLOG__STORE__KIND", "elastic"),
        ("ELASTICSEARCH_HOSTS", r#"["search-1:9200", "https://search-2:9200"]"#),
        ("ELASTICSEARCH_USE_SSL", "true"),
        ("ELASTICSEARCH_USERNAME", "difylog"),
        ("ELASTICSEARCH_PASSWORD", "12345"),
        ("ELASTICSEARCH_TIMEOUT", "10"),
        ("ELASTICSEARCH_INDEX_PREFIX", "logs"),
        ("AMQP_URL", "amqp://user:s3cret@broker:5672/%2f"),
        ("UNRELATED", "x"),
    ])
    .unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.pipeline.batch_actions, 250);
    assert_eq!(settings.store.elastic.hosts, ["https://search-1:9200", "https://search-2:9200"]);
    assert_eq!(settings.store.elastic.password.as_ref().unwrap().expose(), "12345", "digits stay a text");
    assert_eq!((settings.store.elastic.timeout_seconds, &*settings.store.elastic.prefix), (10, "logs"));
    assert_eq!(settings.amqp.urls.len(), 1);
    assert!(!loaded.shown.contains("12345") && !loaded.shown.contains("s3cret"), "{}", loaded.shown);
    assert!(loaded.shown.contains("user:***@broker"), "{}", loaded.shown);
    assert!(!format!("{settings:?}").contains("s3cret") && !format!("{settings:?}").contains("12345"));
}

#[test]
fn wrong_variables_are_named_without_their_values() {
    for (variable, value) in
        [("ELASTICSEARCH_HOSTS", "[\"a"), ("DIFYLOG__AMQP__URLS", "[hunter2"), ("DIFYLOG__NO__SUCH", "hunter2")]
    {
        let error = with(&[(variable, value)]).unwrap_err().to_string();
        let name = if variable.contains("NO__SUCH") { "no" } else { variable };
        assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
    }
    let error = with(&[("ELASTICSEARCH_HOSTS", "a:9200"), ("ELASTICSEARCH_USE_SSL", "maybe")]).unwrap_err().to_string();
    assert!(error.contains("ELASTICSEARCH_USE_SSL"), "{error}");
    let error = with(&[("AMQP_URL", "broker://user:hunter2@x")]).unwrap_err().to_string();
    assert!(error.contains("amqp.urls") && !error.contains("hunter2"), "{error}");
}

#[test]
fn secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let (password, url) = (folder.path().join("password"), folder.path().join("url"));
    std::fs::write(&password, "pa ss\n").unwrap();
    std::fs::write(&url, "amqp://user:hunter2@broker:5672/%2f\n").unwrap();
    let loaded = with(&[
        ("ELASTICSEARCH_USERNAME", "difylog"),
        ("ELASTICSEARCH_PASSWORD_FILE", password.to_str().unwrap()),
        ("AMQP_URL_FILE", url.to_str().unwrap()),
    ])
    .unwrap();
    assert_eq!(loaded.settings.store.elastic.password.as_ref().unwrap().expose(), "pa ss");
    assert_eq!(loaded.settings.amqp.urls[0].authority(), "broker:5672");
    assert!(!loaded.shown.contains("hunter2"));
    let error = with(&[("AMQP_URL_FILE", "/no/such/file")]).unwrap_err().to_string();
    assert!(error.contains("amqp.urls_file") && error.contains("/no/such/file"), "{error}");
}

#[test]
fn arguments_override_everything() {
    let overrides = [("store.kind", "sqlite".to_owned())];
    let loaded = load(None, &environment(&[("DIFYLOG__STORE__KIND", "elastic")]), &overrides).unwrap();
    assert_eq!(loaded.settings.store.kind, StoreKind::Sqlite);
}

#[test]
fn lists_joined_in_one_text_are_lists() {
    let settings = with(&[
        ("AMQP_URL", "amqp://u:p@a:1//;amqp://u:q@b:2//"),
        ("ELASTICSEARCH_HOSTS", "search-1:9200,https://search-2:9200"),
    ])
    .unwrap()
    .settings;
    let brokers: Vec<_> = settings.amqp.urls.iter().map(crate::amqp::BrokerUrl::authority).collect();
    assert_eq!(brokers, ["a:1", "b:2"]);
    assert_eq!(settings.store.elastic.hosts, ["http://search-1:9200", "https://search-2:9200"]);
}

#[test]
fn a_file_that_is_no_toml_is_named_without_its_text() {
    for text in
        ["[log]\nformat = \"json\"\n[postgres]\nurl = \"postgres://u:hunter2@h/d", "[store]\npassword = hunter2@x"]
    {
        let error = from_text(text).unwrap_err().to_string();
        let line = text.lines().count();
        assert!(error.contains(&format!("line {line}")) && !error.contains("hunter2"), "{error}");
    }
}

/// Returns what an operator sees of settings, or of what is wrong with them.
fn seen(loaded: Result<Loaded, ConfigError>) -> String {
    match loaded {
        Ok(Loaded { settings, shown }) => {
            let payloads = crate::store::payload::PayloadStore::open(&settings.payloads).err();
            let brokers: Vec<_> = settings.amqp.urls.iter().map(|url| (url.authority(), url.to_string())).collect();
            format!("{shown}\n{settings:?}\n{brokers:?}\n{}\n{payloads:?}", settings.postgres.url.authority())
        }
        Err(error) => format!("{error}\n{error:?}"),
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn no_piece_of_a_password_is_ever_shown(password in "[QXZKW79@:/?#;,%\\[\\]&=+ !$'\"|^~`{}<>é\t]{4,12}") {
        let login = |scheme: &str| format!("{scheme}://QQ:{password}@127.0.0.1:1/v");
        let amqp = login("amqp");
        for (variable, value) in [
            ("AMQP_URL", amqp.clone()),
            ("AMQP_URL", format!("amqp://u:p@h:1//;{amqp}")),
            // With another slash it is an address like any other, whose first word is a user.
            ("AMQP_URL", format!("amqp:/{}@h", password.trim_start_matches('/'))),
            ("DIFYLOG__AMQP__URLS", serde_json::json!([amqp]).to_string()),
            ("DIFYLOG__AMQP__URLS", serde_json::json!({ "a": amqp }).to_string()),
            ("PG_URL", login("postgres")),
            ("PG_URL", format!("postgres://127.0.0.1:1/v?password={password}")),
            ("PG_URL", format!("host=127.0.0.1 password={password}")),
            ("ELASTICSEARCH_HOSTS", login("http")),
            ("DIFYLOG__PAYLOADS__S3__ENDPOINT", login("https")),
            ("DIFYLOG__POSTGRES__POOL_SIZE", login("postgres")),
        ] {
            let variables = [(variable, value.as_str()), ("DIFYLOG__PAYLOADS__S3__BUCKET", "b"), ("DIFYLOG__STORE__KIND", "elastic")];
            check_hidden(&password, &seen(with(&variables)));
        }
        for text in [
            format!("[amqp]\nurls = \"{amqp}\""),
            format!("[amqp]\nurls = [\"{amqp}\""),
            format!("[postgres]\nurl = '{}'\npassword = [\"{password}\"]", login("postgres")),
        ] {
            check_hidden(&password, &seen(from_text(&text)));
        }
    }
}

/// Pieces without a letter are left out: punctuation stands in any text.
fn check_hidden(password: &str, seen: &str) {
    let characters: Vec<_> = password.chars().collect();
    for piece in characters.windows(4).filter(|piece| piece.iter().any(char::is_ascii_uppercase)) {
        let piece: String = piece.iter().collect();
        assert!(!seen.contains(&piece), "{piece} of {password}: {seen}");
    }
}

#[test]
fn one_underscore_where_two_belong_is_an_error_that_spells_it() {
    for (variable, right) in [
        ("DIFYLOG_STORE_KIND", "DIFYLOG__STORE__KIND"),
        ("DIFYLOG_STORE__KIND", "DIFYLOG__STORE__KIND"),
        ("DIFYLOG_STORE_ELASTIC_TIMEOUT_SECONDS", "DIFYLOG__STORE__ELASTIC__TIMEOUT_SECONDS"),
        ("DIFYLOG_STORE_ELASTIC_PASSWORD", "DIFYLOG__STORE__ELASTIC__PASSWORD"),
    ] {
        let error = load(None, &environment(&[(variable, "hunter2")]), &[]).unwrap_err().to_string();
        assert!(error.contains(variable) && error.contains(right) && !error.contains("hunter2"), "{error}");
    }
    // What orchestrators and other programs set.
    for foreign in [
        "DIFYLOG_CONFIG",
        "DIFYLOG_PORT",
        "DIFYLOG_SERVICE_HOST",
        "DIFYLOG_HTTP_PORT_8080_TCP",
        "DIFYLOG_TEST_X",
        "DIFYLOG_AMQP_VERIFY",
    ] {
        assert!(load(None, &environment(&[(foreign, "x")]), &[]).is_ok(), "{foreign}");
    }
}

#[test]
fn the_engines_names_are_names_of_the_store() {
    for kind in ["elastic", "elasticsearch", "opensearch"] {
        let loaded = load(None, &environment(&[("DIFYLOG__STORE__KIND", kind)]), &[]).unwrap();
        assert_eq!(loaded.settings.store.kind, StoreKind::Elastic, "{kind}");
    }
}

/// A secret that is set by its value in one place, and by a file in another.
#[test]
fn a_secret_and_its_file_are_one_setting() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "of-the-secret-file\n").unwrap();
    let secret = secret.to_str().unwrap();
    let merged = |text: &str, variables: &[(&str, &str)]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        merge(Some(file.path()), &environment(variables), &[])
    };
    for key in environment::SECRET_KEYS {
        let (table, name) = key.rsplit_once('.').unwrap();
        let plain = format!("[{table}]\n{name} = \"plain\"\n");
        let of_file = format!("[{table}]\n{name}_file = \"{secret}\"\n");
        let variable = format!("DIFYLOG__{}", key.replace('.', "__").to_uppercase());
        let variable_file = format!("{variable}_FILE");
        let found = |merged: Result<Config, ConfigError>| format!("{:?}", merged.unwrap().get::<config::Value>(key));
        for (text, variables, expected) in [
            (&*of_file, vec![], "of-the-secret-file"),
            (&*of_file, vec![(&*variable, "later")], "later"),
            (&*plain, vec![(&*variable_file, secret)], "of-the-secret-file"),
            (&*plain, vec![(&*variable, "later")], "later"),
            ("", vec![(&*variable_file, secret)], "of-the-secret-file"),
        ] {
            let found = found(merged(text, &variables));
            assert!(found.contains(expected), "{key}: {text} {variables:?}: {found}");
        }
        for (text, variables) in [
            (format!("{plain}{name}_file = \"{secret}\"\n"), vec![]),
            (String::new(), vec![(&*variable, "hunter2"), (&*variable_file, secret)]),
        ] {
            let error = merged(&text, &variables).unwrap_err().to_string();
            assert!(error.contains(&format!("{key} and {key}_file")) && !error.contains("hunter2"), "{error}");
        }
    }
    let known = merged(&format!("[postgres]\nurl_file = \"{secret}\"\n"), &[("PG_URL", "postgres://u@later/d")]);
    assert_eq!(known.unwrap().get_string("postgres.url").unwrap(), "postgres://u@later/d");
    let error = merged("", &[("PG_URL", "postgres://u@a/d"), ("PG_URL_FILE", secret)]).unwrap_err().to_string();
    assert!(error.contains("postgres.url and postgres.url_file"), "{error}");
    assert!(merged("", &[("PG_URL", "postgres://u@a/d"), ("PG_URL_FILE", "")]).is_ok(), "what is empty is not set");
}
