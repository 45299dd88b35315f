//! Tests of what may be said of a host.

use super::*;
use crate::spec::ContainerSpec;

fn spec(text: &str) -> Result<ContainerSpec, serde_json::Error> {
    serde_json::from_str(text)
}

fn pointers(text: &str) -> Vec<String> {
    spec(text).unwrap().problems().into_iter().map(|(pointer, _)| pointer).collect()
}

#[test]
fn what_stands_outside_the_list_does_not_pass() {
    for bad in [
        r#"{"Privileged":true}"#,
        r#"{"privileged":1}"#,
        r#"{"devices":[{"host":"/etc/shadow","container":"/dev/x","permissions":"r"}]}"#,
        r#"{"devices":[{"host":"/dev/../etc","container":"/dev/x","permissions":"r"}]}"#,
        r#"{"devices":[{"host":"/dev","container":"/dev","permissions":"r"}]}"#,
        r#"{"devices":[{"host":"/dev/fuse","container":"/dev/fuse","permissions":"rr"}]}"#,
        r#"{"devices":[{"host":"/dev/fuse","container":"/dev/fuse","permissions":""}]}"#,
        r#"{"cap_add":["CAP_SYS_ADMIN"]}"#,
        r#"{"cap_add":["sys_admin"]}"#,
        r#"{"cap_add":["all"]}"#,
        r#"{"binds":[{"source":"/","target":"/host"}]}"#,
        r#"{"binds":[{"source":"srv","target":"/host"}]}"#,
        r#"{"binds":[{"source":"/srv/..","target":"/host"}]}"#,
        r#"{"binds":[{"source":"/srv","target":"/host","propagation":"shared"}]}"#,
        r#"{"binds":["/srv:/host"]}"#,
        r#"{"namespaces":["host"]}"#,
        r#"{"namespaces":["container:x"]}"#,
        r#"{"namespaces":["user"]}"#,
        r#"{"sysctls":{"kernel.core_pattern":"|/bin/sh"}}"#,
        r#"{"sysctls":{"vm.swappiness":"1"}}"#,
        r#"{"sysctls":{"net/ipv4/ip_forward":"1"}}"#,
        r#"{"sysctls":{"net..x":"1"}}"#,
        r#"{"runtime":"/bin/sh"}"#,
        r#"{"runtime":"../runc"}"#,
        r#"{"runtime":""}"#,
        r#"{"security_options":["seccomp=/etc/x.json"]}"#,
        r#"{"security_options":["label=disable"]}"#,
    ] {
        assert!(spec(&format!(r#"{{"host_access":{bad}}}"#)).is_err(), "{bad} was accepted");
    }
}

#[test]
fn dockers_things_and_the_folders_around_them_are_never_mounted() {
    for bad in [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run",
        "/var/run",
        "/var",
        "/var/lib",
        "/var/lib/docker",
        "/var/lib/docker/volumes/df-x/_data",
        "/run/containerd/containerd.sock",
        "/proc/1/root",
        "/proc",
        "/var/lib/dockerforge-agent/policy.toml",
    ] {
        let text = format!(r#"{{"host_access":{{"binds":[{{"source":"{bad}","target":"/x"}}]}}}}"#);
        assert_eq!(pointers(&text), ["/host_access/binds/0/source"], "{bad}");
    }
    for good in ["/srv", "/var/log", "/var/lib/dockerish", "/run/user", "/etc/ssl"] {
        let text = format!(r#"{{"host_access":{{"binds":[{{"source":"{good}","target":"/x"}}]}}}}"#);
        assert_eq!(pointers(&text), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn what_contradicts_itself_is_a_problem_with_its_pointer() {
    let id = crate::ids::ContainerId::new();
    let text = format!(
        r#"{{"ports":[{{"container":80}}],"links":[{{"container":"{id}","alias":"db"}}],"hostname":"x",
            "volumes":[{{"volume":"a","target":"/a"}}],"cap_drop":["KILL"],
            "host_access":{{"namespaces":["network","uts","ipc"],"sysctls":{{"net.core.somaxconn":"1","kernel.sem":"1"}},
            "cap_add":["KILL"],"binds":[{{"source":"/srv","target":"/a"}},{{"source":"/srv","target":"/a"}}]}}}}"#
    );
    assert_eq!(
        pointers(&text),
        [
            "/host_access/sysctls/kernel.sem",
            "/host_access/sysctls/net.core.somaxconn",
            "/host_access/binds/0/target",
            "/host_access/binds/1/target",
            "/ports",
            "/links",
            "/hostname",
            "/host_access/cap_add",
        ]
    );
    assert_eq!(pointers(r#"{"cap_drop":["KILL"],"host_access":{"privileged":true}}"#), ["/cap_drop"]);
    assert_eq!(pointers(r#"{"cap_drop":["ALL"],"host_access":{"cap_add":["KILL"]}}"#), Vec::<String>::new());
}

#[test]
fn nothing_of_the_host_is_written_as_nothing_at_all() {
    let plain = serde_json::to_string(&ContainerSpec::default()).unwrap();
    assert!(!plain.contains("host_access") && !plain.contains("cap_drop"), "{plain}");
    assert_eq!(spec(r#"{"host_access":{}}"#).unwrap(), ContainerSpec::default());
    assert!(HostAccess::default().describe().is_empty());
}
