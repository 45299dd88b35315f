//! The accounts that links provision, judged by what their template says of them, and as they stand in a node. Called by the
//! services.

use super::schema::Schema;
use crate::domain::Violation;
use crate::domain::grant::{Grant, MAX_FIELD, Provision};
use dockerforge_protocol::spec::Document;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Bytes that the compiled pattern of a field may take: they are compiled while a container's transaction waits.
const MAX_PATTERN: usize = 64 << 10;
/// Under which name a node has them, within what is ours.
const GRANTS: &str = "grants";

/// What is wrong with the way in which a template provisions links, with pointers below `/provision`.
#[must_use]
pub fn problems(provision: &Provision) -> Vec<Violation> {
    let mut problems = provision.problems();
    if let Err(found) = schema(provision) {
        let below = |v: Violation| {
            let at = v.pointer.strip_prefix("/parameters/properties").unwrap_or_default().to_owned();
            Violation { pointer: format!("/provision/fields{at}"), ..v }
        };
        problems.extend(found.into_iter().map(below));
    }
    problems
}

/// The fields as a schema of the object that says their values.
fn schema(provision: &Provision) -> Result<Schema, Vec<Violation>> {
    let mut properties = Map::new();
    for (name, field) in &provision.fields {
        let value = json!({"type": "string", "minLength": 1, "maxLength": MAX_FIELD, "pattern": field.pattern});
        properties.insert(name.clone(), value);
    }
    let document = json!({"type": "object", "additionalProperties": false, "properties": properties});
    Schema::compile_within(&Document::try_from(document).unwrap_or_default(), MAX_PATTERN)
}

/// The account of a link: what is said of it, and for the rest one value that is made up.
///
/// # Errors
/// What is wrong with it, with pointers below the link's `/provision`.
pub fn account(
    provision: &Provision,
    said: &BTreeMap<String, String>,
    made_up: &str,
) -> Result<BTreeMap<String, String>, Vec<Violation>> {
    let mut fields = said.clone();
    for name in provision.fields.keys() {
        fields.entry(name.clone()).or_insert_with(|| made_up.to_owned());
    }
    let values = json!(fields);
    let problems = schema(provision)?.problems(&Document::try_from(values).unwrap_or_default());
    let below = |v: Violation| Violation { pointer: v.pointer.replacen("/parameters", "", 1), ..v };
    if problems.is_empty() { Ok(fields) } else { Err(problems.into_iter().map(below).collect()) }
}

/// Adds accounts to a node, each with its password as long as it is granted.
pub fn add_to(node: &mut Value, grants: &[(Grant, Option<String>)]) {
    let entry = |(grant, password): &(Grant, Option<String>)| {
        let mut entry = Map::new();
        entry.extend(grant.fields.iter().map(|(name, value)| (name.clone(), json!(value))));
        entry.insert("id".to_owned(), json!(grant.id));
        entry.insert("container".to_owned(), json!(grant.container));
        entry.insert("revoked".to_owned(), json!(grant.revoked));
        entry.extend(password.iter().map(|password| ("password".to_owned(), json!(password))));
        Value::Object(entry)
    };
    if grants.is_empty() {
        return;
    }
    if let Some(ours) = node.get_mut("dockerforge").and_then(Value::as_object_mut) {
        ours.insert(GRANTS.to_owned(), grants.iter().map(entry).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::grant::Field;
    use dockerforge_protocol::spec::SecretForm;

    fn provision(pattern: &str) -> Provision {
        let field = |pattern: &str| Field { pattern: pattern.to_owned(), unique: false };
        Provision {
            fields: [("database".to_owned(), field("^[a-z_0-9]+$")), ("user".to_owned(), field(pattern))].into(),
            secrets: [("A".parse().unwrap(), "{user}".to_owned())].into(),
            form: SecretForm::File,
        }
    }

    #[test]
    fn what_is_not_said_of_an_account_is_made_up_and_what_is_said_has_to_match() {
        let of = provision("^[a-z]{1,8}$");
        assert_eq!(problems(&of), []);
        let said = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let fields = account(&of, &said(&[("user", "ana")]), "blog_1").unwrap();
        assert_eq!((fields["user"].as_str(), fields["database"].as_str()), ("ana", "blog_1"));
        let pointers =
            |said| account(&of, &said, "blog").unwrap_err().into_iter().map(|v| v.pointer).collect::<Vec<_>>();
        assert_eq!(pointers(said(&[("user", "ANA"), ("database", "")])), ["/database", "/database", "/user"]);
        assert_eq!(pointers(said(&[("host", "x")])), [""], "there is no such field");
    }

    #[test]
    fn a_pattern_that_takes_long_is_refused_and_those_that_say_how_names_look_are_not() {
        assert_eq!(problems(&provision("^[A-Za-z0-9_.-]{1,64}$")), []);
        assert_eq!(problems(&provision(r"^\w{1,32}$")), []);
        assert_eq!(problems(&provision(r"^(\w{1,64}){1,64}$")).len(), 1);
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_with_its_pointer() {
        let problems = problems(&provision("(["));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].pointer, "/provision/fields/user/pattern");
    }
}
