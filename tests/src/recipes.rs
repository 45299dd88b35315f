//! Templates for tests: small ones, of scripts, that converge on the base image.

use crate::{archive, client::Api, env};
use reqwest::Method;
use serde_json::{Value, json};

/// A template of scripts that write a page from the node, and serve it.
pub fn page() -> Value {
    json!({
        "name": "page", "base": env::BASE_IMAGE, "provisioner": "shell", "run_list": ["recipe[page]"],
        "attributes": {"page": {"footer": "made here"}},
        "parameters": {
            "type": "object", "required": ["title"], "additionalProperties": false,
            "properties": {
                "title": {"type": "string", "minLength": 1, "maxLength": 80},
                "theme": {"enum": ["light", "dark"], "default": "light"},
                "password": {"type": "string", "minLength": 8, "writeOnly": true},
            },
        },
        "run": {"command": ["httpd", "-f", "-p", "8080", "-h", "/www"], "expose": ["8080"]},
    })
}

/// Its archive.
pub fn page_archive() -> Vec<u8> {
    archive::gzip(&archive::tar(&[
        (
            "page.sh",
            "cmp -s \"$DOCKERFORGE_NODE\" /www/index.html && exit 0\ncp \"$DOCKERFORGE_NODE\" /www/index.html\n\
             chmod 644 /www/index.html\nchanged page\n",
        ),
        ("extra/default.sh", "[ -e /www/extra.html ] && exit 0\necho extra >/www/extra.html\nchanged extra\n"),
        ("extra/more.sh", "echo more >/www/more.html\nchanged more\n"),
        ("broken.sh", "echo before\nfalse\necho after\n"),
        ("blab.sh", "cat \"$DOCKERFORGE_NODE\"\n"),
        ("slow.sh", "echo begins\nsleep 4321\n"),
        (
            "once.sh",
            "if [ -e /tmp/turn ] && kill -0 \"$(cat /tmp/turn)\" 2>/dev/null; then echo two at once; exit 1; fi\n\
             echo $$ >/tmp/turn\necho begins\n[ -e /tmp/was ] && exit 0\ntouch /tmp/was\nsleep 30\n",
        ),
    ]))
}

/// Makes a template; answers its id.
pub async fn template(api: &Api, body: &Value) -> String {
    let made = api.post("/v1/templates", body).await.expect(201).json;
    made["id"].as_str().unwrap().to_owned()
}

/// Gives a template its archive.
pub async fn put_archive(api: &Api, template: &str, archive: Vec<u8>) -> Value {
    let path = format!("/v1/templates/{template}/archive");
    api.call(Method::PUT, &path).body("application/gzip", archive).send().await.expect(200).json
}

/// The template [`page`] with its archive; answers its id.
pub async fn page_template(api: &Api) -> String {
    let id = template(api, &page()).await;
    put_archive(api, &id, page_archive()).await;
    id
}

/// Makes a configuration with these parameters; answers its id.
pub async fn configuration(api: &Api, name: &str, template: &str, parameters: Value) -> String {
    let body = json!({"name": name, "template": template, "parameters": parameters});
    let made = api.post("/v1/configurations", &body).await.expect(201).json;
    made["id"].as_str().unwrap().to_owned()
}
