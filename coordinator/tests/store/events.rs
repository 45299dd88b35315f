//! The feed of events: one order for everybody, nothing skipped, and told where something is not kept any more.

use crate::bed::Bed;
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::Kind;
use dockerforge_coordinator::domain::event::Event;
use dockerforge_coordinator::events::{Feed, FeedError, feed};
use dockerforge_coordinator::store::{self, Conn, StoreError};
use dockerforge_protocol::ids::{JobId, UserId};
use futures_util::StreamExt;
use jiff::SignedDuration;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

crate::on_both! {
    a_watcher_is_told_each_event_once_and_in_order_however_many_write
    a_watcher_that_comes_back_goes_on_where_it_was
    nobody_is_shown_an_event_while_an_earlier_one_may_still_appear
    an_event_that_was_undone_holds_nobody_up
    what_is_not_kept_any_more_is_told
    a_watcher_of_one_user_hears_of_nobody_else
}

fn start(bed: &Bed) -> (Feed, DropGuard) {
    let (feed, feeder) = feed(&bed.store);
    let stop = CancellationToken::new();
    bed.tasks().spawn("feeder", feeder.run(stop.clone()));
    (feed, stop.drop_guard())
}

async fn add(conn: &mut Conn, user: UserId, number: usize) -> Result<(), StoreError> {
    let event = Event {
        user,
        kind: "job.queued",
        resource: Kind::Job,
        id: JobId::new().uuid(),
        detail: Some(number.to_string()),
    };
    store::records::event(conn, &event, clock::now()).await
}

async fn happen(bed: &Bed, user: UserId, number: usize) {
    bed.write(move |conn| Box::pin(async move { add(conn, user, number).await })).await.unwrap();
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("not within 20 s: {what}"))
}

/// The numbers of the next events that a watcher is told.
async fn told(watcher: &mut dockerforge_coordinator::events::Watcher, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let event = within("an event", watcher.next()).await.unwrap();
        numbers.push(event.detail.as_deref().unwrap().parse().unwrap());
    }
    numbers
}

async fn a_watcher_is_told_each_event_once_and_in_order_however_many_write(bed: &Bed) {
    let (feed, _stop) = start(bed);
    let mut watcher = within("a watch", feed.watch(Some(bed.user), None)).await.unwrap();
    let user = bed.user;
    // More than the watcher may lag behind, and it does not read meanwhile.
    futures_util::stream::iter(0..1500).for_each_concurrent(16, |number| happen(bed, user, number)).await;
    let (mut last, mut numbers) = (0, Vec::new());
    while numbers.len() < 1500 {
        let event = within("all events", watcher.next()).await.unwrap();
        assert!(event.id > last, "{} after {last}", event.id);
        last = event.id;
        numbers.push(event.detail.as_deref().unwrap().parse::<usize>().unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1500).collect::<Vec<_>>());
}

async fn a_watcher_that_comes_back_goes_on_where_it_was(bed: &Bed) {
    let (feed, _stop) = start(bed);
    let mut watcher = within("a watch", feed.watch(Some(bed.user), None)).await.unwrap();
    happen(bed, bed.user, 1).await;
    assert_eq!(told(&mut watcher, 1).await, [1]);
    let at = watcher.at();
    drop(watcher);
    happen(bed, bed.user, 2).await;
    happen(bed, bed.user, 3).await;
    let mut again = within("a watch", feed.watch(Some(bed.user), Some(at))).await.unwrap();
    assert_eq!(told(&mut again, 2).await, [2, 3]);
}

async fn nobody_is_shown_an_event_while_an_earlier_one_may_still_appear(bed: &Bed) {
    let (feed, _stop) = start(bed);
    let mut watcher = within("a watch", feed.watch(Some(bed.user), None)).await.unwrap();
    let user = bed.user;
    let (written, is_written) = tokio::sync::oneshot::channel();
    let (finish, may_finish) = tokio::sync::oneshot::channel::<()>();
    let slow = bed.write(move |conn| {
        Box::pin(async move {
            add(conn, user, 1).await?;
            let _ = written.send(());
            // Only PostgreSQL lets others commit meanwhile; on SQLite they wait for this one.
            let _ = tokio::time::timeout(Duration::from_secs(2), may_finish).await;
            Ok(())
        })
    });
    let quick = async {
        is_written.await.unwrap();
        happen(bed, user, 2).await;
        let early = tokio::time::timeout(Duration::from_millis(300), watcher.next()).await;
        let _ = finish.send(());
        early
    };
    let (slow, early) = tokio::join!(slow, quick);
    slow.unwrap();
    match early {
        // On SQLite both were committed by then.
        Ok(event) => assert_eq!(event.unwrap().detail.as_deref(), Some("1")),
        Err(_) => assert_eq!(told(&mut watcher, 1).await, [1]),
    }
    assert_eq!(told(&mut watcher, 1).await, [2]);
}

async fn an_event_that_was_undone_holds_nobody_up(bed: &Bed) {
    let (feed, _stop) = start(bed);
    let mut watcher = within("a watch", feed.watch(Some(bed.user), None)).await.unwrap();
    let user = bed.user;
    let undone = bed
        .write(move |conn| {
            Box::pin(async move {
                add(conn, user, 1).await?;
                Err::<(), _>(StoreError::Stopped)
            })
        })
        .await;
    assert!(undone.is_err());
    happen(bed, user, 2).await;
    assert_eq!(told(&mut watcher, 1).await, [2]);
}

async fn what_is_not_kept_any_more_is_told(bed: &Bed) {
    bed.write(|conn| Box::pin(async move { store::cluster_id(conn, clock::now()).await })).await.unwrap();
    let (feed, _stop) = start(bed);
    for number in 1..=5 {
        happen(bed, bed.user, number).await;
    }
    let all = within("a page", async {
        loop {
            let page = feed.page(Some(bed.user), 0, 10).await.unwrap();
            if page.len() == 5 {
                return page;
            }
            feed.changes().changed().await.unwrap();
        }
    })
    .await;
    let later = clock::now().checked_add(SignedDuration::from_hours(1)).unwrap();
    for (limit, gone) in [(3, 3), (3, 1), (3, 0)] {
        let went = bed
            .write(move |conn| Box::pin(async move { store::events::forget(conn, later, limit).await }))
            .await
            .unwrap();
        assert_eq!(went, gone, "the newest stays");
    }
    let newest = all[4].id;
    assert!(matches!(feed.page(None, 0, 10).await, Err(FeedError::Forgotten(id)) if id == all[3].id));
    assert!(matches!(feed.watch(None, Some(all[2].id)).await, Err(FeedError::Forgotten(_))));
    let kept = feed.page(None, all[3].id, 10).await.unwrap();
    assert_eq!(kept.iter().map(|e| e.id).collect::<Vec<_>>(), [newest]);
}

async fn a_watcher_of_one_user_hears_of_nobody_else(bed: &Bed) {
    let (feed, _stop) = start(bed);
    let mut watcher = within("a watch", feed.watch(Some(bed.user), None)).await.unwrap();
    let mut all = within("a watch", feed.watch(None, None)).await.unwrap();
    happen(bed, UserId::new(), 1).await;
    happen(bed, bed.user, 2).await;
    assert_eq!(told(&mut watcher, 1).await, [2]);
    assert_eq!(told(&mut all, 2).await, [1, 2]);
}
