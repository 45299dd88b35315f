//! Tests of the canonical archives: what is refused and why, what comes out of what is taken, and, for archives made
//! at random, that nothing that comes out leaves the tree.

use super::*;
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use std::io::Cursor;
use tar::{EntryType, Header};

/// An entry as a hostile writer makes it: nothing is checked.
#[derive(Debug, Clone)]
struct Raw {
    kind: EntryType,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    content: Vec<u8>,
}

fn raw(kind: EntryType, name: &str, link: &str, content: &[u8]) -> Raw {
    Raw { kind, name: name.into(), link: link.into(), mode: 0o644, content: content.into() }
}

fn file(name: &str) -> Raw {
    raw(EntryType::Regular, name, "", b"content")
}

fn dir(name: &str) -> Raw {
    Raw { mode: 0o755, ..raw(EntryType::Directory, name, "", b"") }
}

fn link(name: &str, target: &str) -> Raw {
    raw(EntryType::Symlink, name, target, b"")
}

fn block(kind: EntryType, name: &[u8], link: &[u8], mode: u32, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(1000);
    header.set_gid(1000);
    header.set_mtime(1_700_000_000);
    header.set_size(content.len() as u64);
    header.set_username("somebody").unwrap();
    let ustar = header.as_ustar_mut().unwrap();
    ustar.name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    ustar.linkname[..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn open_archive(entries: &[Raw]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        // Long names as GNU tar writes them.
        if entry.name.len() > 100 {
            bytes.extend(block(EntryType::GNULongName, b"././@LongLink", b"", 0o644, &entry.name));
        }
        if entry.link.len() > 100 {
            bytes.extend(block(EntryType::GNULongLink, b"././@LongLink", b"", 0o644, &entry.link));
        }
        bytes.extend(block(entry.kind, &entry.name, &entry.link, entry.mode, &entry.content));
    }
    bytes
}

fn archive(entries: &[Raw]) -> Vec<u8> {
    let mut bytes = open_archive(entries);
    bytes.extend([0; 1024]);
    bytes
}

fn run(bytes: &[u8]) -> Result<(Summary, Vec<u8>), ArchiveError> {
    let mut out = Vec::new();
    canonicalise(bytes, &mut out, Limits::default()).map(|summary| (summary, out))
}

fn problem(entries: &[Raw]) -> (String, Problem) {
    match run(&archive(entries)) {
        Err(ArchiveError::Entry { name, problem }) => (name, problem),
        other => panic!("{other:?}"),
    }
}

/// Kind, name, target, mode and content of an entry.
type ReadBack = (EntryType, String, Option<String>, u32, Vec<u8>);

/// The entries of an archive, read with the `tar` crate.
fn read_back(bytes: &[u8]) -> Vec<ReadBack> {
    let mut reader = tar::Archive::new(Cursor::new(bytes));
    let mut entries = Vec::new();
    for entry in reader.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
        assert_eq!(entry.header().username().unwrap(), Some(""));
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let target = entry.link_name_bytes().map(|target| String::from_utf8(target.into_owned()).unwrap());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        entries.push((header.entry_type(), name, target, header.mode().unwrap(), content));
    }
    entries
}

#[test]
fn a_common_archive_comes_out_as_it_was_meant() {
    let entries = [
        dir("./"),
        file("./Dockerfile"),
        dir("app/"),
        Raw { mode: 0o4777, ..file("app//./run.sh") },
        Raw { mode: 0o600, ..file("app/secret") },
        link("app/current", "../app/./run.sh"),
        raw(EntryType::Link, "app/hard", "./app/run.sh", b""),
        dir("app"),
        file("implied/directory/ünïcode name"),
    ];
    let (summary, out) = run(&archive(&entries)).unwrap();
    let content = b"content".to_vec();
    let none = || None::<String>;
    assert_eq!(
        read_back(&out),
        [
            (EntryType::Regular, "Dockerfile".into(), none(), 0o644, content.clone()),
            (EntryType::Directory, "app/".into(), none(), 0o755, vec![]),
            (EntryType::Regular, "app/run.sh".into(), none(), 0o755, content.clone()),
            (EntryType::Regular, "app/secret".into(), none(), 0o600, content.clone()),
            (EntryType::Symlink, "app/current".into(), Some("../app/./run.sh".into()), 0o777, vec![]),
            (EntryType::Link, "app/hard".into(), Some("app/run.sh".into()), 0o644, vec![]),
            (EntryType::Regular, "implied/directory/ünïcode name".into(), none(), 0o644, content),
        ]
    );
    assert_eq!((summary.entries, summary.size), (7, out.len() as u64));
    assert!(summary.has("Dockerfile") && summary.has("./app/run.sh") && summary.has("app/current"));
    assert!(!summary.has("app") && !summary.has("dockerfile") && !summary.has("/Dockerfile") && !summary.has(""));
    let (again, bytes) = run(&out).unwrap();
    assert_eq!((again.sha256, bytes), (summary.sha256, out), "the canonical form is its own canonical form");
}

#[test]
fn gzip_is_recognised_by_its_content_and_gives_the_same() {
    let bytes = archive(&[file("Dockerfile")]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&bytes).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(run(&gzip).unwrap().0.sha256, run(&bytes).unwrap().0.sha256);
    assert!(matches!(run(&gzip[..gzip.len() - 12]), Err(ArchiveError::Truncated)));
    let mut damaged = gzip.clone();
    *damaged.iter_mut().nth_back(6).unwrap() ^= 1; // in the checksum
    assert!(matches!(run(&damaged), Err(ArchiveError::Gzip(_))), "the checksum is checked");
}

#[test]
fn names_that_leave_the_tree_are_refused() {
    for (name, expected) in [
        ("/etc/passwd", Problem::Absolute),
        ("//x", Problem::Absolute),
        ("..", Problem::Parent),
        ("a/../../x", Problem::Parent),
        ("a/../x", Problem::Parent),
        ("./../x", Problem::Parent),
        ("", Problem::Empty),
        ("./", Problem::Empty),
    ] {
        // A file whose name ends in a slash would be taken for a directory.
        let entry = Raw { kind: EntryType::Symlink, content: vec![], link: b"x".to_vec(), ..file(name) };
        assert_eq!(problem(&[entry]).1, expected, "{name:?}");
    }
    let entry = Raw { name: b"a\xff".to_vec(), ..file("") };
    assert_eq!(problem(&[entry]), ("a\u{fffd}".into(), Problem::NotUtf8));
    assert_eq!(problem(&[file(&"x".repeat(256))]).1, Problem::TooLong);
    assert_eq!(problem(&[file("x/".repeat(2050).trim_end_matches('/'))]).1, Problem::TooLong);
}

#[test]
fn links_that_leave_the_tree_are_refused() {
    let leaves = |target: &str| Problem::LinkLeaves(target.to_owned());
    assert_eq!(problem(&[link("a", "/etc")]).1, leaves("/etc"));
    assert_eq!(problem(&[link("a", "..")]).1, leaves(".."));
    assert_eq!(problem(&[link("d/a", "../../x")]).1, leaves("../../x"));
    assert_eq!(problem(&[link("a", "./../x")]).1, leaves("./../x"));
    assert_eq!(problem(&[link("a", "")]).1, Problem::LinkTarget("(an entry without a name)".into()));
    assert!(run(&archive(&[link("d/e/a", "../../x"), link("b", "d/e"), link("loop", "loop")])).is_ok());

    let hard = |target: &str| raw(EntryType::Link, "h", target, b"");
    for target in ["/etc/passwd", "../x", "missing", "h", "d", "s", ""] {
        let entries = [dir("d"), link("s", "f"), file("f"), hard(target)];
        assert!(matches!(problem(&entries).1, Problem::HardLink(_)), "{target:?}");
    }
    assert!(matches!(problem(&[hard("later"), file("later")]).1, Problem::HardLink(_)));
}

#[test]
fn a_link_whose_way_depends_on_other_links_is_refused() {
    // Each is harmless when read by itself: `up` is the root, and `x/y/up/..` reads as `x/y`. Followed it is outside.
    let entries = [link("x/y/up", "../.."), link("out", "x/y/up/../etc")];
    assert_eq!(problem(&entries), ("out".into(), Problem::LinkUnclear("x/y/up/../etc".into())));
}

#[test]
fn nothing_lies_under_what_is_not_a_directory() {
    assert_eq!(problem(&[link("a", "b"), file("a/x")]), ("a/x".into(), Problem::UnderNonDirectory("a".into())));
    assert_eq!(problem(&[file("a"), dir("a/b/c")]).1, Problem::UnderNonDirectory("a".into()));
    assert_eq!(problem(&[file("a/x"), link("a", "b")]).1, Problem::Duplicate, "an implied directory is one, too");
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    assert_eq!(problem(&[file("a"), file("./a")]), ("./a".into(), Problem::Duplicate));
    assert_eq!(problem(&[file("a"), dir("a")]).1, Problem::Duplicate);
    assert_eq!(problem(&[dir("a"), file("a")]).1, Problem::Duplicate);
    assert_eq!(problem(&[link("a", "b"), link("a", "b")]).1, Problem::Duplicate);
}

#[test]
fn what_has_no_place_in_a_context_is_refused() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::new(b'V')] {
        let entry = raw(kind, "dev/x", "", b"");
        assert!(matches!(problem(&[entry]).1, Problem::Kind(_)), "{kind:?}");
    }
    assert_eq!(problem(&[raw(EntryType::GNUSparse, "s", "", b"")]).1, Problem::Sparse);
    assert_eq!(problem(&[raw(EntryType::Directory, "d", "", b"x")]).1, Problem::Content);
    assert_eq!(problem(&[raw(EntryType::Symlink, "l", "x", b"x")]).1, Problem::Content);
}

fn pax(records: &[(&str, &str)]) -> Raw {
    let mut content = Vec::new();
    for (key, value) in records {
        // Long enough that the length has two or three digits, whichever fits.
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..rest + 9).find(|length| *length == rest + length.to_string().len()).unwrap();
        content.extend(format!("{length} {key}={value}\n").bytes());
    }
    raw(EntryType::XHeader, "pax", "", &content)
}

#[test]
fn extended_headers_are_believed_only_as_far_as_needed() {
    let (_, out) =
        run(&archive(&[pax(&[("path", "real/näme"), ("mtime", "12.5"), ("uid", "7")]), file("shown")])).unwrap();
    assert_eq!(read_back(&out)[0].1, "real/näme");
    assert_eq!(problem(&[pax(&[("path", "/abs")]), file("a")]).1, Problem::Absolute);
    assert_eq!(problem(&[pax(&[("path", "a\0b")]), file("a")]), ("a\\0b".into(), Problem::Nul));
    assert_eq!(problem(&[pax(&[("linkpath", "/etc")]), link("a", "b")]).1, Problem::LinkLeaves("/etc".into()));
    assert_eq!(problem(&[pax(&[("size", "0")]), file("a")]).1, Problem::TwoSizes);
    assert_eq!(problem(&[pax(&[("path", "a"), ("path", "b")]), file("a")]).1, Problem::Extension);
    assert_eq!(problem(&[pax(&[("GNU.sparse.major", "1")]), file("a")]).1, Problem::Sparse);
    assert_eq!(problem(&[raw(EntryType::XHeader, "pax", "", b"9999999 path=x\n"), file("a")]).1, Problem::Extension);
    let global = |key| Raw { kind: EntryType::XGlobalHeader, ..pax(&[(key, "x")]) };
    assert!(run(&archive(&[global("comment"), file("a")])).is_ok(), "as git archive writes it");
    assert_eq!(problem(&[global("path"), file("a")]).1, Problem::Extension);
    // A value may hold a line feed; a reader by lines would see a path in it.
    let xattr = pax(&[("SCHILY.xattr.user.x", "1\n20 path=/etc/passwd")]);
    assert_eq!(read_back(&run(&archive(&[xattr, file("a")])).unwrap().1)[0].1, "a");
}

#[test]
fn long_names_and_targets_survive() {
    let deep = format!("{}/file", "directory".repeat(10) + "/" + &"x".repeat(200));
    let target = format!("{}/file", "t".repeat(150));
    let (_, out) = run(&archive(&[file(&deep), link("l", &target), dir(&format!("{}/", "d".repeat(250)))])).unwrap();
    let back = read_back(&out);
    assert_eq!((&back[0].1, &back[1].2), (&deep, &Some(target)));
    assert_eq!(back[2].1, format!("{}/", "d".repeat(250)));
}

#[test]
fn an_archive_is_complete_or_refused() {
    let whole = archive(&[file("a"), pax(&[("path", "b")]), file("x")]);
    for cut in [1, 100, 512, 700, 1024, 1100, 1536, 2048, 2560] {
        let result = run(&whole[..cut]);
        let expected = if cut < 512 { "NotTar" } else { "Truncated" };
        assert!(matches!(&result, Err(error) if format!("{error:?}") == expected), "{cut}: {result:?}");
    }
    assert!(run(&whole[..whole.len() - 512]).is_ok(), "one block of zeros is an end mark, too");
    let with = |more: &[u8]| [whole.as_slice(), more].concat();
    assert!(run(&with(&[0; 9000])).is_ok(), "tar pads to 10 KiB");
    assert!(matches!(run(&with(&archive(&[file("c")]))), Err(ArchiveError::TrailingData)));
    assert!(matches!(run(b"FROM scratch\n"), Err(ArchiveError::NotTar)));
    assert!(matches!(run(&[b'x'; 2000]), Err(ArchiveError::NotTar)));
    assert!(matches!(run(b""), Err(ArchiveError::NotTar)));
    assert!(matches!(run(b"PK\x03\x04 and more"), Err(ArchiveError::OtherFormat("zip"))));
    let mut damaged = whole.clone();
    damaged[1024] ^= 1; // the second header
    assert!(matches!(run(&damaged), Err(ArchiveError::Damaged(1024))));
}

#[test]
fn limits_hold_however_the_archive_tries() {
    let limits = Limits { compressed: 0, expanded: 100_000, entries: 5 };
    let run = |bytes: &[u8]| canonicalise(bytes, std::io::sink(), limits).map(|summary| summary.entries);
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let big = raw(EntryType::Regular, "zeros", "", &vec![0; 1_000_000]);
    bomb.write_all(&archive(&[big])).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 2_000);
    assert!(matches!(run(&bomb), Err(ArchiveError::TooLarge(100_000))));
    let files: Vec<Raw> = (0..6).map(|n| file(&n.to_string())).collect();
    assert_eq!(run(&archive(&files[..5])).unwrap(), 5);
    assert!(matches!(run(&archive(&files)), Err(ArchiveError::TooManyEntries(5))));
    assert!(matches!(run(&archive(&[file("a/b/c/d/e/f")])), Err(ArchiveError::TooManyEntries(5))));
    // An extended header of 2 GiB, of which only the header is there.
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_size(2 << 30);
    header.set_cksum();
    let extension = canonicalise(header.as_bytes().as_slice(), std::io::sink(), Limits::default());
    assert!(matches!(extension, Err(ArchiveError::Entry { problem: Problem::ExtensionTooLarge, .. })));
}

/// A path of parts that matter.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned),
        2 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just(String::new()),
        1 => "[a-zä/.\\PC]{0,120}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 1..5).prop_map(|parts| parts.join("/"))
}

fn any_entry() -> impl Strategy<Value = Raw> {
    let kinds = vec![EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Symlink, EntryType::Link];
    (prop::sample::select(kinds), path(), path(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..600)).prop_map(
        |(kind, name, link, mode, content)| {
            let has_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            let content = if kind == EntryType::Regular { content } else { vec![] };
            let link = if has_link { link } else { String::new() };
            Raw { mode: mode & 0o7777, ..raw(kind, &name, &link, &content) }
        },
    )
}

/// Unpacks with the operating system's own idea of links, and looks where each name really is.
fn stays_inside(bytes: &[u8]) -> Result<(), TestCaseError> {
    let outer = tempfile::tempdir().unwrap();
    // Deep enough that a link which leaves is still in here, where it is seen and does no harm.
    let root = outer.path().join("1/2/3/4/5/root");
    std::fs::create_dir_all(&root).unwrap();
    for (kind, name, target, _, content) in read_back(bytes) {
        let path = root.join(name.trim_end_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let above = path.parent().unwrap().canonicalize().unwrap();
        prop_assert!(above.starts_with(&root), "{name} is really in {}", above.display());
        match (kind, target) {
            (EntryType::Directory, _) => std::fs::create_dir_all(&path).unwrap(),
            (EntryType::Symlink, Some(target)) => std::os::unix::fs::symlink(target, &path).unwrap(),
            (EntryType::Link, Some(target)) => std::fs::hard_link(root.join(target), &path).unwrap(),
            _ => std::fs::write(&path, content).unwrap(),
        }
    }
    for found in walk(&root) {
        // A link that leads nowhere yet is followed as far as it goes: to what it would make.
        let real = follow(&found, 0);
        prop_assert!(real.is_none_or(|real| real.starts_with(&root)), "{} leaves the tree", found.display());
    }
    Ok(())
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

/// Where a path is, following links as the kernel does, parts that do not exist included; `None` for a loop.
fn follow(path: &std::path::Path, depth: u32) -> Option<std::path::PathBuf> {
    use std::path::{Component, PathBuf};
    if depth > 40 {
        return None;
    }
    let mut at = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                at.pop();
            }
            other => at.push(other),
        }
        if let Ok(target) = std::fs::read_link(&at) {
            at.pop();
            at = follow(&at.join(target), depth + 1)?;
        }
    }
    Some(at)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_what_goes_out_stays_in_the_tree(entries in prop::collection::vec(any_entry(), 1..8)) {
        // Each entry that is refused by itself is left out, so that long mixtures get through to the interesting part.
        let mut taken: Vec<Raw> = Vec::new();
        for entry in entries {
            taken.push(entry);
            if run(&archive(&taken)).is_err() {
                taken.pop();
            }
        }
        let (summary, out) = run(&archive(&taken)).unwrap();
        prop_assert_eq!(summary.size, out.len() as u64);
        stays_inside(&out)?;
        let (again, same) = run(&out).unwrap();
        prop_assert_eq!(again.sha256, summary.sha256);
        prop_assert_eq!(same, out);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..3000), entry in any_entry(), at in 0usize..600, value: u8) {
        let _ = run(&bytes);
        let mut damaged = archive(&[entry]);
        let at = at % damaged.len();
        damaged[at] = value;
        let _ = run(&damaged);
        // The same with a checksum that holds, so that the damage is read.
        if damaged.len() >= 512 {
            let mut header = Header::from_byte_slice(&damaged[..512]).clone();
            header.set_cksum();
            damaged[..512].copy_from_slice(header.as_bytes());
            let _ = run(&damaged);
        }
        bytes.splice(0..0, [0x1f, 0x8b, 8, 0]);
        let _ = run(&bytes);
    }
}
