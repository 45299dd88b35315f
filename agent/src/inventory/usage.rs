//! What the machine has and uses, from `/proc` (proc(5)). Asked by the session for its hello and heartbeats. A figure
//! that cannot be read is 0 or absent: it never stops a heartbeat.

use dockerforge_protocol::inventory::{Capacity, Usage};
use std::path::Path;

/// Where Docker keeps its data, unless it was told otherwise.
const DOCKER_DATA: &str = "/var/lib/docker";

fn meminfo(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}

fn load_milli(text: &str) -> u64 {
    let (whole, part) = text.split_whitespace().next().and_then(|t| t.split_once('.')).unwrap_or(("0", "0"));
    let hundredths = part.get(..2).and_then(|p| p.parse::<u64>().ok()).unwrap_or_default();
    whole.parse::<u64>().unwrap_or_default() * 1000 + hundredths * 10
}

/// Total and free bytes of the disk with Docker's data.
fn disk() -> Option<(u64, u64)> {
    let path = if Path::new(DOCKER_DATA).exists() { DOCKER_DATA } else { "/" };
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// What the machine has.
#[must_use]
pub fn capacity() -> Capacity {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Capacity {
        cpus: std::thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok()).unwrap_or_default(),
        memory: meminfo(&text, "MemTotal"),
        disk: disk().map(|(total, _)| total),
    }
}

/// What the machine uses.
#[must_use]
pub fn usage(containers_running: Option<u32>) -> Usage {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Usage {
        load_milli: load_milli(&load),
        memory_used: meminfo(&memory, "MemTotal").saturating_sub(meminfo(&memory, "MemAvailable")),
        disk_free: disk().map(|(_, free)| free),
        containers_running,
    }
}

/// Which start of the kernel this is.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_as_it_is_written() {
        assert_eq!(meminfo("MemTotal:       16384 kB\nMemAvailable:    1 kB\n", "MemTotal"), 16384 * 1024);
        assert_eq!(meminfo("", "MemTotal"), 0);
        assert_eq!(load_milli("1.25 0.50 0.10 1/100 7\n"), 1250);
        assert_eq!(load_milli(""), 0);
    }
}
