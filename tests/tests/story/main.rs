//! The main story with the templates that ship, on real Docker Engines and with Debian's real packages. Images are built on one
//! host and run on another, which gets them from there: databases are launched
//! and get one for a blog while they run, the blog is linked to them and answers, and survives whatever is restarted. Two
//! images of half a gigabyte are built for it, so `make test` leaves it out and `make story` runs it. What is missing for it
//! fails it. In [`chef`] it is told by Chef, too: only `make chef-story` runs that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may; the lint spares only the functions marked as tests"
)]

mod chef;
mod scene;
mod visitor;

use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{
    agent::Agent, cluster::Cluster, hosts::FarHost, invariants, layers, recipes::configuration, wait,
};
use scene::{By, Made, Scene, patch};
use serde_json::{Value, json};

/// Passwords that shells, YAML, SQL, PHP, JSON and Ansible would each trip over. What they end in has no escapes anywhere.
const DATABASE: &str = "$a 'b\\ \"c`d {{ 7 * 7 }} %s to-the-very-end";
const DATABASE_LATER: &str = "\"e`f' $g\\\\ h\" not-before-the-end";
const ADMINISTRATOR: &str = "'i $j\\ \"k`l to-the-bitter-end";
/// By these the passwords are found wherever they are and however they are written.
const MARKS: [&str; 3] = ["to-the-very-end", "not-before-the-end", "to-the-bitter-end"];

const TITLE: &str = "Ana's first & best blog";

fn blog(database: &str) -> Value {
    json!({"wordpress": {
        "title": TITLE, "domain": visitor::DOMAIN, "theme": "twentytwentyone", "language": "de_DE",
        "admin": {"user": "ana", "email": "ana@example.org", "password": ADMINISTRATOR},
        "db": {"name": "blog", "user": "blog", "password": database},
        "post": {"title": visitor::POST_TITLE, "content": visitor::POST},
    }})
}

/// Databases that run, and are told of one for the blog afterwards.
async fn databases(scene: &Scene) -> Made {
    let made = scene.built("databases", "mysql", json!({})).await;
    let volumes = json!({"volumes": [{"volume": "databases", "target": "/var/lib/mysql"}]});
    let made = scene.launched(made, volumes).await;
    assert_eq!(scene.converge(&made).await, [""; 0], "nothing was chosen yet");
    let names = "SELECT GROUP_CONCAT(schema_name) FROM information_schema.schemata WHERE schema_name = 'blog'";
    assert_eq!(scene.sql(&made, names).await, "NULL");

    let before = scene.docker_id(&made).await;
    let wanted = json!({"mysql": {"databases": {"blog": {"user": "blog", "password": DATABASE}}}});
    let shown = patch(&scene.api, &made.configuration, wanted).await;
    assert_eq!(shown["secrets"], json!(["/mysql/databases/blog/password"]));
    assert_eq!(
        scene.converge(&made).await,
        [
            "mysql-server : database blog",
            "mysql-server : user blog",
            "mysql-server : rights of user blog in database blog"
        ]
    );
    assert_eq!(scene.converge(&made).await, [""; 0]);
    assert_eq!(scene.sql(&made, names).await, "blog");
    assert_eq!(scene.docker_id(&made).await, before, "it was not made anew");
    made
}

/// A blog that is linked to them. Its configuration has a wrong password of its database at first.
async fn linked_blog(scene: &Scene, databases: &Made) -> Made {
    let made = scene.built("blog", "wordpress", blog("another password")).await;
    let rest = json!({
        "ports": [{"container": 80}], "links": [{"container": databases.container, "alias": "mysql"}],
        "volumes": [{"volume": "blog", "target": "/var/lib/wordpress/wp-content"}],
    });
    let job = scene.launch("blog", &made, rest.clone()).await;
    let error = job.error.as_ref().expect("the database refuses it");
    assert_eq!((job.state.as_str(), error.kind()), ("failed", "converge-failed"), "{job:?}");
    let refused = "failed: the database at mysql: Access denied for user 'blog'@'";
    let refused = format!("{} {refused}", scene.by.step("wordpress", "blog"));
    assert!(error.detail.starts_with(&refused) && error.detail.contains("(using password: YES)"), "{error:?}");
    let gone = job.resource.expect("the container that was to be").id;
    assert!(scene.agent.docker.of_container(&gone).await.is_empty(), "what cannot be converged is not made");

    patch(&scene.api, &made.configuration, json!({"wordpress": {"db": {"password": DATABASE}}})).await;
    let made = scene.launched(made, rest).await;
    assert_eq!(scene.converge(&made).await, [""; 0]);
    made
}

/// Another password of the database on one side alone locks the blog out, and on both lets it in again.
async fn another_password(scene: &Scene, databases: &Made, blog: &Made) {
    let wanted = json!({"mysql": {"databases": {"blog": {"password": DATABASE_LATER}}}});
    patch(&scene.api, &databases.configuration, wanted).await;
    assert_eq!(scene.converge(databases).await, ["mysql-server : password of user blog"]);
    // So the blog's pages do come out of this database.
    assert_eq!(scene.visitor(blog).await.page("/").await.status, 500);
    patch(&scene.api, &blog.configuration, json!({"wordpress": {"db": {"password": DATABASE_LATER}}})).await;
    assert_eq!(scene.converge(blog).await, ["wordpress : settings of the blog"]);
}

/// A blog whose configuration says nothing of a database has one by its link, and its user goes with it; its data stay.
async fn a_second_blog_comes_with_its_database(scene: &Scene, databases: &Made, blog: &Made) {
    patch(&scene.api, &blog.configuration, json!({"wordpress": {"db": null}})).await;
    let rest = |provision: Value| {
        json!({"ports": [{"container": 80}],
            "links": [{"container": databases.container, "alias": "data", "provision": provision}]})
    };
    let job = scene.launch("second", blog, rest(json!(false))).await;
    let error = job.error.expect("it has none");
    assert!(error.detail.contains("there is no database: link one with"), "{error:?}");
    let job = scene.launch("second", blog, rest(json!({"database": "second"}))).await;
    assert_eq!(job.state, "succeeded", "{job:?}\n{}", scene.api.log(&job.id).await.text);
    let id = job.resource.expect("the container").id;
    let second = Made { configuration: blog.configuration.clone(), image: blog.image.clone(), container: id.clone() };
    scene.visitor(&second).await.sees_the_blog(TITLE).await;
    let shown = scene.api.container(&id).await.rest["links"][0]["provision"].clone();
    assert_eq!(shown["database"], "second");
    let user = shown["user"].as_str().unwrap().to_owned();
    let password = scene.agent.docker.file(&docker_name(id.parse().unwrap()), "/run/secrets/DB_PASSWORD").await;
    scene.cluster.is_secret(&password);
    let users = format!("SELECT COUNT(*) FROM mysql.global_priv WHERE User = '{user}'");
    let posts = "SELECT COUNT(*) FROM second.wp_posts WHERE post_status = 'publish' AND post_type = 'post'";
    assert_eq!((scene.sql(databases, &users).await, scene.sql(databases, posts).await), ("1".into(), "1".into()));
    let other = format!("SHOW GRANTS FOR '{user}'@'%'");
    assert!(!scene.sql(databases, &other).await.contains("blog"), "not the other blog's");

    let job = scene.api.delete(&format!("/v1/containers/{id}")).await.accepted();
    scene.api.succeeded(&job, 60).await;
    wait::until(120, "its user is gone", async || {
        let left = scene.sql(databases, &users).await;
        if left == "0" { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(scene.sql(databases, posts).await, "1", "its data stay");
}

/// The passwords are in the container that needs them, and nowhere else.
async fn secrets_are_in_their_place_alone(scene: &Scene, databases: &Made, blog: &Made) {
    let docker = &scene.agent.docker;
    let settings = docker.file(&docker_name(blog.container.parse().unwrap()), "/etc/wordpress/dockerforge.json").await;
    assert!(settings.contains(MARKS[1]), "the blog knows its database's password");
    for mark in MARKS {
        scene.cluster.is_secret(mark);
    }
    // Logs, answers, events, the database, both sides' folders, what Docker shows of the containers.
    invariants::standing(&scene.cluster).await;
    // What is in a file of a layer is found: of the programs, and of the node, where a password would stand.
    let known =
        [vec!["IDENTIFIED VIA mysql_native_password USING"], vec!["the node has no password in", visitor::POST]];
    for (made, known) in [databases, blog].into_iter().zip(known) {
        let history = layers::history(docker, &made.image).await;
        assert!(history.contains("converge.sh"), "{history}");
        let found = layers::found(docker, &made.image, &[&MARKS[..], &known].concat()).await;
        assert!(known.iter().all(|text| found.contains(*text)), "the layers can be read: {found:?}");
        for mark in MARKS {
            assert!(!found.contains(mark) && !history.contains(mark), "a password is in the image {}", made.image);
        }
    }
}

/// The story, by whichever provisioner.
async fn a_blog_answers_and_survives(by: By) {
    let mut scene = Scene::start(by).await;
    let databases = databases(&scene).await;
    let blog = linked_blog(&scene, &databases).await;
    scene.visitor(&blog).await.sees_the_blog(TITLE).await;
    scene.visitor(&blog).await.can_sign_in("ana", ADMINISTRATOR).await;

    // What no converge makes: it has to be there afterwards.
    scene.visitor(&blog).await.leaves_a_comment().await;
    scene.exec(&blog, "mkdir -p /var/lib/wordpress/wp-content/uploads && echo kept >/var/lib/wordpress/wp-content/uploads/kept.txt").await;
    scene.nothing_is_lost(&databases, &blog, TITLE).await;

    scene.restarted(&databases).await;
    scene.nothing_is_lost(&databases, &blog, TITLE).await;
    scene.restarted(&blog).await;
    scene.nothing_is_lost(&databases, &blog, TITLE).await;
    scene.agent.crash_and_restart().await;
    scene.nothing_is_lost(&databases, &blog, TITLE).await;
    scene.cluster.crash_and_restart().await;
    scene.agent.is_online(60).await;
    scene.nothing_is_lost(&databases, &blog, TITLE).await;
    scene.docker_restarted(&blog).await;
    scene.nothing_is_lost(&databases, &blog, TITLE).await;
    for made in [&databases, &blog] {
        assert_eq!(scene.converge(made).await, [""; 0], "nothing was lost that it would make again");
    }

    another_password(&scene, &databases, &blog).await;
    scene.nothing_is_lost(&databases, &blog, TITLE).await;
    // What is made anew has the data of its volumes, and is converged.
    let job =
        scene.api.patch(&format!("/v1/containers/{}", blog.container), &json!({"env": {"A": "b"}})).await.accepted();
    scene.api.succeeded(&job, 120).await;
    scene.nothing_is_lost(&databases, &blog, TITLE).await;
    assert_eq!(scene.converge(&blog).await, [""; 0]);
    scene.visitor(&blog).await.can_sign_in("ana", ADMINISTRATOR).await;
    a_second_blog_comes_with_its_database(&scene, &databases, &blog).await;
    secrets_are_in_their_place_alone(&scene, &databases, &blog).await;
}

#[tokio::test]
#[ignore = "builds two large images, some ten minutes: `make story` runs it"]
async fn a_blog_answers_from_a_database_that_a_running_server_was_given_and_survives_every_restart() {
    a_blog_answers_and_survives(By::Ansible).await;
}

#[tokio::test]
#[ignore = "needs what `make story` brings up"]
async fn a_build_on_a_host_without_the_base_image_fails_and_names_it() {
    let cluster = Cluster::start().await;
    scene::register_templates(&cluster, By::Ansible);
    let (_, api) = cluster.user("ana").await;
    let far = FarHost::all().pop().expect("two further hosts");
    let agent = Agent::online(&cluster, &api, "far", &far.docker).await;
    assert!(!agent.docker.has_image(scene::BASE).await, "the further hosts have none");
    let id = configuration(&api, "databases", &scene::template(&api, By::Ansible, "mysql").await, json!({})).await;
    let asked = json!({"name": "databases", "host": agent.host, "configuration": id});
    let job = api.post("/v1/images", &asked).await.accepted();
    let ended = api.ended(&job.id, 120).await;
    let error = ended.error.expect("it fails");
    assert_eq!((ended.state.as_str(), error.kind()), ("failed", "build-failed"));
    let missing = format!("the base image {} is not on this host and cannot be pulled: ", scene::BASE);
    assert!(error.detail.starts_with(&missing), "{error:?}");
    assert!(api.log(&job.id).await.text.contains(&error.detail));
}
