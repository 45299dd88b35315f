//! The architecture as a test: which room of the code may look into which (`rooms`), and what holds in every file
//! (`rules`). ARCHITECTURE.md says why. A rule that cannot fail is worth nothing, so each has a test on a small input.

#![allow(clippy::unwrap_used, reason = "a test may; the lint spares only the functions marked as tests")]

mod rooms;
mod rules;
mod source;

use source::Source;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The workspace's root folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file that belongs to the project, by its path below the root. What is ignored or generated is left out.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && name != ".ci" && name != ".config";
            if path.is_symlink() || hidden || (name == "target" && path.is_dir()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if extensions.is_empty() || path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    files(&["rs"])
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            Source::new(&path.to_string_lossy(), &text)
        })
        .collect()
}

/// Runs a rule over every source file and fails with every breach at once.
fn hold(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(sources.len() > 20, "the sources were not found below {}", root().display());
    let breaches: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    hold(rules::opens_with_doc);
}

#[test]
fn no_file_is_longer_than_500_lines() {
    hold(rules::at_most_500_lines);
}

#[test]
fn no_room_looks_where_it_may_not() {
    hold(rooms::imports_allowed);
}

#[test]
fn each_library_stays_in_its_room() {
    hold(rules::libraries_stay_in_their_rooms);
}

#[test]
fn tasks_are_tracked_queues_are_bounded_and_nothing_prints_past_the_log() {
    hold(rules::banned_words);
}

#[test]
fn every_room_of_the_code_is_in_the_table() {
    let unknown: BTreeSet<String> = sources().iter().filter_map(rooms::unknown_room).collect();
    assert_eq!(unknown, BTreeSet::new(), "rooms that the table in rooms.rs does not know");
}

#[test]
fn both_databases_have_the_same_migrations() {
    let list = |database: &str| -> Vec<String> {
        let folder = root().join("migrations").join(database);
        fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    };
    let breaches = rules::migrations_pair_up(&list("sqlite"), &list("postgres"));
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn a_resource_has_the_same_name_at_every_layer() {
    let paths: BTreeSet<String> = files(&["rs"]).iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let breaches = rules::resources_keep_their_names(&paths);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn nothing_mentions_the_checkout_it_was_written_in() {
    let checkout = root().to_string_lossy().into_owned();
    let mut breaches = Vec::new();
    for path in files(&[]) {
        // What is not text (fixtures) says nothing.
        if let Ok(text) = fs::read_to_string(root().join(&path)) {
            breaches.extend(rules::mentions_checkout(&path.to_string_lossy(), &text, &checkout));
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
