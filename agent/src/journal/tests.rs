//! The journal: torn at every byte, compaction, a disk that refuses.

use super::*;
use dockerforge_protocol::command::RemoveImage;
use dockerforge_protocol::ids::{ImageId, UserId};

fn accepted(number: u32) -> Accepted {
    let command = Command::RemoveImage(RemoveImage { image: ImageId::new(), user: UserId::new() });
    Accepted { attempt: Attempt { job: JobId::new(), number }, command, deadline_us: 7 }
}

async fn run<T>(folder: &Path, work: impl AsyncFnOnce(&Journal) -> T) -> T {
    let (journal, writer, _) = open(folder).unwrap();
    let (answer, ()) = tokio::join!(
        async {
            let answer = work(&journal).await;
            drop(journal);
            answer
        },
        writer.run()
    );
    answer
}

#[tokio::test]
async fn what_was_promised_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, c) = (accepted(1), accepted(1), accepted(3));
    run(folder.path(), async |journal: &Journal| {
        journal.accept(a.clone()).await.unwrap();
        journal.accept(b.clone()).await.unwrap();
        journal.accept(c.clone()).await.unwrap();
        journal.finish(b.attempt, Outcome::Cancelled, 12).await.unwrap();
        journal.forget(c.attempt.job).await;
    })
    .await;
    let (_, _, entries) = open(folder.path()).unwrap();
    assert_eq!(
        entries,
        [
            Entry { accepted: a, begun: false, finished: None },
            Entry { accepted: b, begun: false, finished: Some((Outcome::Cancelled, 12)) }
        ]
    );
}

#[tokio::test]
async fn a_journal_cut_at_any_byte_keeps_every_whole_record_and_takes_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = [accepted(1), accepted(1), accepted(1)];
    run(folder.path(), async |journal: &Journal| {
        for job in &jobs {
            journal.accept(job.clone()).await.unwrap();
        }
        journal.finish(jobs[0].attempt, Outcome::Cancelled, 5).await.unwrap();
    })
    .await;
    let whole = std::fs::read(folder.path().join("journal")).unwrap();
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
    // Thousands of fsyncs: in memory where there is such a place.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    for cut in 0..=whole.len() {
        let torn = tempfile::tempdir_in(&place).unwrap();
        std::fs::write(torn.path().join("journal"), &whole[..cut]).unwrap();
        let records = ends.iter().filter(|&&end| end <= cut).count();
        let late = accepted(1);
        // Two openings: the cut file is mended by the first, and a record written then survives the second.
        let mut file = JournalFile::open(&torn.path().join("journal")).unwrap();
        assert_eq!(file.entries.len(), records.min(3), "cut at {cut}");
        file.append([Record::Accepted(late.clone())].iter()).unwrap();
        let (_, _, entries) = open(torn.path()).unwrap();
        assert_eq!(entries.len(), records.min(3) + 1, "cut at {cut}");
        assert_eq!(entries.iter().filter(|e| e.finished.is_some()).count(), usize::from(records == 4), "cut at {cut}");
        assert!(entries.iter().any(|e| e.accepted == late), "cut at {cut}");
    }
}

#[tokio::test]
async fn every_altered_byte_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), async |journal: &Journal| journal.accept(accepted(1)).await.unwrap()).await;
    let whole = std::fs::read(folder.path().join("journal")).unwrap();
    for i in 0..whole.len() {
        let other = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        bytes[i] ^= 1;
        std::fs::write(other.path().join("journal"), &bytes).unwrap();
        assert!(open(other.path()).unwrap().2.is_empty(), "byte {i} was altered and believed");
    }
}

#[tokio::test]
async fn a_journal_of_many_jobs_stays_small_and_keeps_what_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let held = accepted(1);
    run(folder.path(), async |journal: &Journal| {
        journal.accept(held.clone()).await.unwrap();
        for chunk in 0..40 {
            let jobs: Vec<_> = (0..50).map(|_| accepted(chunk + 1)).collect();
            futures_util::future::try_join_all(jobs.iter().map(|job| journal.accept(job.clone()))).await.unwrap();
            for job in jobs {
                journal.forget(job.attempt.job).await;
            }
        }
    })
    .await;
    let size = std::fs::metadata(folder.path().join("journal")).unwrap().len();
    assert!(size < 400 * 1024, "{size} bytes");
    assert_eq!(open(folder.path()).unwrap().2, [Entry { accepted: held, begun: false, finished: None }]);
}

#[tokio::test]
async fn a_later_attempt_takes_the_place_of_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = accepted(1);
    let second = Accepted { attempt: Attempt { number: 2, ..first.attempt }, ..first.clone() };
    run(folder.path(), async |journal: &Journal| {
        journal.accept(first.clone()).await.unwrap();
        journal.accept(second.clone()).await.unwrap();
        // A late end of the first attempt says nothing about the second.
        journal.finish(first.attempt, Outcome::Cancelled, 0).await.unwrap();
    })
    .await;
    assert_eq!(open(folder.path()).unwrap().2, [Entry { accepted: second, begun: false, finished: None }]);
}

#[test]
fn a_journal_that_cannot_be_opened_says_which_and_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("journal")).unwrap();
    let error = open(folder.path()).err().unwrap();
    assert!(error.to_string().contains("journal cannot be opened") || error.to_string().contains("cannot be opened"));
}
