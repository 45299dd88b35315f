//! What is kept of jobs that have ended, and for how long.

use crate::bed::Bed;
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::Timestamp;
use dockerforge_coordinator::domain::job::{Ending, JobKind, NewJob, Subject};
use dockerforge_coordinator::domain::share::Places;
use dockerforge_coordinator::store::{self, jobs};
use dockerforge_protocol::ids::{ContainerId, JobId};
use dockerforge_protocol::report::{Attempt, Product};
use jiff::SignedDuration;

crate::on_both! {
    logs_go_before_their_jobs_and_in_pieces
    a_job_stays_as_long_as_a_part_of_it
}

fn ago(hours: i64) -> Timestamp {
    clock::now().checked_sub(SignedDuration::from_hours(hours)).unwrap()
}

/// A job that wrote something and ended so many hours ago.
async fn ended(bed: &Bed, job: NewJob, hours: i64) -> JobId {
    let (id, host) = (job.id, bed.host);
    bed.write(move |conn| {
        Box::pin(async move {
            jobs::insert(conn, &job).await?;
            let attempt = Attempt { job: id, number: u32::from(job.host.is_some()) };
            if job.host.is_some() {
                jobs::claim(conn, host, Places::of_slots(8), clock::now()).await?;
                assert!(store::logs::append(conn, attempt, 0, b"said").await?);
            }
            assert!(jobs::end(conn, attempt, &Ending::Succeeded(Product::Nothing), ago(hours)).await?);
            Ok(())
        })
    })
    .await
    .unwrap();
    id
}

async fn is_there(bed: &Bed, id: JobId) -> bool {
    jobs::find(&mut bed.read().await, id).await.unwrap().is_some()
}

async fn forget(bed: &Bed, hours: i64, limit: u32) -> u64 {
    bed.write(move |conn| Box::pin(async move { jobs::forget(conn, ago(hours), limit).await })).await.unwrap()
}

async fn logs_go_before_their_jobs_and_in_pieces(bed: &Bed) {
    let mut old = Vec::new();
    for hours in [50, 49, 48] {
        old.push(ended(bed, bed.job(ContainerId::new()), hours).await);
    }
    let young = ended(bed, bed.job(ContainerId::new()), 1).await;
    let open = bed.enqueue(ContainerId::new()).await;
    let logs = |limit| {
        bed.write(move |conn| Box::pin(async move { jobs::forget_logs(conn, ago(24), clock::now(), limit).await }))
    };
    assert_eq!((logs(2).await.unwrap(), logs(2).await.unwrap(), logs(2).await.unwrap()), (2, 1, 0));
    for (id, kept) in [(old[0], false), (old[2], false), (young, true)] {
        let job = jobs::find(&mut bed.read().await, id).await.unwrap().unwrap();
        assert_eq!((job.log_size, job.log_removed_at.is_none()), (4, kept));
        let log = store::logs::read(&mut bed.read().await, id, 0, 1024).await.unwrap();
        assert_eq!(log.is_empty(), !kept);
    }
    assert_eq!((forget(bed, 24, 2).await, forget(bed, 24, 2).await, forget(bed, 24, 2).await), (2, 1, 0));
    assert!(!is_there(bed, old[0]).await && !is_there(bed, old[2]).await);
    assert!(is_there(bed, young).await && is_there(bed, open).await);
}

async fn a_job_stays_as_long_as_a_part_of_it(bed: &Bed) {
    let whole = NewJob {
        host: None,
        command: None,
        kind: JobKind::HostDelete,
        subject: Subject::Host(bed.host),
        ..bed.job(ContainerId::new())
    };
    let whole = ended(bed, whole, 50).await;
    let part = NewJob { parent: Some(whole), ..bed.job(ContainerId::new()) };
    let id = part.id;
    bed.write(move |conn| Box::pin(async move { jobs::insert(conn, &part).await })).await.unwrap();
    assert_eq!(forget(bed, 24, 9).await, 0, "an unfinished job is a part of it");
    bed.write(move |conn| {
        Box::pin(async move {
            let attempt = Attempt { job: id, number: 0 };
            jobs::end(conn, attempt, &Ending::Cancelled { confirmed: true }, ago(40)).await
        })
    })
    .await
    .unwrap();
    assert_eq!((forget(bed, 24, 9).await, forget(bed, 24, 9).await), (1, 1), "the part, and then the whole");
    assert!(!is_there(bed, whole).await && !is_there(bed, id).await);
}
