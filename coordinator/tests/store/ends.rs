//! How jobs and sessions end: what the clock may end, what outlives its user, and what a new identity supersedes.

use crate::bed::{Bed, user};
use crate::tenancy::{container, image};
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::job::{Ending, JobError, JobKind, JobState, NewJob, Subject};
use dockerforge_coordinator::domain::share::Places;
use dockerforge_coordinator::domain::user::SYSTEM;
use dockerforge_coordinator::queue;
use dockerforge_coordinator::store::{self, jobs};
use dockerforge_protocol::ids::{ContainerId, JobId, UserId};
use jiff::SignedDuration;

crate::on_both! {
    a_job_that_began_does_not_end_by_its_deadline_for_waiting
    parts_do_not_count_against_what_a_user_may_ask_for
    the_deletion_that_a_deleted_user_asked_for_goes_on
    a_new_identity_supersedes_the_session_of_the_old_one
    a_change_that_was_given_up_starts_nothing_of_a_suspended_users
    a_certificate_is_forgotten_only_once_it_can_authenticate_nobody
}

async fn a_job_that_began_does_not_end_by_its_deadline_for_waiting(bed: &Bed) {
    let (waits, began) = (bed.enqueue(ContainerId::new()).await, ContainerId::new());
    let job = NewJob { id: JobId::new(), ..bed.job(began) };
    let began = job.id;
    let host = bed.host;
    bed.write(move |conn| {
        Box::pin(async move {
            jobs::insert(conn, &job).await?;
            for claimed in jobs::claim(conn, host, Places::of_slots(8), clock::now()).await? {
                if claimed.id == began {
                    jobs::set_running(conn, claimed.current(), clock::now()).await?;
                }
                jobs::requeue(conn, claimed.current(), true, clock::now(), clock::now()).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
    let later = clock::now().checked_add(SignedDuration::from_hours(2)).unwrap();
    let ids = |jobs: Vec<dockerforge_coordinator::domain::job::Job>| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(ids(jobs::overdue(&mut bed.read().await, true, later).await.unwrap()), [waits]);
    assert_eq!(ids(jobs::overdue(&mut bed.read().await, false, later).await.unwrap()), [began]);
}

async fn parts_do_not_count_against_what_a_user_may_ask_for(bed: &Bed) {
    let parent = bed.enqueue(ContainerId::new()).await;
    let part = NewJob { parent: Some(parent), ..bed.job(ContainerId::new()) };
    bed.write(move |conn| Box::pin(async move { jobs::insert(conn, &part).await })).await.unwrap();
    bed.enqueue(ContainerId::new()).await;
    assert_eq!(jobs::count_open(&mut bed.read().await, bed.user).await.unwrap(), 2);
}

async fn the_deletion_that_a_deleted_user_asked_for_goes_on(bed: &Bed) {
    let (system, other) = (UserId::new(), UserId::new());
    let mut system_user = user(system);
    system_user.name = SYSTEM.parse().unwrap();
    let deletion = NewJob {
        host: None,
        command: None,
        kind: JobKind::UserDelete,
        subject: Subject::User(other),
        ..bed.job(ContainerId::new())
    };
    let (id, asked_by) = (deletion.id, bed.user);
    bed.write(move |conn| {
        Box::pin(async move {
            store::users::insert(conn, &system_user).await?;
            jobs::insert(conn, &deletion).await?;
            jobs::remove_of_user(conn, asked_by).await
        })
    })
    .await
    .unwrap();
    let job = jobs::find(&mut bed.read().await, id).await.unwrap().unwrap();
    assert_eq!((job.user, job.state), (system, JobState::Running));
}

async fn a_new_identity_supersedes_the_session_of_the_old_one(bed: &Bed) {
    let host = bed.host;
    let fence = |epoch| bed.write(move |conn| Box::pin(async move { store::hosts::fence(conn, host, epoch).await }));
    assert!(fence(0).await.unwrap());
    bed.write(move |conn| Box::pin(async move { store::hosts::set_enrolled(conn, host, clock::now()).await }))
        .await
        .unwrap();
    assert!(!fence(0).await.unwrap());
}

async fn a_change_that_was_given_up_starts_nothing_of_a_suspended_users(bed: &Bed) {
    let image = image(bed.user, false);
    let (image_id, user) = (image.id, bed.user);
    bed.write(move |conn| Box::pin(async move { store::images::insert(conn, &image).await })).await.unwrap();
    for (name, suspended) in [("one", false), ("two", true)] {
        let container = container(bed, image_id, name);
        let about = Subject::Container(container.id);
        let change = NewJob { kind: JobKind::ContainerUpdate, ..bed.job(container.id) };
        bed.store
            .write(move |conn| {
                Box::pin(async move {
                    let now = clock::now();
                    store::containers::insert(conn, &container).await?;
                    jobs::insert(conn, &change).await?;
                    store::users::set_suspended(conn, user, suspended.then_some(now)).await?;
                    let job = jobs::find(conn, change.id).await?.unwrap();
                    let ending = Ending::Failed { error: JobError::new("lost", "x"), confirmed: false };
                    queue::settle(conn, &job, &ending, now).await
                })
            })
            .await
            .unwrap();
        let follows = jobs::open_about(&mut bed.read().await, about).await.unwrap();
        let starts = follows.iter().filter(|job| job.kind == JobKind::ContainerStart).count();
        assert_eq!(starts, usize::from(!suspended), "suspended: {suspended}, {follows:?}");
    }
}

async fn a_certificate_is_forgotten_only_once_it_can_authenticate_nobody(bed: &Bed) {
    let (host, now) = (bed.host, clock::now());
    let in_hours = move |hours: i64| now.checked_add(SignedDuration::from_hours(hours)).unwrap();
    bed.write(move |conn| {
        Box::pin(async move {
            let expires = |hours| in_hours(hours).as_microsecond();
            store::enrolment::insert_certificate(conn, "revoked", host, expires(700), now).await?;
            store::enrolment::revoke_certificates(conn, host, now).await?;
            // Superseded or not: until it expires it is as good as the newer one.
            store::enrolment::insert_certificate(conn, "older", host, expires(300), now).await?;
            store::enrolment::insert_certificate(conn, "newer", host, expires(700), now).await
        })
    })
    .await
    .unwrap();
    let forget = |expired, revoked| {
        bed.write(move |conn| {
            Box::pin(async move { store::enrolment::forget_certificates(conn, expired, revoked).await })
        })
    };
    let good = |serial: &'static str| async move {
        store::enrolment::certificate_is_good(&mut bed.read().await, serial, host).await.unwrap()
    };
    assert_eq!(forget(in_hours(299), now).await.unwrap(), 0, "nothing is old enough");
    assert_eq!(forget(in_hours(299), in_hours(1)).await.unwrap(), 1, "the revoked one");
    assert!(good("older").await && good("newer").await && !good("revoked").await);
    assert_eq!(forget(in_hours(301), in_hours(1)).await.unwrap(), 1, "the one that expired");
    assert!(!good("older").await && good("newer").await);
}
