//! A page of a list is as much work among 100,000 rows as among a few: for every list, whatever is filtered by, however
//! rare it is. Work is counted, not timed: steps of SQLite's virtual machine, rows that PostgreSQL read.

use crate::bed::{Bed, user};
use dockerforge_coordinator::domain::container::ObservedState;
use dockerforge_coordinator::domain::host::HostState;
use dockerforge_coordinator::domain::job::{JobKind, JobState};
use dockerforge_coordinator::domain::page::Page;
use dockerforge_coordinator::domain::webhook::DeliveryState;
use dockerforge_coordinator::store::{self, Conn, StoreError, containers, hosts, images, jobs};
use dockerforge_protocol::ids::{HostId, ImageId, UserId, WebhookId};
use dockerforge_protocol::spec::Labels;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

crate::on_both! {
    a_page_is_as_much_work_among_many_rows_as_among_few
    filters_that_go_together_find_what_has_all_of_it
}

/// Rows that are few: more than one page looks at.
const FEW: i64 = 3_000;
const MANY: i64 = 100_000;
/// Of each list the oldest rows are of a rare kind.
const RARE: i64 = 10;
const PAGE: Page = Page { limit: 50, after: None };

/// What the lists are of.
#[derive(Clone, Copy)]
struct World {
    user: UserId,
    other: UserId,
    host: HostId,
    rare_host: HostId,
    images: [ImageId; 2],
    webhook: WebhookId,
}

fn literal(conn: &Conn, id: Uuid) -> String {
    let hex = id.simple();
    if matches!(conn, Conn::Postgres(_)) { format!("'{hex}'::uuid") } else { format!("X'{hex}'") }
}

async fn run(conn: &mut Conn, sql: String) -> Result<(), StoreError> {
    let sql = sqlx::AssertSqlSafe(sql);
    match conn {
        Conn::Sqlite(c) => sqlx::raw_sql(sql).execute(&mut **c).await.map(|_| ())?,
        Conn::Postgres(c) => sqlx::raw_sql(sql).execute(&mut **c).await.map(|_| ())?,
    }
    Ok(())
}

/// Rows `from..=to` of every list, with a name of SQL for what differs between the databases.
async fn fill(conn: &mut Conn, world: World, from: i64, to: i64) -> Result<(), StoreError> {
    let [user, other] = [world.user, world.other].map(|id| literal(conn, id.uuid()));
    let [host, rare_host] = [world.host, world.rare_host].map(|id| literal(conn, id.uuid()));
    let [even, odd] = world.images.map(|id| literal(conn, id.uuid()));
    let webhook = literal(conn, world.webhook.uuid());
    let (id, hash) = if matches!(conn, Conn::Postgres(_)) {
        ("lpad(to_hex(i), 32, '0')::uuid", "decode(lpad(to_hex(i), 64, '0'), 'hex')")
    } else {
        ("unhex(printf('%032x', i))", "unhex(printf('%064x', i))")
    };
    let rare = |rare: &str, usual: &str| format!("CASE WHEN i <= {RARE} THEN {rare} ELSE {usual} END");
    let (its_host, state, action) =
        (rare(&rare_host, &host), rare("'missing'", "'pending'"), rare("'user.delete'", "'container.create'"));
    let mut statements = vec![
        format!("INTO users (id, name, admin, state, created_at) SELECT {id}, 'z' || i, FALSE, 'active', 1 FROM n"),
        format!(
            "INTO tokens (id, user_id, name, key_hash, created_at) SELECT {id}, {user}, 't' || i, {hash}, 1 FROM n"
        ),
        format!(
            "INTO hosts (id, user_id, name, state, labels, created_at) SELECT {id}, {user}, 'h' || i, {}, '{{}}', 1 FROM n",
            rare("'deleting'", "'pending'")
        ),
        format!(
            "INTO images (id, user_id, name, state, public, reference, no_cache, labels, created_at) \
             SELECT {id}, CASE WHEN i % 2 = 0 THEN {user} ELSE {other} END, 'i' || i, 'ready', i % 2 = 1, 'debian:12', FALSE, '{{}}', 1 FROM n"
        ),
        format!("INTO image_hosts (image_id, host_id, state, changed_at) SELECT {id}, {its_host}, 'pending', 1 FROM n"),
        format!(
            "INTO containers (id, user_id, host_id, image_id, name, spec, desired, created_at, observed_state) \
             SELECT {id}, {user}, {its_host}, CASE WHEN i % 2 = 0 THEN {even} ELSE {odd} END, 'c' || i, '{{}}', 'running', 1, {state} FROM n"
        ),
        format!(
            "INTO jobs (id, user_id, host_id, command, kind, subject_kind, subject_id, state, run_after, deadline_at, created_at, ended_at) \
             SELECT {id}, {user}, {its_host}, '{{}}', CASE WHEN i % 2 = 0 THEN 'container.create' ELSE 'container.start' END, \
             'container', {id}, {}, 1, 1, 1, 1 FROM n",
            rare("'cancelled'", "'succeeded'")
        ),
        format!(
            "INTO events (at, user_id, kind, resource_kind, resource_id) SELECT 1, {user}, 'job.queued', 'job', {id} FROM n"
        ),
        format!(
            "INTO audit (at, actor_id, user_id, action, resource_kind, resource_id, request_id, remote) SELECT 1, {user}, {}, {action}, \
             'container', {id}, 'req_0192f0c1a2b37c4d8e5f60718293a4b5', '127.0.0.1' FROM n",
            rare(&other, &user)
        ),
        format!(
            "INTO deliveries (id, webhook_id, event_id, kind, body, state, created_at, ended_at) \
             SELECT {id}, {webhook}, i, 'job.queued', '{{}}', {}, 1, 1 FROM n",
            rare("'failed'", "'delivered'")
        ),
    ];
    for kind in ["host", "image", "container"] {
        let owner =
            if kind == "image" { format!("CASE WHEN i % 2 = 0 THEN {user} ELSE {other} END") } else { user.clone() };
        let public = if kind == "image" { "i % 2 = 1" } else { "FALSE" };
        let label = |key: &str, value: &str, of: &str| {
            format!(
                "INTO labels (user_id, kind, key, value, resource_id, public) SELECT {owner}, '{kind}', '{key}', '{value}', {id}, {public} FROM n WHERE {of}"
            )
        };
        if kind != "host" {
            statements.push(label("tier", "web", "TRUE"));
        }
        if kind == "container" {
            statements.push(label("parity", "odd", "i % 2 = 1"));
        }
        statements.push(label("rare", "yes", &format!("i <= {RARE}")));
    }
    let series = if matches!(conn, Conn::Postgres(_)) { "::bigint" } else { "" };
    for statement in statements {
        let n = format!("n (i) AS (SELECT {from}{series} UNION ALL SELECT i + 1 FROM n WHERE i < {to})");
        run(conn, format!("WITH RECURSIVE {n} INSERT {statement}")).await?;
    }
    Ok(())
}

async fn world(bed: &Bed) -> World {
    let world = World {
        user: bed.user,
        other: UserId::new(),
        host: bed.host,
        rare_host: HostId::new(),
        images: [ImageId::new(), ImageId::new()],
        webhook: WebhookId::new(),
    };
    let (other, host) = (user(world.other), crate::bed::host(world.rare_host, world.user, "rare"));
    bed.write(move |conn| {
        Box::pin(async move {
            store::users::insert(conn, &other).await?;
            store::hosts::insert(conn, &host).await?;
            for (id, name) in world.images.into_iter().zip(["even", "odd"]) {
                let mut image = crate::tenancy::image(world.user, false);
                (image.id, image.name) = (id, name.parse().unwrap());
                store::images::insert(conn, &image).await?;
            }
            let (id, user) = (literal(conn, world.webhook.uuid()), literal(conn, world.user.uuid()));
            let secret = if matches!(conn, Conn::Postgres(_)) { "'\\x00'" } else { "X'00'" };
            let columns = "id, user_id, url, kinds, everybody, sealed_secret, state, event_position, created_at";
            let values = format!("{id}, {user}, 'https://example.org/', '[]', FALSE, {secret}, 'active', 0, 1");
            run(conn, format!("INSERT INTO webhooks ({columns}) VALUES ({values})")).await
        })
    })
    .await
    .unwrap();
    world
}

/// How much work something is.
async fn work(conn: &mut Conn, list: &Listed) -> (u64, usize) {
    if let Conn::Sqlite(c) = &mut *conn {
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let count = move || {
            counted.fetch_add(10, Ordering::Relaxed);
            true
        };
        c.lock_handle().await.unwrap().set_progress_handler(10, count);
        let found = list(conn).await.unwrap();
        let Conn::Sqlite(c) = conn else { unreachable!() };
        c.lock_handle().await.unwrap().remove_progress_handler();
        return (steps.load(Ordering::Relaxed), found);
    }
    run(conn, "BEGIN".to_owned()).await.unwrap();
    let before = rows_read(conn).await;
    let found = list(conn).await.unwrap();
    let after = rows_read(conn).await;
    run(conn, "ROLLBACK".to_owned()).await.unwrap();
    (u64::try_from(after - before).unwrap(), found)
}

/// Entries of tables and indexes that this session has read and not yet reported.
async fn rows_read(conn: &mut Conn) -> i64 {
    let Conn::Postgres(c) = conn else { unreachable!() };
    let sql = "SELECT SUM(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid))::bigint FROM pg_class \
               WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')";
    sqlx::query_scalar(sql).fetch_one(&mut **c).await.unwrap()
}

/// A list, and how many rows its page has.
type Listed = Box<dyn for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<usize, StoreError>>>;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter().map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap()));
    Labels::try_from(pairs.collect::<std::collections::BTreeMap<_, _>>()).unwrap()
}

fn containers(user: UserId, filter: containers::Filter) -> Listed {
    Box::new(move |conn| {
        let filter = filter.clone();
        Box::pin(async move { Ok(containers::list(conn, user, &filter, PAGE).await?.items.len()) })
    })
}

/// Every list with every filter, what each finds among many rows, and whether filters go together in it.
fn lists(world: World) -> Vec<(&'static str, usize, bool, Listed)> {
    let World { user, other, host, rare_host, images: [even, _], webhook } = world;
    let rare = usize::try_from(RARE).unwrap();
    let of = containers::Filter::default;
    let mut lists: Vec<(&'static str, usize, bool, Listed)> = Vec::new();
    let missing = Some(ObservedState::Missing);
    let pending = Some(ObservedState::Pending);
    for (name, found, many, filter) in [
        ("containers", 50, false, of()),
        ("containers?name", 1, false, containers::Filter { name: Some("c7".into()), ..of() }),
        ("containers?host", 50, false, containers::Filter { host: Some(host), ..of() }),
        ("containers?host, rare", rare, false, containers::Filter { host: Some(rare_host), ..of() }),
        ("containers?image", 50, false, containers::Filter { image: Some(even), ..of() }),
        ("containers?state, rare", rare, false, containers::Filter { state: missing, ..of() }),
        ("containers?label", 50, false, containers::Filter { labels: labels(&[("tier", "web")]), ..of() }),
        ("containers?label, rare", rare, false, containers::Filter { labels: labels(&[("rare", "yes")]), ..of() }),
        ("containers?label, none", 0, false, containers::Filter { labels: labels(&[("tier", "db")]), ..of() }),
        ("containers?host&state", 0, true, containers::Filter { host: Some(host), state: missing, ..of() }),
        (
            "containers?host&image&state",
            50,
            true,
            containers::Filter { host: Some(host), image: Some(even), state: pending, ..of() },
        ),
        (
            "containers?label&label",
            rare,
            true,
            containers::Filter { labels: labels(&[("rare", "yes"), ("tier", "web")]), ..of() },
        ),
        (
            "containers?image&label, disjoint",
            0,
            true,
            containers::Filter { image: Some(even), labels: labels(&[("parity", "odd")]), ..of() },
        ),
        (
            "containers?name&label",
            1,
            true,
            containers::Filter { name: Some("c7".into()), labels: labels(&[("tier", "web")]), ..of() },
        ),
    ] {
        lists.push((name, found, many, containers(user, filter)));
    }
    macro_rules! list {
        ($name:literal, $found:expr, $many:expr, |$conn:ident| $page:expr) => {
            lists.push(($name, $found, $many, Box::new(move |$conn| Box::pin(async move { Ok($page.len()) }))));
        };
    }
    for (name, found, many, state, pairs) in [
        ("hosts", 50, false, None, &[][..]),
        ("hosts?state, rare", rare, false, Some(HostState::Deleting), &[]),
        ("hosts?state, none", 0, false, Some(HostState::Conflict), &[]),
        ("hosts?label, rare", rare, false, None, &[("rare", "yes")]),
        ("hosts?state&label", 0, true, Some(HostState::Deleting), &[("tier", "db")]),
    ] {
        let filter = hosts::Filter { name: None, state, labels: labels(pairs) };
        lists.push((
            name,
            found,
            many,
            Box::new(move |conn| {
                let filter = filter.clone();
                Box::pin(async move { Ok(hosts::list(conn, user, &filter, PAGE).await?.items.len()) })
            }),
        ));
    }
    for (name, found, many, wanted, host, pairs) in [
        ("images", 50, false, None, None, &[][..]),
        ("images?name, own", 1, false, Some("i8"), None, &[]),
        ("images?name, public", 1, false, Some("i7"), None, &[]),
        ("images?host", 50, true, None, Some(host), &[]),
        ("images?host, rare", rare, true, None, Some(rare_host), &[]),
        ("images?label", 50, false, None, None, &[("tier", "web")]),
        ("images?label, rare", rare, false, None, None, &[("rare", "yes")]),
        ("images?label&label, rare", rare, true, None, None, &[("rare", "yes"), ("tier", "web")]),
    ] {
        let filter = images::Filter { name: wanted.map(str::to_owned), host, labels: labels(pairs) };
        lists.push((
            name,
            found,
            many,
            Box::new(move |conn| {
                let filter = filter.clone();
                Box::pin(async move { Ok(images::list(conn, user, &filter, PAGE).await?.items.len()) })
            }),
        ));
    }
    for (name, found, many, state, kind, host) in [
        ("jobs", 50, false, None, None, None),
        ("jobs?state, rare", rare, false, Some(JobState::Cancelled), None, None),
        ("jobs?kind", 50, false, None, Some(JobKind::ContainerStart), None),
        ("jobs?kind, none", 0, false, None, Some(JobKind::ImageBuild), None),
        ("jobs?host, rare", rare, false, None, None, Some(rare_host)),
        ("jobs?state&kind", rare / 2, true, Some(JobState::Cancelled), Some(JobKind::ContainerStart), None),
        ("jobs?state&host", 0, true, Some(JobState::Cancelled), None, Some(host)),
    ] {
        let filter = jobs::Filter { state, kind, host };
        lists.push((
            name,
            found,
            many,
            Box::new(move |conn| {
                let filter = filter.clone();
                Box::pin(async move { Ok(jobs::list(conn, user, &filter, PAGE).await?.items.len()) })
            }),
        ));
    }
    for (name, found, many, user, action, resource) in [
        ("audit", 50, false, None, None, None),
        ("audit?user, rare", rare, false, Some(other), None, None),
        ("audit?action, rare", rare, false, None, Some("user.delete"), None),
        ("audit?resource", 1, false, None, None, Some(Uuid::from_u128(7))),
        ("audit?user&action", 0, true, Some(user), Some("user.delete"), None),
    ] {
        let resource = resource.map(|id| (dockerforge_coordinator::domain::Kind::Container, id));
        let filter = store::records::AuditFilter { user, action: action.map(str::to_owned), resource, after: None };
        lists.push((
            name,
            found,
            many,
            Box::new(move |conn| {
                let filter = filter.clone();
                Box::pin(async move { Ok(store::records::list_audit(conn, &filter, 50).await?.items.len()) })
            }),
        ));
    }
    list!("users", 50, false, |conn| store::users::list(conn, None, PAGE).await?);
    list!("users?name", 1, false, |conn| store::users::list(conn, Some("z7"), PAGE).await?);
    list!("tokens", 50, false, |conn| store::users::list_tokens(conn, user, PAGE).await?);
    list!("webhooks", 1, false, |conn| store::webhooks::list(conn, user, PAGE).await?);
    list!("deliveries", 50, false, |conn| store::webhooks::deliveries(conn, webhook, None, PAGE).await?);
    list!("deliveries?state, rare", rare, false, |conn| {
        store::webhooks::deliveries(conn, webhook, Some(DeliveryState::Failed), PAGE).await?
    });
    list!("events", 50, false, |conn| {
        store::events::list(conn, store::events::Range { after: 0, upto: i64::MAX, user: Some(user), limit: 50 })
            .await?
    });
    list!("events, all", 50, false, |conn| {
        store::events::list(conn, store::events::Range { after: 0, upto: i64::MAX, user: None, limit: 50 }).await?
    });
    lists
}

async fn measure(bed: &Bed, lists: &[(&'static str, usize, bool, Listed)]) -> Vec<(u64, usize)> {
    let mut conn = bed.read().await;
    if matches!(conn, Conn::Postgres(_)) {
        run(&mut conn, "ANALYZE".to_owned()).await.unwrap();
    }
    let mut figures = Vec::new();
    for (.., list) in lists {
        figures.push(work(&mut conn, list).await);
    }
    figures
}

async fn a_page_is_as_much_work_among_many_rows_as_among_few(bed: &Bed) {
    let world = world(bed).await;
    let lists = lists(world);
    bed.write(move |conn| Box::pin(fill(conn, world, 1, FEW))).await.unwrap();
    let few = measure(bed, &lists).await;
    bed.write(move |conn| Box::pin(fill(conn, world, FEW + 1, MANY))).await.unwrap();
    let many = measure(bed, &lists).await;
    let postgres = matches!(bed.read().await, Conn::Postgres(_));
    let mut failures = Vec::new();
    for (((name, expected, together, _), (few, _)), (many, found)) in lists.iter().zip(few).zip(many) {
        // Rows that PostgreSQL read: each of a page counts up to four times (in two indexes and two tables), and images are
        // two lists. With several filters some thousands at most; steps of SQLite are some dozens a row.
        let most = match (postgres, together) {
            (true, false) => 1_000,
            (true, true) => 12_000,
            (false, false) => 20_000,
            (false, true) => 250_000,
        };
        // Trees are a level deeper, and where rows are few PostgreSQL may find it cheaper to read all.
        let grows = !postgres && many > few * 2 + 500;
        if found != *expected || many > most || grows {
            failures.push(format!("{name}: {found} rows, {few} then {many} of work"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

async fn filters_that_go_together_find_what_has_all_of_it(bed: &Bed) {
    let world = world(bed).await;
    bed.write(move |conn| Box::pin(fill(conn, world, 1, FEW))).await.unwrap();
    let mut conn = bed.read().await;
    let mut all = async |filter: containers::Filter| {
        let (mut found, mut page, mut pages) = (Vec::new(), PAGE, 0);
        loop {
            let one = containers::list(&mut conn, world.user, &filter, page).await.unwrap();
            let full = one.items.len() == 50;
            page.after = one.stopped.or_else(|| one.items.last().filter(|_| full).map(|last| last.id.uuid()));
            found.extend(one.items.iter().map(|c| c.id.uuid().as_u128()));
            pages += 1;
            if page.after.is_none() {
                assert!(found.is_sorted_by(|a, b| a > b));
                return (found.len(), pages);
            }
        }
    };
    let [even, odd] = world.images;
    let of = |image, labelled: &[(&str, &str)]| containers::Filter {
        image: Some(image),
        host: Some(world.host),
        state: Some(ObservedState::Pending),
        labels: labels(labelled),
        ..containers::Filter::default()
    };
    let half = usize::try_from((FEW - RARE) / 2).unwrap();
    assert_eq!(all(of(odd, &[("parity", "odd"), ("tier", "web")])).await.0, half);
    assert_eq!(all(of(even, &[("tier", "web")])).await.0, half);
    // Each names many, no row has both: the pages are empty, and come to an end.
    let (found, pages) = all(of(even, &[("parity", "odd")])).await;
    assert_eq!((found, pages), (0, 2));
}
