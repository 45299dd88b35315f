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
        ("slow.sh", "echo begins\nls /dev/shm\nsleep 4321\n"),
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

/// A template of scripts whose containers keep accounts, make one for a link that asks for it, and say at
/// `/cgi-bin/login?USER&PASSWORD` which database they let that user into.
pub fn ledger() -> Value {
    let name = "^[a-z0-9_]{1,40}$";
    json!({
        "name": "ledger", "base": env::BASE_IMAGE, "provisioner": "shell", "run_list": ["ledger"], "provides": ["ledger"],
        "provision": {
            "fields": {"database": {"pattern": name}, "user": {"pattern": name, "unique": true}},
            "secrets": {"DB_HOST": "{alias}", "DB_USER": "{user}", "DB_PASSWORD": "{password}", "DB_URL": "http://{alias}:8080/cgi-bin/login?{user}&{password}"},
        },
        "run": {"command": ["httpd", "-f", "-p", "8080", "-h", "/www"], "expose": ["8080"]},
    })
}

/// Its archive.
pub fn ledger_archive() -> Vec<u8> {
    let ledger = r#"
cat >/www/login.new <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
sed -n "s/^$QUERY_STRING&/in /p" /srv/accounts | grep . || echo refused
END
mkdir -p /www/cgi-bin /srv/db
chmod 755 /www/login.new
mv /www/login.new /www/cgi-bin/login
touch /srv/accounts
field() { printf '%s\n' "$entry" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
grants=$(sed -n 's/.*"grants":\[\([^]]*\)\].*/\1/p' "$DOCKERFORGE_NODE" | sed 's/},{/}\n{/g')
for turn in true false; do
  printf '%s\n' "$grants" | grep "\"revoked\":$turn" | while read -r entry; do
    user=$(field user) line="$(field user)&$(field password)&$(field database)"
    if [ "$turn" = true ] && grep -q "^$user&" /srv/accounts; then
      sed -i "/^$user&/d" /srv/accounts
      changed "no user $user"
    elif [ "$turn" = false ] && ! grep -qxF "$line" /srv/accounts; then
      mkdir -p "/srv/db/$(field database)"
      printf '%s\n' "$line" >>/srv/accounts
      changed "user $user"
    fi
  done
done
"#;
    archive::gzip(&archive::tar(&[
        ("ledger.sh", ledger),
        ("broken.sh", "false\n"),
        ("slow.sh", "echo begins\nsleep 5\n"),
    ]))
}

/// A template of scripts whose containers log in at a ledger and serve what that says.
pub fn shop() -> Value {
    json!({
        "name": "shop", "base": env::BASE_IMAGE, "provisioner": "shell", "run_list": ["shop"], "requires": ["ledger"],
        "run": {"command": ["httpd", "-f", "-p", "8080", "-h", "/www"], "expose": ["8080"]},
    })
}

/// Its archive.
pub fn shop_archive() -> Vec<u8> {
    let shop = "[ \"$DOCKERFORGE_PHASE\" = run ] || exit 0\nwget -q -O /www/index.new \"$(cat /run/secrets/DB_URL)\"\ncat /www/index.new /run/secrets/DB_PASSWORD\n\
                grep -q '^in ' /www/index.new\ncmp -s /www/index.new /www/index.html && exit 0\n\
                mv /www/index.new /www/index.html\nchanged page\n";
    archive::gzip(&archive::tar(&[("shop.sh", shop)]))
}
