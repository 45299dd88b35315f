//! What is asked for by those who would escape: bodies that are refused wherever they are sent and by whomever, those that
//! are given with `host:root` on one's own host, and what is not even given then.

use bollard::models::ContainerInspectResponse;
use dockerforge_protocol::spec::NEVER_MOUNTED;
use serde_json::{Value, json};

/// Members that a container's body does not have, or not with such values. Each is added to a body that is good.
pub fn refused() -> Vec<(&'static str, Value)> {
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
        json!([0.5, 67_108_864, 10]),
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
    list.extend(misspelt().into_iter().map(|access| ("what no host gives", json!({ "host_access": access }))));
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
pub fn doubled(host: &str, image: &str) -> Vec<String> {
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

pub fn body(host: &str, image: &str, more: &Value) -> Value {
    let mut body = json!({"name": "escape", "image": image, "host": host});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// What stands where things of the host are asked for, and is none of them.
fn misspelt() -> Vec<Value> {
    vec![
        json!(true),
        json!([]),
        json!([true]),
        json!({"Privileged": true}),
        json!({"privileged": "true"}),
        json!({"privileged": 1}),
        json!({"pid": "host"}),
        json!({"network": "host"}),
        json!({"cgroupns": "host"}),
        json!({"namespaces": ["host"]}),
        json!({"namespaces": ["user"]}),
        json!({"namespaces": ["container:blog"]}),
        json!({"namespaces": "network"}),
        json!({"binds": ["/srv:/srv"]}),
        json!({"binds": [{"source": "/", "target": "/host"}]}),
        json!({"binds": [{"source": "/srv/../", "target": "/host"}]}),
        json!({"binds": [{"source": "//", "target": "/host"}]}),
        json!({"binds": [{"source": "srv", "target": "/host"}]}),
        json!({"binds": [{"source": "/srv:/etc", "target": "/host"}]}),
        json!({"binds": [{"source": "/srv", "target": "/host", "propagation": "rshared"}]}),
        json!({"binds": [{"source": "/srv", "target": "/host", "driver_opts": {"device": "/"}}]}),
        json!({"binds": [{"Source": "/srv", "source": "/srv", "target": "/host"}]}),
        json!({"mounts": [{"type": "bind", "source": "/srv", "target": "/host"}]}),
        json!({"volumes_from": ["blog"]}),
        json!({"binds": [["/srv", "/host", false]]}),
        json!({"devices": ["/dev/fuse"]}),
        json!({"devices": [{"host": "/etc/shadow"}]}),
        json!({"devices": [{"host": "/dev/../etc/shadow"}]}),
        json!({"devices": [{"host": "/dev"}]}),
        json!({"devices": [{"host": "/dev/fuse", "permissions": "rwmx"}]}),
        json!({"device_cgroup_rules": ["a *:* rwm"]}),
        json!({"cap_add": ["sys_admin"]}),
        json!({"cap_add": ["CAP_SYS_ADMIN"]}),
        json!({"cap_add": "ALL"}),
        json!({"sysctls": {"kernel.core_pattern": "|/bin/sh"}}),
        json!({"sysctls": {"vm.overcommit_memory": "1"}}),
        json!({"sysctls": {"net.ipv4.ip_forward": 1}}),
        json!({"runtime": "/bin/sh"}),
        json!({"security_options": ["seccomp=/tmp/profile.json"]}),
        json!({"security_options": ["no-new-privileges=false"]}),
        json!({"namespaces": ["network"], "sysctls": {"net.core.somaxconn": "1"}}),
    ]
}

/// What is given with `host:root` on one's own host.
pub struct Documented {
    /// Its name.
    pub name: &'static str,
    /// `host_access` of the container.
    pub access: Value,
    /// Whether Docker has it so.
    pub is_so: fn(&ContainerInspectResponse) -> bool,
}

/// Each of them, and nothing else. `source` is a folder of the host.
pub fn documented(source: &str) -> Vec<Documented> {
    let one = |name, access, is_so| Documented { name, access, is_so };
    vec![
        one("privileged", json!({"privileged": true}), |c| host(c).privileged == Some(true)),
        one(
            "device",
            json!({"devices": [{"host": "/dev/zero", "container": "/dev/nought", "permissions": "r"}]}),
            |c| {
                host(c).devices.is_some_and(|d| {
                    d.len() == 1
                        && d[0].path_in_container.as_deref() == Some("/dev/nought")
                        && d[0].cgroup_permissions.as_deref() == Some("r")
                })
            },
        ),
        one("capability", json!({"cap_add": ["SYS_TIME"]}), |c| {
            host(c).cap_add.is_some_and(|caps| caps.len() == 1 && caps[0].trim_start_matches("CAP_") == "SYS_TIME")
        }),
        one("mount", json!({"binds": [{"source": source, "target": "/canary"}]}), |c| mounted(c) == Some(true)),
        one("mount-ro", json!({"binds": [{"source": source, "target": "/canary", "read_only": true}]}), |c| {
            mounted(c) == Some(false)
        }),
        one("network", json!({"namespaces": ["network"]}), |c| host(c).network_mode.as_deref() == Some("host")),
        one("pid", json!({"namespaces": ["pid"]}), |c| host(c).pid_mode.as_deref() == Some("host")),
        one("ipc", json!({"namespaces": ["ipc"]}), |c| host(c).ipc_mode.as_deref() == Some("host")),
        one("uts", json!({"namespaces": ["uts"]}), |c| host(c).uts_mode.as_deref() == Some("host")),
        one("sysctl", json!({"sysctls": {"net.core.somaxconn": "777"}}), |c| {
            host(c).sysctls.is_some_and(|s| s.len() == 1 && s["net.core.somaxconn"] == "777")
        }),
        one("runtime", json!({"runtime": "runc"}), |c| host(c).runtime.as_deref() == Some("runc")),
        one("seccomp", json!({"security_options": ["seccomp=unconfined"]}), |c| {
            host(c).security_opt.is_some_and(|options| options == ["seccomp=unconfined"])
        }),
        one("apparmor", json!({"security_options": ["apparmor=unconfined"]}), |c| {
            host(c).security_opt.is_some_and(|options| options == ["apparmor=unconfined"])
        }),
    ]
}

fn host(container: &ContainerInspectResponse) -> bollard::models::HostConfig {
    container.host_config.clone().unwrap()
}

/// Whether what is mounted from the host may be written, if it is what was asked for and nothing else is.
fn mounted(container: &ContainerInspectResponse) -> Option<bool> {
    let mounts = container.mounts.clone().unwrap_or_default();
    let one = mounts.first().filter(|_| mounts.len() == 1)?;
    (one.destination.as_deref() == Some("/canary")).then_some(one.rw)?
}

/// Mounts that are never given, whoever asks: what the coordinator knows already.
pub fn never() -> Vec<Value> {
    let around =
        ["/run", "/var/run", "/var", "/var/lib", "/var/lib/docker/volumes/df-usr_x-data/_data", "/proc/1/root/srv"];
    let sources = NEVER_MOUNTED.into_iter().chain(around);
    sources.map(|source| json!({"binds": [{"source": source, "target": "/host", "read_only": true}]})).collect()
}
