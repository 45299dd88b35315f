//! What the settings say of hosts that users share.

use super::{ConfigError, MIB, ServeArgs};
use crate::domain::placement::{MAX_PIDS, PoolRules, Strategy};
use dockerforge_protocol::spec::Resources;

/// What holds on pool hosts.
pub(super) fn pool(args: &ServeArgs) -> Result<PoolRules, ConfigError> {
    // Out of range becomes more than any host has, which is out of range there too.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    let milli = |cpus: f64| if (0.0..=1_024.0).contains(&cpus) { (cpus * 1000.0).round() as u64 } else { u64::MAX };
    let wrong =
        |key: &'static str| move |error: dockerforge_protocol::spec::Invalid| ConfigError::Pool(key, error.to_string());
    let headroom_cpus = milli(args.pool_headroom_cpus.unwrap_or(0.25));
    if headroom_cpus == u64::MAX {
        return Err(ConfigError::Pool("pool-headroom-cpus", "expected 0 to 1024 processors".to_owned()));
    }
    let pids = args.pool_default_pids.unwrap_or(256);
    if pids > MAX_PIDS.into() {
        return Err(ConfigError::Pool("pool-default-pids", format!("expected at most {MAX_PIDS}")));
    }
    // Docker's client has a signed 32-bit number for it.
    let build_memory = args.pool_build_memory_mib.unwrap_or(1024);
    if build_memory > 2047 {
        return Err(ConfigError::Pool("pool-build-memory-mib", "expected at most 2047 MiB".to_owned()));
    }
    let build = Resources {
        cpus: Some(milli(args.pool_build_cpus.unwrap_or(1.0)).try_into().map_err(wrong("pool-build-cpus"))?),
        memory: Some((build_memory * MIB).try_into().map_err(wrong("pool-build-memory-mib"))?),
        pids: None,
    };
    let strategy = args.pool_strategy.as_deref().map_or(Some(Strategy::default()), Strategy::parse);
    Ok(PoolRules {
        headroom_cpus,
        headroom_memory: args.pool_headroom_memory_mib.unwrap_or(512).saturating_mul(MIB),
        cpus: milli(args.pool_default_cpus.unwrap_or(0.5)).try_into().map_err(wrong("pool-default-cpus"))?,
        memory: args
            .pool_default_memory_mib
            .unwrap_or(256)
            .saturating_mul(MIB)
            .try_into()
            .map_err(wrong("pool-default-memory-mib"))?,
        pids: pids.try_into().map_err(wrong("pool-default-pids"))?,
        build,
        strategy: strategy
            .ok_or_else(|| ConfigError::Pool("pool-strategy", "expected spread, binpack or random".to_owned()))?,
    })
}
