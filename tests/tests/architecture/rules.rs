//! What holds in every file, beside who may look where. Each rule takes a source and gives the breaches, as
//! `file:line: what`.

use crate::source::{Source, line_of, preceded_by_word};
use std::collections::BTreeSet;

/// The first line says what the file is for.
pub fn opens_with_doc(source: &Source) -> Vec<String> {
    let said = source.text.lines().next().is_some_and(|line| line.strip_prefix("//! ").is_some_and(|t| t.len() > 20));
    if said { Vec::new() } else { vec![format!("{}:1: does not open with `//!` and what it is for", source.path)] }
}

/// A file that grows beyond this has become two.
pub fn at_most_500_lines(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= 500 { Vec::new() } else { vec![format!("{}: {lines} lines, at most 500", source.path)] }
}

/// A library and the only places that may name it: prefixes of paths. Files under a `tests` folder may name any.
const HOMES: &[(&str, &[&str])] = &[
    ("bollard", &["agent/src/docker/engine"]),
    ("sqlx", &["coordinator/src/store/"]),
    ("axum", &["coordinator/src/http/", "coordinator/src/hub/"]),
    ("axum_server", &["coordinator/src/http/", "coordinator/src/hub/"]),
    ("utoipa", &["coordinator/src/http/"]),
    ("rcgen", &["coordinator/src/pki/", "agent/src/identity"]),
    (
        "clap",
        &[
            "coordinator/src/config",
            "coordinator/src/cli/",
            "coordinator/src/main.rs",
            "agent/src/config",
            "agent/src/main.rs",
        ],
    ),
    (
        "reqwest",
        &[
            "coordinator/src/cli/",
            "coordinator/src/registry/client.rs",
            "coordinator/src/riyic.rs",
            "coordinator/src/webhooks/",
        ],
    ),
    ("indicatif", &["coordinator/src/cli/"]),
    ("figment", &["coordinator/src/config", "agent/src/config", "agent/src/policy.rs"]),
];

/// A room and the libraries that have no business in it.
const STRANGERS: &[(&str, &[&str])] = &[
    ("coordinator/src/domain/", &["serde", "serde_json", "tokio", "tracing", "std::fs", "std::net::Tcp", "std::env"]),
    ("coordinator/src/access", &["serde", "tokio"]),
    ("protocol/src/", &["tokio", "std::fs", "std::net::Tcp", "std::env", "tracing"]),
];

/// Where `name::` is used as the first part of a path, or `use name;` stands.
fn uses_of(code: &str, name: &str) -> Vec<usize> {
    code.match_indices(name)
        .filter(|(at, _)| {
            let after = &code[at + name.len()..];
            let is_path =
                after.starts_with("::") || (code[..*at].ends_with("use ") && after.starts_with([';', ' ', ',']));
            // `std::net::Tcp` stands for every name that begins so.
            let is_prefix = name.contains("::");
            // A module of ours may be called like a library: `super::axum::` is not the library.
            (is_path || is_prefix) && !preceded_by_word(code, *at) && !inside_path(code, *at)
        })
        .map(|(at, _)| line_of(code, at))
        .collect()
}

/// Whether what begins here is a later part of a path. A leading `::` alone still names a library.
fn inside_path(code: &str, at: usize) -> bool {
    code[..at]
        .strip_suffix("::")
        .is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>'))
}

/// Libraries are named only in their homes, and never where they are strangers.
pub fn libraries_stay_in_their_rooms(source: &Source) -> Vec<String> {
    if source.module().is_none() || source.is_test() || source.path.starts_with("tests/") {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    for (library, homes) in HOMES {
        if !homes.iter().any(|home| source.path.starts_with(home)) {
            for line in uses_of(&source.code, library) {
                breaches.push(format!("{}:{line}: `{library}` is used outside {homes:?}", source.path));
            }
        }
    }
    for (room, strangers) in STRANGERS {
        if source.path.starts_with(room) {
            for stranger in *strangers {
                for line in uses_of(&source.code, stranger) {
                    breaches.push(format!("{}:{line}: `{stranger}` has no business in {room}", source.path));
                }
            }
        }
    }
    breaches
}

/// A word, where alone it may stand (suffixes of paths), and why.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("tokio::spawn(", &["src/tasks.rs"], "tasks are named, tracked and cancellable: spawn them through `tasks`"),
    ("task::spawn(", &["src/tasks.rs"], "tasks are named, tracked and cancellable: spawn them through `tasks`"),
    ("unbounded_channel", &[], "a full queue refuses or closes; nothing is buffered without bound"),
    ("println!", &[], "it panics on a closed pipe: write to a handle, or log"),
    ("print!", &[], "it panics on a closed pipe: write to a handle, or log"),
    ("dbg!", &[], "left over"),
    ("process::exit", &["src/main.rs"], "main alone ends the process"),
    ("cfg!(test)", &[], "production code does not ask whether it is tested"),
];

/// Clocks are parameters in the domain.
const CLOCKS: &[&str] = &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"];

/// None of the banned words stands outside its place.
pub fn banned_words(source: &Source) -> Vec<String> {
    // The harness and the tests may do what production code may not, except for buffering without bound.
    let production = source.module().is_some() && !source.is_test() && !source.path.starts_with("tests/");
    let mut breaches = Vec::new();
    for (banned, places, why) in BANNED {
        if (!production && *banned != "unbounded_channel") || places.iter().any(|place| source.path.ends_with(place)) {
            continue;
        }
        for (at, _) in source.code.match_indices(banned) {
            if !preceded_by_word(&source.code, at) {
                breaches.push(format!("{}:{}: `{banned}`: {why}", source.path, line_of(&source.code, at)));
            }
        }
    }
    if source.path.starts_with("coordinator/src/domain/") {
        for clock in CLOCKS {
            for (at, _) in source.code.match_indices(clock) {
                let line = line_of(&source.code, at);
                breaches.push(format!("{}:{line}: `{clock}`: the domain is told the time", source.path));
            }
        }
    }
    breaches
}

/// Each migration is there for both databases, and their numbers have no gap.
pub fn migrations_pair_up(sqlite: &[String], postgres: &[String]) -> Vec<String> {
    let (sqlite, postgres): (BTreeSet<_>, BTreeSet<_>) = (sqlite.iter().collect(), postgres.iter().collect());
    let mut breaches: Vec<String> =
        sqlite.symmetric_difference(&postgres).map(|name| format!("{name}: there for one database only")).collect();
    for (i, name) in sqlite.iter().enumerate() {
        if !name.starts_with(&format!("{:04}_", i + 1)) {
            breaches.push(format!("{name}: expected number {:04}", i + 1));
        }
    }
    if sqlite.is_empty() {
        breaches.push("no migrations".to_owned());
    }
    breaches
}

/// What has a file of its own name at every layer.
const RESOURCES: [&str; 5] = ["users", "hosts", "images", "containers", "jobs"];
const LAYERS: [&str; 4] =
    ["coordinator/src/http", "coordinator/src/service", "coordinator/src/store", "tests/tests/e2e"];

/// A resource's file is called the same at every layer (or is a folder of that name).
pub fn resources_keep_their_names(paths: &BTreeSet<String>) -> Vec<String> {
    let mut breaches = Vec::new();
    for layer in LAYERS {
        for resource in RESOURCES {
            let file = format!("{layer}/{resource}.rs");
            if !paths.contains(&file) && !paths.contains(&format!("{layer}/{resource}/mod.rs")) {
                breaches.push(format!("{file} is missing"));
            }
        }
    }
    breaches
}

/// No file mentions the folder that somebody's checkout happens to stand in.
pub fn mentions_checkout(path: &str, text: &str, checkout: &str) -> Vec<String> {
    text.match_indices(checkout).map(|(at, _)| format!("{path}:{}: mentions `{checkout}`", line_of(text, at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_without_a_first_word_or_without_end_is_a_breach() {
        assert_eq!(opens_with_doc(&Source::new("a/src/b.rs", "use x;")).len(), 1);
        assert_eq!(opens_with_doc(&Source::new("a/src/b.rs", "//! placeholder\n")).len(), 1);
        assert_eq!(opens_with_doc(&Source::new("a/src/b.rs", "//! What this file is there for.\n")).len(), 0);
        assert_eq!(at_most_500_lines(&Source::new("a/src/b.rs", &"x\n".repeat(501))).len(), 1);
        assert_eq!(at_most_500_lines(&Source::new("a/src/b.rs", &"x\n".repeat(500))).len(), 0);
    }

    #[test]
    fn a_library_outside_its_home_is_a_breach() {
        let breaches = |path, text| libraries_stay_in_their_rooms(&Source::new(path, text)).len();
        assert_eq!(breaches("agent/src/executor/image.rs", "use bollard::Docker;"), 1);
        assert_eq!(breaches("agent/src/executor/image.rs", "fn f(d: &bollard::Docker) {}"), 1);
        assert_eq!(breaches("agent/src/docker/engine.rs", "use bollard::Docker;"), 0);
        assert_eq!(breaches("agent/src/docker/engine/images.rs", "use bollard::Docker;"), 0);
        assert_eq!(breaches("coordinator/src/service/users.rs", "::sqlx::query(\"\")"), 1);
        assert_eq!(breaches("coordinator/src/service/users.rs", "// sqlx::query\nlet mysqlx = 1;"), 0);
        assert_eq!(breaches("coordinator/src/domain/job.rs", "#[derive(serde::Serialize)]"), 1);
        assert_eq!(breaches("protocol/src/codec.rs", "use tokio::io;"), 1);
    }

    #[test]
    fn a_banned_word_is_a_breach_outside_its_place() {
        let breaches = |path, text| banned_words(&Source::new(path, text)).len();
        assert_eq!(breaches("agent/src/link/mod.rs", "tokio::spawn(async {});"), 1);
        assert_eq!(breaches("agent/src/tasks.rs", "tokio::spawn(async {});"), 0);
        assert_eq!(breaches("agent/src/link/mod.rs", "tasks.spawn(async {}); // tokio::spawn("), 0);
        assert_eq!(breaches("agent/src/link/mod.rs", "eprintln!(\"x\")"), 0);
        assert_eq!(breaches("agent/src/link/mod.rs", "println!(\"x\")"), 1);
        assert_eq!(breaches("agent/src/link/mod.rs", "mpsc::unbounded_channel()"), 1);
        assert_eq!(breaches("tests/tests/e2e/main.rs", "mpsc::unbounded_channel()"), 1);
        assert_eq!(breaches("agent/src/link/mod.rs", "std::process::exit(1)"), 1);
        assert_eq!(breaches("coordinator/src/domain/job.rs", "let now = Instant::now();"), 1);
        assert_eq!(breaches("agent/src/link/mod.rs", "#[cfg(test)]\nmod tests { fn f() { println!(); } }"), 0);
    }

    #[test]
    fn a_migration_for_one_database_or_out_of_order_is_a_breach() {
        assert_eq!(migrations_pair_up(&names(&["0001_a.sql"]), &names(&["0001_a.sql"])), Vec::<String>::new());
        assert_eq!(migrations_pair_up(&names(&["0001_a.sql"]), &[]).len(), 1);
        assert_eq!(migrations_pair_up(&names(&["0002_a.sql"]), &names(&["0002_a.sql"])).len(), 1);
        assert_eq!(migrations_pair_up(&[], &[]).len(), 1);
    }

    #[test]
    fn a_missing_layer_of_a_resource_is_a_breach() {
        assert_eq!(resources_keep_their_names(&BTreeSet::new()).len(), RESOURCES.len() * LAYERS.len());
        let folder = BTreeSet::from(["coordinator/src/http/users/mod.rs".to_owned()]);
        assert_eq!(resources_keep_their_names(&folder).len(), RESOURCES.len() * LAYERS.len() - 1);
    }

    #[test]
    fn the_path_of_a_checkout_is_a_breach() {
        assert_eq!(mentions_checkout("x", "see /home/ana/dockerforge/docs", "/home/ana/dockerforge").len(), 1);
        assert_eq!(mentions_checkout("x", "see /var/lib/dockerforge", "/home/ana/dockerforge").len(), 0);
    }
}
