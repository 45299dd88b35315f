//! Images: built from a Dockerfile or an archive, pulled, listed, and removed.

use dockerforge_tests::{
    archive,
    client::{Api, Image, Job},
    cluster::Cluster,
    docker::Witness,
    env, wait,
};
use reqwest::Method;
use serde_json::json;
use tar::EntryType;

fn tag(image: &str) -> String {
    format!("dockerforge.invalid/{image}:latest")
}

async fn upload(api: &Api, query: &str, content_type: &str, bytes: Vec<u8>) -> dockerforge_tests::client::Answer {
    api.call(Method::POST, &format!("/v1/images?{query}")).body(content_type, bytes).send().await
}

#[tokio::test]
async fn an_image_from_a_dockerfile_is_built_and_its_job_leads_to_it() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let dockerfile = format!("FROM {}\nRUN echo said-while-building\nCMD [\"true\"]\n", env::BASE_IMAGE);
    let body = json!({"name": "blog", "host": agent.host, "dockerfile": dockerfile, "no_cache": true,
                      "labels": {"tier": "web"}});
    let job = api.post("/v1/images", &body).await.accepted();
    assert_eq!(job.kind, "image.build");
    let id = api.succeeded(&job, 60).await;

    let answer = api.get(&format!("/v1/queue/{}", job.id)).await.expect(303);
    assert_eq!(answer.header("location"), Some(format!("/v1/images/{id}").as_str()));
    let at_root = api.get(&format!("/queue/{}", job.id)).await.expect(303);
    assert_eq!(at_root.header("location"), Some(format!("/images/{id}").as_str()), "the form of the request is kept");
    let ended: Job = answer.body();
    assert!(ended.started_at.is_some() && ended.ended_at.is_some() && ended.error.is_none(), "{ended:?}");

    let image = api.image(&id).await;
    assert_eq!((image.name.as_str(), image.state.as_str(), image.public), ("blog", "ready", false));
    assert_eq!((&image.source["kind"], image.labels["tier"].as_str()), (&json!("dockerfile"), "web"));
    let real = agent.docker.raw().inspect_image(&tag(&id)).await.unwrap();
    assert_eq!(image.hosts.len(), 1);
    assert_eq!((image.hosts[0].host.as_str(), image.hosts[0].state.as_str()), (agent.host.as_str(), "present"));
    assert_eq!(image.hosts[0].docker_id, real.id);
    assert!(image.hosts[0].size.unwrap() > 0);
    let log = api.log(&job.id).await;
    assert!(log.text.contains("said-while-building") && log.text.contains("Step 2/"), "{}", log.text);
    assert_eq!(log.next, api.job(&job.id).await.log.size);
}

#[tokio::test]
async fn an_archive_is_built_plain_and_compressed_with_its_own_dockerfile_and_arguments() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let dockerfile = format!(
        "FROM {}\nARG GREETING=none\nARG WHO=nobody\nCOPY site/index.html /www/index.html\nRUN test \"$GREETING $WHO\" = \"hello a b\" && grep -q page /www/index.html\n",
        env::BASE_IMAGE
    );
    let files = [("docker/Dockerfile", dockerfile.as_str()), ("site/index.html", "the page")];
    let plain = archive::tar(&files);
    let query = |name: &str| {
        format!(
            "name={name}&host={}&dockerfile=docker/Dockerfile&build_arg=GREETING%3Dhello&build_arg=WHO%3Da%20b&no_cache=true",
            agent.host
        )
    };
    let gzip = upload(&api, &query("gz"), "application/gzip", archive::gzip(&plain)).await.accepted();
    let tar = upload(&api, &query("plain"), "application/x-tar", plain).await.accepted();
    for job in [gzip, tar] {
        let id = api.succeeded(&job, 60).await;
        assert!(agent.docker.has_image(&tag(&id)).await);
    }
}

#[tokio::test]
async fn a_build_that_fails_says_so_in_dockers_words_and_leaves_nothing() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    for (name, dockerfile, words) in [
        ("step", format!("FROM {}\nRUN echo before; exit 3\n", env::BASE_IMAGE), "returned a non-zero code: 3"),
        ("grammar", "FRUM x\n".to_owned(), "FRUM"),
        ("copy", format!("FROM {}\nCOPY missing /x\n", env::BASE_IMAGE), "missing"),
    ] {
        let job = api.build(&agent.host, name, &dockerfile).await;
        let ended = api.ended(&job.id, 60).await;
        assert_eq!((ended.state.as_str(), ended.error_kind()), ("failed", Some("build-failed")), "{ended:?}");
        let detail = ended.error.unwrap().detail;
        assert!(detail.contains(words), "{name}: {detail}");
        // (An attempt that a busy machine's agent did not take has a number, and was none.)
        let begun = api.get("/v1/events?limit=200&kind=job.running").await.expect(200).json;
        let of_it =
            begun["items"].as_array().unwrap().iter().filter(|event| event["resource"]["id"] == job.id.as_str());
        assert_eq!(of_it.count(), 1, "a build that fails is not tried again");
        api.get(&format!("/v1/queue/{}", job.id)).await.expect(200);
    }
    cluster.nothing_left(10).await;
    // The names are free again.
    agent.image("step", "CMD [\"true\"]").await;
}

#[tokio::test]
async fn an_image_is_pulled_by_reference_and_only_our_name_of_it_goes() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let reference = format!("{}/{}", env::registry(), env::BASE_IMAGE);
    let body = json!({"name": "pulled", "host": agent.host, "reference": reference});
    let job = api.post("/v1/images", &body).await.accepted();
    assert_eq!(job.kind, "image.pull");
    let id = api.succeeded(&job, 60).await;
    let image = api.image(&id).await;
    assert_eq!((&image.source["kind"], &image.source["reference"]), (&json!("reference"), &json!(reference)));
    assert!(agent.docker.has_image(&tag(&id)).await);
    let container = agent.container("c", &id, json!({"command": ["sleep", "3600"]})).await;
    api.observed(&container, "running", 10).await;

    let problem = api.delete(&format!("/v1/images/{id}")).await.problem(409, "image-in-use");
    assert!(problem.detail.contains(&container), "{}", problem.detail);
    let gone = api.delete(&format!("/v1/containers/{container}")).await.accepted();
    api.succeeded(&gone, 30).await;
    let job = api.delete(&format!("/v1/images/{id}")).await.accepted();
    assert_eq!(job.kind, "image.delete");
    api.succeeded(&job, 30).await;
    api.get(&format!("/v1/images/{id}")).await.problem(404, "not-found");
    assert!(!agent.docker.has_image(&tag(&id)).await);
    assert!(agent.docker.has_image(env::BASE_IMAGE).await, "I7: what was there before stays");
}

#[tokio::test]
async fn a_reference_that_leads_nowhere_fails_with_the_reason_and_leaves_nothing() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let reference = format!("{}/no/such:1", env::registry());
    let body = json!({"name": "pulled", "host": agent.host, "reference": reference});
    let job = api.post("/v1/images", &body).await.accepted();
    let ended = api.ended(&job.id, 60).await;
    assert_eq!((ended.state.as_str(), ended.error_kind()), ("failed", Some("image-not-found")), "{ended:?}");
    assert!(ended.error.unwrap().detail.contains("no/such"));
    cluster.nothing_left(10).await;
    assert_eq!(api.all::<Image>("/v1/images").await.len(), 0, "no image stays that never was");
}

#[tokio::test]
async fn values_that_cannot_be_are_refused_all_at_once_before_anything_is_made() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let ok = "FROM scratch";
    let cases = [
        (json!({"name": "Blog!", "host": "vps", "reference": "UPPER"}), vec!["/name", "/host", "/reference"]),
        (json!({"name": "b", "host": host.id, "reference": "debian:12; rm -rf /"}), vec!["/reference"]),
        (json!({"name": "b", "host": host.id, "reference": "../etc"}), vec!["/reference"]),
        (json!({"name": "b", "host": host.id}), vec![""]),
        (json!({"name": "b", "host": host.id, "reference": "a", "dockerfile": ok}), vec!["/dockerfile"]),
        (json!({"name": "b", "host": host.id, "dockerfile": "  "}), vec!["/dockerfile"]),
        (json!({"name": "b", "host": host.id, "dockerfile": ok, "build_args": {"A=B": "x"}}), vec!["/build_args/A=B"]),
        (
            json!({"name": "b", "host": host.id, "dockerfile": ok, "labels": {"dev.dockerforge.user": "x"}}),
            vec!["/labels/dev.dockerforge.user"],
        ),
        (json!({"name": "b", "host": host.id, "dockerfile": ok, "deadline": 0}), vec!["/deadline"]),
        (json!({"name": "b", "host": "hst_0192f0c1a2b37c4d8e5f60718293a4b5", "dockerfile": ok}), vec!["/host"]),
    ];
    for (body, pointers) in cases {
        let problem = api.post("/v1/images", &body).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), pointers, "{body}: {problem:?}");
    }
    for (query, pointers) in [
        (format!("host={}", host.id), vec!["name"]),
        ("name=b".to_owned(), vec!["host"]),
        (format!("name=b&host={}&platform=arm", host.id), vec!["platform"]),
        (format!("name=b&host={}&build_arg=x", host.id), vec!["build_arg"]),
        (format!("name=b&host={}&no_cache=maybe", host.id), vec!["no_cache"]),
        (format!("name=b&host={}&dockerfile=other", host.id), vec!["dockerfile"]),
        ("name=b&host=hst_0192f0c1a2b37c4d8e5f60718293a4b5".to_owned(), vec!["/host"]),
    ] {
        let bytes = archive::tar(&[("Dockerfile", ok)]);
        let problem = upload(&api, &query, "application/x-tar", bytes).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), pointers, "{query}: {problem:?}");
    }
    upload(&api, &format!("name=b&host={}", host.id), "application/zip", vec![1])
        .await
        .problem(415, "unsupported-media-type");
    assert_eq!(api.all::<Image>("/v1/images").await.len(), 0);
    assert_eq!(api.all::<Job>("/v1/queue").await.len(), 0);
}

#[tokio::test]
async fn an_archive_that_leaves_its_tree_or_is_none_is_refused_and_names_the_entry() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let dockerfile = archive::raw_entry("Dockerfile", EntryType::Regular, "", b"FROM scratch\n");
    let with = |entry: Vec<u8>| archive::raw_tar(&[dockerfile.clone(), entry]);
    let file = |path: &str| archive::raw_entry(path, EntryType::Regular, "", b"x");
    let link = |path: &str, kind, target: &str| archive::raw_entry(path, kind, target, b"");
    let through = archive::raw_tar(&[dockerfile.clone(), link("a", EntryType::Symlink, "/etc"), file("a/passwd")]);
    let cases = [
        ("../escape", with(file("../escape"))),
        ("a/../../escape", with(file("a/../../escape"))),
        ("/etc/cron.d/x", with(file("/etc/cron.d/x"))),
        ("out", with(link("out", EntryType::Symlink, "../../etc/shadow"))),
        ("hard", with(link("hard", EntryType::Link, "../outside"))),
        ("null", with(link("null", EntryType::Char, ""))),
        ("pipe", with(link("pipe", EntryType::Fifo, ""))),
        ("Dockerfile", with(file("Dockerfile"))),
    ];
    let query = format!("name=b&host={}", host.id);
    for (entry, bytes) in cases {
        let problem = upload(&api, &query, "application/x-tar", bytes).await.problem(422, "invalid-archive");
        assert!(problem.detail.contains(entry), "{entry}: {}", problem.detail);
    }
    upload(&api, &query, "application/x-tar", through).await.problem(422, "invalid-archive");
    let whole = archive::tar(&[("Dockerfile", "FROM scratch")]);
    for broken in
        [b"not an archive at all".to_vec(), Vec::new(), whole[..700].to_vec(), archive::gzip(&whole)[..40].to_vec()]
    {
        upload(&api, &query, "application/gzip", broken).await.problem(422, "invalid-archive");
    }
    assert_eq!(api.all::<Image>("/v1/images").await.len(), 0);
    assert_eq!(api.all::<Job>("/v1/queue").await.len(), 0);
    let kept = std::fs::read_dir(cluster.data().join("contexts")).map_or(0, |folder| {
        folder.filter(|entry| entry.as_ref().is_ok_and(|e| e.file_type().is_ok_and(|t| t.is_file()))).count()
    });
    assert_eq!(kept, 0, "nothing of a refused archive stays on the coordinator's disk");
}

#[tokio::test]
async fn an_archive_that_is_too_large_once_expanded_is_refused_however_small_it_came() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_size(5 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    let query = format!("name=b&host={}", host.id);
    upload(&api, &query, "application/gzip", archive::gzip(header.as_bytes())).await.problem(413, "too-large");
    assert_eq!(api.all::<Job>("/v1/queue").await.len(), 0);
}

#[tokio::test]
async fn two_images_of_one_name_cannot_be_and_a_list_is_paged_newest_first() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    for i in 0..5 {
        api.build(&host.id, &format!("i{i}"), "FROM scratch").await;
    }
    let body = json!({"name": "i0", "host": host.id, "dockerfile": "FROM scratch"});
    api.post("/v1/images", &body).await.problem(409, "name-taken");
    let first = api.get("/v1/images?limit=2").await.expect(200);
    let link = first.header("link").unwrap().to_owned();
    let names = |answer: &dockerforge_tests::client::Answer| -> Vec<String> {
        answer.json["items"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&first), ["i4", "i3"]);
    let next = link.strip_prefix('<').and_then(|l| l.split_once(">; rel=\"next\"")).map(|(url, _)| url).unwrap();
    let second = api.get(next).await.expect(200);
    assert_eq!(names(&second), ["i2", "i1"]);
    assert_eq!(
        second.json["next"].as_str().map(|n| format!("/v1/images?limit=2&after={n}")).as_deref(),
        second.header("link").and_then(|l| l.strip_prefix('<')?.split('>').next())
    );
    let all: Vec<Image> = api.all("/v1/images").await;
    assert_eq!(all.len(), 5);
    assert_eq!(api.all::<Image>("/v1/images?name=i3").await.len(), 1);
    for (query, pointer) in
        [("limit=0", "limit"), ("limit=1000", "limit"), ("after=x", "after"), ("color=red", "color")]
    {
        let problem = api.get(&format!("/v1/images?{query}")).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer]);
    }
}

#[tokio::test]
async fn an_image_that_is_removed_by_hand_is_not_said_to_be_there() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let id = agent.image("base", "CMD [\"true\"]").await;
    Witness::first()
        .raw()
        .remove_image(&tag(&id), None::<bollard::query_parameters::RemoveImageOptions>, None)
        .await
        .unwrap();
    wait::until(45, "the image is missing", async || {
        let image = api.image(&id).await;
        wait::check(image.hosts[0].state == "missing", image)
    })
    .await;
    let body = json!({"name": "c", "image": id, "host": agent.host});
    let problem = api.post("/v1/containers", &body).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/image"]);
    let job = api.delete(&format!("/v1/images/{id}")).await.accepted();
    api.succeeded(&job, 30).await;
}

fn contexts(cluster: &Cluster) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(cluster.data().join("contexts")).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[tokio::test]
async fn what_came_with_a_refused_request_is_not_kept() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let query = |name: &str| format!("name={name}&host={}", host.id);
    let bytes = || archive::tar(&[("Dockerfile", "FROM scratch\n")]);
    // It waits for its host, and keeps what it needs.
    upload(&api, &query("blog"), "application/x-tar", bytes()).await.accepted();
    let kept = contexts(&cluster);
    assert_eq!(kept.len(), 1);

    upload(&api, &query("blog"), "application/x-tar", bytes()).await.problem(409, "name-taken");
    assert_eq!(contexts(&cluster), kept, "the first still needs the same");
    let other = archive::tar(&[("Dockerfile", "FROM scratch\nCMD [\"x\"]\n")]);
    upload(&api, &query("blog"), "application/x-tar", other).await.problem(409, "name-taken");
    let nothing = archive::tar(&[("README", "no Dockerfile\n")]);
    upload(&api, &query("shop"), "application/x-tar", nothing).await.problem(422, "invalid");
    let text = json!({"name": "blog", "host": host.id, "dockerfile": "FROM scratch\nCMD [\"y\"]\n"});
    api.post("/v1/images", &text).await.problem(409, "name-taken");
    assert_eq!(contexts(&cluster), kept);
}

#[tokio::test]
async fn a_repeated_upload_gets_its_first_answer_though_its_host_is_gone() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let path = format!("/v1/images?name=blog&host={}", host.id);
    let send = |path: &str, content: &str| {
        let bytes = archive::tar(&[("Dockerfile", content)]);
        let call = api.call(Method::POST, path).header("Idempotency-Key", "once");
        call.body("application/x-tar", bytes).send()
    };
    let first = send(&path, "FROM scratch\n").await.accepted();
    let deleted = api.delete(&format!("/v1/hosts/{}?force=true", host.id)).await.accepted();
    api.ended(&deleted.id, 10).await;
    assert_eq!(send(&path, "FROM scratch\n").await.accepted().id, first.id);
    send(&path, "FROM other\n").await.problem(422, "idempotency-mismatch");
    assert_eq!(contexts(&cluster), Vec::<std::ffi::OsString>::new(), "and nothing of it is kept");
}

/// Sends a request of this head and `chunks` pieces of 64 KiB, all of it before it looks at the answer.
fn send_blindly(address: std::net::SocketAddr, head: String, chunks: usize) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let piece = [b"10000\r\n".as_slice(), &[0; 0x10000], b"\r\n"].concat();
    for _ in 0..chunks {
        stream.write_all(&piece).unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn an_archive_that_is_too_large_is_answered_and_not_cut_off() {
    let mut cluster = Cluster::start().await;
    cluster.stop().await;
    cluster.launch(&[("DOCKERFORGE_UPLOAD_LIMIT", "100000")]).await;
    let (user, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let head = |length: &str| {
        format!(
            "POST /v1/images?name=blog&host={} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/x-tar\r\n{length}\r\n\r\n",
            host.id, user.key
        )
    };
    for (length, chunks) in [
        // Said beforehand: answered though nothing of it comes.
        ("content-length: 3000000000", 0),
        ("content-length: 3000000000\r\nexpect: 100-continue", 0),
        // Found out on the way: 32 MiB that nobody wants are taken all the same.
        ("transfer-encoding: chunked", 512),
    ] {
        let (address, head) = (cluster.api(), head(length));
        let answer = tokio::task::spawn_blocking(move || send_blindly(address, head, chunks)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
        let lower = answer.to_lowercase();
        assert!(lower.contains("connection: close") && answer.contains("problem:too-large"), "{length}: {answer}");
    }
    let whole = archive::tar(&[("Dockerfile", "FROM scratch\n")]);
    upload(&api, &format!("name=blog&host={}", host.id), "application/x-tar", whole).await.accepted();
}
