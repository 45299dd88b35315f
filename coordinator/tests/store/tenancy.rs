//! Every lookup for a user names him: what is another's is not there.

use crate::bed::{Bed, user};
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::container::{Container, DesiredState, Observed};
use dockerforge_coordinator::domain::image::{Image, ImageSource, ImageState};
use dockerforge_coordinator::domain::page::Page;
use dockerforge_coordinator::store::{self, containers, jobs};
use dockerforge_protocol::ids::{ContainerId, ImageId, UserId};
use dockerforge_protocol::spec::{ContainerSpec, Labels};

crate::on_both! {
    what_is_anothers_is_not_found_and_not_listed
    a_page_goes_on_where_the_one_before_ended
    a_container_reads_back_as_it_was_written
}

pub fn image(owner: UserId, public: bool) -> Image {
    Image {
        id: ImageId::new(),
        user: owner,
        name: "image".parse().unwrap(),
        state: ImageState::Ready,
        public,
        source: ImageSource::Reference("debian:12".parse().unwrap()),
        labels: Labels::default(),
        created_at: clock::now(),
        revision: 1,
        docker_id: None,
        registry: None,
    }
}

pub fn container(bed: &Bed, image: ImageId, name: &str) -> Container {
    let spec: ContainerSpec = serde_json::from_str(
        r#"{"command":["a","b c"],"env":{"A":"$x '\\"},"ports":[{"container":80,"host":8080}],
            "volumes":[{"volume":"v","target":"/data"}],"resources":{"cpus":500,"memory":67108864},"labels":{"tier":"web"}}"#,
    )
    .unwrap();
    Container {
        id: ContainerId::new(),
        user: bed.user,
        host: bed.host,
        image,
        name: name.parse().unwrap(),
        spec,
        desired: DesiredState::Running,
        observed: Observed::default(),
        converged: None,
        created_at: clock::now(),
        revision: 1,
    }
}

async fn what_is_anothers_is_not_found_and_not_listed(bed: &Bed) {
    let other = UserId::new();
    let (own, public) = (image(bed.user, false), image(other, true));
    let mine = container(bed, own.id, "mine");
    let (own_id, public_id, mine_id) = (own.id, public.id, mine.id);
    let job = bed.job(mine.id);
    let job_id = job.id;
    bed.write(move |conn| {
        Box::pin(async move {
            store::users::insert(conn, &user(other)).await?;
            store::images::insert(conn, &own).await?;
            store::images::insert(conn, &public).await?;
            containers::insert(conn, &mine).await?;
            jobs::insert(conn, &job).await
        })
    })
    .await
    .unwrap();
    let mut conn = bed.read().await;
    assert!(containers::get(&mut conn, bed.user, mine_id).await.unwrap().is_some());
    assert!(containers::get(&mut conn, other, mine_id).await.unwrap().is_none());
    assert!(
        containers::list(&mut conn, other, &containers::Filter::default(), Page::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(jobs::get(&mut conn, other, job_id).await.unwrap().is_none());
    assert!(jobs::list(&mut conn, other, &jobs::Filter::default(), Page::default()).await.unwrap().items.is_empty());
    assert!(store::hosts::get(&mut conn, other, bed.host).await.unwrap().is_none());
    assert!(store::images::get_visible(&mut conn, other, own_id).await.unwrap().is_none());
    // A public image is seen by everybody, and belongs to its owner alone.
    assert!(store::images::get_visible(&mut conn, bed.user, public_id).await.unwrap().is_some());
    assert!(store::images::get(&mut conn, bed.user, public_id).await.unwrap().is_none());
}

async fn a_page_goes_on_where_the_one_before_ended(bed: &Bed) {
    let mut enqueued = Vec::new();
    for _ in 0..5 {
        enqueued.push(bed.enqueue(ContainerId::new()).await);
    }
    enqueued.reverse();
    let mut seen = Vec::new();
    let mut page = Page { limit: 2, after: None };
    loop {
        let jobs = jobs::list(&mut bed.read().await, bed.user, &jobs::Filter::default(), page).await.unwrap().items;
        let Some(last) = jobs.last() else { break };
        page.after = Some(last.id.uuid());
        seen.extend(jobs.iter().map(|job| job.id));
    }
    assert_eq!(seen, enqueued);
}

async fn a_container_reads_back_as_it_was_written(bed: &Bed) {
    let image = image(bed.user, false);
    let written = container(bed, image.id, "c");
    let (copy, user, id) = (written.clone(), bed.user, written.id);
    bed.write(move |conn| {
        Box::pin(async move {
            store::images::insert(conn, &image).await?;
            containers::insert(conn, &copy).await
        })
    })
    .await
    .unwrap();
    assert_eq!(containers::get(&mut bed.read().await, user, id).await.unwrap(), Some(written));
}
