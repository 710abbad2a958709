//! The rules of the house that a compiler does not check: ranks of modules, confined crates, size of files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rank per top module: a module may name `crate::structure::x` only if x has a lower rank, or is its own.
const RANKS: &[(&str, u8)] = &[
    ("domain", 0),
    ("telemetry", 1),
    ("backoff", 0),
    ("rate", 0),
    ("codec", 2),
    ("synthetic", 2),
    ("store", 3),
    ("pipeline", 4),
    ("amqp", 5),
    ("postgres", 5),
    ("query", 6),
    ("backfill", 6),
    ("retention", 5),
    ("http", 7),
    ("backup", 7),
    ("config", 8),
    ("app", 9),
    ("cli", 10),
];

/// Crates that may be named under one place only.
const CONFINED: &[(&str, &str)] = &[
    ("lapin", "src/amqp"),
    ("reqwest", "src/store/elastic src/http/console"),
    ("rusqlite", "src/store/sqlite"),
    ("object_store", "src/store/payload"),
    ("axum", "src/http"),
    ("axum_server", "src/http"),
    ("http_body", "src/http"),
    ("hyper_util", "src/http"),
    ("maud", "src/http/ui"),
    ("ring", "src/http/ui src/postgres"),
    ("tower", "src/http"),
    ("tower_http", "src/http"),
    ("utoipa", "src/http"),
    ("tokio_postgres", "src/postgres"),
    ("deadpool_postgres", "src/postgres"),
    ("anyhow", "src/cli"),
];

const MAX_LINES: usize = 400;

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// (path relative to the root, text)
fn sources(folder: &str) -> Vec<(String, String)> {
    rust_files(&root().join(folder))
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            (relative, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn top_module(relative: &str) -> &str {
    let inside = relative.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Code lines of the product: comments and everything from the first test module on are left out.
fn product_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").filter(|line| !line.trim_start().starts_with("//"))
}

fn is_test(relative: &str) -> bool {
    relative.ends_with("/tests.rs") || relative.contains("/tests/")
}

#[test]
fn modules_name_only_lower_ranks() {
    let ranks: BTreeMap<_, _> = RANKS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (relative, text) in sources("src") {
        let own = top_module(&relative);
        if matches!(own, "main" | "lib") || is_test(&relative) {
            continue;
        }
        let rank =
            *ranks.get(own).unwrap_or_else(|| panic!("{relative}: module {own} has no rank in tests/it/structure.rs"));
        for line in product_lines(&text) {
            for named in line.split("crate::").skip(1) {
                let named: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if named != own && ranks.get(named.as_str()).is_some_and(|other| *other >= rank) {
                    wrong.push(format!("{relative}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "a module names one of the same or a higher rank:\n{}", wrong.join("\n"));
}

#[test]
fn crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (relative, text) in sources("src") {
        for (name, place) in CONFINED {
            let names_it = |line: &str| {
                line.contains(&format!("use {name}::"))
                    || line.contains(&format!(" {name}::"))
                    || line.contains(&format!("<{name}::"))
                    || line.contains(&format!("({name}::"))
            };
            if !place.split(' ').any(|place| relative.starts_with(place))
                && !is_test(&relative)
                && product_lines(&text).any(names_it)
            {
                wrong.push(format!("{relative} names {name}, which belongs under {place}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let mut wrong = Vec::new();
    for (relative, text) in sources("src").into_iter().chain(sources("tests")).chain(sources("benches")) {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{relative}: {lines} lines (at most {MAX_LINES})"));
        }
        if !text.starts_with("//!") && !is_test(&relative) {
            wrong.push(format!("{relative}: does not open with //!"));
        }
    }
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap().lines().count();
    if main > 30 {
        wrong.push(format!("src/main.rs: {main} lines (at most 30)"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `println!` panics when the reader of a pipe goes away, and prints foreign text as it is.
#[test]
fn only_one_file_writes_to_standard_output_and_error() {
    let mut wrong = Vec::new();
    for (relative, text) in sources("src") {
        let prints = |line: &&str| {
            ["println!(", "print!(", "stdout().lock(", "stderr().lock("].iter().any(|word| line.contains(word))
        };
        if relative != "src/cli/output.rs" && !is_test(&relative) {
            wrong.extend(product_lines(&text).filter(prints).map(|line| format!("{relative}: {}", line.trim())));
        }
    }
    assert!(wrong.is_empty(), "print with say!, say_json! or complain! of src/cli/output.rs:\n{}", wrong.join("\n"));
}

/// Tasks that nobody would miss if they ended: each with what sees to it. Everything else is a part of `app/parts.rs`, or in
/// a `JoinSet`, whose owner hears of its end.
const SPAWNS: &[(&str, &str)] = &[
    ("src/amqp/connection.rs", "hears of blocked publishers; ends with its connection"),
    ("src/amqp/consumer.rs", "says goodbye to a subscription"),
    ("src/amqp/outbox.rs", "the supervisor waits for it"),
    ("src/app.rs", "the timer of the drain"),
    ("src/app/migrate.rs", "the migration stalls without it, and ends"),
    ("src/backfill/migration.rs", "a chunk, awaited"),
    ("src/cli/migrate.rs", "the display"),
    ("src/cli/signals.rs", "ends with the command"),
    ("src/http/api/delete.rs", "a deletion, awaited by its request as long as that lasts"),
    ("src/http/connections.rs", "waits for the shutdown"),
    ("src/http/dead_letters/replays.rs", "a replay; its job says how it ended, a crash included"),
    ("src/store/elastic/watch.rs", "started again by the next write"),
    ("src/store/sqlite/pool.rs", "closes idle files"),
];

#[test]
fn no_task_runs_unwatched() {
    // A single item of the tests can stand before the product's own code.
    let spawns = |text: &str| {
        let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        product.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("tokio::spawn("))
    };
    let files: Vec<_> = sources("src").into_iter().filter(|(path, text)| !is_test(path) && spawns(text)).collect();
    let mut found: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    found.sort_unstable();
    let known: Vec<&str> = SPAWNS.iter().map(|(path, _)| *path).collect();
    assert_eq!(found, known, "who hears of the end of this task? See SPAWNS in tests/it/structure.rs");
}

#[test]
fn the_compose_file_opens_nothing_to_other_machines_and_pins_its_images() {
    let compose = fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let values = |key: &'static str| compose.lines().filter_map(move |line| line.trim().strip_prefix(key));
    for ports in values("ports:") {
        let (all, local) = (ports.matches('"').count() / 2, ports.matches("\"127.0.0.1:").count());
        assert!(all > 0 && all == local, "{ports}");
    }
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let from = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    for image in values("image:").chain(from) {
        let tag = image.split(':').nth(1).unwrap_or_default();
        assert!(tag.starts_with(|first: char| first.is_ascii_digit()) && tag.contains('.'), "{image} is not pinned");
    }
    assert!(!compose.contains("guest"), "the default login is for the broker's own host");
}

/// Cargo reads the whole manifest, also of what the image does not build, and refuses one whose targets are not there.
#[test]
fn the_image_is_built_of_all_that_its_manifest_names() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let first_stage = dockerfile.split("\nFROM ").nth(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for copied in first_stage.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let mut names: Vec<&str> = copied.split_whitespace().collect();
        let place = folder.path().join(names.pop().unwrap());
        for name in names {
            let status = Command::new("cp").arg("-r").arg(root().join(name)).arg(&place).status().unwrap();
            assert!(status.success(), "{copied}");
        }
    }
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let host = String::from_utf8(rustc.stdout).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // It parses the manifest as a build does, and builds nothing.
    let fetch = ["fetch", "--offline", "--locked", "--quiet", "--target", host];
    let output = Command::new(env!("CARGO")).args(fetch).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn no_test_is_ignored_and_nothing_sleeps() {
    // Spelled apart, so that this file does not find itself.
    let forbidden =
        [concat!("#[ign", "ore"), concat!("thread::sl", "eep"), concat!("tod", "o!("), concat!("unimpl", "emented!(")];
    let mut wrong = Vec::new();
    for (relative, text) in sources("src").into_iter().chain(sources("tests")) {
        for word in forbidden {
            if text.contains(word) {
                wrong.push(format!("{relative}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `scripts/test` does not look for examples to run in the documents: there are none, only drawings and formats.
#[test]
fn examples_in_documents_are_texts() {
    let mut wrong = Vec::new();
    for (relative, text) in sources("src") {
        let documents = text.lines().filter_map(|line| {
            let line = line.trim_start();
            line.strip_prefix("//!").or_else(|| line.strip_prefix("///")).map(str::trim)
        });
        let fences = documents.filter(|line| line.starts_with("```"));
        wrong.extend(fences.step_by(2).filter(|fence| *fence != "```text").map(|fence| format!("{relative}: {fence}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The name of a public type that a line declares.
fn declared(line: &str) -> Option<&str> {
    let line = line.trim_start().strip_prefix("pub")?;
    let line = line.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(line, |(_, rest)| rest);
    let mut words = line.split_whitespace();
    let is_type = matches!(words.next(), Some("struct" | "enum" | "trait" | "type" | "union"));
    let name = is_type.then(|| words.next()).flatten()?;
    // A macro's type has the name that it is given.
    name.split(|next: char| !next.is_alphanumeric() && next != '_').next().filter(|name| !name.is_empty())
}

/// One name, one meaning: what a file uses is known without a look at its imports.
#[test]
fn a_public_type_has_a_name_of_its_own() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (relative, text) in sources("src") {
        for name in text.lines().filter_map(declared) {
            places.entry(name.to_owned()).or_default().push(relative.clone());
        }
    }
    assert!(places.len() > 500, "{} types: are they found?", places.len());
    let twice: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}
