//! What links provision: whose it is, when it is due to be taken back, and when that is forgotten. What waits for a converge
//! ends with it, or comes after it.

use crate::bed::Bed;
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::grant::Grant;
use dockerforge_coordinator::domain::job::{Ending, JobError, JobKind, JobState};
use dockerforge_coordinator::domain::share::Places;
use dockerforge_coordinator::queue;
use dockerforge_coordinator::store::{self, grants, jobs};
use dockerforge_protocol::ids::{ContainerId, GrantId, JobId, SecretId};
use dockerforge_protocol::report::Product;
use dockerforge_protocol::spec::{Secret, SecretForm};

crate::on_both! {
    what_is_revoked_has_no_password_and_is_forgotten_by_a_job_that_knew_of_it_alone
    what_a_container_grants_goes_with_it_and_what_it_was_granted_is_taken_back
    what_waits_for_a_converge_comes_after_it_or_ends_with_it
}

/// A grant of a container to another; its id.
async fn granted(bed: &Bed, target: ContainerId, container: ContainerId) -> GrantId {
    let secret = Secret { id: SecretId::new(), form: SecretForm::File };
    let grant = Grant {
        id: GrantId::new(),
        user: bed.user,
        container,
        target,
        alias: "mysql".parse().unwrap(),
        fields: [("user".to_owned(), "blog".to_owned())].into(),
        secrets: [("DB_USER".parse().unwrap(), secret)].into(),
        revoked: false,
    };
    let id = grant.id;
    bed.write(move |conn| {
        Box::pin(async move {
            grants::insert(conn, &grant, b"sealed").await?;
            let read = grants::of_containers(conn, &[container]).await?;
            assert_eq!(read, [grant], "it is read as it was written");
            Ok(())
        })
    })
    .await
    .unwrap();
    id
}

async fn of_target(bed: &Bed, target: ContainerId) -> Vec<(GrantId, bool, bool)> {
    let all = grants::of_target(&mut bed.read().await, target).await.unwrap();
    all.into_iter().map(|(grant, sealed)| (grant.id, grant.revoked, sealed.is_some())).collect()
}

async fn what_is_revoked_has_no_password_and_is_forgotten_by_a_job_that_knew_of_it_alone(bed: &Bed) {
    let (target, user) = (ContainerId::new(), ContainerId::new());
    let (gone, kept) = (granted(bed, target, user).await, granted(bed, target, ContainerId::new()).await);
    let (early, late) = (JobId::new(), JobId::new());
    bed.write(move |conn| {
        Box::pin(async move {
            grants::show(conn, target, early).await?;
            grants::revoke(conn, gone).await?;
            grants::forget_shown(conn, target, early).await
        })
    })
    .await
    .unwrap();
    assert_eq!(of_target(bed, target).await, [(gone, true, false), (kept, false, true)], "that one did not know");
    let now = clock::now();
    let due = grants::due(&mut bed.read().await, now).await.unwrap();
    assert_eq!(due.iter().map(|due| (due.target, due.user, due.tries)).collect::<Vec<_>>(), [(target, bed.user, 0)]);
    let later = now.checked_add(jiff::SignedDuration::from_secs(60)).unwrap();
    let put_off =
        || bed.write(move |conn| Box::pin(async move { grants::put_off(conn, target, true, later, now).await }));
    assert_eq!((put_off().await.unwrap(), put_off().await.unwrap()), (true, false), "of two that ask, one does");
    assert!(grants::due(&mut bed.read().await, now).await.unwrap().is_empty());
    assert_eq!(grants::due(&mut bed.read().await, later).await.unwrap()[0].tries, 1);
    bed.write(move |conn| {
        Box::pin(async move {
            grants::show(conn, target, late).await?;
            grants::forget_shown(conn, target, late).await
        })
    })
    .await
    .unwrap();
    assert_eq!(of_target(bed, target).await, [(kept, false, true)]);
}

async fn what_a_container_grants_goes_with_it_and_what_it_was_granted_is_taken_back(bed: &Bed) {
    let (above, middle, below) = (ContainerId::new(), ContainerId::new(), ContainerId::new());
    let owed = granted(bed, above, middle).await;
    granted(bed, middle, below).await;
    bed.write(move |conn| Box::pin(async move { store::containers::remove(conn, middle).await })).await.unwrap();
    assert_eq!(of_target(bed, above).await, [(owed, true, false)]);
    assert!(of_target(bed, middle).await.is_empty());
    assert!(grants::of_containers(&mut bed.read().await, &[below, middle]).await.unwrap().is_empty());
}

async fn what_waits_for_a_converge_comes_after_it_or_ends_with_it(bed: &Bed) {
    let state = async |id: JobId| jobs::find(&mut bed.read().await, id).await.unwrap().unwrap().state;
    let host = bed.host;
    let claim = || {
        bed.write(move |conn| Box::pin(async move { jobs::claim(conn, host, Places::of_slots(8), clock::now()).await }))
    };
    for succeeds in [true, false] {
        let mut converge = bed.job(ContainerId::new());
        converge.kind = JobKind::ContainerConverge;
        let (first, last) = (bed.job(ContainerId::new()), bed.job(ContainerId::new()));
        let (id, next, end) = (converge.id, first.id, last.id);
        bed.write(move |conn| {
            Box::pin(async move {
                for job in [&converge, &first, &last] {
                    jobs::insert(conn, job).await?;
                }
                jobs::set_after(conn, next, id).await?;
                jobs::set_after(conn, end, next).await
            })
        })
        .await
        .unwrap();
        let claimed: Vec<JobId> = claim().await.unwrap().into_iter().map(|job| job.id).collect();
        assert_eq!(claimed, [id]);
        bed.write(move |conn| {
            Box::pin(async move {
                let job = jobs::find(conn, id).await?.unwrap();
                let failed = Ending::Failed { error: JobError::new("converge-failed", "why not"), confirmed: true };
                let ending = if succeeds { Ending::Succeeded(Product::Nothing) } else { failed };
                queue::settle(conn, &job, &ending, clock::now()).await.unwrap();
                Ok(())
            })
        })
        .await
        .unwrap();
        let claimed: Vec<JobId> = claim().await.unwrap().into_iter().map(|job| job.id).collect();
        if succeeds {
            assert_eq!((claimed, state(end).await), (vec![next], JobState::Queued));
        } else {
            let ended = jobs::find(&mut bed.read().await, next).await.unwrap().unwrap();
            let error = ended.error.expect("it failed with it");
            assert_eq!((ended.state, error.kind.as_str()), (JobState::Failed, "part-failed"));
            assert!(error.detail.contains(&id.to_string()) && error.detail.ends_with(": why not"), "{error:?}");
            // What waits for that one is no converge's, and goes on.
            assert_eq!(claimed, [end]);
        }
        let now = clock::now();
        bed.write(move |conn| {
            Box::pin(async move {
                for id in [next, end] {
                    let job = jobs::find(conn, id).await?.unwrap();
                    jobs::end(conn, job.current(), &Ending::Cancelled { confirmed: true }, now).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
    }
}
