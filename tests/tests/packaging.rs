//! What is packaged is what the programs understand: each configuration file of `packaging/config` is loaded as it is
//! shipped, and again with every commented setting taken in; the parameters of each template of `packaging/templates` are taken
//! as a coordinator takes them, and their programs do what they say. Run by `cargo test`; needs nothing but python3.

use dockerforge_agent::config::RunArgs;
use dockerforge_coordinator::build::schema::Schema;
use dockerforge_coordinator::config::{Config, ServeArgs};
use dockerforge_protocol::spec::Document;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config").join(name)
}

/// The file with each `#name = value` line as `name = value`, and each `#[table]` as that; comments proper have a space after the `#`.
fn with_every_setting(name: &str, folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(packaged(name)).unwrap();
    let settings = text.lines().map(|line| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line));
    let settings = settings.collect::<Vec<_>>().join("\n");
    assert_ne!(settings.trim_end(), text.trim_end(), "{name} names no setting");
    let path = folder.join(name);
    std::fs::write(&path, settings).unwrap();
    path
}

fn is_setting(line: &str) -> bool {
    line.starts_with('[') || (line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" = "))
}

#[test]
fn the_coordinators_settings_file_is_understood_with_and_without_each_setting() {
    let folder = tempfile::tempdir().unwrap();
    for file in [packaged("coordinator.toml"), with_every_setting("coordinator.toml", folder.path())] {
        let config = Config::load(&ServeArgs { config: Some(file), ..ServeArgs::default() }).unwrap();
        // What the file gives as defaults are the defaults.
        assert_eq!(config.data_dir, Path::new("/var/lib/dockerforge"));
        assert_eq!(config.api_listen.to_string(), "127.0.0.1:7080");
        assert_eq!(config.agent_listen.to_string(), "0.0.0.0:7443");
        assert_eq!(config.ops_listen.map(|at| at.to_string()).as_deref(), Some("127.0.0.1:7090"));
        assert_eq!((config.job_retention_days, config.log_retention_days), (30, 7));
        assert_eq!(config.log_level, "info");
    }
}

#[test]
fn the_agents_settings_file_is_understood_with_and_without_each_setting() {
    let folder = tempfile::tempdir().unwrap();
    for file in [packaged("agent.toml"), with_every_setting("agent.toml", folder.path())] {
        let mut args = RunArgs { config: Some(file), ..RunArgs::default() }.with_file().unwrap();
        // The file of the token is an example, and is not there.
        args.token_file = None;
        args.coordinator = Some("https://coordinator.example".to_owned());
        let settings = args.resolve().unwrap();
        assert_eq!(settings.config.state_dir, Path::new("/var/lib/dockerforge-agent"));
        assert_eq!(settings.config.slots, 4);
        assert_eq!(settings.docker, "unix:///var/run/docker.sock");
    }
}

#[test]
fn the_policy_file_is_understood_with_and_without_each_setting() {
    let folder = tempfile::tempdir().unwrap();
    for file in [packaged("policy.toml"), with_every_setting("policy.toml", folder.path())] {
        dockerforge_agent::policy::Policy::load(Some(&file), folder.path()).unwrap();
    }
}

#[test]
fn the_alert_rules_and_the_dashboard_are_well_formed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let text = std::fs::read_to_string(folder.join("grafana/dockerforge.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.iter().all(|panel| panel["targets"].as_array().is_some_and(|targets| !targets.is_empty())));
    // Prometheus' own check, where it is installed: it is not needed to run the tests.
    let rules = folder.join("prometheus/dockerforge.rules.yml");
    if let Ok(checked) = std::process::Command::new("promtool").args(["check", "rules"]).arg(&rules).output() {
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

fn template(folder: &str, document: &str) -> (PathBuf, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/templates").join(folder);
    let text = std::fs::read_to_string(folder.join(document)).unwrap();
    (folder, serde_json::from_str(&text).unwrap())
}

fn document(value: &Value) -> Document {
    Document::try_from(value.clone()).unwrap()
}

#[test]
fn the_templates_take_what_their_readme_names_and_know_what_of_it_is_secret() {
    let databases = json!({"mysql": {"root_password": "p p'\"\\$`", "bind": "0.0.0.0", "databases": {
        "blog_1": {"user": "blog", "password": "p p'\"\\$`", "charset": "utf8mb4"}}}});
    let blog = json!({"wordpress": {
        "title": "A 'blog'", "domain": "blog.example.org:8080", "scheme": "https", "theme": "twentytwentyone", "language": "pt_BR",
        "admin": {"user": "ana", "email": "ana@example.org", "password": "p p'\"\\$`"},
        "db": {"host": "mysql", "name": "blog_1", "user": "blog", "password": "p p'\"\\$`", "prefix": "wp_"},
        "post": {"title": "Hello", "content": ""}}});
    for (folder, chosen, secrets) in [
        ("mysql", databases, ["/mysql/databases/blog_1/password", "/mysql/root_password"]),
        ("wordpress", blog, ["/wordpress/admin/password", "/wordpress/db/password"]),
    ] {
        let (_, body) = template(folder, "template.json");
        let schema =
            Schema::compile(&document(&body["parameters"])).unwrap_or_else(|wrong| panic!("{folder}: {wrong:?}"));
        let problems = schema.problems(&document(&chosen));
        assert!(problems.is_empty(), "{folder}: {problems:?}");
        let (shown, found) = schema.part(&document(&chosen));
        assert_eq!(found.keys().collect::<Vec<_>>(), secrets);
        assert!(!format!("{:?}", shown.members()).contains("p p'"), "{folder}");
    }
}

#[test]
fn what_links_to_the_databases_get_is_what_the_blog_reads_and_it_needs_no_password_then() {
    let (_, body) = template("mysql", "template.json");
    let given: Vec<&String> = body["provision"]["secrets"].as_object().unwrap().keys().collect();
    assert_eq!(given, ["DB_HOST", "DB_NAME", "DB_PASSWORD", "DB_USER"]);
    let (folder, body) = template("wordpress", "template.json");
    let node = std::fs::read_to_string(folder.join("files/node.php")).unwrap();
    assert!(node.contains("['host', 'name', 'user', 'password']") && node.contains("'/run/secrets/DB_'"));
    let schema = Schema::compile(&document(&body["parameters"])).unwrap();
    let problems = |db: Value| {
        let admin = json!({"user": "ana", "email": "ana@example.org", "password": "long enough"});
        schema.problems(&document(&json!({"wordpress": {"title": "A blog", "admin": admin, "db": db}}))).len()
    };
    assert_eq!((problems(json!({})), problems(json!({"prefix": "a_"}))), (0, 0));
    assert_eq!(problems(json!({"name": "blog", "user": "blog", "password": "long enough"})), 0);
    assert_ne!(problems(json!({"name": "blog"})), 0, "all of it, or nothing");
    assert_ne!(problems(json!({"password": "long enough"})), 0);
}

#[test]
fn the_parameters_of_the_templates_refuse_what_would_be_another_database_or_user() {
    let (_, body) = template("mysql", "template.json");
    let schema = Schema::compile(&document(&body["parameters"])).unwrap();
    let refused = |name: &str, user: &str, password: &str| {
        let databases = json!({name: {"user": user, "password": password}});
        !schema.problems(&document(&json!({"mysql": {"databases": databases}}))).is_empty()
    };
    assert!(!refused("blog", "blog", "long enough"));
    for (name, user, password) in [
        ("mysql", "blog", "long enough"),
        ("a`b", "blog", "long enough"),
        ("blog", "root", "long enough"),
        ("blog", "o'brien", "long enough"),
        ("blog", "blog", "short"),
        ("blog", "blog", "two\nlines"),
    ] {
        assert!(refused(name, user, password), "{name} {user} {password:?}");
    }
}

#[test]
fn each_item_of_a_templates_run_list_is_a_role_and_a_cookbook() {
    for name in ["mysql", "wordpress"] {
        let (folder, body) = template(name, "template.json");
        for item in body["run_list"].as_array().unwrap() {
            let item = item.as_str().unwrap().strip_prefix("recipe[").and_then(|rest| rest.strip_suffix(']')).unwrap();
            for file in [format!("roles/{item}/tasks/main.yml"), format!("cookbooks/{item}/recipes/default.rb")] {
                assert!(folder.join(&file).is_file(), "{name} has no {file}");
            }
        }
        // The same template but for what converges it.
        let (_, chef) = template(name, "template-chef.json");
        let mut said: Vec<_> = chef.as_object().unwrap().keys().map(String::as_str).collect();
        said.sort_unstable();
        assert_eq!((said, &chef["provisioner"]), (vec!["base", "name", "provisioner"], &json!("chef-solo")));
    }
}

#[test]
fn an_account_that_was_revoked_has_no_rights_left_also_if_its_name_was_given_again() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = std::process::Command::new("python3");
    python.arg("-B").arg(here.join("tests/packaging/accounts.py"));
    python.arg(here.join("../packaging/templates/mysql/files/mysql.py"));
    let checked = python.output().unwrap_or_else(|error| panic!("python3 is needed: {error}"));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
