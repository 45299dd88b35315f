//! Tests of the store of build contexts: what is in its folder after each thing that can happen.

use super::*;
use futures_util::stream;
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use tokio::io::AsyncReadExt;

fn archive_of(content: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive::compose(&[archive::File::new("Dockerfile", content)], None, &mut bytes).unwrap();
    bytes
}

/// An upload in pieces of 100 bytes.
fn upload(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let pieces: Vec<_> = bytes.chunks(100).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn store() -> (tempfile::TempDir, Contexts) {
    let folder = tempfile::tempdir().unwrap();
    let contexts = Contexts::new(folder.path()).unwrap();
    (folder, contexts)
}

/// A context whose request is decided.
async fn made(contexts: &Contexts, text: &str) -> ContextRef {
    contexts.from_dockerfile(text).await.unwrap().0
}

fn age(path: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[tokio::test]
async fn an_upload_is_stored_under_its_hash_and_comes_out_whole() {
    let (folder, contexts) = store();
    let received = contexts.receive(upload(&archive_of("FROM a\n")), Limits::default()).await.unwrap();
    assert!(received.summary.has("Dockerfile"));
    let mut bytes = Vec::new();
    contexts.open(&received.context).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len() as u64, received.context.size);
    let hash = received.context.sha256;
    assert_eq!(hash, hex::encode(Sha256::digest(&bytes)));
    assert_eq!(names(folder.path()), [format!("{hash}.tar")]);
}

#[tokio::test]
async fn the_same_content_twice_is_one_file() {
    let (folder, contexts) = store();
    let uploaded = contexts.receive(upload(&archive_of("FROM a\n")), Limits::default()).await.unwrap().context;
    let made = made(&contexts, "FROM a\n").await;
    let other = self::made(&contexts, "FROM b\n").await;
    assert_eq!(uploaded, made);
    assert_ne!(uploaded, other);
    assert_eq!(names(folder.path()).len(), 2);
}

#[tokio::test]
async fn an_upload_that_fails_leaves_nothing() {
    let (folder, contexts) = store();
    let whole = archive_of("FROM a\n");
    let limits = Limits::default();
    let broken = stream::iter([Ok(Bytes::copy_from_slice(&whole[..600])), Err("the client went away")]);
    assert!(matches!(contexts.receive(broken, limits).await, Err(ContextError::Upload(_))));
    let small = Limits { compressed: 1000, ..limits };
    assert!(matches!(contexts.receive(upload(&whole), small).await, Err(ContextError::TooLarge(1000))));
    let cut = contexts.receive(upload(&whole[..600]), limits).await;
    assert!(matches!(cut, Err(ContextError::Archive(ArchiveError::Truncated))), "{cut:?}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_whose_request_is_dropped_leaves_nothing() {
    let (folder, contexts) = store();
    let endless = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"x"))]).chain(stream::pending());
    let receiving = contexts.receive(endless, Limits::default());
    assert!(tokio::time::timeout(Duration::from_millis(50), receiving).await.is_err());
    // A write may still be under way on its thread.
    for _ in 0..100 {
        if names(folder.path()).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", names(folder.path()));
}

#[tokio::test]
async fn only_hashes_are_names() {
    let (folder, contexts) = store();
    let outside = folder.path().parent().unwrap().join("x.tar");
    for name in ["", "x", "../x", &"a".repeat(63), &"A".repeat(64), &format!("{}/", "a".repeat(63)), &"a".repeat(64)] {
        let context = ContextRef { sha256: name.to_owned(), size: 1 };
        assert!(matches!(contexts.open(&context).await, Err(ContextError::NotFound(_))), "{name:?}");
    }
    assert!(!outside.exists());
}

#[tokio::test]
async fn a_file_of_another_size_is_not_served() {
    let (folder, contexts) = store();
    let context = made(&contexts, "FROM a\n").await;
    let path = folder.path().join(format!("{}.tar", context.sha256));
    File::options().write(true).open(path).unwrap().set_len(5).unwrap();
    assert!(matches!(contexts.open(&context).await, Err(ContextError::Damaged { found: 5, .. })));
}

#[tokio::test]
async fn the_sweep_takes_what_is_old_and_not_kept() {
    let (folder, contexts) = store();
    let file = |context: &ContextRef| folder.path().join(format!("{}.tar", context.sha256));
    let (old, kept) = (made(&contexts, "old").await, made(&contexts, "kept").await);
    let (young, renewed) = (made(&contexts, "young").await, made(&contexts, "renewed").await);
    for context in [&old, &kept, &renewed] {
        age(&file(context), 2);
    }
    made(&contexts, "renewed").await;
    let foreign = folder.path().join("foreign.tar");
    std::fs::write(&foreign, "").unwrap();
    age(&foreign, 2);

    let keep = HashSet::from([kept.sha256.clone()]);
    assert_eq!(contexts.sweep(keep, Duration::from_secs(3600)).await.unwrap(), 1);
    assert!(!file(&old).exists());
    assert!([file(&kept), file(&young), file(&renewed), foreign].iter().all(|path| path.exists()));
}

#[tokio::test]
async fn a_context_that_nothing_needs_goes_with_the_last_request_that_brought_it() {
    let (folder, contexts) = store();
    let bring = || async { contexts.from_dockerfile("FROM a\n").await.unwrap().1 };
    let release = |claim, needed: bool| contexts.release(claim, std::future::ready(needed));
    assert!(!release(bring().await, true).await.unwrap(), "a job needs it");
    let (first, second) = (bring().await, bring().await);
    assert!(!release(first, false).await.unwrap(), "another request brought the same");
    assert_eq!(names(folder.path()).len(), 1);
    assert!(release(second, false).await.unwrap());
    assert_eq!(names(folder.path()), Vec::<String>::new());
    assert!(release(bring().await, false).await.unwrap(), "the next one begins anew");
}

#[tokio::test]
async fn a_context_that_came_again_while_its_need_was_looked_up_stays() {
    let (folder, contexts) = store();
    let (_, refused) = contexts.from_dockerfile("FROM a\n").await.unwrap();
    let again = async {
        // Brought and decided meanwhile: its job is there now, and was not when it was looked for.
        made(&contexts, "FROM a\n").await;
        false
    };
    assert!(!contexts.release(refused, again).await.unwrap());
    assert_eq!(names(folder.path()).len(), 1);
}

#[tokio::test]
async fn what_an_earlier_process_left_unfinished_goes_at_the_start() {
    let (folder, contexts) = store();
    let context = made(&contexts, "FROM a\n").await;
    std::fs::write(folder.path().join(format!("{UNFINISHED}abc")), "x").unwrap();
    let again = Contexts::new(folder.path()).unwrap();
    assert!(again.open(&context).await.is_ok());
    assert_eq!(names(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_full_disk_is_told_from_other_failures() {
    // /dev/full answers every write with "no space left on device".
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let written = archive::compose(&[archive::File::new("Dockerfile", "x")], None, full);
    let error = of_archive(written.unwrap_err(), Path::new("contexts"));
    assert!(matches!(error, ContextError::DiskFull(_)), "{error:?}");
}
