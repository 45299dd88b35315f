//! Which room may look into which: the table of the architecture, as data. A room is a top-level module of a crate; a
//! room that is not named here is refused, so that a new one is placed on purpose. The lists only shrink.

use crate::source::Source;

/// One crate's table: the rooms, and for each the rooms it may name beside itself. `ALL` may name every room.
struct Table {
    krate: &'static str,
    rooms: &'static [(&'static str, &'static [&'static str])],
}

const ALL: &[&str] = &["*"];

const TABLES: &[Table] = &[
    Table {
        krate: "coordinator",
        rooms: &[
            // What starts everything may name everything.
            ("", ALL),
            ("main", ALL),
            ("app", ALL),
            ("config", &["store", "domain"]),
            ("clock", &[]),
            ("tasks", &[]),
            ("telemetry", &["config"]),
            // What is measured is measured where it happens; the room itself knows of nobody.
            ("metrics", &[]),
            // Down the one-way flow.
            ("http", &["access", "service", "events", "domain", "pki", "tasks", "metrics"]),
            ("access", &["domain"]),
            ("domain", &[]),
            (
                "service",
                &["access", "domain", "store", "queue", "build", "pki", "vault", "relay", "registry", "riyic", "clock"],
            ),
            ("store", &["domain", "tasks", "metrics"]),
            ("queue", &["store", "domain", "clock", "metrics"]),
            ("dispatch", &["queue", "store", "hub", "pki", "domain", "tasks", "clock", "metrics"]),
            ("hub", &["tasks", "pki", "relay"]),
            ("relay", &[]),
            ("riyic", &[]),
            ("pki", &["tasks"]),
            ("build", &["domain"]),
            ("events", &["store", "domain"]),
            ("vault", &["store"]),
            ("registry", &["store", "pki", "domain", "clock"]),
            ("webhooks", &["events", "vault", "store", "domain", "clock", "metrics"]),
            ("cli", &[]),
        ],
    },
    Table {
        krate: "agent",
        rooms: &[
            ("", ALL),
            ("main", ALL),
            ("agent", ALL),
            ("tasks", &[]),
            ("jitter", &[]),
            ("state", &[]),
            ("config", &["policy"]),
            ("dial", &["config"]),
            ("identity", &["config", "dial", "state", "jitter", "tasks"]),
            (
                "link",
                &[
                    "config",
                    "dial",
                    "identity",
                    "journal",
                    "executor",
                    "inventory",
                    "docker",
                    "state",
                    "streams",
                    "jitter",
                    "tasks",
                ],
            ),
            ("journal", &["state"]),
            ("executor", &["digest", "docker", "journal", "policy", "state", "tasks", "volumes"]),
            ("streams", &["docker", "exports", "policy", "tasks", "volumes"]),
            ("volumes", &["docker"]),
            ("exports", &["digest", "docker", "tasks"]),
            ("docker", &["digest"]),
            ("digest", &[]),
            ("inventory", &["docker", "jitter", "tasks"]),
            ("policy", &[]),
        ],
    },
    Table {
        krate: "protocol",
        rooms: &[
            ("", ALL),
            ("ids", &[]),
            ("spec", &["ids"]),
            ("command", &["ids", "spec"]),
            ("report", &["ids"]),
            ("inventory", &["ids", "spec"]),
            ("handshake", &["ids", "inventory", "report"]),
            ("stream", &["ids", "spec"]),
            ("message", &["command", "handshake", "inventory", "report", "stream"]),
            ("codec", &[]),
            ("enrolment", &["ids"]),
        ],
    },
];

fn table(krate: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.krate == krate)
}

/// The room of a file that no table knows.
pub fn unknown_room(source: &Source) -> Option<String> {
    let (krate, parts) = source.module()?;
    let room = parts.first().copied().unwrap_or_default();
    let known = table(krate)?.rooms.iter().any(|(name, _)| *name == room);
    (!known).then(|| format!("{krate}/{room}"))
}

/// Every name of a room that the file's own room may not look into.
pub fn imports_allowed(source: &Source) -> Vec<String> {
    let Some((krate, parts)) = source.module() else { return Vec::new() };
    let Some(table) = table(krate) else { return Vec::new() };
    let own = parts.first().copied().unwrap_or_default();
    let Some((_, allowed)) = table.rooms.iter().find(|(name, _)| *name == own) else { return Vec::new() };
    source
        .rooms_named()
        .into_iter()
        .filter(|(room, _)| room != own && *allowed != ALL && !allowed.contains(&room.as_str()))
        // What stands at the crate's root is a macro, not a room.
        .filter(|(room, _)| table.rooms.iter().any(|(name, _)| name == room))
        .map(|(room, line)| format!("{}:{line}: `{own}` may not look into `{room}`", source.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upward_import_is_a_breach_and_a_downward_one_is_not() {
        let up = Source::new("coordinator/src/hub/session.rs", "//! x\nuse crate::dispatch::Dispatch;");
        assert_eq!(imports_allowed(&up), ["coordinator/src/hub/session.rs:2: `hub` may not look into `dispatch`"]);
        let down = Source::new("coordinator/src/service/users.rs", "use crate::{access::Permit, store::Store};");
        assert_eq!(imports_allowed(&down), Vec::<String>::new());
        let sideways = Source::new("coordinator/src/domain/job.rs", "fn f() -> crate::store::Row {}");
        assert_eq!(imports_allowed(&sideways).len(), 1);
    }

    #[test]
    fn a_room_that_nobody_placed_is_noticed() {
        assert_eq!(unknown_room(&Source::new("agent/src/helpers.rs", "")).as_deref(), Some("agent/helpers"));
        assert_eq!(unknown_room(&Source::new("agent/src/link/dial.rs", "")), None);
        assert_eq!(unknown_room(&Source::new("agent/src/lib.rs", "")), None);
    }

    #[test]
    fn the_table_names_only_rooms_that_it_has_and_holds_no_circle() {
        for table in TABLES {
            let find = |room: &str| table.rooms.iter().find(|(name, _)| *name == room);
            for (room, allowed) in table.rooms.iter().filter(|(_, allowed)| *allowed != ALL) {
                // Whatever can be reached from a room must not lead back to it.
                let mut reached: Vec<&str> = allowed.to_vec();
                let mut next = 0;
                while next < reached.len() {
                    let (_, further) =
                        find(reached[next]).unwrap_or_else(|| panic!("{}: no room `{}`", table.krate, reached[next]));
                    reached.extend(further.iter().filter(|name| !reached.contains(name)).collect::<Vec<_>>());
                    next += 1;
                }
                assert!(!reached.contains(room), "{}: `{room}` leads back to itself", table.krate);
            }
        }
    }
}
