//! Templates: versions that never change, schemas and archives that are refused with their reasons, and who sees what.

use dockerforge_tests::{
    archive,
    backend::Backend,
    client::Api,
    cluster::Cluster,
    recipes::{configuration, page, page_archive, page_template, put_archive, template},
};
use reqwest::Method;
use serde_json::{Value, json};
use tar::EntryType;

async fn put(api: &Api, id: &str, body: &Value) -> dockerforge_tests::client::Answer {
    api.call(Method::PUT, &format!("/v1/templates/{id}")).json(body).send().await
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

async fn versions_stay(backend: Backend) {
    let cluster = Cluster::start_on(backend).await;
    let (_, api) = cluster.user("ana").await;
    let answer = api.post("/v1/templates", &page()).await.expect(201);
    let id = answer.json["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(format!("/v1/templates/{id}").as_str()));
    assert_eq!((&answer.json["version"], &answer.json["archive"]), (&json!(1), &Value::Null));
    assert_eq!(answer.json["run_list"], json!(["recipe[page]"]));
    let second = put_archive(&api, &id, page_archive()).await;
    assert_eq!((&second["version"], second["archive"]["sha256"].as_str().map(str::len)), (&json!(2), Some(64)));
    let third = put(&api, &id, &with(page(), "description", json!("another"))).await.expect(200).json;
    assert_eq!((&third["version"], &third["archive"]), (&json!(3), &second["archive"]));
    // What is so already makes no version.
    let again = put(&api, &id, &with(page(), "description", json!("another"))).await.expect(200).json;
    assert_eq!((&again, &put_archive(&api, &id, page_archive()).await), (&third, &third));
    let path = format!("/v1/templates/{id}");
    let first = api.get(&format!("{path}?version=1")).await.expect(200).json;
    assert_eq!((&first["description"], &first["archive"]), (&json!(""), &Value::Null), "a version never changes");
    assert_eq!(api.get(&path).await.expect(200).json["version"], 3);
    api.get(&format!("{path}?version=4")).await.problem(404, "not-found");

    // Who has seen an older one undoes nothing.
    let seen = api.get(&format!("{path}?version=2")).await.expect(200).header("etag").unwrap().to_owned();
    let put = |what: &str| api.call(Method::PUT, &format!("{path}{what}")).header("If-Match", &seen);
    put("").json(&page()).send().await.problem(412, "precondition-failed");
    put("/archive").body("application/gzip", page_archive()).send().await.problem(412, "precondition-failed");
    let unreadable = api.call(Method::PUT, &path).header("If-Match", "3").json(&page()).send().await;
    unreadable.problem(400, "bad-request");
    assert_eq!(api.get(&path).await.expect(200).json["version"], 3);

    api.post("/v1/templates", &page()).await.problem(409, "name-taken");
    let used = configuration(&api, "blog", &id, json!({"title": "x"})).await;
    let problem = api.delete(&path).await.problem(409, "template-in-use");
    assert!(problem.detail.contains(&used), "{problem:?}");
    api.delete(&format!("/v1/configurations/{used}")).await.expect(204);
    api.delete(&path).await.expect(204);
    api.get(&path).await.problem(404, "not-found");
}

#[tokio::test]
async fn each_change_makes_a_version_and_older_ones_stay_as_they_were() {
    versions_stay(Backend::Sqlite).await;
}

#[tokio::test]
async fn each_change_makes_a_version_and_older_ones_stay_as_they_were_on_postgres() {
    versions_stay(Backend::Postgres).await;
}

#[tokio::test]
async fn what_a_template_cannot_say_is_refused_with_every_pointer() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    for (key, value, pointer) in [
        ("provisioner", json!("puppet"), "/provisioner"),
        ("base", json!("-rf"), "/base"),
        ("run_list", json!([]), "/run_list"),
        ("run_list", json!(["recipe[a]", "../x"]), "/run_list/1"),
        ("run_list", json!(["a", "recipe[a]"]), "/run_list/1"),
        ("parameters", json!({"type": "objekt"}), "/parameters/type"),
        ("parameters", json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}), "/parameters/properties/a/$ref"),
        ("parameters", json!({"not": {"writeOnly": true}}), "/parameters/not/writeOnly"),
        ("attributes", json!({"run_list": []}), "/attributes/run_list"),
        ("attributes", json!([]), "/attributes"),
        ("attributes", json!({"theme": "purple"}), "/attributes/theme"),
        ("attributes", json!({"password": "in every image"}), "/attributes/password"),
        (
            "parameters",
            json!({"properties": {"a": {"writeOnly": true, "default": 1}}}),
            "/parameters/properties/a/default",
        ),
        ("requires", json!(["MySQL"]), "/requires/0"),
        ("run", json!({"expose": ["http"]}), "/run/expose/0"),
        ("run", json!({"volumes": ["/var/$HOME"]}), "/run/volumes/0"),
        ("run", json!({"stop_signal": "9;"}), "/run/stop_signal"),
    ] {
        let problem = api.post("/v1/templates", &with(page(), key, value.clone())).await.problem(422, "invalid");
        assert!(problem.pointers().contains(&pointer), "{key}: {value}: {problem:?}");
    }
    let text = page().to_string().replace(r#""footer":"made here""#, r#""footer":"a","footer":"b""#);
    let problem =
        api.call(Method::POST, "/v1/templates").body("application/json", text).send().await.problem(422, "invalid");
    assert!(problem.detail.contains("`footer`"), "{problem:?}");
    let deep = (0..40).fold(json!(1), |inner, _| json!({ "a": inner }));
    api.post("/v1/templates", &with(page(), "attributes", deep)).await.problem(422, "invalid");
    assert_eq!(api.get("/v1/templates").await.expect(200).json["items"], json!([]));
}

#[tokio::test]
async fn an_archive_that_leaves_its_tree_or_is_none_is_refused_and_the_version_stays() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let id = template(&api, &page()).await;
    let path = format!("/v1/templates/{id}/archive");
    let put = async |kind: &str, bytes: Vec<u8>| api.call(Method::PUT, &path).body(kind, bytes).send().await;
    for entry in [
        archive::raw_entry("../x", EntryType::Regular, "", b"x"),
        archive::raw_entry("/etc/x", EntryType::Regular, "", b"x"),
        archive::raw_entry("x", EntryType::Symlink, "../../etc", b""),
        archive::raw_entry("x", EntryType::Block, "", b""),
    ] {
        put("application/x-tar", archive::raw_tar(&[entry])).await.problem(422, "invalid-archive");
    }
    put("application/x-tar", b"no archive".to_vec()).await.problem(422, "invalid-archive");
    put("application/json", b"{}".to_vec()).await.problem(415, "unsupported-media-type");
    // 300 MiB of nothing in a few hundred KiB: more than an archive may be expanded.
    let bomb =
        archive::gzip(&archive::raw_tar(&[archive::raw_entry("x", EntryType::Regular, "", &vec![0; 300 << 20])]));
    put("application/gzip", bomb).await.problem(413, "too-large");
    assert_eq!(api.get(&format!("/v1/templates/{id}")).await.expect(200).json["version"], 1);
}

#[tokio::test]
async fn a_public_template_is_everybodys_to_use_and_its_owners_to_change() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let (ana_user, ana) = cluster.user("ana").await;
    let (_, eva) = cluster.user("eva").await;
    ana.post("/v1/templates", &with(page(), "public", json!(true))).await.problem(403, "forbidden");
    admin
        .acting_for(&ana_user.user.id)
        .post("/v1/templates", &with(page(), "public", json!(true)))
        .await
        .problem(422, "invalid");
    let public = template(&admin, &with(page(), "public", json!(true))).await;
    put_archive(&admin, &public, page_archive()).await;
    let own = page_template(&ana).await;
    let listed: Vec<Value> = eva.all("/v1/templates").await;
    assert_eq!(listed.iter().map(|t| t["id"].as_str().unwrap()).collect::<Vec<_>>(), [public.as_str()]);
    eva.get(&format!("/v1/templates/{own}")).await.problem(404, "not-found");

    let blog = configuration(&eva, "blog", &public, json!({"title": "x"})).await;
    for answer in [
        eva.delete(&format!("/v1/templates/{public}")).await,
        put(&eva, &public, &page()).await,
        eva.call(Method::PUT, &format!("/v1/templates/{public}/archive"))
            .body("application/gzip", page_archive())
            .send()
            .await,
    ] {
        answer.problem(403, "not-owner");
    }
    // Who uses it is nobody's business, and it is not taken from them.
    let problem = admin.delete(&format!("/v1/templates/{public}")).await.problem(409, "template-in-use");
    assert!(!problem.detail.contains(&blog) && problem.detail.contains("1 configurations"), "{problem:?}");
    put(&admin, &public, &page()).await.problem(409, "template-in-use");
}
