//! What a configuration renders to: the same bytes each time, one Dockerfile of a form that nothing chosen can change, and
//! nowhere a secret.

use super::*;
use crate::build::schema::Schema;
use crate::domain::configuration::Choice;
use crate::domain::template::{Provisioner, Running, TemplateSpec};
use dockerforge_protocol::ids::{ConfigurationId, TemplateId, UserId};
use dockerforge_protocol::spec::PortProtocol;
use jiff::Timestamp;
use serde_json::{Value, json};

fn document(value: Value) -> Document {
    Document::try_from(value).unwrap()
}

fn template(provisioner: Provisioner) -> Template {
    Template {
        id: "tpl_0192f0c1a2b37c4d8e5f60718293a4b5".parse::<TemplateId>().unwrap(),
        user: UserId::new(),
        name: "wordpress".parse().unwrap(),
        public: true,
        version: 3,
        spec: TemplateSpec {
            description: String::new(),
            base: "debian:12".parse().unwrap(),
            provisioner,
            run_list: vec!["recipe[wordpress::web]".parse().unwrap(), "role[php]".parse().unwrap()],
            attributes: document(json!({"site": {"theme": "plain", "lang": "en"}, "port": 80})),
            parameters: document(json!({"properties": {
                "site": {"properties": {"lang": {"default": "gl"}, "motto": {"default": "none"}}},
                "password": {"type": "string", "writeOnly": true},
            }})),
            requires: Vec::new(),
            provides: Vec::new(),
            provision: None,
            run: Running {
                command: vec!["sh".to_owned(), "-c".to_owned(), "echo \"$HOME\"\nRUN reboot".to_owned()],
                expose: vec![(80.try_into().unwrap(), PortProtocol::Tcp), (53.try_into().unwrap(), PortProtocol::Udp)],
                volumes: vec!["/var/lib/my data".parse().unwrap()],
                stop_signal: Some("SIGWINCH".parse().unwrap()),
            },
        },
        archive: None,
        created_at: Timestamp::UNIX_EPOCH,
        changed_at: Timestamp::UNIX_EPOCH,
    }
}

fn configuration(parameters: Value) -> Configuration {
    Configuration {
        id: "cfg_0192f0c1a2b37c4d8e5f60718293a4b6".parse::<ConfigurationId>().unwrap(),
        user: UserId::new(),
        name: "blog".parse().unwrap(),
        template: template(Provisioner::Shell).id,
        template_version: 3,
        version: 7,
        choice: Choice {
            parameters: document(parameters),
            run_list: vec!["recipe[extra]".parse().unwrap(), "role[php]".parse().unwrap()],
            attributes: document(json!({"port": 8080})),
        },
        secrets: vec!["/password".to_owned()],
        created_at: Timestamp::UNIX_EPOCH,
        changed_at: Timestamp::UNIX_EPOCH,
    }
}

fn rendered(provisioner: Provisioner, parameters: Value) -> Vec<File> {
    let template = template(provisioner);
    let defaults = Schema::compile(&template.spec.parameters).unwrap_or_else(|p| panic!("{p:?}")).defaults();
    files(&template, &configuration(parameters), &defaults).unwrap()
}

fn text(files: &[File], path: &str) -> String {
    let file = files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}"));
    String::from_utf8(file.content.clone()).unwrap()
}

#[test]
fn the_dockerfile_has_one_form_whatever_was_chosen() {
    let files = rendered(Provisioner::Ansible, json!({"site": {"title": "x\nRUN reboot"}}));
    let dockerfile = text(&files, "Dockerfile");
    let words: Vec<&str> = dockerfile.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        words,
        [
            "#",
            "FROM",
            "COPY",
            "RUN",
            "COPY",
            "COPY",
            "RUN",
            "EXPOSE",
            "EXPOSE",
            "VOLUME",
            "STOPSIGNAL",
            "CMD",
            "LABEL",
            "LABEL"
        ],
        "{dockerfile}"
    );
    assert!(
        dockerfile.contains("EXPOSE 53/udp\nVOLUME [\"/var/lib/my data\"]\nSTOPSIGNAL SIGWINCH\nCMD [\"sh\""),
        "{dockerfile}"
    );
    assert!(dockerfile.contains(r#"dev.dockerforge.configuration-version="7""#), "{dockerfile}");
}

#[test]
fn a_node_is_merged_from_defaults_template_parameters_and_additions() {
    let files = rendered(Provisioner::ChefSolo, json!({"site": {"title": "A blog", "theme": "dark"}}));
    let node: Value = serde_json::from_str(&text(&files, "node.json")).unwrap();
    assert_eq!(node["site"], json!({"lang": "en", "motto": "none", "theme": "dark", "title": "A blog"}));
    assert_eq!(node["port"], 8080);
    assert_eq!(node["run_list"], json!(["recipe[wordpress::web]", "role[php]", "recipe[extra]"]));
    assert_eq!((&node["dockerforge"]["version"], &node["dockerforge"]["secrets"]), (&json!(7), &json!(["/password"])));
    assert_eq!(text(&files, "run-list"), "wordpress::web\nphp\nextra\n");
    let scripts = rendered(Provisioner::Shell, json!({}));
    let list = "wordpress::web wordpress/web.sh\nphp php.sh php/default.sh\nextra extra.sh extra/default.sh\n";
    assert_eq!(text(&scripts, "run-list"), list, "a shell is told where to look");
}

#[test]
fn each_provisioner_has_the_same_two_doors() {
    for provisioner in Provisioner::ALL {
        let files = rendered(provisioner, json!({}));
        for path in ["provisioner/converge.sh", "provisioner/install.sh", "provisioner/provision.sh"] {
            assert!(text(&files, path).starts_with("#!/bin/sh\n"), "{provisioner:?} {path}");
        }
        assert_eq!(files, rendered(provisioner, json!({})), "the same bytes each time");
    }
}
