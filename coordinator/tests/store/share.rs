//! How users share a host: whose job is claimed next, and how many of each sort of work are in work at a time.

use crate::bed::{Bed, user};
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::job::{Ending, Job, JobKind, NewJob};
use dockerforge_coordinator::domain::share::Places;
use dockerforge_coordinator::store;
use dockerforge_protocol::ids::{ContainerId, JobId, UserId};
use dockerforge_protocol::report::Product;

crate::on_both! {
    ten_thousand_jobs_of_one_user_do_not_delay_anothers_first
    users_take_turns_and_a_busy_one_waits
    each_sort_of_work_has_places_of_its_own_and_the_agent_has_the_last_word
}

async fn claim(bed: &Bed, places: Places) -> Vec<Job> {
    let host = bed.host;
    bed.write(move |conn| Box::pin(async move { store::jobs::claim(conn, host, places, clock::now()).await }))
        .await
        .unwrap()
}

async fn another(bed: &Bed) -> UserId {
    let new = user(UserId::new());
    let id = new.id;
    bed.write(move |conn| Box::pin(async move { store::users::insert(conn, &new).await })).await.unwrap();
    id
}

/// Enqueues so many jobs of one user and kind, each about a thing of its own.
async fn enqueue(bed: &Bed, user: UserId, kind: JobKind, count: usize) -> Vec<JobId> {
    let new: Vec<NewJob> =
        (0..count).map(|_| NewJob { id: JobId::new(), user, kind, ..bed.job(ContainerId::new()) }).collect();
    let ids = new.iter().map(|job| job.id).collect();
    bed.write(move |conn| {
        Box::pin(async move {
            for job in &new {
                store::jobs::insert(conn, job).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
    ids
}

async fn end(bed: &Bed, job: &Job) {
    let attempt = job.current();
    let ending = Ending::Succeeded(Product::Nothing);
    let ended =
        bed.write(move |conn| Box::pin(async move { store::jobs::end(conn, attempt, &ending, clock::now()).await }));
    assert!(ended.await.unwrap());
}

fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

async fn ten_thousand_jobs_of_one_user_do_not_delay_anothers_first(bed: &Bed) {
    let many = enqueue(bed, bed.user, JobKind::ImageBuild, 10_000).await;
    let places = Places::of_slots(4);
    assert_eq!(ids(&claim(bed, places).await), many[..2], "two builds at a time");
    let other = another(bed).await;
    let first = enqueue(bed, other, JobKind::ImageBuild, 1).await[0];
    assert!(claim(bed, places).await.is_empty(), "both places are taken");
    let running = store::jobs::find(&mut bed.read().await, many[0]).await.unwrap().unwrap();
    end(bed, &running).await;
    assert_eq!(ids(&claim(bed, places).await), [first]);
}

async fn users_take_turns_and_a_busy_one_waits(bed: &Bed) {
    let (ana, ben, eva) = (bed.user, another(bed).await, another(bed).await);
    let of_ana = enqueue(bed, ana, JobKind::ContainerDelete, 6).await;
    let of_ben = enqueue(bed, ben, JobKind::ContainerDelete, 2).await;
    let of_eva = enqueue(bed, eva, JobKind::ContainerDelete, 1).await;
    let places = |all| Places { all, builds: 2, pulls: 3, others: 8 };
    let sorted = |of: &[&[JobId]]| {
        let mut all = of.concat();
        all.sort_unstable();
        all
    };
    let claimed = claim(bed, places(4)).await;
    assert_eq!(ids(&claimed), sorted(&[&of_ana[..2], &of_ben[..1], &of_eva]));
    end(bed, claimed.iter().find(|job| job.user == ana).unwrap()).await;
    // Each has one in work: the oldest that waits.
    let claimed = claim(bed, places(4)).await;
    assert_eq!(ids(&claimed), of_ana[2..3]);
    // Ana has two in work again.
    assert_eq!(ids(&claim(bed, places(5)).await), of_ben[1..]);
    assert_eq!(ids(&claim(bed, places(8)).await), of_ana[3..6]);
}

async fn each_sort_of_work_has_places_of_its_own_and_the_agent_has_the_last_word(bed: &Bed) {
    let builds = enqueue(bed, bed.user, JobKind::ImageBuild, 4).await;
    let pulls = enqueue(bed, bed.user, JobKind::ImagePull, 4).await;
    let others = enqueue(bed, bed.user, JobKind::ContainerDelete, 10).await;
    let places = Places::of_slots(256);
    assert_eq!(ids(&claim(bed, places).await), [&builds[..2], &pulls[..3], &others[..8]].concat());
    assert!(claim(bed, places).await.is_empty());
    let pull = store::jobs::find(&mut bed.read().await, pulls[0]).await.unwrap().unwrap();
    end(bed, &pull).await;
    assert!(claim(bed, Places::of_slots(12)).await.is_empty(), "twelve are in work");
    assert_eq!(ids(&claim(bed, places).await), pulls[3..]);
}
