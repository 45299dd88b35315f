//! Container specifications that try to reach the host or somebody else's things, on real Docker with a canary on the
//! host: what cannot be asked for is refused whole, what can be is no more than it says.

use dockerforge_tests::{
    client::Api,
    cluster::Cluster,
    docker::Witness,
    env,
    invariants::{self, Ledger},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;

/// Members that a container's body does not have, or not with such values. Each is added to a body that is good.
fn refused() -> Vec<(&'static str, Value)> {
    // Docker reads its keys without regard to case, and the last of two wins.
    let spellings = json!({
        "privileged": true, "Privileged": true, "PRIVILEGED": true, "privileged ": true, "ｐrivileged": true,
        "HostConfig": {"Privileged": true}, "hostConfig": {"Binds": ["/:/host"]}, "hostconfig": {"privileged": true},
        "host_config": {"pid_mode": "host"}, "Image": "busybox", "Cmd": ["sh"], "Volumes": {"/host": {}},
        "NetworkingConfig": {"EndpointsConfig": {"host": {}}},
    });
    let namespaces = json!({
        "pid": "host", "pid_mode": "host", "PidMode": "host", "ipc": "host", "ipc_mode": "host", "uts": "host",
        "userns": "host", "userns_mode": "host", "cgroupns": "host", "network": "host", "network_mode": "host",
        "NetworkMode": "container:x", "networks": ["bridge"], "volumes_from": ["x"], "VolumesFrom": ["x"],
    });
    let files_and_devices = json!({
        "binds": ["/:/host"], "Binds": ["/var/run/docker.sock:/s"], "mounts": [{"type": "bind", "source": "/", "target": "/h"}],
        "Mounts": [{"Type": "bind", "Source": "/", "Target": "/h"}], "devices": ["/dev/sda"], "Devices": [],
        "device_requests": [{"count": -1}], "device_cgroup_rules": ["a *:* rwm"], "volume_driver": "local",
    });
    let rights_and_kernel_settings = json!({
        "cap_add": ["SYS_ADMIN"], "CapAdd": ["ALL"], "capabilities": ["ALL"], "security_opt": ["seccomp=unconfined"],
        "SecurityOpt": ["apparmor=unconfined"], "sysctls": {"net.ipv4.ip_forward": "1"}, "runtime": "runc",
        "cgroup_parent": "/", "CgroupParent": "/", "oom_score_adj": -1000, "oom_kill_disable": true, "ulimits": [{"name": "core"}],
        "shm_size": 1_099_511_627_776_u64, "log_config": {"type": "syslog"}, "log_driver": "fluentd", "storage_opt": {"size": "1T"},
        "extra_hosts": ["metadata:169.254.169.254"], "dns": ["127.0.0.1"], "domainname": "x", "publish_all_ports": true,
        "stop_timeout": -1, "gpus": "all", "blkio_weight": 1000, "isolation": "process",
    });
    let mut list: Vec<(&'static str, Value)> = Vec::new();
    for group in [spellings, namespaces, files_and_devices, rights_and_kernel_settings] {
        let members = group.as_object().unwrap().clone();
        list.extend(members.into_iter().map(|(key, value)| ("an unknown member", json!({ key: value }))));
    }
    for name in
        ["/", "..", "../../etc", "/etc", "a/b", "a:b", "a b", "", ".", "a\u{0}", "A", "データ", "~", "$HOME", "-v"]
    {
        list.push(("a volume that is no name", json!({"volumes": [{"volume": name, "target": "/data"}]})));
    }
    for target in ["data", "", "/", "../x", "/a/../../b", "/a\u{0}", "/a:ro", "/a//..", "/proc/..", "C:\\"] {
        list.push(("a target that is no path", json!({"volumes": [{"volume": "data", "target": target}]})));
    }
    for volume in [
        json!({"volume": "data", "target": "/d", "driver_opts": {"type": "none", "o": "bind", "device": "/"}}),
        json!({"volume": "data", "target": "/d", "DriverConfig": {"Options": {"device": "/"}}}),
        json!({"volume": "data", "target": "/d", "source": "/"}),
        json!({"volume": "data", "target": "/d", "propagation": "shared"}),
        json!({"type": "bind", "volume": "data", "target": "/d"}),
        json!("/:/host"),
    ] {
        list.push(("a volume with options", json!({"volumes": [volume]})));
    }
    for port in [
        json!({"container": 0}),
        json!({"container": 65536}),
        json!({"container": -1}),
        json!({"container": "80"}),
        json!({"container": 80, "host_ip": "127.0.0.1"}),
        json!({"container": 80, "host": 0}),
        json!({"container": 80, "protocol": "icmp"}),
        json!({"container": 80.5}),
        json!("80:80"),
    ] {
        list.push(("a port that is none", json!({"ports": [port]})));
    }
    for resources in [
        json!({"privileged": true}),
        json!({"cpus": -1}),
        json!({"cpus": 0}),
        json!({"memory": -1}),
        json!({"memory": 1}),
        json!({"pids": 0}),
        json!({"pids": -1}),
        json!({"cpus": 1e300}),
        json!({"memory_swap": -1}),
        json!({"cgroup": "/"}),
    ] {
        list.push(("limits that are none", json!({"resources": resources})));
    }
    for labels in [
        json!({"dev.dockerforge.cluster": "x"}),
        json!({"dev.dockerforge.user": "x"}),
        json!({"a\u{0}": "x"}),
        json!({"": "x"}),
    ] {
        list.push(("labels of ours", json!({"labels": labels})));
    }
    for environment in
        [json!({"A=B": "x"}), json!({"": "x"}), json!({"A": "x\u{0}"}), json!({"A\n": "x"}), json!({"A": 1})]
    {
        list.push(("an environment that is none", json!({"env": environment})));
    }
    for restart in ["always:9", "ALWAYS", "on-failure:-1", "", "unless-stopped; reboot"] {
        list.push(("a restart policy that is none", json!({"restart": restart})));
    }
    for name in ["../x", "/x", "a b", "", "A", "x\u{0}", "-x", &"x".repeat(64)] {
        list.push(("a name that is none", json!({"name": name})));
    }
    for image in
        ["busybox", "img_", "../x", "sha256:00", "dockerforge.invalid/img_0192f0c1a2b37c4d8e5f60718293a4b5:latest"]
    {
        list.push(("an image that is none of his", json!({"image": image})));
    }
    list
}

/// Bodies in which a key stands twice: a lenient reader and Docker would see different ones.
fn doubled(host: &str, image: &str) -> Vec<String> {
    let good = format!(r#""name":"escape","image":"{image}","host":"{host}""#);
    [
        r#""restart":"no","restart":"always""#,
        r#""env":{"A":"1","A":"2"}"#,
        r#""resources":{"pids":10,"pids":100000}"#,
        r#""volumes":[{"volume":"a","volume":"b","target":"/d"}]"#,
        r#""labels":{},"labels":{}"#,
        r#""name":"other""#,
    ]
    .map(|twice| format!("{{{good},{twice}}}"))
    .to_vec()
}

fn body(host: &str, image: &str, more: &Value) -> Value {
    let mut body = json!({"name": "escape", "image": image, "host": host});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn nothing_was_made(api: &Api, docker: &Witness, user: &str) {
    assert_eq!(api.get("/v1/containers").await.expect(200).json["items"], json!([]));
    let made = docker.containers(dockerforge_protocol::command::labels::USER, user).await;
    assert!(made.is_empty(), "{made:?}");
}

#[tokio::test]
async fn a_specification_that_asks_for_more_than_there_is_is_refused_whole() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let attempts = refused();
    assert!(attempts.len() >= 60, "{}", attempts.len());
    for (what, more) in &attempts {
        let answer = api.post("/v1/containers", &body(&agent.host, &image, more)).await;
        assert!(matches!(answer.status, 400 | 422), "{what}: {more} was answered {answer}");
        assert!(
            !answer.json["errors"].as_array().is_none_or(Vec::is_empty),
            "{more}: what is wrong is pointed at: {answer}"
        );
    }
    for text in doubled(&agent.host, &image) {
        let answer = api.call(Method::POST, "/v1/containers").body("application/json", text.clone()).send().await;
        assert!(matches!(answer.status, 400 | 422), "{text} was answered {answer}");
    }
    nothing_was_made(&api, &agent.docker, &ana.user.id).await;
    invariants::hold(&cluster, &api, &mut Ledger::default(), 60).await;
}

#[tokio::test]
async fn a_container_that_is_accepted_has_nothing_of_the_host_in_it() {
    let canary = tempfile::Builder::new().prefix("dockerforge-canary-").tempdir().unwrap();
    let secret = canary.path().join("secret");
    fs::write(&secret, "of the host").unwrap();
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    // Everything that may be asked for, with values that a shell or a template would trip over.
    let path = secret.display().to_string();
    let asked = json!({
        "command": ["sh", "-c", format!("cat {path}; echo mine > {path}; ls /var/run/docker.sock; sleep 600")],
        "env": {"A": format!("$(cat {path})"), "B": "`reboot`", "C": "'; reboot #", "D": "{{.HostConfig}}", "E": "\n--privileged"},
        "volumes": [{"volume": "data", "target": "/var/run"}, {"volume": "proc", "target": "/mnt", "read_only": true}],
        "ports": [{"container": 80}],
        "labels": {"com.docker.compose.project": "x", "x": "{\"Privileged\": true}"},
        "resources": {"pids": 20, "memory": 33_554_432},
    });
    let job = api.run(&agent.host, "escape", &image, asked).await;
    let id = api.succeeded(&job, 60).await;
    let found = agent.docker.of_container(&id).await;
    let real = agent.docker.inspect(found[0].id.as_deref().unwrap()).await.unwrap();
    let host = real.host_config.unwrap();
    assert_eq!(host.privileged, Some(false));
    assert!(host.binds.unwrap_or_default().is_empty());
    assert!(host.devices.unwrap_or_default().is_empty() && host.device_requests.unwrap_or_default().is_empty());
    assert!(host.cap_add.unwrap_or_default().is_empty());
    assert!(host.volumes_from.unwrap_or_default().is_empty());
    assert!(host.sysctls.unwrap_or_default().is_empty());
    for option in host.security_opt.unwrap_or_default() {
        assert!(option.starts_with("no-new-privileges"), "{option}");
    }
    for mode in [host.pid_mode, host.uts_mode, host.userns_mode] {
        assert_eq!(mode.unwrap_or_default(), "");
    }
    assert!(matches!(host.ipc_mode.as_deref(), None | Some("" | "private" | "shareable")), "{:?}", host.ipc_mode);
    assert_eq!(host.cgroup_parent.unwrap_or_default(), "");
    assert_eq!(host.network_mode.unwrap(), dockerforge_protocol::command::network_name(ana.user.id.parse().unwrap()));
    for mount in real.mounts.unwrap() {
        assert_eq!(mount.driver.as_deref(), Some("local"), "{mount:?}");
        let name = mount.name.unwrap();
        let volume = agent.docker.raw().inspect_volume(&name).await.unwrap();
        assert!(volume.options.is_empty(), "{volume:?}");
        assert!(name.starts_with("df-usr_"), "{name}");
    }
    let environment = real.config.unwrap().env.unwrap();
    assert!(environment.contains(&format!("A=$(cat {path})")), "nothing was expanded: {environment:?}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "of the host", "the canary");
    assert_eq!(fs::read_dir(canary.path()).unwrap().count(), 1, "the canary's folder");
    invariants::hold(&cluster, &api, &mut Ledger::default(), 60).await;
}

#[tokio::test]
async fn another_users_things_cannot_be_named() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    agent.container("hers", &image, json!({"volumes": [{"volume": "data", "target": "/data"}]})).await;
    let (eva_user, eva) = cluster.user("eva").await;
    let (own, _) = eva.create_host("own").await;
    for (host, image) in [(&agent.host, &image), (&own.id, &image)] {
        eva.post("/v1/containers", &body(host, image, &json!({}))).await.problem(422, "invalid");
    }
    nothing_was_made(&eva, &agent.docker, &eva_user.user.id).await;
    invariants::hold(&cluster, &api, &mut Ledger::default(), 60).await;
}
