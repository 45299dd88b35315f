//! Configurations: validated against their template's schema, versioned, their secrets never shown; and the image that is
//! built of one, on the real Docker.

use dockerforge_tests::{
    agent::Agent,
    archive,
    backend::Backend,
    client::{Api, Job},
    cluster::Cluster,
    recipes::{configuration, page, page_archive, page_template, put_archive, template},
    wait,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A password that shells, YAML, SQL and JSON would each trip over.
const PASSWORD: &str = "$a 'b\\ \"c`d plain-to-the-end";

async fn patch(api: &Api, id: &str, body: Value) -> dockerforge_tests::client::Answer {
    api.call(Method::PATCH, &format!("/v1/configurations/{id}")).json(&body).send().await
}

async fn node(api: &Api, id: &str, query: &str) -> Value {
    api.get(&format!("/v1/configurations/{id}/node{query}")).await.expect(200).json
}

async fn life(backend: Backend) {
    let cluster = Cluster::start_on(backend).await;
    let (_, api) = cluster.user("ana").await;
    let template = page_template(&api).await;
    let id = configuration(&api, "blog", &template, json!({"title": "A blog", "password": PASSWORD})).await;
    let path = format!("/v1/configurations/{id}");
    let first = api.get(&path).await.expect(200);
    assert_eq!(first.json["parameters"], json!({"title": "A blog"}));
    assert_eq!((&first.json["secrets"], &first.json["version"]), (&json!(["/password"]), &json!(1)));
    assert_eq!(
        node(&api, &id, "").await,
        json!({
            "page": {"footer": "made here"}, "theme": "light", "title": "A blog", "run_list": ["recipe[page]"],
            "dockerforge": {"configuration": id, "name": "blog", "version": 1, "template": template,
                            "template_version": 2, "secrets": ["/password"]},
        })
    );

    // A patch names what changes; the secret stays though nobody can send it back.
    let body = json!({"parameters": {"theme": "dark"}, "run_list": ["extra::more"], "attributes": {"page": {"footer": "mine"}}});
    let second = patch(&api, &id, body).await.expect(200).json;
    assert_eq!((&second["version"], &second["secrets"]), (&json!(2), &json!(["/password"])));
    let shown = node(&api, &id, "").await;
    assert_eq!((&shown["theme"], &shown["page"]["footer"]), (&json!("dark"), &json!("mine")));
    assert_eq!(shown["run_list"], json!(["recipe[page]", "recipe[extra::more]"]));
    assert_eq!(node(&api, &id, "?version=1").await["theme"], "light", "a version never changes");
    let third = patch(&api, &id, json!({"parameters": {"password": null}})).await.expect(200).json;
    assert_eq!(third["secrets"], json!([]));

    // It stays with its template's version until it is upgraded.
    let newer = {
        let mut body = page();
        body["attributes"] = json!({"page": {"footer": "newer", "width": 80}});
        body
    };
    api.call(Method::PUT, &format!("/v1/templates/{template}")).json(&newer).send().await.expect(200);
    assert_eq!(patch(&api, &id, json!({})).await.expect(200).json["template_version"], 2);
    assert_eq!(node(&api, &id, "").await["page"], json!({"footer": "mine"}));
    assert_eq!(patch(&api, &id, json!({"template_version": "newest"})).await.expect(200).json["template_version"], 3);
    assert_eq!(node(&api, &id, "").await["page"], json!({"footer": "mine", "width": 80}));
    patch(&api, &id, json!({"template_version": 9})).await.problem(422, "invalid");

    // Whoever has the database alone has no secret.
    // (PostgreSQL's files are not ours to read; what is stored is the same.)
    if backend == Backend::Sqlite {
        for entry in std::fs::read_dir(cluster.data()).unwrap().flatten().filter(|e| e.path().is_file()) {
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(16).any(|part| part == b" plain-to-the-en");
            assert!(!found, "a secret stands in {}", entry.path().display());
        }
    }
    api.delete(&path).await.expect(204);
    api.get(&path).await.problem(404, "not-found");
}

#[tokio::test]
async fn a_configuration_is_versioned_and_its_secrets_are_sealed() {
    life(Backend::Sqlite).await;
}

#[tokio::test]
async fn a_configuration_is_versioned_and_its_secrets_are_sealed_on_postgres() {
    life(Backend::Postgres).await;
}

#[tokio::test]
async fn parameters_that_break_the_schema_are_refused_with_every_pointer_and_no_value() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let template = page_template(&api).await;
    let asked = |parameters: Value| json!({"name": "blog", "template": template, "parameters": parameters});
    let wrong = json!({"theme": "purple", "password": "hunter2", "colour": 1});
    let problem = api.post("/v1/configurations", &asked(wrong)).await.problem(422, "invalid");
    let mut pointers = problem.pointers();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/parameters", "/parameters", "/parameters/password", "/parameters/theme"], "{problem:?}");
    let told = format!("{problem:?}");
    assert!(!told.contains("hunter2") && told.contains("title") && told.contains("colour"), "{told}");
    for (key, value, pointer) in [
        ("template", json!("tpl_0192f0c1a2b37c4d8e5f60718293a4b5"), "/template"),
        ("template_version", json!(7), "/template_version"),
        ("run_list", json!(["a b"]), "/run_list/0"),
        ("attributes", json!({"dockerforge": 1}), "/attributes/dockerforge"),
    ] {
        let mut body = asked(json!({"title": "x"}));
        body[key] = value;
        let problem = api.post("/v1/configurations", &body).await.problem(422, "invalid");
        assert!(problem.pointers().contains(&pointer), "{key}: {problem:?}");
    }
    assert_eq!(api.get("/v1/configurations").await.expect(200).json["items"], json!([]));
}

async fn changes_at_once(backend: Backend) {
    let cluster = Cluster::start_on(backend).await;
    let (_, api) = cluster.user("ana").await;
    let id = configuration(&api, "blog", &page_template(&api).await, json!({"title": "x"})).await;
    let mut changes = JoinSet::new();
    for i in 0..8 {
        let (api, id) = (api.clone(), id.clone());
        let change = async move { patch(&api, &id, json!({"attributes": {format!("a{i}"): i}})).await.status };
        changes.spawn(change);
    }
    let mut made = 0;
    for status in changes.join_all().await {
        assert!(status == 200 || status == 409, "{status}");
        made += u64::from(status == 200);
    }
    let last = api.get(&format!("/v1/configurations/{id}")).await.expect(200).json;
    assert_eq!(last["version"], 1 + made, "each change that was answered is a version");
    assert_eq!(last["attributes"].as_object().unwrap().len() as u64, made, "and none is lost");
}

#[tokio::test]
async fn of_changes_at_once_none_is_lost() {
    changes_at_once(Backend::Sqlite).await;
}

#[tokio::test]
async fn of_changes_at_once_none_is_lost_on_postgres() {
    changes_at_once(Backend::Postgres).await;
}

async fn build(api: &Api, agent: &Agent, name: &str, configuration: &str) -> Job {
    let body = json!({"name": name, "host": agent.host, "configuration": configuration});
    api.post("/v1/images", &body).await.accepted()
}

#[tokio::test]
async fn an_image_is_built_of_a_configuration_and_its_container_answers() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let template = page_template(&api).await;
    let chosen = json!({"title": "$HOME `id` \"quoted\" \u{f1}", "password": PASSWORD});
    let id = configuration(&api, "blog", &template, chosen).await;
    patch(&api, &id, json!({"run_list": ["extra", "extra::more"]})).await.expect(200);
    let job = build(&api, &agent, "blog", &id).await;
    let image = api.succeeded(&job, 120).await;

    let shown = api.image(&image).await;
    assert_eq!(shown.source["kind"], "configuration");
    assert_eq!((&shown.source["configuration"], &shown.source["configuration_version"]), (&json!(id), &json!(2)));
    let real = agent.docker.raw().inspect_image(&format!("dockerforge.invalid/{image}:latest")).await.unwrap();
    let labels = real.config.unwrap().labels.unwrap();
    assert_eq!(labels["dev.dockerforge.configuration"], id);
    assert_eq!(labels["dev.dockerforge.configuration-version"], "2");
    let log = api.log(&job.id).await.text;
    assert!(log.contains("== extra::more") && !log.contains("plain-to-the-end"), "{log}");

    let container = agent.container("blog", &image, json!({"ports": [{"container": 8080}]})).await;
    let port = wait::until(20, "the port is seen", async || {
        let observed = api.container(&container).await.observed;
        observed.ports.first().map(|port| port.host).ok_or_else(|| format!("{observed:?}"))
    })
    .await;
    let fetch = async |page: &str| {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/{page}")).await.map_err(|e| e.to_string())?;
        answer.text().await.map_err(|e| e.to_string())
    };
    let served = wait::until(20, "the page is served", async || fetch("").await).await;
    let served: Value = serde_json::from_str(&served).expect("the node");
    let mut shown = node(&api, &id, "").await;
    assert_eq!(shown.get("password"), None, "a secret is not shown");
    shown["password"] = served["password"].clone();
    assert_eq!(served, shown, "what was converged is what the API shows, with its secrets");
    assert!(served["password"].as_str().is_some_and(|password| password.ends_with("plain-to-the-end")));
    assert_eq!(served["title"], "$HOME `id` \"quoted\" \u{f1}");
    assert_eq!(
        (fetch("extra.html").await.unwrap(), fetch("more.html").await.unwrap()),
        ("extra\n".into(), "more\n".into())
    );

    let problem = api.delete(&format!("/v1/configurations/{id}")).await.problem(409, "configuration-in-use");
    assert!(problem.detail.contains(&image), "{problem:?}");
}

#[tokio::test]
async fn what_was_built_before_is_not_built_again() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let id = configuration(&api, "blog", &page_template(&api).await, json!({"title": "x"})).await;
    let (mut logs, mut made) = (Vec::new(), Vec::new());
    for name in ["first", "second"] {
        let job = build(&api, &agent, name, &id).await;
        let image = api.succeeded(&job, 120).await;
        logs.push(api.log(&job.id).await.text);
        let tag = format!("dockerforge.invalid/{image}:latest");
        made.push(agent.docker.raw().inspect_image(&tag).await.unwrap().id);
    }
    assert_eq!(made[0], made[1], "no step of it was anew, to the last");
    assert!(logs[0].contains("== page"), "{}", logs[0]);
    assert!(!logs[1].contains("== page") && logs[1].contains("Using cache"), "{}", logs[1]);
}

#[tokio::test]
async fn a_build_that_cannot_converge_says_why_and_leaves_nothing() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let with_scripts = page_template(&api).await;
    let bare = {
        let mut body = page();
        body["name"] = json!("bare");
        template(&api, &body).await
    };
    for (i, (template, added, said)) in [
        (&with_scripts, json!(["broken"]), "before"),
        (&bare, json!([]), "the run list names page, and the archive has no such script"),
    ]
    .into_iter()
    .enumerate()
    {
        let body =
            json!({"name": format!("c{i}"), "template": template, "parameters": {"title": "x"}, "run_list": added});
        let made = api.post("/v1/configurations", &body).await.expect(201).json;
        let job = build(&api, &agent, &format!("i{i}"), made["id"].as_str().unwrap()).await;
        let ended = api.ended(&job.id, 120).await;
        assert_eq!(ended.state, "failed", "{ended:?}");
        assert_eq!(ended.error.unwrap().kind(), "build-failed");
        let log = api.log(&job.id).await.text;
        assert!(log.contains(said) && !log.contains("after"), "{log}");
    }
    cluster.nothing_left(30).await;
    assert_eq!(api.get("/v1/images").await.expect(200).json["items"], json!([]));
}

#[tokio::test]
async fn a_repeated_build_has_its_first_answer_whatever_became_of_the_configuration() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let template = page_template(&api).await;
    let body = json!({"name": "c", "template": template, "parameters": {"title": "x"}, "run_list": ["broken"]});
    let made = api.post("/v1/configurations", &body).await.expect(201).json;
    let id = made["id"].as_str().unwrap();
    let ask = async |name: &str| {
        let body = json!({"name": name, "host": agent.host, "configuration": id});
        api.call(Method::POST, "/v1/images").header("Idempotency-Key", "once").json(&body).send().await
    };
    let first = ask("i").await.accepted();
    assert_eq!(api.ended(&first.id, 120).await.state, "failed");
    api.delete(&format!("/v1/configurations/{id}")).await.expect(204);
    assert_eq!(ask("i").await.accepted().id, first.id);
    ask("another").await.problem(422, "idempotency-mismatch");
}

#[tokio::test]
async fn the_archive_of_a_template_outlives_the_builds_of_it() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let template = page_template(&api).await;
    let id = configuration(&api, "blog", &template, json!({"title": "x"})).await;
    for name in ["first", "second"] {
        let job = build(&api, &agent, name, &id).await;
        let image = api.succeeded(&job, 120).await;
        let deletion = api.delete(&format!("/v1/images/{image}")).await.accepted();
        api.succeeded(&deletion, 60).await;
        // The same archive once more: the one that came with this request is not the only one that needs it.
        put_archive(&api, &template, page_archive()).await;
    }
}

#[tokio::test]
async fn what_the_archive_cannot_have_is_refused_when_it_is_chosen() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let with_scripts = page_template(&api).await;
    let body = |template: &str, added: Value| json!({"name": "c", "template": template, "parameters": {"title": "x"}, "run_list": added});
    let wrong = body(&with_scripts, json!(["extra", "nowhere", "extra::more", "extra::less"]));
    let problem = api.post("/v1/configurations", &wrong).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/run_list/1", "/run_list/3"]);
    assert_eq!(problem.errors[0].detail, "recipe[nowhere]: the archive has no such script");
    // With all else that is wrong.
    let mut more = wrong.clone();
    more["parameters"] = json!({"title": ""});
    let problem = api.post("/v1/configurations", &more).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/run_list/1", "/run_list/3", "/parameters/title"]);

    let made = api.post("/v1/configurations", &body(&with_scripts, json!(["extra"]))).await.expect(201).json;
    let id = made["id"].as_str().unwrap();
    let problem = patch(&api, id, json!({"run_list": ["extra", "busybox"]})).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/run_list/1"]);
    // A version of the template that has it no more is not gone to; what does not touch the run list goes on.
    let smaller = archive::gzip(&archive::tar(&[("page.sh", "changed page\n")]));
    put_archive(&api, &with_scripts, smaller).await;
    let problem = patch(&api, id, json!({"template_version": "newest"})).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/run_list/0"]);
    patch(&api, id, json!({"parameters": {"title": "y"}})).await.expect(200);
    patch(&api, id, json!({"template_version": "newest", "run_list": []})).await.expect(200);

    let mut bare = page();
    bare["name"] = json!("bare");
    let bare = template(&api, &bare).await;
    let problem = api.post("/v1/configurations", &body(&bare, json!(["page::more"]))).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/run_list/0"]);
}
