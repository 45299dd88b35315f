//! What placing relies on: a host that drains is given nothing new, a job waits for the one before it, hosts are found by
//! whole labels, and what is set aside is counted until it is gone.

use crate::bed::{Bed, host};
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::container::{Container, DesiredState, Observed};
use dockerforge_coordinator::domain::image::{Image, ImageSource, ImageState};
use dockerforge_coordinator::domain::job::{Ending, JobKind, NewJob};
use dockerforge_coordinator::domain::page::Page;
use dockerforge_coordinator::domain::placement::Reserved;
use dockerforge_coordinator::domain::share::Places;
use dockerforge_coordinator::store;
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, JobId};
use dockerforge_protocol::report::Product;
use dockerforge_protocol::spec::{ContainerSpec, Labels, Resources};
use std::collections::BTreeMap;

crate::on_both! {
    a_draining_host_is_given_nothing_new
    a_job_waits_until_the_one_before_it_has_ended
    hosts_are_found_by_whole_labels
    what_is_set_aside_counts_until_it_is_gone
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let map: BTreeMap<_, _> = pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
    Labels::try_from(map).unwrap()
}

async fn claimed(bed: &Bed) -> Vec<JobId> {
    let at = bed.host;
    let jobs = bed
        .write(move |conn| {
            Box::pin(async move { store::jobs::claim(conn, at, Places::of_slots(9), clock::now()).await })
        })
        .await
        .unwrap();
    jobs.into_iter().map(|job| job.id).collect()
}

async fn drain(bed: &Bed, draining: bool) {
    let mut host = store::hosts::find(&mut bed.read().await, bed.host).await.unwrap().unwrap();
    host.draining = draining;
    bed.write(move |conn| Box::pin(async move { store::hosts::update(conn, &host).await })).await.unwrap();
}

async fn a_draining_host_is_given_nothing_new(bed: &Bed) {
    let create = NewJob { kind: JobKind::ContainerCreate, ..bed.job(ContainerId::new()) };
    let (made, removed) = (create.id, bed.enqueue(ContainerId::new()).await);
    bed.write(move |conn| Box::pin(async move { store::jobs::insert(conn, &create).await })).await.unwrap();
    drain(bed, true).await;
    assert_eq!(claimed(bed).await, [removed]);
    assert!(!store::jobs::any_queued(&mut bed.read().await, bed.host).await.unwrap(), "nothing to look for");
    drain(bed, false).await;
    assert_eq!(claimed(bed).await, [made]);
}

async fn a_job_waits_until_the_one_before_it_has_ended(bed: &Bed) {
    // The one that waits is the older.
    let (second, first) = (bed.enqueue(ContainerId::new()).await, bed.enqueue(ContainerId::new()).await);
    bed.write(move |conn| Box::pin(async move { store::jobs::set_after(conn, second, first).await })).await.unwrap();
    assert_eq!(claimed(bed).await, [first]);
    assert_eq!(claimed(bed).await, []);
    bed.write(move |conn| {
        Box::pin(async move {
            let job = store::jobs::find(conn, first).await?.unwrap();
            store::jobs::end(conn, job.current(), &Ending::Succeeded(Product::Nothing), clock::now()).await
        })
    })
    .await
    .unwrap();
    assert_eq!(claimed(bed).await, [second]);
}

async fn hosts_are_found_by_whole_labels(bed: &Bed) {
    let mut labelled = host(HostId::new(), bed.user, "labelled");
    labelled.labels = labels(&[("zone", "a"), ("note", "%_\"zone\":\"b\"\\")]);
    let (id, user) = (labelled.id, bed.user);
    bed.write(move |conn| Box::pin(async move { store::hosts::insert(conn, &labelled).await })).await.unwrap();
    let found = async |pairs: &[(&str, &str)]| {
        let filter = store::hosts::Filter { labels: labels(pairs), ..store::hosts::Filter::default() };
        let page = Page { limit: 10, after: None };
        let hosts = store::hosts::list(&mut bed.read().await, user, &filter, page).await.unwrap().items;
        hosts.into_iter().map(|host| host.id).collect::<Vec<_>>()
    };
    assert_eq!(found(&[("zone", "a")]).await, [id]);
    assert_eq!(found(&[("zone", "a"), ("note", "%_\"zone\":\"b\"\\")]).await, [id]);
    for other in [[("zone", "b")], [("zone", "A")], [("one", "a")], [("zone", "")], [("note", "%")]] {
        assert_eq!(found(&other).await, [], "{other:?}");
    }
    assert_eq!(found(&[]).await.len(), 2);
}

async fn what_is_set_aside_counts_until_it_is_gone(bed: &Bed) {
    let now = clock::now();
    let image = Image {
        id: ImageId::new(),
        user: bed.user,
        name: "base".parse().unwrap(),
        state: ImageState::Ready,
        public: false,
        source: ImageSource::Reference("debian:12".parse().unwrap()),
        labels: Labels::default(),
        created_at: now,
        revision: 1,
        docker_id: None,
        registry: None,
    };
    let resources =
        Resources { cpus: Some(250.try_into().unwrap()), memory: Some(8_388_608.try_into().unwrap()), pids: None };
    let container = Container {
        id: ContainerId::new(),
        user: bed.user,
        host: bed.host,
        image: image.id,
        name: "one".parse().unwrap(),
        spec: ContainerSpec { resources, ..ContainerSpec::default() },
        desired: DesiredState::Running,
        observed: Observed::default(),
        converged: None,
        created_at: now,
        revision: 1,
    };
    let unlimited = Container {
        id: ContainerId::new(),
        name: "two".parse().unwrap(),
        spec: ContainerSpec::default(),
        ..container.clone()
    };
    let id = container.id;
    bed.write(move |conn| {
        Box::pin(async move {
            store::images::insert(conn, &image).await?;
            store::containers::insert(conn, &container).await?;
            store::containers::insert(conn, &unlimited).await?;
            store::containers::set_desired(conn, id, DesiredState::Removed).await
        })
    })
    .await
    .unwrap();
    let reserved = async || store::placement::reserved(&mut bed.read().await, &[bed.host]).await.unwrap();
    assert_eq!(reserved().await, [(bed.host, Reserved { cpus: 250, memory: 8_388_608, containers: 2 })]);
    bed.write(move |conn| Box::pin(async move { store::containers::remove(conn, id).await })).await.unwrap();
    assert_eq!(reserved().await, [(bed.host, Reserved { cpus: 0, memory: 0, containers: 1 })]);
}
