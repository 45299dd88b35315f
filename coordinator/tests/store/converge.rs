//! Which containers are due to be converged: the one that is there is another than was converged, it runs, and nothing is in
//! the way. What was asked of it is known until it is converged.

use crate::bed::{self, Bed};
use crate::tenancy;
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::container::{DesiredState, Observed, ObservedState};
use dockerforge_coordinator::domain::converge::{Converged, Ended, Owed};
use dockerforge_coordinator::domain::host::AgentFacts;
use dockerforge_coordinator::domain::job::{Ending, JobError, JobKind, NewJob};
use dockerforge_coordinator::queue;
use dockerforge_coordinator::store::{self, Conn, containers, converge, jobs};
use dockerforge_protocol::command::{Command, ContextRef, ConvergeContainer};
use dockerforge_protocol::ids::{ConfigurationId, ContainerId, HostId, InstanceId};
use dockerforge_protocol::inventory::{Capacity, ContainerState};
use dockerforge_protocol::report::Product;
use futures_util::future::BoxFuture;

crate::on_both! {
    the_one_that_is_there_is_due_as_long_as_another_was_converged
    what_does_not_run_or_has_something_under_way_is_not_due
    the_end_of_its_job_decides_whether_it_is_asked_for_again
}

/// A container that runs on a host that is there, and is due.
async fn due(bed: &Bed) -> ContainerId {
    let (image, host) = (tenancy::image(bed.user, false), bed.host);
    let container = tenancy::container(bed, image.id, "blog");
    let id = container.id;
    write(bed, move |conn| {
        Box::pin(async move {
            store::images::insert(conn, &image).await?;
            containers::insert(conn, &container).await?;
            store::hosts::begin_session(conn, host, &facts(), clock::now()).await?;
            converge::done(conn, id, Some("old"), 7).await
        })
    })
    .await;
    shows(bed, id, "new", ContainerState::Running).await;
    id
}

fn facts() -> AgentFacts {
    AgentFacts {
        hostname: "h".to_owned(),
        agent_version: "0".to_owned(),
        instance: InstanceId::new(),
        boot_id: "b".to_owned(),
        slots: 1,
        capacity: Capacity::default(),
        docker: None,
    }
}

async fn write<F>(bed: &Bed, change: F)
where
    F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<(), store::StoreError>> + Send + 'static,
{
    bed.write(change).await.unwrap();
}

async fn shows(bed: &Bed, id: ContainerId, docker_id: &'static str, state: ContainerState) {
    let host = bed.host;
    let seen = Observed {
        state: ObservedState::Docker(state),
        docker_id: Some(docker_id.to_owned()),
        at: Some(clock::now()),
        ..Observed::default()
    };
    write(bed, move |conn| Box::pin(async move { containers::set_observed(conn, host, id, &seen).await })).await;
}

async fn is_due(bed: &Bed, id: ContainerId) -> bool {
    let mut conn = bed.read().await;
    let now = clock::now();
    let all = converge::due(&mut conn, None, now).await.unwrap();
    let one = converge::due(&mut conn, Some(id), now).await.unwrap();
    assert_eq!(all, one, "there is no other");
    all == [(id, bed.user)]
}

async fn keep(bed: &Bed, owed: Owed) {
    write(bed, move |conn| {
        Box::pin(async move {
            converge::keep(conn, &owed).await?;
            assert_eq!(converge::owed(conn, &[owed.container]).await?, [owed], "it is read as it was written");
            Ok(())
        })
    })
    .await;
}

async fn the_one_that_is_there_is_due_as_long_as_another_was_converged(bed: &Bed) {
    let id = due(bed).await;
    assert!(is_due(bed, id).await);
    let read = containers::get(&mut bed.read().await, bed.user, id).await.unwrap().unwrap();
    assert_eq!(read.converged, Some(Converged { docker_id: Some("old".to_owned()), version: Some(7) }));
    shows(bed, id, "old", ContainerState::Running).await;
    assert!(!is_due(bed, id).await, "that one was");
    write(bed, move |conn| Box::pin(async move { converge::made_anew(conn, id, true).await })).await;
    assert!(is_due(bed, id).await, "none was");
    write(bed, move |conn| Box::pin(async move { converge::made_anew(conn, id, false).await })).await;
    assert!(!is_due(bed, id).await, "no configuration converges it");
    write(bed, move |conn| Box::pin(async move { containers::remove(conn, id).await })).await;
    assert!(converge::owed(&mut bed.read().await, &[id]).await.unwrap().is_empty());
}

async fn what_does_not_run_or_has_something_under_way_is_not_due(bed: &Bed) {
    let (id, host, user) = (due(bed).await, bed.host, bed.user);
    shows(bed, id, "new", ContainerState::Exited).await;
    assert!(!is_due(bed, id).await);
    shows(bed, id, "new", ContainerState::Running).await;
    for (desired, due) in
        [(DesiredState::Stopped, false), (DesiredState::Removed, false), (DesiredState::Running, true)]
    {
        write(bed, move |conn| Box::pin(async move { containers::set_desired(conn, id, desired).await })).await;
        assert_eq!(is_due(bed, id).await, due, "{desired:?}");
    }
    for (suspended, due) in [(Some(clock::now()), false), (None, true)] {
        write(bed, move |conn| Box::pin(async move { store::users::set_suspended(conn, user, suspended).await })).await;
        assert_eq!(is_due(bed, id).await, due, "{suspended:?}");
    }
    let elsewhere = HostId::new();
    write(bed, move |conn| {
        Box::pin(async move { store::hosts::insert(conn, &bed::host(elsewhere, user, "elsewhere")).await })
    })
    .await;
    for (kind, at, due) in [
        (JobKind::ContainerStop, Some(host), false),
        (JobKind::ContainerExec, Some(host), true),
        (JobKind::ContainerMove, None, false),
        (JobKind::ContainerRemove, Some(elsewhere), true),
    ] {
        let mut job = NewJob { kind, host: at, ..bed.job(id) };
        job.command = job.command.filter(|_| at.is_some());
        let job_id = job.id;
        write(bed, move |conn| Box::pin(async move { jobs::insert(conn, &job).await })).await;
        assert_eq!(is_due(bed, id).await, due, "{kind:?}");
        write(bed, move |conn| {
            Box::pin(async move {
                let job = jobs::find(conn, job_id).await?.unwrap();
                jobs::end(conn, job.current(), &Ending::Cancelled { confirmed: true }, clock::now()).await.map(drop)
            })
        })
        .await;
    }
    let now = clock::now();
    let later = now.checked_add(jiff::SignedDuration::from_secs(60)).unwrap();
    keep(bed, Owed { due_at: later, ..Owed::new(id, "new".to_owned(), now) }).await;
    assert!(!is_due(bed, id).await, "not yet");
    assert_eq!(converge::due(&mut bed.read().await, None, later).await.unwrap().len(), 1);
    keep(bed, Owed { ended: Some(Ended::Cancelled), ..Owed::new(id, "new".to_owned(), now) }).await;
    assert!(converge::due(&mut bed.read().await, None, later).await.unwrap().is_empty(), "nobody tries any more");
    shows(bed, id, "newer", ContainerState::Running).await;
    assert!(is_due(bed, id).await, "it was made anew since");
    let silent = later.checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    write(bed, move |conn| {
        Box::pin(
            async move { store::hosts::mark_unreachable(conn, silent).await.map(|silent| assert_eq!(silent.len(), 1)) },
        )
    })
    .await;
    assert!(!is_due(bed, id).await, "its host is away");
}

async fn the_end_of_its_job_decides_whether_it_is_asked_for_again(bed: &Bed) {
    let (id, user) = (due(bed).await, bed.user);
    let ended = async |desired: DesiredState, own: bool, ending: Ending| {
        let context = ContextRef { sha256: "0".repeat(64), size: 1 };
        let (configuration, version) = (ConfigurationId::new(), 9);
        let command = ConvergeContainer { container: id, user, configuration, version, context, limit_s: 60 };
        let command = Some(Command::ConvergeContainer(command));
        let job = NewJob { kind: JobKind::ContainerConverge, command, ..bed.job(id) };
        let job_id = job.id;
        write(bed, move |conn| {
            Box::pin(async move {
                let asked = Owed { job: Some(job.id), ..Owed::new(id, "new".to_owned(), clock::now()) };
                if own {
                    converge::forget(conn, id).await?;
                } else {
                    converge::keep(conn, &asked).await?;
                }
                jobs::insert(conn, &job).await?;
                containers::set_desired(conn, id, desired).await?;
                let job = jobs::find(conn, job_id).await?.unwrap();
                queue::settle(conn, &job, &ending, clock::now()).await.unwrap();
                Ok(())
            })
        })
        .await;
        converge::owed(&mut bed.read().await, &[id]).await.unwrap().pop().map(|owed| (owed.tries, owed.ended))
    };
    let (running, cancelled) = (DesiredState::Running, Ending::Cancelled { confirmed: true });
    let failed = Ending::Failed { error: JobError::new("converge-failed", "why not"), confirmed: true };
    assert_eq!(ended(running, false, failed.clone()).await, Some((1, None)));
    assert_eq!(ended(running, false, cancelled.clone()).await, Some((0, Some(Ended::Cancelled))));
    assert_eq!(ended(DesiredState::Stopped, false, failed.clone()).await, Some((0, None)), "it was stopped meanwhile");
    assert_eq!(ended(DesiredState::Removed, false, cancelled.clone()).await, Some((0, None)), "by its deletion");
    assert_eq!(ended(running, true, cancelled).await, None, "what its user asked for is his own business");
    assert!(is_due(bed, id).await);
    assert_eq!(ended(running, false, Ending::Succeeded(Product::Nothing)).await, None);
    assert!(!is_due(bed, id).await);
    let read = containers::get(&mut bed.read().await, user, id).await.unwrap().unwrap();
    assert_eq!(read.converged, Some(Converged { docker_id: Some("new".to_owned()), version: Some(9) }));
}
