//! How a bare machine becomes a host: one command that is pasted, or a document for cloud-init, and nothing else. What is
//! fetched is the agent that the coordinator was told to give, and the token is seen by nobody and left nowhere.

use dockerforge_tests::{
    client::{Api, Join},
    cluster::Cluster,
    env,
    process::Process,
    wait,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A machine on which a script is done.
struct Machine {
    process: Process,
    result: PathBuf,
}

impl Machine {
    fn start(cluster: &Cluster, name: &str, script: &str) -> Self {
        let (text, result) = (cluster.folder().join(format!("{name}.sh")), cluster.folder().join(name));
        fs::write(&text, script).unwrap();
        let mut command = Command::new(env::bare_machine_script());
        command.arg(&text).arg(env::docker().trim_start_matches("unix://")).arg(&result);
        Self { process: Process::start(name, cluster.folder(), &mut command), result }
    }

    /// The exit code of the script.
    async fn code(&mut self) -> String {
        wait::until(120, "the script of the machine ends", async || {
            let code = fs::read_to_string(&self.result);
            code.map(|code| code.trim().to_owned()).map_err(|_| self.process.output())
        })
        .await
    }

    fn noted(&self, what: &str) -> String {
        let path = format!("{}.{what}", self.result.display());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// A coordinator that gives out its agent.
async fn cluster() -> Cluster {
    let mut cluster = Cluster::start().await;
    cluster.stop().await;
    let agent = env::binary("dockerforge-agent");
    cluster.launch(&[("DOCKERFORGE_AGENT_BINARY", agent.to_str().unwrap())]).await;
    cluster
}

/// The script is done, the host is online, and nobody saw the token.
async fn becomes_a_host(cluster: &Cluster, api: &Api, host: &str, machine: &mut Machine, join: &Join) {
    let code = machine.code().await;
    assert_eq!(code, "0", "{}", machine.process.output());
    wait::until(20, "the host is online", async || {
        let host = api.host(host).await;
        wait::check(host.state == "online" && host.docker.is_some(), host)
    })
    .await;
    let asked = machine.noted("asked");
    assert!(asked.contains("install --no-install-recommends docker.io"), "{asked}");
    assert!(asked.contains("systemctl enable --quiet --now docker"), "{asked}");
    let seen = machine.noted("seen");
    assert!(seen.contains("install-agent.sh --install-docker"), "{seen}");
    assert!(!seen.contains(&join.token), "the token is on a command line: {seen}");
    assert!(!machine.process.output().contains(&join.token), "the token is in what was said");
    let left = machine.noted("left");
    assert!(!left.contains("dockerforge-join") && !left.contains("tmp."), "{left}");
    let settings = PathBuf::from(format!("{}.etc", machine.result.display()));
    let settings: Vec<_> = fs::read_dir(settings).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(settings, ["agent.toml"], "the token's file is gone");
    let _ = cluster;
}

#[tokio::test]
async fn the_command_that_is_pasted_makes_a_bare_machine_a_host() {
    let cluster = cluster().await;
    let (_, api) = cluster.user("ana").await;
    let (host, join) = api.create_host("vps").await;
    cluster.is_secret(&join.token);
    assert!(!join.command.contains('\n'), "one command: {}", join.command);
    let mut machine = Machine::start(&cluster, "pasted", &join.command);
    becomes_a_host(&cluster, &api, &host.id, &mut machine, &join).await;
}

#[tokio::test]
async fn the_document_for_cloud_init_makes_a_bare_machine_a_host() {
    let cluster = cluster().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let fresh = api.call(reqwest::Method::POST, &format!("/v1/hosts/{}/token", host.id)).send().await.expect(201);
    let join: Join = fresh.body();
    cluster.is_secret(&join.token);
    let text = join.cloud_init.as_deref().unwrap();
    assert!(text.starts_with("#cloud-config\n") && text.len() < 16 * 1024, "{text}");
    let path = cluster.folder().join("user-data");
    fs::write(&path, text).unwrap();
    // cloud-init's own judgement, where it is installed: it is not needed to run the tests.
    if let Ok(checked) = Command::new("cloud-init").args(["schema", "--config-file"]).arg(&path).output() {
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && said.contains("Valid"), "{said}");
    }
    let mut machine = Machine::start(&cluster, "ordered", &as_cloud_init(&read(&path)));
    becomes_a_host(&cluster, &api, &host.id, &mut machine, &join).await;
}

/// A document of YAML.
fn read(path: &Path) -> Value {
    let program = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let read = Command::new(env::contract_tool("python")).args(["-c", program]).arg(path).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).unwrap()
}

/// What cloud-init does with a document: it writes the files, and then runs the commands.
fn as_cloud_init(document: &Value) -> String {
    let keys: Vec<_> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["runcmd", "write_files"], "what is done below");
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let mut script = "set -e\n".to_owned();
    for file in document["write_files"].as_array().unwrap() {
        let part = |name: &str| quoted(file[name].as_str().unwrap());
        assert_eq!(file["owner"], "root:root");
        let (path, content, mode) = (part("path"), part("content"), part("permissions"));
        script += &format!("mkdir -p \"$(dirname {path})\"\nprintf %s {content} >{path}\nchmod {mode} {path}\n");
        assert_eq!(file["permissions"] == "0600", file["path"] == "/run/dockerforge-join/token");
    }
    for command in document["runcmd"].as_array().unwrap() {
        let words: Vec<_> = command.as_array().unwrap().iter().map(|word| quoted(word.as_str().unwrap())).collect();
        script += &format!("{}\n", words.join(" "));
    }
    script
}

#[tokio::test]
async fn another_agent_than_the_commands_is_not_run() {
    let mut cluster = cluster().await;
    let (_, api) = cluster.user("ana").await;
    let (host, join) = api.create_host("vps").await;
    cluster.stop().await;
    let other = cluster.folder().join("other-agent");
    fs::write(&other, "#!/bin/sh\ntouch /run/machine/ran\n").unwrap();
    cluster.launch(&[("DOCKERFORGE_AGENT_BINARY", other.to_str().unwrap())]).await;
    let mut machine = Machine::start(&cluster, "deceived", &join.command);
    assert_eq!(machine.code().await, "1", "{}", machine.process.output());
    assert!(machine.process.output().contains("did NOT match"), "{}", machine.process.output());
    assert_eq!(api.host(&host.id).await.state, "pending");
}

#[tokio::test]
async fn a_coordinator_gives_the_agent_only_where_it_is_told_to_and_nothing_else_without_a_certificate() {
    let fetch = |cluster: &Cluster, path: &str, alpn: bool| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--insecure", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"]);
        if !alpn {
            curl.arg("--no-alpn");
        }
        let said = curl.arg(format!("https://{}{path}", cluster.agent_port())).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    let without = Cluster::start().await;
    let (_, api) = without.user("ana").await;
    let (_, join) = api.create_host("vps").await;
    assert!(join.cloud_init.is_none() && join.command.starts_with("dockerforge-agent run "), "{join:?}");
    assert_eq!(fetch(&without, "/install/agent.tar", false), "000 0");

    let with = cluster().await;
    let size = fs::metadata(env::binary("dockerforge-agent")).unwrap().len();
    let answer = fetch(&with, "/install/agent.tar", false);
    let got: u64 = answer.strip_prefix("200 ").unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
    assert!(got > size && got < size + 64 * 1024, "{got} {size}");
    for path in ["/", "/install/", "/agent/v1/session", "/agent/v1/contexts/job_0192f0c1a2b37c4d8e5f60718293a4b5"] {
        let answer = fetch(&with, path, false);
        assert!(answer.starts_with("404 ") || answer.starts_with("403 "), "{path}: {answer}");
    }
    // Who offers HTTP is an agent, and shows a certificate.
    assert_eq!(fetch(&with, "/install/agent.tar", true), "000 0");
}

#[tokio::test]
async fn a_repeated_registration_has_the_same_command_and_document() {
    let cluster = cluster().await;
    let (_, api) = cluster.user("ana").await;
    let body = serde_json::json!({"name": "vps"});
    let ask = async || {
        let call = api.call(reqwest::Method::POST, "/v1/hosts").header("idempotency-key", "k").json(&body);
        call.send().await.expect(201).json["join"].clone()
    };
    let first = ask().await;
    assert!(first["cloud_init"].as_str().unwrap().contains(first["token"].as_str().unwrap()));
    assert_eq!(ask().await, first);
}
