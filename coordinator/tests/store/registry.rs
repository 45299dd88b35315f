//! The registry in the database: who pushes before a copy begins, what waits for it, and what is to go from there.

use crate::bed::{Bed, host, user};
use crate::tenancy::image;
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::image::{Image, ImageOnHost, ImageSource, PresenceState, Recipe};
use dockerforge_coordinator::domain::job::{JobKind, JobState, NewJob, Subject};
use dockerforge_coordinator::domain::registry::{InRegistry, Opening, Place};
use dockerforge_coordinator::domain::share::Places;
use dockerforge_coordinator::queue;
use dockerforge_coordinator::store::{self, jobs};
use dockerforge_protocol::command::{Command, ContextRef, CopyImage};
use dockerforge_protocol::ids::{HostId, JobId, UserId};
use jiff::SignedDuration;

crate::on_both! {
    a_copy_waits_for_the_push_and_goes_on_whatever_became_of_it
    nobody_pushes_where_nobody_could_pull
    what_is_removed_is_to_go_from_the_registry_until_it_is_gone
}

const ID: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn place(opening: Opening) -> Place {
    Place { base: "registry.example:5000/dockerforge".to_owned(), opening }
}

fn built(owner: UserId) -> Image {
    let context = ContextRef { sha256: "0".repeat(64), size: 1 };
    let source = ImageSource::Dockerfile(Recipe {
        context,
        dockerfile: "Dockerfile".to_owned(),
        build_args: std::collections::BTreeMap::new(),
        no_cache: false,
        made_of: None,
    });
    Image { source, docker_id: Some(ID.to_owned()), ..image(owner, false) }
}

/// The bed's host has the image, and another of these users is to have it: a job brings it there.
async fn copying(bed: &Bed, admin: bool, opening: Opening) -> (Image, HostId, JobId) {
    let (target, owner) = (HostId::new(), UserId::new());
    let mut other = user(owner);
    (other.admin, other.name) = (admin, "other".parse().unwrap());
    let target_row = host(target, owner, "target");
    let image = built(bed.user);
    let there = ImageOnHost {
        image: image.id,
        host: bed.host,
        state: PresenceState::Present,
        docker_id: Some(ID.to_owned()),
        size: Some(1),
        changed_at: clock::now(),
        job: None,
    };
    let copy = NewJob {
        host: Some(target),
        kind: JobKind::ImageCopy,
        subject: Subject::Image(image.id),
        command: Some(Command::CopyImage(CopyImage { image: image.id, user: bed.user })),
        ..bed.job(dockerforge_protocol::ids::ContainerId::new())
    };
    let (id, made) = (copy.id, image.clone());
    bed.write(move |conn| {
        Box::pin(async move {
            store::cluster_id(conn, clock::now()).await?;
            store::registry::set_place(conn, Some(&place(opening))).await?;
            store::users::insert(conn, &other).await?;
            store::hosts::insert(conn, &target_row).await?;
            store::images::insert(conn, &made).await?;
            store::images::set_made(conn, made.id, ID).await?;
            store::images::set_presence(conn, &there).await?;
            jobs::insert(conn, &copy).await
        })
    })
    .await
    .unwrap();
    push_first(bed, image.clone(), id, target).await;
    (image, target, id)
}

async fn push_first(bed: &Bed, image: Image, copy: JobId, target: HostId) {
    bed.store
        .write(move |conn| {
            Box::pin(async move {
                let image = store::images::find(conn, image.id).await?.unwrap();
                queue::push_first(conn, &image, &[(copy, target)], clock::now()).await
            })
        })
        .await
        .unwrap();
}

async fn pushes(bed: &Bed, image: &Image) -> Vec<dockerforge_coordinator::domain::job::Job> {
    let open = jobs::open_about(&mut bed.read().await, Subject::Image(image.id)).await.unwrap();
    open.into_iter().filter(|job| job.kind == JobKind::ImagePush).collect()
}

async fn claimed(bed: &Bed, host: HostId) -> Vec<JobId> {
    let claim = bed
        .write(move |conn| Box::pin(async move { jobs::claim(conn, host, Places::of_slots(8), clock::now()).await }));
    claim.await.unwrap().into_iter().map(|job| job.id).collect()
}

async fn a_copy_waits_for_the_push_and_goes_on_whatever_became_of_it(bed: &Bed) {
    let (image, target, copy) = copying(bed, false, Opening::Repository).await;
    let [push] = pushes(bed, &image).await.try_into().unwrap();
    assert_eq!((push.host, push.user), (Some(bed.host), bed.user));
    // Asked for once more, it is the same.
    push_first(bed, image.clone(), copy, target).await;
    assert_eq!(pushes(bed, &image).await.len(), 1);
    assert_eq!(claimed(bed, target).await, []);
    assert_eq!(claimed(bed, bed.host).await, [push.id]);
    assert_eq!(claimed(bed, target).await, []);
    let source = bed.host;
    bed.write(move |conn| Box::pin(async move { jobs::set_unknown(conn, source, clock::now()).await.map(drop) }))
        .await
        .unwrap();
    assert_eq!(pushes(bed, &image).await[0].state, JobState::Unknown);
    assert_eq!(claimed(bed, target).await, [copy], "the host that pushes fell silent");

    let digest = format!("sha256:{}", "b".repeat(64));
    let (id, there) = (image.id, digest.clone());
    bed.write(move |conn| Box::pin(async move { store::images::set_pushed(conn, id, &there).await })).await.unwrap();
    let found = store::images::find(&mut bed.read().await, id).await.unwrap().unwrap();
    let repository = place(Opening::Repository).repository(id);
    assert_eq!(found.registry, Some(InRegistry { repository, digest: Some(digest) }));
}

async fn nobody_pushes_where_nobody_could_pull(bed: &Bed) {
    // What opens all of the registry is not given to the hosts of these users.
    let (image, target, copy) = copying(bed, true, Opening::Whole).await;
    assert_eq!(pushes(bed, &image).await.len(), 0, "the bed's host is no administrator's");
    assert_eq!(claimed(bed, target).await, [copy]);
    let found = store::images::find(&mut bed.read().await, image.id).await.unwrap().unwrap();
    assert_eq!(found.registry, None);
}

async fn what_is_removed_is_to_go_from_the_registry_until_it_is_gone(bed: &Bed) {
    let (image, _, _) = copying(bed, false, Opening::Repository).await;
    let (id, never, digest) = (image.id, built(bed.user), format!("sha256:{}", "b".repeat(64)));
    let (never_id, there) = (never.id, digest.clone());
    bed.write(move |conn| {
        Box::pin(async move {
            let never = Image { name: "never".parse().unwrap(), ..never };
            store::images::insert(conn, &never).await?;
            store::images::set_pushed(conn, id, &there).await?;
            store::images::remove(conn, never_id).await?;
            store::images::remove(conn, id).await
        })
    })
    .await
    .unwrap();
    let now = clock::now();
    let due = store::registry::due(&mut bed.read().await, now, 10).await.unwrap();
    let [removal] = due.try_into().unwrap();
    assert_eq!(removal.repository, place(Opening::Repository).repository(id));
    assert_eq!(removal.digest, Some(digest));
    let until = now.checked_add(SignedDuration::from_secs(60)).unwrap();
    let claim = async |removal: store::registry::Removal| {
        bed.write(move |conn| Box::pin(async move { store::registry::claim(conn, &removal, until).await }))
            .await
            .unwrap()
    };
    assert!(claim(removal.clone()).await && !claim(removal.clone()).await, "one of two coordinators has it");
    assert_eq!(store::registry::due(&mut bed.read().await, now, 10).await.unwrap(), []);
    for (next, left) in [(Some(now), 1), (None, 0)] {
        let removal = removal.clone();
        bed.write(move |conn| Box::pin(async move { store::registry::settle(conn, &removal, next).await }))
            .await
            .unwrap();
        let due = store::registry::due(&mut bed.read().await, now, 10).await.unwrap();
        assert_eq!(due.len(), left);
        assert!(due.iter().all(|again| again.attempts == 1));
    }
}
