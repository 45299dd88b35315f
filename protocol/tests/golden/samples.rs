//! One message, with fixed ids, for every variant: full ones, and ones in which everything optional is absent.

use dockerforge_protocol::{
    command::{
        BuildImage, Command, ContextRef, ConvergeContainer, Convergence, CopyImage, CreateContainer, DiscardContainer,
        ExecContainer, Hardening, PullImage, PushImage, ReceiveContainer, RecreateContainer, RemoveContainer,
        RemoveImage, RemoveUser, ResumeContainer, StartContainer, StopContainer, UpdateContainer,
    },
    handshake::{HeldJob, HeldState, Hello, JobVerdict, Refused, RefusedReason, Verdict, Welcome},
    ids::{ClusterId, ConfigurationId, ContainerId, HostId, ImageId, InstanceId, JobId, UserId},
    inventory::{
        Capacity, ContainerState, DockerInfo, Health, Heartbeat, Inventory, ObservedContainer, ObservedImage,
        ObservedPort, Usage,
    },
    message::{Assign, FromAgent, ToAgent},
    report::{
        AgentFailure, Attempt, FailureKind, Outcome, Product, Progress, Refusal, ResourceOutcome, ResourceStatus,
    },
    spec::{ContainerSpec, PortProtocol, Resources, RestartPolicy},
};
use std::{collections::BTreeMap, str::FromStr};

/// The id whose digits are all `digit`.
fn id<T: FromStr<Err: std::fmt::Debug>>(prefix: &str, digit: char) -> T {
    format!("{prefix}_{}", digit.to_string().repeat(32)).parse().unwrap()
}

fn attempt() -> Attempt {
    Attempt { job: id::<JobId>(JobId::PREFIX, 'a'), number: 3 }
}

fn user() -> UserId {
    id(UserId::PREFIX, '1')
}

fn image() -> ImageId {
    id(ImageId::PREFIX, '2')
}

fn container(digit: char) -> ContainerId {
    id(ContainerId::PREFIX, digit)
}

/// A spec that uses every field, as a user's JSON would make it.
fn full_spec() -> ContainerSpec {
    serde_json::from_str(
        r#"{"command":["httpd","-f","-p","80"],"env":{"LANG":"gl_ES.UTF-8","QUOTE":"$ ' \\ \" é"},
            "ports":[{"container":80,"host":8080},{"container":53,"protocol":"udp"}],
            "volumes":[{"volume":"data","target":"/var/lib/mysql"},{"volume":"conf","target":"/etc/app","read_only":true}],
            "resources":{"cpus":1500,"memory":268435456,"pids":100},"restart":"on-failure",
            "labels":{"com.example/tier":"web"}}"#,
    )
    .unwrap()
}

fn create(spec: ContainerSpec) -> Command {
    Command::CreateContainer(CreateContainer {
        container: container('3'),
        user: user(),
        name: "blog".parse().unwrap(),
        image: image(),
        spec,
        hardening: Hardening::Docker,
        converge: None,
    })
}

/// The rest of what a spec may have, in the forms that the full one does not have.
fn newer_specs() -> [(&'static str, ContainerSpec); 6] {
    let spec = |text: &str| serde_json::from_str(text).unwrap();
    [
        (
            "process",
            spec(
                r#"{"entrypoint":["/bin/tini","--"],"user":"1000:1000","workdir":"/srv/app","hostname":"blog",
                    "tmpfs":[{"path":"/tmp","size":67108864},{"path":"/run"}],"read_only":true,"init":true,
                    "stop_signal":"SIGQUIT","stop_grace":30,
                    "links":[{"container":"ctr_44444444444444444444444444444444","alias":"mysql"}],
                    "healthcheck":{"check":{"test":{"shell":"wget -q -O - http://127.0.0.1/"},"interval":5,"timeout":2,"retries":3,
                    "start_period":10}}}"#,
            ),
        ),
        ("check-program", spec(r#"{"healthcheck":{"check":{"test":{"program":["/check","-q"]}}},"entrypoint":[]}"#)),
        (
            "secrets",
            spec(
                r#"{"secrets":{"DB_PASSWORD":{"id":"sec_99999999999999999999999999999999","form":"file"},
                    "TOKEN":{"id":"sec_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","form":"env"}}}"#,
            ),
        ),
        ("check-none", spec(r#"{"healthcheck":"none"}"#)),
        ("cap-drop", spec(r#"{"cap_drop":["NET_RAW","SETUID"]}"#)),
        (
            "host-access",
            spec(
                r#"{"host_access":{"privileged":true,"cap_add":["NET_ADMIN","SYS_TIME"],"runtime":"runc",
                    "devices":[{"host":"/dev/fuse","container":"/dev/fuse","permissions":"rwm"}],
                    "binds":[{"source":"/srv/data","target":"/data","read_only":true},{"source":"/srv/x","target":"/x"}],
                    "namespaces":["network","pid","ipc","uts"],"sysctls":{"net.core.somaxconn":"1024"},
                    "security_options":["seccomp=unconfined","apparmor=unconfined"]}}"#,
            ),
        ),
    ]
}

fn on_pool() -> Command {
    match create(ContainerSpec::default()) {
        Command::CreateContainer(plain) => {
            Command::CreateContainer(CreateContainer { hardening: Hardening::Pool, ..plain })
        }
        other => other,
    }
}

fn resources() -> Vec<ResourceOutcome> {
    let outcome = |status, detail: &str| ResourceOutcome {
        resource: "mysql : databases".to_owned(),
        status,
        detail: detail.to_owned(),
    };
    vec![outcome(ResourceStatus::Changed, ""), outcome(ResourceStatus::Failed, "no such table")]
}

fn exec(full: bool) -> ExecContainer {
    ExecContainer {
        container: container('3'),
        user: user(),
        command: vec!["mysqldump".to_owned(), "--all".to_owned()],
        env: if full { BTreeMap::from([("A".parse().unwrap(), "b c".to_owned())]) } else { BTreeMap::new() },
        run_as: full.then(|| "mysql:mysql".parse().unwrap()),
        workdir: full.then(|| "/var/lib".parse().unwrap()),
        limit_s: 600,
        secrets: full,
    }
}

/// A container that is converged when it is made.
fn converged() -> Command {
    let Command::CreateContainer(plain) = create(ContainerSpec::default()) else { panic!("a creation is made here") };
    let context = ContextRef { sha256: "0e".repeat(32), size: 20_480 };
    let configuration = id(ConfigurationId::PREFIX, '4');
    let converge = Some(Convergence { configuration, version: 7, context, limit_s: 1800 });
    Command::CreateContainer(CreateContainer { converge, ..plain })
}

fn recreate() -> Command {
    let Command::CreateContainer(create) = create(full_spec()) else { panic!("a creation is made here") };
    Command::RecreateContainer(RecreateContainer { create, run: true, grace_s: 10 })
}

fn receive() -> Command {
    let Command::CreateContainer(create) = create(full_spec()) else { panic!("a creation is made here") };
    Command::ReceiveContainer(ReceiveContainer { create })
}

fn stop(grace_s: u32) -> StopContainer {
    StopContainer { container: container('3'), user: user(), grace_s }
}

fn build(build_args: BTreeMap<String, String>, no_cache: bool) -> Command {
    Command::BuildImage(BuildImage {
        image: image(),
        user: user(),
        context: ContextRef { sha256: "0f".repeat(32), size: 10_240 },
        dockerfile: "docker/Dockerfile".to_owned(),
        build_args,
        no_cache,
        limits: Resources::default(),
    })
}

fn limited_build() -> Command {
    let Command::BuildImage(build) = build(BTreeMap::new(), false) else { unreachable!() };
    let limits =
        Resources { cpus: Some(1000.try_into().unwrap()), memory: Some((1 << 30).try_into().unwrap()), pids: None };
    Command::BuildImage(BuildImage { limits, ..build })
}

/// Every message that goes down, by the name of its file.
pub fn to_agent() -> Vec<(String, ToAgent)> {
    let assign = |name: &str, command: Command| {
        (format!("assign-{name}"), ToAgent::Assign(Assign { attempt: attempt(), command, deadline_ms: 600_000 }))
    };
    let restart = |restart| create(ContainerSpec { restart, ..ContainerSpec::default() });
    let mut messages = vec![
        ("welcome".to_owned(), ToAgent::Welcome(welcome())),
        assign("create_container", create(full_spec())),
        assign("create_container-restart-no", restart(RestartPolicy::No)),
        assign("create_container-restart-always", restart(RestartPolicy::Always)),
        assign("create_container-restart-unless-stopped", restart(RestartPolicy::UnlessStopped)),
        assign("build_image", build(BTreeMap::from([("VERSION".to_owned(), "6.4".to_owned())]), true)),
        assign("build_image-plain", build(BTreeMap::new(), false)),
        assign("build_image-pool", limited_build()),
        assign(
            "remove_container",
            Command::RemoveContainer(RemoveContainer { container: container('3'), user: user(), volumes: true }),
        ),
        assign("exec_container", Command::ExecContainer(exec(true))),
        assign("exec_container-plain", Command::ExecContainer(exec(false))),
        assign(
            "converge_container",
            Command::ConvergeContainer(ConvergeContainer {
                container: container('3'),
                user: user(),
                configuration: id(ConfigurationId::PREFIX, '4'),
                version: 7,
                context: ContextRef { sha256: "0e".repeat(32), size: 20_480 },
                limit_s: 1800,
            }),
        ),
        assign(
            "update_container",
            Command::UpdateContainer(UpdateContainer {
                container: container('3'),
                user: user(),
                resources: full_spec().resources,
                restart: RestartPolicy::Always,
            }),
        ),
        assign("recreate_container", recreate()),
        assign("receive_container", receive()),
        assign(
            "resume_container",
            Command::ResumeContainer(ResumeContainer {
                container: container('3'),
                user: user(),
                restart: RestartPolicy::OnFailure,
            }),
        ),
        assign(
            "discard_container",
            Command::DiscardContainer(DiscardContainer {
                container: container('3'),
                user: user(),
                received_by: attempt().job,
            }),
        ),
        assign("start_container", Command::StartContainer(StartContainer { container: container('3'), user: user() })),
        assign("stop_container", Command::StopContainer(stop(10))),
        assign("restart_container", Command::RestartContainer(stop(300))),
        assign("copy_image", Command::CopyImage(CopyImage { image: image(), user: user() })),
        assign("push_image", Command::PushImage(PushImage { image: image(), user: user() })),
        assign(
            "pull_image",
            Command::PullImage(PullImage {
                image: image(),
                user: user(),
                reference: "127.0.0.1:5000/team/app:1.2".parse().unwrap(),
            }),
        ),
        assign("remove_image", Command::RemoveImage(RemoveImage { image: image(), user: user() })),
        assign("remove_user", Command::RemoveUser(RemoveUser { user: user(), volumes: true })),
        ("cancel".to_owned(), ToAgent::Cancel { attempt: attempt() }),
        ("result_ack".to_owned(), ToAgent::ResultAck { attempt: attempt() }),
        ("log_ack".to_owned(), ToAgent::LogAck { attempt: attempt(), upto: 5_000_000_000 }),
        ("certificate".to_owned(), ToAgent::Certificate { certificate: "-----BEGIN CERTIFICATE-----\n".to_owned() }),
    ];
    for (name, spec) in newer_specs() {
        messages.push(assign(&format!("create_container-{name}"), create(spec)));
    }
    messages.push(assign("create_container-pool", on_pool()));
    messages.push(assign("create_container-converge", converged()));
    for (name, reason) in [
        ("version", RefusedReason::Version),
        ("identity", RefusedReason::Identity),
        ("revoked", RefusedReason::Revoked),
        ("superseded", RefusedReason::Superseded),
        ("conflict", RefusedReason::Conflict),
        ("protocol", RefusedReason::Protocol),
        ("timeout", RefusedReason::Timeout),
        ("unavailable", RefusedReason::Unavailable),
    ] {
        let detail = "why it is so".to_owned();
        messages.push((format!("refused-{name}"), ToAgent::Refused(Refused { reason, detail })));
    }
    messages.extend(super::streams::to_agent());
    messages
}

fn welcome() -> Welcome {
    let verdict = |digit, verdict| JobVerdict { attempt: Attempt { job: id("job", digit), number: 1 }, verdict };
    Welcome {
        version: 1,
        coordinator_version: "0.1.0".to_owned(),
        epoch: 42,
        heartbeat_ms: 5_000,
        jobs: vec![
            verdict('a', Verdict::Continue { log_from: 65_536 }),
            verdict('b', Verdict::Cancel { log_from: 0 }),
            verdict('c', Verdict::Forget),
        ],
    }
}

fn docker() -> DockerInfo {
    DockerInfo { version: "20.10.24".to_owned(), api_version: "1.41".to_owned(), platform: "linux/amd64".to_owned() }
}

fn hello(docker: Option<DockerInfo>, disk: Option<u64>, jobs: Vec<HeldJob>) -> FromAgent {
    FromAgent::Hello(Hello {
        versions: (1, 1),
        cluster: id(ClusterId::PREFIX, '4'),
        host: id(HostId::PREFIX, '5'),
        instance: id(InstanceId::PREFIX, '6'),
        boot_id: "9a4e0c6a-2f6f-4f0e-9a53-3a0c7ba5b2f4".to_owned(),
        agent_version: "0.1.0".to_owned(),
        hostname: "vps-1.example".to_owned(),
        docker,
        capacity: Capacity { cpus: 2, memory: 8_000_000_000, disk },
        slots: 4,
        jobs,
        features: Vec::new(),
    })
}

fn with_streams(mut message: FromAgent) -> FromAgent {
    if let FromAgent::Hello(hello) = &mut message {
        hello.features.push("streams".to_owned());
    }
    message
}

fn observed(digit: char, state: ContainerState) -> ObservedContainer {
    ObservedContainer {
        container: container(digit),
        docker_id: digit.to_string().repeat(64),
        state,
        health: None,
        exit_code: None,
        started_at: None,
        ports: Vec::new(),
        address: None,
    }
}

fn inventory() -> Inventory {
    let port = |container, protocol| ObservedPort { container, host: container + 8_000, protocol };
    let running = ObservedContainer {
        started_at: Some(1_700_000_000_000_000),
        ports: vec![port(80, PortProtocol::Tcp), port(53, PortProtocol::Udp)],
        address: Some("172.18.0.2".parse().unwrap()),
        ..observed('2', ContainerState::Running)
    };
    let paused =
        ObservedContainer { address: Some("fd00::2".parse().unwrap()), ..observed('3', ContainerState::Paused) };
    let exited = ObservedContainer { exit_code: Some(-1), ..observed('5', ContainerState::Exited) };
    Inventory {
        containers: vec![
            observed('1', ContainerState::Created),
            running,
            paused,
            observed('4', ContainerState::Restarting),
            exited,
            observed('6', ContainerState::Removing),
            observed('7', ContainerState::Dead),
        ],
        images: vec![ObservedImage {
            image: image(),
            docker_id: format!("sha256:{}", "e".repeat(64)),
            size: 72_000_000,
        }],
    }
}

fn healths() -> Inventory {
    let of = |digit, health| ObservedContainer { health: Some(health), ..observed(digit, ContainerState::Running) };
    let containers = vec![of('1', Health::Starting), of('2', Health::Healthy), of('3', Health::Unhealthy)];
    Inventory { containers, images: Vec::new() }
}

/// Every message that goes up, by the name of its file.
pub fn from_agent() -> Vec<(String, FromAgent)> {
    let held =
        |digit, state, log_end| HeldJob { attempt: Attempt { job: id("job", digit), number: 2 }, state, log_end };
    let jobs = vec![
        held('a', HeldState::Running, 1),
        held('b', HeldState::Interrupted, 0),
        held('c', HeldState::Finished, 300_000),
    ];
    let usage = Usage {
        load_milli: 1_250,
        memory_used: 4_000_000_000,
        disk_free: Some(9_000_000_000),
        containers_running: Some(3),
    };
    let beat = |docker_ping_age_ms, usage| {
        FromAgent::Heartbeat(Heartbeat { docker_ping_age_ms, running_jobs: 2, usage, clock_us: 1_700_000_000_123_456 })
    };
    let progress = |percent| FromAgent::Progress {
        attempt: attempt(),
        progress: Progress { step: "build 2/5: RUN make".to_owned(), percent },
    };
    let mut messages = vec![
        ("hello".to_owned(), hello(Some(docker()), Some(100_000_000_000), jobs)),
        ("hello-plain".to_owned(), hello(None, None, Vec::new())),
        ("hello-features".to_owned(), with_streams(hello(None, None, Vec::new()))),
        ("accepted".to_owned(), FromAgent::Accepted { attempt: attempt() }),
        ("progress".to_owned(), progress(Some(40))),
        ("progress-plain".to_owned(), progress(None)),
        (
            "log".to_owned(),
            FromAgent::Log {
                attempt: attempt(),
                offset: 4_294_967_296,
                bytes: b"Step 1/2 : FROM x\n\xff\x00".to_vec(),
            },
        ),
        ("inventory".to_owned(), FromAgent::Inventory(inventory())),
        ("inventory-health".to_owned(), FromAgent::Inventory(healths())),
        ("inventory-empty".to_owned(), FromAgent::Inventory(Inventory::default())),
        ("heartbeat".to_owned(), beat(Some(1_500), usage)),
        ("heartbeat-plain".to_owned(), beat(None, Usage { containers_running: Some(0), ..Usage::default() })),
        ("heartbeat-unlisted".to_owned(), beat(None, Usage::default())),
        ("docker".to_owned(), FromAgent::Docker { docker: Some(docker()) }),
        ("docker-gone".to_owned(), FromAgent::Docker { docker: None }),
        ("renew".to_owned(), FromAgent::Renew { csr: "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned() }),
    ];
    for (name, refusal) in [
        ("busy", Refusal::Busy),
        ("docker_down", Refusal::DockerDown),
        ("draining", Refusal::Draining),
        ("journal_unwritable", Refusal::JournalUnwritable { detail: "No space left on device".to_owned() }),
        ("unsupported", Refusal::Unsupported { command: "teleport".to_owned() }),
    ] {
        messages.push((format!("not_taken-{name}"), FromAgent::NotTaken { attempt: attempt(), refusal }));
    }
    let finished = |outcome| FromAgent::Finished { attempt: attempt(), outcome, log_end: 70_000 };
    for (name, product) in [
        ("nothing", Product::Nothing),
        ("exec", Product::Exec { exit_code: 137 }),
        ("converged", Product::Converged { resources: resources() }),
        ("container", Product::Container { docker_id: "c".repeat(64) }),
        ("pushed", Product::Pushed { digest: format!("sha256:{}", "f".repeat(64)) }),
        ("image", Product::Image { docker_id: format!("sha256:{}", "e".repeat(64)), size: 72_000_000 }),
    ] {
        messages.push((format!("finished-{name}"), finished(Outcome::Succeeded { product })));
    }
    messages.push(("finished-cancelled".to_owned(), finished(Outcome::Cancelled)));
    for kind in FAILURES {
        let failure = AgentFailure::new(kind, "what it was about");
        messages.push((format!("finished-failed-{}", kind.as_str()), finished(Outcome::Failed { failure })));
    }
    messages.extend(super::streams::from_agent());
    messages
}

/// Every way to fail; `coverage` notices when one is missing.
const FAILURES: [FailureKind; 24] = [
    FailureKind::DockerUnavailable,
    FailureKind::DockerTimeout,
    FailureKind::DockerRefused,
    FailureKind::ImageNotFound,
    FailureKind::SourceUnavailable,
    FailureKind::ImageCorrupt,
    FailureKind::RegistryRefused,
    FailureKind::RegistryUnavailable,
    FailureKind::ImageInUse,
    FailureKind::ContainerNotFound,
    FailureKind::ContainerNotRunning,
    FailureKind::OutcomeUnknown,
    FailureKind::BuildFailed,
    FailureKind::ConvergeFailed,
    FailureKind::ContextUnavailable,
    FailureKind::SecretsUnavailable,
    FailureKind::NameTaken,
    FailureKind::PortTaken,
    FailureKind::ExitedEarly,
    FailureKind::DiskFull,
    FailureKind::Policy,
    FailureKind::Unsupported,
    FailureKind::Deadline,
    FailureKind::Internal,
];
