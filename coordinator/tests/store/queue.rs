//! The queue: who claims what, and that of two decisions one stands.

use crate::bed::Bed;
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::job::{Ending, Job, JobError, JobState};
use dockerforge_coordinator::domain::quota::{Change, Changes, Counted};
use dockerforge_coordinator::domain::share::Places;
use dockerforge_coordinator::domain::{Kind, Refusal};
use dockerforge_coordinator::queue::{self, QueueError};
use dockerforge_coordinator::store;
use dockerforge_protocol::ids::{ContainerId, HostId, JobId};
use dockerforge_protocol::report::{Attempt, Product};
use jiff::SignedDuration;

crate::on_both! {
    the_oldest_are_claimed_first_and_no_more_than_the_host_has_places
    a_thing_has_one_job_in_work_at_a_time_and_in_order
    parallel_claims_never_share_a_job
    the_first_ending_stands
    a_requeued_attempt_is_void
    a_job_waits_until_its_time
    a_log_has_no_gaps_and_no_doubles
    a_superseded_session_is_fenced_off
    a_report_of_an_assignment_that_was_refused_is_not_taken_for_the_next_ones
    each_change_of_a_job_leaves_its_event
    a_user_never_has_more_unfinished_jobs_than_he_may
}

/// So many places, in whichever lane.
fn only(slots: u32) -> Places {
    Places { all: slots, builds: slots, pulls: slots, others: slots }
}

async fn claim(bed: &Bed, slots: u32) -> Vec<Job> {
    let host = bed.host;
    bed.write(move |conn| Box::pin(async move { store::jobs::claim(conn, host, only(slots), clock::now()).await }))
        .await
        .unwrap()
}

async fn find(bed: &Bed, id: JobId) -> Job {
    store::jobs::find(&mut bed.read().await, id).await.unwrap().unwrap()
}

async fn end(bed: &Bed, attempt: Attempt, ending: Ending) -> bool {
    bed.write(move |conn| Box::pin(async move { store::jobs::end(conn, attempt, &ending, clock::now()).await }))
        .await
        .unwrap()
}

async fn the_oldest_are_claimed_first_and_no_more_than_the_host_has_places(bed: &Bed) {
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(bed.enqueue(ContainerId::new()).await);
    }
    let ids = |claimed: Vec<Job>| claimed.iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(ids(claim(bed, 2).await), jobs[..2]);
    assert!(claim(bed, 2).await.is_empty());
    assert!(end(bed, Attempt { job: jobs[0], number: 1 }, Ending::Succeeded(Product::Nothing)).await);
    assert_eq!(ids(claim(bed, 2).await), jobs[2..3]);
    let job = find(bed, jobs[1]).await;
    assert_eq!((job.state, job.attempt), (JobState::Assigned, 1));
}

async fn a_thing_has_one_job_in_work_at_a_time_and_in_order(bed: &Bed) {
    let thing = ContainerId::new();
    let (first, second) = (bed.enqueue(thing).await, bed.enqueue(thing).await);
    assert_eq!(claim(bed, 8).await.iter().map(|job| job.id).collect::<Vec<_>>(), [first]);
    assert!(claim(bed, 8).await.is_empty());
    // Back in the queue with a wait: the second may not overtake it.
    let attempt = Attempt { job: first, number: 1 };
    let later = clock::now().checked_add(SignedDuration::from_hours(1)).unwrap();
    assert!(
        bed.write(move |conn| Box::pin(
            async move { store::jobs::requeue(conn, attempt, true, later, clock::now()).await }
        ))
        .await
        .unwrap()
    );
    assert!(claim(bed, 8).await.is_empty());
    assert!(end(bed, attempt, Ending::Cancelled { confirmed: true }).await);
    assert_eq!(claim(bed, 8).await.iter().map(|job| job.id).collect::<Vec<_>>(), [second]);
}

async fn parallel_claims_never_share_a_job(bed: &Bed) {
    for _ in 0..40 {
        bed.enqueue(ContainerId::new()).await;
    }
    let claims = futures_util::future::join_all((0..8).map(|_| claim(bed, 40))).await;
    let mut ids: Vec<JobId> = claims.into_iter().flatten().map(|job| job.id).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "a job was claimed twice");
    // Claimers that skipped each other's rows leave the rest to the next look.
    let rest = claim(bed, 40).await.len();
    assert_eq!(all + rest, 40);
}

async fn the_first_ending_stands(bed: &Bed) {
    let id = bed.enqueue(ContainerId::new()).await;
    claim(bed, 1).await;
    let attempt = Attempt { job: id, number: 1 };
    let failed = || Ending::Failed { error: JobError::new("lost", "x"), confirmed: true };
    let results = futures_util::future::join_all([
        end(bed, attempt, Ending::Succeeded(Product::Nothing)),
        end(bed, attempt, failed()),
        end(bed, attempt, Ending::Cancelled { confirmed: true }),
    ])
    .await;
    assert_eq!(results.iter().filter(|stood| **stood).count(), 1, "{results:?}");
    let job = find(bed, id).await;
    assert!(job.state.is_terminal() && job.ended_at.is_some());
    assert!(!end(bed, attempt, failed()).await);
    assert_eq!(find(bed, id).await, job);
}

async fn a_requeued_attempt_is_void(bed: &Bed) {
    let id = bed.enqueue(ContainerId::new()).await;
    claim(bed, 1).await;
    let first = Attempt { job: id, number: 1 };
    bed.write(move |conn| {
        Box::pin(async move { store::jobs::requeue(conn, first, true, clock::now(), clock::now()).await })
    })
    .await
    .unwrap();
    claim(bed, 1).await;
    assert_eq!(find(bed, id).await.attempt, 2);
    assert!(!end(bed, first, Ending::Succeeded(Product::Nothing)).await);
    let late =
        bed.write(move |conn| Box::pin(async move { store::jobs::set_running(conn, first, clock::now()).await })).await;
    assert!(!late.unwrap());
    assert_eq!(find(bed, id).await.state, JobState::Assigned);
}

async fn a_job_waits_until_its_time(bed: &Bed) {
    let mut job = bed.job(ContainerId::new());
    // A job may run from the time it was made on.
    job.created_at = clock::now().checked_add(SignedDuration::from_hours(1)).unwrap();
    bed.write(move |conn| Box::pin(async move { store::jobs::insert(conn, &job).await })).await.unwrap();
    assert!(claim(bed, 1).await.is_empty());
}

async fn a_log_has_no_gaps_and_no_doubles(bed: &Bed) {
    let id = bed.enqueue(ContainerId::new()).await;
    claim(bed, 1).await;
    let attempt = Attempt { job: id, number: 1 };
    let append = |position: u64, bytes: &'static [u8]| {
        bed.write(move |conn| Box::pin(async move { store::logs::append(conn, attempt, position, bytes).await }))
    };
    assert!(append(0, b"hello ").await.unwrap());
    assert!(!append(0, b"hello ").await.unwrap(), "the same piece twice");
    assert!(!append(9, b"gap").await.unwrap(), "a gap");
    assert!(append(6, b"world").await.unwrap());
    assert_eq!(store::logs::extent(&mut bed.read().await, attempt).await.unwrap(), Some((0, 11)));
    for offset in 0..=11 {
        let text = store::logs::read(&mut bed.read().await, id, offset, 1024).await.unwrap();
        assert_eq!(text, b"hello world"[usize::try_from(offset).unwrap()..], "from {offset}");
    }
}

async fn a_superseded_session_is_fenced_off(bed: &Bed) {
    let host = bed.host;
    let holds =
        |epoch: u64| bed.write(move |conn| Box::pin(async move { store::hosts::fence(conn, host, epoch).await }));
    let facts = dockerforge_coordinator::domain::host::AgentFacts {
        hostname: "h".to_owned(),
        agent_version: "0".to_owned(),
        instance: dockerforge_protocol::ids::InstanceId::new(),
        boot_id: "b".to_owned(),
        slots: 1,
        capacity: dockerforge_protocol::inventory::Capacity::default(),
        docker: None,
    };
    let begin = || {
        let facts = facts.clone();
        bed.write(move |conn| {
            Box::pin(async move { store::hosts::begin_session(conn, host, &facts, clock::now()).await })
        })
    };
    assert_eq!(begin().await.unwrap(), Some(1));
    assert!(holds(1).await.unwrap());
    assert_eq!(begin().await.unwrap(), Some(2));
    assert!(!holds(1).await.unwrap() && holds(2).await.unwrap());
    let nobody = HostId::new();
    let fenced = bed.write(move |conn| Box::pin(async move { store::hosts::fence(conn, nobody, 0).await })).await;
    assert!(!fenced.unwrap());
}

async fn a_report_of_an_assignment_that_was_refused_is_not_taken_for_the_next_ones(bed: &Bed) {
    let id = bed.enqueue(ContainerId::new()).await;
    let refused = claim(bed, 1).await[0].current();
    let back = bed.write(move |conn| {
        Box::pin(async move { store::jobs::requeue(conn, refused, false, clock::now(), clock::now()).await })
    });
    assert!(back.await.unwrap());
    assert!(find(bed, id).await.is_untouched(), "a refusal counts for nothing");
    let given = claim(bed, 1).await.remove(0);
    assert!(given.is_first_attempt() && given.current() != refused, "{given:?}");
    let late =
        bed.write(move |conn| Box::pin(async move { store::jobs::set_running(conn, refused, clock::now()).await }));
    assert!(!late.await.unwrap(), "a late acceptance");
    let late = bed.write(move |conn| {
        Box::pin(async move { store::jobs::requeue(conn, refused, false, clock::now(), clock::now()).await })
    });
    assert!(!late.await.unwrap(), "the same refusal twice");
    assert!(!end(bed, refused, Ending::Succeeded(Product::Nothing)).await, "a late result");
    assert_eq!(find(bed, id).await.state, JobState::Assigned);
}

async fn each_change_of_a_job_leaves_its_event(bed: &Bed) {
    let (host, id) = (bed.host, bed.enqueue(ContainerId::new()).await);
    let events = || async { store::records::events_of(&mut bed.read().await, Kind::Job, id.uuid()).await.unwrap() };
    let first = claim(bed, 1).await[0].current();
    bed.write(move |conn| {
        Box::pin(async move {
            let now = clock::now();
            assert!(store::jobs::set_running(conn, first, now).await?);
            assert!(!store::jobs::set_running(conn, first, now).await?, "it runs already");
            assert_eq!(store::jobs::set_unknown(conn, host, now).await?, [first.job]);
            assert!(store::jobs::set_unknown(conn, host, now).await?.is_empty());
            assert!(store::jobs::requeue(conn, first, true, now, now).await?);
            let again = store::jobs::claim(conn, host, only(1), now).await?;
            assert!(store::jobs::set_cancelling(conn, again[0].id, now).await?);
            assert!(!store::jobs::set_cancelling(conn, again[0].id, now).await?);
            assert!(store::jobs::end(conn, again[0].current(), &Ending::Cancelled { confirmed: true }, now).await?);
            Ok(())
        })
    })
    .await
    .unwrap();
    // What changed nothing says nothing.
    assert_eq!(
        events().await,
        ["queued", "assigned", "running", "unknown", "queued", "assigned", "cancelling", "cancelled"]
            .map(|state| format!("job.{state}"))
    );
}

async fn a_user_never_has_more_unfinished_jobs_than_he_may(bed: &Bed) {
    const LIMIT: u64 = 7;
    let user = bed.user;
    let mut changes = Changes::default();
    changes.set(Counted::QueuedJobs, Change::Limit(LIMIT));
    bed.write(move |conn| Box::pin(async move { store::quotas::set_limits(conn, user, &changes).await }))
        .await
        .unwrap();
    let ask = || {
        let request = bed.request(ContainerId::new());
        bed.store.write(move |conn| Box::pin(async move { queue::enqueue(conn, request, clock::now()).await }))
    };
    let answers = futures_util::future::join_all((0..50).map(|_| ask())).await;
    for answer in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        let expected = Refusal::QuotaExceeded { counted: Counted::QueuedJobs, limit: LIMIT, used: LIMIT, asked: 1 };
        assert!(matches!(answer, QueueError::Refused(refusal) if *refusal == expected), "{answer:?}");
    }
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count() as u64, LIMIT);
    assert_eq!(store::jobs::count_open(&mut bed.read().await, bed.user).await.unwrap(), LIMIT);
}
