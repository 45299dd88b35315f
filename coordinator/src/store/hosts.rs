//! Hosts: the rows, their sessions' epochs, and what was last heard of them.

use super::pages::{self, Condition, List, Value};
use super::rows::{document, json, maybe_json, maybe_time, text, time, unsigned, word};
use super::{Conn, StoreError, is_postgres, labels, micros, on};
use crate::domain::arrival::Arrival;
use crate::domain::host::{AgentFacts, Host, HostState};
use crate::domain::page::{Found, Page};
use crate::domain::{Kind, Timestamp};
use dockerforge_protocol::ids::{HostId, InstanceId, UserId};
use dockerforge_protocol::inventory::{DockerInfo, Heartbeat};
use dockerforge_protocol::spec::Labels;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use std::net::IpAddr;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct HostRow {
    id: Uuid,
    user_id: Uuid,
    name: String,
    state: String,
    labels: String,
    created_at: i64,
    enrolled_at: Option<i64>,
    last_seen_at: Option<i64>,
    hostname: Option<String>,
    agent_version: Option<String>,
    instance: Option<Uuid>,
    boot_id: Option<String>,
    slots: Option<i64>,
    capacity: Option<String>,
    docker: Option<String>,
    docker_ping_age_ms: Option<i64>,
    usage: Option<String>,
    session_epoch: i64,
    certificate_not_after: Option<i64>,
    clock_offset_ms: Option<i64>,
    faults: String,
    conflict: Option<String>,
    pool: bool,
    draining: bool,
    revision: i64,
}

/// An [`Arrival`] as it is kept.
#[derive(Serialize, Deserialize)]
struct ArrivalDocument {
    instance: InstanceId,
    boot_id: String,
    hostname: String,
    from: IpAddr,
    at: i64,
}

/// The state that is shown. A host in conflict is stored as an unreachable one with a reason, for that is what its
/// silence is to all that counts it.
macro_rules! state {
    () => {
        "CASE WHEN state = 'unreachable' AND conflict IS NOT NULL THEN 'conflict' ELSE state END"
    };
}

impl TryFrom<HostRow> for Host {
    type Error = StoreError;
    fn try_from(row: HostRow) -> Result<Self, StoreError> {
        let agent = match (row.hostname, row.agent_version, row.instance, row.boot_id, row.slots, row.capacity) {
            (Some(hostname), Some(agent_version), Some(instance), Some(boot_id), Some(slots), Some(capacity)) => {
                Some(AgentFacts {
                    hostname,
                    agent_version,
                    instance: InstanceId::from_uuid(instance),
                    boot_id,
                    slots: unsigned("hosts.slots", slots)?,
                    capacity: json("hosts.capacity", &capacity)?,
                    docker: maybe_json("hosts.docker", row.docker.as_deref())?,
                })
            }
            _ => None,
        };
        Ok(Self {
            id: HostId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            name: text("hosts.name", &row.name)?,
            state: word("hosts.state", &row.state, HostState::parse(&row.state))?,
            labels: json("hosts.labels", &row.labels)?,
            created_at: time("hosts.created_at", row.created_at)?,
            enrolled_at: maybe_time("hosts.enrolled_at", row.enrolled_at)?,
            last_seen_at: maybe_time("hosts.last_seen_at", row.last_seen_at)?,
            agent,
            session_epoch: unsigned("hosts.session_epoch", row.session_epoch)?,
            docker_ping_age_ms: row
                .docker_ping_age_ms
                .map(|age| unsigned("hosts.docker_ping_age_ms", age))
                .transpose()?,
            usage: maybe_json("hosts.usage", row.usage.as_deref())?,
            certificate_ends_at: maybe_time("certificates.not_after", row.certificate_not_after)?,
            clock_offset_ms: row.clock_offset_ms,
            faults: watch::faults(&row.faults)?,
            conflict: row.conflict,
            pool: row.pool,
            draining: row.draining,
            revision: unsigned("hosts.revision", row.revision)?,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, name, ",
            state!(),
            " AS state, labels, created_at, enrolled_at, last_seen_at, hostname, agent_version, instance, ",
            "boot_id, slots, capacity, docker, docker_ping_age_ms, usage, session_epoch, conflict, pool, draining, revision, clock_offset_ms, faults, ",
            "(SELECT MAX(not_after) FROM certificates WHERE host_id = hosts.id AND revoked_at IS NULL) AS certificate_not_after FROM hosts ",
            $rest
        )
    };
}

mod watch;

pub use watch::{count_by_state, oldest, set_faults};

/// A new host.
pub async fn insert(conn: &mut Conn, host: &Host) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "INSERT INTO hosts (id, user_id, name, state, labels, created_at, pool) VALUES ($1, $2, $3, $4, $5, $6, $7)"
    )
    .bind(host.id.uuid())
    .bind(host.user.uuid())
    .bind(host.name.as_str())
    .bind(host.state.as_str())
    .bind(document(&host.labels))
    .bind(micros(host.created_at))
    .bind(host.pool)
    .execute(c)
    .await?
    .rows_affected());
    labels::add(conn, host.user, Kind::Host, host.id.uuid(), &host.labels, false).await
}

/// One host of a user's.
pub async fn get(conn: &mut Conn, user: UserId, id: HostId) -> Result<Option<Host>, StoreError> {
    let row: Option<HostRow> = on!(conn, |c| sqlx::query_as(select!("WHERE id = $1 AND user_id = $2"))
        .bind(id.uuid())
        .bind(user.uuid())
        .fetch_optional(c)
        .await?);
    row.map(Host::try_from).transpose()
}

/// One host, for the coordinator's own work; never for a user's request.
pub async fn find(conn: &mut Conn, id: HostId) -> Result<Option<Host>, StoreError> {
    let row: Option<HostRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE id = $1")).bind(id.uuid()).fetch_optional(c).await?);
    row.map(Host::try_from).transpose()
}

/// Keeps a host's state as it is for the rest of the transaction: what is made on it is made before it is deleted, or
/// sees that it is.
pub async fn hold(conn: &mut Conn, id: HostId) -> Result<(), StoreError> {
    if is_postgres(conn) {
        on!(conn, |c| sqlx::query("SELECT 1 FROM hosts WHERE id = $1 FOR SHARE")
            .bind(id.uuid())
            .fetch_optional(c)
            .await?
            .is_some());
    }
    Ok(())
}

/// Takes a host's row for the rest of the transaction, before deciding from it what to write to it.
pub async fn hold_alone(conn: &mut Conn, id: HostId) -> Result<(), StoreError> {
    if is_postgres(conn) {
        on!(conn, |c| sqlx::query("SELECT 1 FROM hosts WHERE id = $1 FOR UPDATE")
            .bind(id.uuid())
            .fetch_optional(c)
            .await?
            .is_some());
    }
    Ok(())
}

/// The machines that came with the host's identity, the newest last.
pub async fn arrivals(conn: &mut Conn, id: HostId) -> Result<Vec<Arrival>, StoreError> {
    let stored: Option<Option<String>> = on!(conn, |c| sqlx::query_scalar("SELECT arrivals FROM hosts WHERE id = $1")
        .bind(id.uuid())
        .fetch_optional(c)
        .await?);
    let stored: Option<Vec<ArrivalDocument>> = maybe_json("hosts.arrivals", stored.flatten().as_deref())?;
    let arrival = |a: ArrivalDocument| {
        let at = time("hosts.arrivals", a.at)?;
        Ok(Arrival { instance: a.instance, boot_id: a.boot_id, hostname: a.hostname, from: a.from, at })
    };
    stored.unwrap_or_default().into_iter().map(arrival).collect()
}

/// Keeps the machines that came with the host's identity.
pub async fn set_arrivals(conn: &mut Conn, id: HostId, arrivals: &[Arrival]) -> Result<(), StoreError> {
    let document = |a: &Arrival| ArrivalDocument {
        instance: a.instance,
        boot_id: a.boot_id.clone(),
        hostname: a.hostname.clone(),
        from: a.from,
        at: micros(a.at),
    };
    let documents: Vec<ArrivalDocument> = arrivals.iter().map(document).collect();
    on!(conn, |c| sqlx::query("UPDATE hosts SET arrivals = $2 WHERE id = $1")
        .bind(id.uuid())
        .bind(self::document(&documents))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Puts a host in conflict. The session that it has is superseded by that.
pub async fn set_conflict(conn: &mut Conn, id: HostId, reason: &str) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "UPDATE hosts SET state = 'unreachable', conflict = $2, session_epoch = session_epoch + 1 WHERE id = $1"
    )
    .bind(id.uuid())
    .bind(reason)
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// Says what a host's user calls it by, and whether it takes anything new.
pub async fn update(conn: &mut Conn, host: &Host) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE hosts SET labels = $2, draining = $3, revision = revision + 1 WHERE id = $1")
        .bind(host.id.uuid())
        .bind(document(&host.labels))
        .bind(host.draining)
        .execute(c)
        .await?
        .rows_affected());
    labels::set(conn, host.user, Kind::Host, host.id.uuid(), &host.labels).await
}

/// Which hosts a list is of.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this name.
    pub name: Option<String>,
    /// In this state.
    pub state: Option<HostState>,
    /// With all of these labels.
    pub labels: Labels,
}

/// The state that is shown, as its index has it.
const SHOWN: &str = concat!("(", state!(), ")");

/// A page of a user's hosts, newest first.
pub async fn list(conn: &mut Conn, user: UserId, filter: &Filter, page: Page) -> Result<Found<Host>, StoreError> {
    let mut conditions = Vec::new();
    conditions.extend(filter.name.clone().map(|name| Condition::Column("name", Value::Text(name))));
    conditions.extend(filter.state.map(|state| Condition::Column(SHOWN, Value::Text(state.as_str().to_owned()))));
    conditions.extend(pages::labelled(Some(user.uuid()), Kind::Host, &filter.labels));
    let list = List {
        select: select!(""),
        table: "hosts",
        scope: vec![("user_id", Value::Id(user.uuid()))],
        conditions,
        after: page.after,
        limit: page.limit,
    };
    pages::read::<HostRow, _>(conn, &list).await?.try_map(Host::try_from)
}

/// The hosts that users share, oldest first, without those that are on their way out.
pub async fn pool(conn: &mut Conn) -> Result<Vec<Host>, StoreError> {
    let rows: Vec<HostRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE pool = TRUE AND state <> 'deleting' ORDER BY id"))
            .fetch_all(c)
            .await?);
    rows.into_iter().map(Host::try_from).collect()
}

/// All hosts of a user's.
pub async fn all_of_user(conn: &mut Conn, user: UserId) -> Result<Vec<HostId>, StoreError> {
    let ids: Vec<Uuid> = on!(conn, |c| sqlx::query_scalar("SELECT id FROM hosts WHERE user_id = $1 ORDER BY id")
        .bind(user.uuid())
        .fetch_all(c)
        .await?);
    Ok(ids.into_iter().map(HostId::from_uuid).collect())
}

/// How many hosts have a live session, so that the heartbeat's period can grow with them.
pub async fn count_online(conn: &mut Conn) -> Result<u64, StoreError> {
    let count: i64 =
        on!(conn, |c| sqlx::query_scalar("SELECT COUNT(*) FROM hosts WHERE state = 'online'").fetch_one(c).await?);
    unsigned("hosts.count", count)
}

/// Begins a session: a new epoch, and what the agent told of itself. Answers the epoch, or nothing if the host is gone.
pub async fn begin_session(
    conn: &mut Conn,
    id: HostId,
    facts: &AgentFacts,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let epoch: Option<i64> = on!(conn, |c| {
        sqlx::query_scalar(
        "UPDATE hosts SET session_epoch = session_epoch + 1, last_seen_at = $2, hostname = $3, agent_version = $4, instance = $5, \
         boot_id = $6, slots = $7, capacity = $8, docker = $9, docker_ping_age_ms = NULL, clock_offset_ms = NULL, \
         state = CASE WHEN state = 'deleting' THEN state ELSE 'online' END \
         WHERE id = $1 RETURNING session_epoch"
    )
    .bind(id.uuid())
    .bind(micros(now))
    .bind(&facts.hostname)
    .bind(&facts.agent_version)
    .bind(facts.instance.uuid())
    .bind(&facts.boot_id)
    .bind(i64::from(facts.slots))
    .bind(document(&facts.capacity))
    .bind(facts.docker.as_ref().map(document))
    .fetch_optional(c)
    .await?
    });
    epoch.map(|epoch| unsigned("hosts.session_epoch", epoch)).transpose()
}

/// Whether this session is still the host's newest. Held for the rest of the transaction, so that nothing of a
/// superseded session is committed beside a newer one's welcome.
pub async fn fence(conn: &mut Conn, id: HostId, epoch: u64) -> Result<bool, StoreError> {
    const SQL: &str = "SELECT 1 FROM hosts WHERE id = $1 AND session_epoch = $2";
    const LOCKED: &str = "SELECT 1 FROM hosts WHERE id = $1 AND session_epoch = $2 FOR SHARE";
    let sql = if is_postgres(conn) { LOCKED } else { SQL };
    let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    let row = on!(conn, |c| sqlx::query(sql).bind(id.uuid()).bind(epoch).fetch_optional(c).await?.is_some());
    Ok(row)
}

/// Notes a sign of life.
pub async fn heard(conn: &mut Conn, id: HostId, beat: &Heartbeat, now: Timestamp) -> Result<(), StoreError> {
    let age = beat.docker_ping_age_ms.map(|age| i64::try_from(age).unwrap_or(i64::MAX));
    let offset = beat.clock_us.saturating_sub(micros(now)) / 1000;
    on!(conn, |c| sqlx::query(
        "UPDATE hosts SET last_seen_at = $2, docker_ping_age_ms = $3, usage = $4, clock_offset_ms = $5, \
         state = CASE WHEN state = 'unreachable' THEN 'online' ELSE state END WHERE id = $1"
    )
    .bind(id.uuid())
    .bind(micros(now))
    .bind(age)
    .bind(document(&beat.usage))
    .bind(offset)
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// Notes that Docker came, went or changed.
pub async fn set_docker(conn: &mut Conn, id: HostId, docker: Option<&DockerInfo>) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE hosts SET docker = $2 WHERE id = $1")
        .bind(id.uuid())
        .bind(docker.map(document))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Notes that an agent got the host's identity. A session that an earlier identity began is superseded by that, and what
/// came with that identity counts no more.
pub async fn set_enrolled(conn: &mut Conn, id: HostId, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "UPDATE hosts SET enrolled_at = $2, session_epoch = session_epoch + 1, arrivals = NULL, conflict = NULL WHERE id = $1"
    )
        .bind(id.uuid())
        .bind(micros(now))
        .execute(c)
        .await?
        .rows_affected()
    });
    Ok(())
}

/// Puts a host on its way out.
pub async fn mark_deleting(conn: &mut Conn, id: HostId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE hosts SET state = 'deleting', revision = revision + 1 WHERE id = $1")
        .bind(id.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Marks the hosts that were not heard of since `before` as unreachable; answers which.
pub async fn mark_unreachable(conn: &mut Conn, before: Timestamp) -> Result<Vec<(HostId, UserId)>, StoreError> {
    let rows: Vec<(Uuid, Uuid)> = on!(conn, |c| sqlx::query_as(
        "UPDATE hosts SET state = 'unreachable' WHERE state = 'online' AND last_seen_at < $1 RETURNING id, user_id"
    )
    .bind(micros(before))
    .fetch_all(c)
    .await?);
    Ok(rows.into_iter().map(|(host, user)| (HostId::from_uuid(host), UserId::from_uuid(user))).collect())
}

/// Hosts that were not heard of since `before`, deleting ones among them.
pub async fn silent_since(conn: &mut Conn, before: Timestamp) -> Result<Vec<HostId>, StoreError> {
    let ids: Vec<Uuid> = on!(conn, |c| sqlx::query_scalar("SELECT id FROM hosts WHERE last_seen_at < $1")
        .bind(micros(before))
        .fetch_all(c)
        .await?);
    Ok(ids.into_iter().map(HostId::from_uuid).collect())
}

/// Removes the row of a host and what hangs on it. Its containers' rows must be gone.
pub async fn remove(conn: &mut Conn, id: HostId) -> Result<(), StoreError> {
    for sql in [
        // Whoever had something on another's host never learns which it was.
        "UPDATE jobs SET host_id = NULL, command = NULL WHERE host_id = $1 AND ended_at IS NOT NULL \
         AND user_id <> (SELECT user_id FROM hosts WHERE id = $1)",
        "DELETE FROM host_tenants WHERE host_id = $1",
        "DELETE FROM join_tokens WHERE host_id = $1",
        "DELETE FROM certificates WHERE host_id = $1",
        "DELETE FROM image_hosts WHERE host_id = $1",
        "DELETE FROM labels WHERE resource_id = $1",
        "DELETE FROM hosts WHERE id = $1",
    ] {
        on!(conn, |c| sqlx::query(sql).bind(id.uuid()).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// Whether there is a host that was not heard of since `before` and is not known for it yet, or has jobs in work.
pub async fn any_silent(conn: &mut Conn, before: Timestamp) -> Result<bool, StoreError> {
    let row = on!(conn, |c| {
        sqlx::query(
        "SELECT 1 FROM hosts WHERE last_seen_at < $1 AND (state = 'online' OR EXISTS \
         (SELECT 1 FROM jobs WHERE jobs.host_id = hosts.id AND jobs.ended_at IS NULL AND jobs.state IN ('assigned', 'running'))) LIMIT 1"
    )
    .bind(micros(before))
    .fetch_optional(c)
    .await?
    .is_some()
    });
    Ok(row)
}

/// The states of hosts and when they were last heard of, for things that were found on them.
pub async fn states(
    conn: &mut Conn,
    ids: &[HostId],
) -> Result<Vec<(HostId, HostState, Option<Timestamp>)>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Uuid, String, Option<i64>)> = on!(conn, |c| {
        let mut q = QueryBuilder::new(concat!("SELECT id, ", state!(), ", last_seen_at FROM hosts WHERE id IN ("));
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        q.push(")");
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter()
        .map(|(id, state, seen)| {
            let state = word("hosts.state", &state, HostState::parse(&state))?;
            Ok((HostId::from_uuid(id), state, maybe_time("hosts.last_seen_at", seen)?))
        })
        .collect()
}

/// How many containers and images are on a host still, whoever's they are.
pub async fn belongings(conn: &mut Conn, id: HostId) -> Result<u64, StoreError> {
    let count: i64 = on!(conn, |c| {
        sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM containers WHERE host_id = $1) + (SELECT COUNT(*) FROM image_hosts WHERE host_id = $1)"
    )
    .bind(id.uuid())
    .fetch_one(c)
    .await?
    });
    unsigned("count", count)
}
