//! Links of a container as options: to which container, under which name, and what they provision. Used by `container`.

use super::{error::CliError, resolve::Kind, session::Session};
use dockerforge_protocol::spec::DnsLabel;
use serde_json::{Map, Value, json};

/// A link as it was said.
#[derive(Debug, Clone)]
pub(super) struct LinkOption {
    container: String,
    alias: DnsLabel,
    /// What the account is to be called, where one is to be made.
    provision: Option<Map<String, Value>>,
}

/// `CONTAINER:ALIAS[,provision][,FIELD=VALUE…]`.
pub(super) fn link(text: &str) -> Result<LinkOption, String> {
    let mut parts = text.split(',');
    let (container, alias) = parts.next().and_then(|first| first.split_once(':')).ok_or("expected CONTAINER:ALIAS")?;
    if container.is_empty() {
        return Err("expected the name or id of a container before ':'".to_owned());
    }
    let mut provision: Option<Map<String, Value>> = None;
    for part in parts {
        let fields = provision.get_or_insert_default();
        match part.split_once('=') {
            Some((field, value)) if !field.is_empty() => {
                if fields.insert(field.to_owned(), json!(value)).is_some() {
                    return Err(format!("{field} is said twice"));
                }
            }
            None if part == "provision" => {}
            _ => return Err(format!("expected provision or FIELD=VALUE, not {part:?}")),
        }
    }
    let alias = alias.parse().map_err(|error: dockerforge_protocol::spec::Invalid| error.to_string())?;
    Ok(LinkOption { container: container.to_owned(), alias, provision })
}

/// Links as the API wants them; nothing where none was said.
pub(super) async fn named(session: &Session, links: &[LinkOption]) -> Result<Option<Value>, CliError> {
    let mut named = Vec::with_capacity(links.len());
    for LinkOption { container, alias, provision } in links {
        let mut link = json!({"container": session.id(Kind::Container, container).await?, "alias": alias.to_string()});
        match provision {
            Some(fields) if fields.is_empty() => link["provision"] = json!(true),
            Some(fields) => link["provision"] = json!(fields),
            None => {}
        }
        named.push(link);
    }
    Ok((!named.is_empty()).then_some(Value::Array(named)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_a_container_a_name_and_what_is_to_be_made() {
        let plain = link("databases:mysql").unwrap();
        assert_eq!((plain.container.as_str(), plain.provision), ("databases", None));
        assert_eq!(link("a:b,provision").unwrap().provision, Some(Map::new()));
        let said = link("a:b,provision,database=blog,user=x=y").unwrap().provision.unwrap();
        assert_eq!(Value::Object(said), json!({"database": "blog", "user": "x=y"}));
        for bad in ["", "a", ":b", "a:", "a:B_", "a:b,", "a:b,else", "a:b,=x", "a:b,u=1,u=2"] {
            assert!(link(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
