//! What containers are given of their host, on the fake engine and a real file system: only where nobody else is, never
//! what is Docker's or the agent's own, only what the host's owner allows, and looked at again at each start.

use crate::bench::{Bench, Options, container};
use dockerforge_agent::docker::fake::Moment;
use dockerforge_agent::policy::{HostAccessPolicy, Policy};
use dockerforge_protocol::command::{
    Command, CreateContainer, Hardening, RecreateContainer, StartContainer, docker_name,
};
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::{FailureKind, Outcome};
use dockerforge_protocol::spec::HostNamespace;
use std::os::unix::fs::symlink;
use std::path::Path;

fn mounting(bench: &Bench, source: &Path) -> CreateContainer {
    let bind = serde_json::json!({"source": source, "target": "/mnt/host"});
    container(bench, &serde_json::json!({"host_access": {"binds": [bind]}}).to_string())
}

async fn create(bench: &Bench, command: &CreateContainer) -> Outcome {
    bench.run(JobId::new(), 1, &Command::CreateContainer(command.clone())).await
}

fn refused(outcome: &Outcome) -> FailureKind {
    match outcome {
        Outcome::Failed { failure } => failure.kind,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test]
async fn a_mount_is_what_its_source_leads_to_and_never_dockers_nor_the_agents_own() {
    let bench = Bench::new();
    let there = tempfile::tempdir().unwrap();
    let at = |name: &str| there.path().join(name);
    for name in ["data", "engine/volumes"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    symlink(at("data"), at("link")).unwrap();
    symlink(at("engine/volumes"), at("volumes")).unwrap();
    symlink(bench.folder.path(), at("agent")).unwrap();
    bench.engine.world().own_paths = vec![at("engine")];
    std::fs::write(bench.folder.path().join("policy.toml"), "").unwrap();
    let bad = ["engine", "engine/volumes", "volumes", "agent", "agent/policy.toml", "missing"].map(at);
    for source in bad.iter().map(std::path::PathBuf::as_path).chain([there.path()]) {
        let outcome = create(&bench, &mounting(&bench, source)).await;
        assert_eq!(refused(&outcome), FailureKind::Policy, "{}: {outcome:?}", source.display());
    }
    assert!(bench.engine.world().containers.is_empty());
    let outcome = create(&bench, &mounting(&bench, &at("link"))).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    let world = bench.engine.world();
    let (_, new, _) = world.containers.values().next().unwrap();
    let source = at("data").canonicalize().unwrap();
    assert_eq!(
        new.host.binds[0].source.to_string(),
        source.display().to_string(),
        "not the link, but what it leads to"
    );
}

#[tokio::test]
async fn whichever_call_fails_a_container_with_a_mount_is_made_once() {
    let there = tempfile::tempdir().unwrap();
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let bench = Bench::new();
            let command = Command::CreateContainer(mounting(&bench, there.path()));
            let job = JobId::new();
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            if !matches!(first, Outcome::Succeeded { .. }) {
                let second = bench.run(job, 2, &command).await;
                assert!(matches!(second, Outcome::Succeeded { .. }), "call {n} failed {moment:?}: {second:?}");
            }
            let world = bench.engine.world();
            assert_eq!(world.containers.len(), 1, "call {n} failed {moment:?}");
            if matches!(first, Outcome::Succeeded { .. }) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_shared_host_and_an_owner_who_forbids_it_give_nothing_whoever_asks() {
    let spec = r#"{"resources":{"cpus":100,"memory":67108864,"pids":10},"host_access":{"privileged":true}}"#;
    let bench = Bench::new();
    let command = CreateContainer { hardening: Hardening::Pool, ..container(&bench, spec) };
    assert_eq!(refused(&create(&bench, &command).await), FailureKind::Policy);
    let policy = Policy { host_access: Some(HostAccessPolicy::All(false)), ..Policy::default() };
    let strict = Bench::with(Options { policy, ..Options::default() });
    assert_eq!(refused(&create(&strict, &container(&strict, spec)).await), FailureKind::Policy);
    let there = tempfile::tempdir().unwrap();
    let policy = Policy { host_mounts: Some(vec![there.path().join("only")]), ..Policy::default() };
    let narrow = Bench::with(Options { policy, ..Options::default() });
    assert_eq!(refused(&create(&narrow, &mounting(&narrow, there.path())).await), FailureKind::Policy);
    for bench in [bench, strict, narrow] {
        let world = bench.engine.world();
        assert!(world.containers.is_empty() && world.networks.is_empty(), "nothing was made before it was refused");
    }
}

#[tokio::test]
async fn in_the_hosts_network_there_is_no_network_of_the_users() {
    let bench = Bench::new();
    let spec = r#"{"cap_drop":["KILL"],"host_access":{"namespaces":["network","pid"]}}"#;
    let outcome = create(&bench, &container(&bench, spec)).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    let world = bench.engine.world();
    let (_, new, _) = world.containers.values().next().unwrap();
    assert_eq!(new.network, "host");
    assert!(new.host.joins(HostNamespace::Pid) && !new.host.joins(HostNamespace::Ipc));
    assert_eq!(new.drop_capabilities, ["KILL"]);
    assert!(world.networks.is_empty());
}

#[tokio::test]
async fn a_container_that_may_not_be_made_anew_so_runs_on_as_it_was() {
    let bench = Bench::new();
    let plain = container(&bench, "{}");
    create(&bench, &plain).await;
    let there = tempfile::tempdir().unwrap();
    bench.engine.world().own_paths = vec![there.path().to_owned()];
    let asked = CreateContainer { spec: mounting(&bench, there.path()).spec, ..plain.clone() };
    let command = RecreateContainer { create: asked, run: true, grace_s: 1 };
    let outcome = bench.run(JobId::new(), 1, &Command::RecreateContainer(command)).await;
    assert_eq!(refused(&outcome), FailureKind::Policy);
    let world = bench.engine.world();
    let (found, new, _) = world.containers.values().next().unwrap();
    assert_eq!((world.containers.len(), found.state), (1, ContainerState::Running));
    assert_eq!(new.name, docker_name(plain.container));
    assert!(new.host.is_empty());
}

#[tokio::test]
async fn a_source_that_became_a_link_is_not_mounted_at_the_next_start() {
    let bench = Bench::new();
    let there = tempfile::tempdir().unwrap();
    let (source, engine) = (there.path().join("data"), there.path().join("engine"));
    std::fs::create_dir_all(&engine).unwrap();
    std::fs::create_dir_all(&source).unwrap();
    bench.engine.world().own_paths = vec![engine.clone()];
    let command = mounting(&bench, &source);
    create(&bench, &command).await;
    bench.engine.world().containers.values_mut().for_each(|(found, ..)| found.state = ContainerState::Exited);
    let start = Command::StartContainer(StartContainer { container: command.container, user: command.user });
    std::fs::remove_dir(&source).unwrap();
    symlink(&engine, &source).unwrap();
    assert_eq!(refused(&bench.run(JobId::new(), 1, &start).await), FailureKind::Policy);
    std::fs::remove_file(&source).unwrap();
    std::fs::create_dir(&source).unwrap();
    let outcome = bench.run(JobId::new(), 1, &start).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
}
