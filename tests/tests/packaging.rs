//! What is packaged is what the programs understand: each configuration file of `packaging/config` is loaded as it is
//! shipped, and again with every commented setting taken in. Run by `cargo test`; needs nothing.

use dockerforge_agent::config::RunArgs;
use dockerforge_coordinator::config::{Config, ServeArgs};
use std::path::{Path, PathBuf};

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config").join(name)
}

/// The file with each `#name = value` line as `name = value`; comments proper have a space after the `#`.
fn with_every_setting(name: &str, folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(packaged(name)).unwrap();
    let settings = text.lines().map(|line| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line));
    let settings = settings.collect::<Vec<_>>().join("\n");
    assert_ne!(settings.trim_end(), text.trim_end(), "{name} names no setting");
    let path = folder.join(name);
    std::fs::write(&path, settings).unwrap();
    path
}

fn is_setting(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" = ")
}

#[test]
fn the_coordinators_settings_file_is_understood_with_and_without_each_setting() {
    let folder = tempfile::tempdir().unwrap();
    for file in [packaged("coordinator.toml"), with_every_setting("coordinator.toml", folder.path())] {
        let config = Config::load(&ServeArgs { config: Some(file), ..ServeArgs::default() }).unwrap();
        // What the file gives as defaults are the defaults.
        assert_eq!(config.data_dir, Path::new("/var/lib/dockerforge"));
        assert_eq!(config.api_listen.to_string(), "127.0.0.1:7080");
        assert_eq!(config.agent_listen.to_string(), "0.0.0.0:7443");
        assert_eq!(config.ops_listen.map(|at| at.to_string()).as_deref(), Some("127.0.0.1:7090"));
        assert_eq!((config.job_retention_days, config.log_retention_days), (30, 7));
        assert_eq!(config.log_level, "info");
    }
}

#[test]
fn the_agents_settings_file_is_understood_with_and_without_each_setting() {
    let folder = tempfile::tempdir().unwrap();
    for file in [packaged("agent.toml"), with_every_setting("agent.toml", folder.path())] {
        let mut args = RunArgs { config: Some(file), ..RunArgs::default() }.with_file().unwrap();
        // The file of the token is an example, and is not there.
        args.token_file = None;
        args.coordinator = Some("https://coordinator.example".to_owned());
        let settings = args.resolve().unwrap();
        assert_eq!(settings.config.state_dir, Path::new("/var/lib/dockerforge-agent"));
        assert_eq!(settings.config.slots, 4);
        assert_eq!(settings.docker, "unix:///var/run/docker.sock");
    }
}

#[test]
fn the_policy_file_is_understood_with_and_without_each_setting() {
    let folder = tempfile::tempdir().unwrap();
    for file in [packaged("policy.toml"), with_every_setting("policy.toml", folder.path())] {
        dockerforge_agent::policy::Policy::load(Some(&file), folder.path()).unwrap();
    }
}

#[test]
fn the_alert_rules_and_the_dashboard_are_well_formed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let text = std::fs::read_to_string(folder.join("grafana/dockerforge.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.iter().all(|panel| panel["targets"].as_array().is_some_and(|targets| !targets.is_empty())));
    // Prometheus' own check, where it is installed: it is not needed to run the tests.
    let rules = folder.join("prometheus/dockerforge.rules.yml");
    if let Ok(checked) = std::process::Command::new("promtool").args(["check", "rules"]).arg(&rules).output() {
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}
