//! Transactions: all or nothing, durable when answered, and not undone by a caller that goes away.

use crate::bed::{Bed, host, user};
use dockerforge_coordinator::domain::Kind;
use dockerforge_coordinator::store::{self, Constraint, StoreError};
use dockerforge_protocol::ids::{HostId, UserId};
use std::time::Duration;

crate::on_both! {
    an_error_undoes_the_whole_change
    one_callers_error_does_not_undo_anothers_change
    a_taken_name_is_told_by_its_kind
    a_change_stands_though_its_caller_went_away
    a_panic_in_a_change_undoes_it_and_harms_nobody_else
    a_repeated_idempotency_key_is_told
    a_transaction_that_cannot_begin_is_a_failure_of_the_database
}

async fn exists(bed: &Bed, id: UserId) -> bool {
    store::users::get(&mut bed.read().await, id).await.unwrap().is_some()
}

async fn an_error_undoes_the_whole_change(bed: &Bed) {
    let id = UserId::new();
    let result = bed
        .write(move |conn| {
            Box::pin(async move {
                store::users::insert(conn, &user(id)).await?;
                Err::<(), _>(StoreError::Stopped)
            })
        })
        .await;
    assert!(matches!(result, Err(StoreError::Stopped)));
    assert!(!exists(bed, id).await);
}

async fn one_callers_error_does_not_undo_anothers_change(bed: &Bed) {
    let ids: Vec<UserId> = (0..200).map(|_| UserId::new()).collect();
    let changes = ids.iter().enumerate().map(|(i, &id)| {
        bed.write(move |conn| {
            Box::pin(async move {
                store::users::insert(conn, &user(id)).await?;
                if i % 2 == 0 { Ok(()) } else { Err(StoreError::Stopped) }
            })
        })
    });
    let results = futures_util::future::join_all(changes).await;
    for (i, (id, result)) in ids.iter().zip(&results).enumerate() {
        assert_eq!(result.is_ok(), i % 2 == 0, "change {i}: {result:?}");
        assert_eq!(exists(bed, *id).await, i % 2 == 0, "row {i}");
    }
}

async fn a_taken_name_is_told_by_its_kind(bed: &Bed) {
    let again = host(HostId::new(), bed.user, "host");
    let result = bed.write(move |conn| Box::pin(async move { store::hosts::insert(conn, &again).await })).await;
    assert!(matches!(result, Err(StoreError::Constraint(Constraint::Name(Kind::Host)))), "{result:?}");
    let orphan = host(HostId::new(), UserId::new(), "other");
    let result = bed.write(move |conn| Box::pin(async move { store::hosts::insert(conn, &orphan).await })).await;
    // SQLite checks at the statement, PostgreSQL too: nobody can own a host without being there.
    assert!(matches!(result, Err(StoreError::Constraint(Constraint::Reference))), "{result:?}");
}

async fn a_change_stands_though_its_caller_went_away(bed: &Bed) {
    let id = UserId::new();
    let (entered, inside) = tokio::sync::oneshot::channel();
    let (release, held) = tokio::sync::oneshot::channel::<()>();
    let mut call = Box::pin(bed.write(move |conn| {
        Box::pin(async move {
            let _ = entered.send(());
            let _ = held.await;
            store::users::insert(conn, &user(id)).await
        })
    }));
    tokio::select! {
        _ = &mut call => panic!("it ended before it was let go on"),
        _ = inside => {}
    }
    drop(call);
    release.send(()).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !exists(bed, id).await {
        assert!(tokio::time::Instant::now() < deadline, "the change was lost with its caller");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_panic_in_a_change_undoes_it_and_harms_nobody_else(bed: &Bed) {
    let (broken, whole) = (UserId::new(), UserId::new());
    let result = bed
        .write(move |conn| {
            Box::pin(async move {
                store::users::insert(conn, &user(broken)).await?;
                panic!("on purpose");
                #[allow(unreachable_code, reason = "gives the block its type")]
                Ok(())
            })
        })
        .await;
    assert!(matches!(result, Err(StoreError::Defect)), "told as what it is: {result:?}");
    bed.write(move |conn| Box::pin(async move { store::users::insert(conn, &user(whole)).await })).await.unwrap();
    assert!(!exists(bed, broken).await && exists(bed, whole).await);
}

async fn a_repeated_idempotency_key_is_told(bed: &Bed) {
    let owner = bed.user;
    let insert = || {
        bed.write(move |conn| {
            Box::pin(async move {
                let stored = store::idempotency::Stored {
                    fingerprint: vec![1],
                    kind: Kind::Job,
                    id: owner.uuid(),
                    sealed: None,
                };
                store::idempotency::insert(conn, owner, &[7; 32], &stored, dockerforge_coordinator::clock::now()).await
            })
        })
    };
    insert().await.unwrap();
    let result = insert().await;
    assert!(matches!(result, Err(StoreError::Constraint(Constraint::IdempotencyKey))), "{result:?}");
}

async fn a_transaction_that_cannot_begin_is_a_failure_of_the_database(bed: &Bed) {
    let id = UserId::new();
    let insert = || bed.write(move |conn| Box::pin(async move { store::users::insert(conn, &user(id)).await }));
    let refusing = bed.refuse_transactions().await;
    let result = insert().await;
    assert!(matches!(result, Err(StoreError::Database(_))), "{result:?}");
    refusing.end().await;
    insert().await.unwrap();
    assert!(exists(bed, id).await);
}
