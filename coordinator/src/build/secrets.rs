//! Which parameters are secrets by their schema (`writeOnly`), and how they are parted from the others and joined again.
//! Called by [`super::schema`], which refuses a schema whose secrets would not be found here, and by the services.

use dockerforge_protocol::spec::Document;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Keywords under which schemas are of the same value, in a list, by themselves, and by name.
pub(super) const IN_PLACE: [&str; 3] = ["allOf", "anyOf", "oneOf"];
pub(super) const CONDITIONS: [&str; 3] = ["if", "then", "else"];
pub(super) const DEPENDENT: &str = "dependentSchemas";

/// The values of secrets, by their JSON pointer in the parameters.
pub type Secrets = BTreeMap<String, Value>;

/// Parameters with their secrets again.
#[must_use]
pub fn join(parameters: &Document, secrets: &Secrets) -> Document {
    let mut whole = parameters.clone().into_value();
    for (pointer, value) in secrets {
        put(&mut whole, pointer, value);
    }
    Document::try_from(whole).unwrap_or_default()
}

/// Which of the places that held secrets before hold something that is open now.
#[must_use]
pub fn opened(before: &[String], open: &Document, secrets: &[String]) -> Vec<String> {
    let open = open.clone().into_value();
    // In a list the place of a secret is kept, so what is at it says nothing.
    let kept = |place: &str| secrets.iter().any(|own| is_at_or_below(place, own));
    before.iter().filter(|place| !kept(place) && open.pointer(place).is_some()).cloned().collect()
}

/// Whether a JSON pointer leads to a place, or into it.
pub(super) fn is_at_or_below(pointer: &str, place: &str) -> bool {
    pointer.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The name of a member as it stands in a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The schemas that are of the same value as this one.
pub(super) fn in_place(schema: &Value) -> impl Iterator<Item = &Value> {
    let listed = IN_PLACE.iter().filter_map(|key| schema.get(*key)?.as_array()).flatten();
    let alone = CONDITIONS.iter().filter_map(|key| schema.get(*key));
    let named = schema.get(DEPENDENT).and_then(Value::as_object).into_iter().flat_map(Map::values);
    listed.chain(alone).chain(named)
}

/// Whether what a schema is of is a secret as a whole.
pub(super) fn is_secret(schema: &Value) -> bool {
    schema.get("writeOnly") == Some(&Value::Bool(true)) || in_place(schema).any(is_secret)
}

/// Moves what is secret out of a value. What several branches say is one secret; the first that finds it takes it.
pub(super) fn take(schema: &Value, value: &mut Value, pointer: &str, secrets: &mut Secrets) {
    for part in in_place(schema) {
        take(part, value, pointer, secrets);
    }
    match value {
        Value::Object(members) => take_members(schema, members, pointer, secrets),
        Value::Array(items) => {
            let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for (i, item) in items.iter_mut().enumerate() {
                let Some(of_item) = first.get(i).or_else(|| schema.get("items")) else { continue };
                let pointer = format!("{pointer}/{i}");
                if is_secret(of_item) {
                    secrets.entry(pointer).or_insert_with(|| std::mem::take(item));
                } else {
                    take(of_item, item, &pointer, secrets);
                }
            }
        }
        _ => {}
    }
}

fn take_members(schema: &Value, members: &mut Map<String, Value>, pointer: &str, secrets: &mut Secrets) {
    let named = schema.get("properties").and_then(Value::as_object);
    let names: Vec<String> = members.keys().cloned().collect();
    for name in names {
        let own = named.and_then(|named| named.get(&name));
        let Some(of_member) = own.or_else(|| schema.get("additionalProperties")) else { continue };
        let pointer = format!("{pointer}/{}", escaped(&name));
        if is_secret(of_member) {
            if let Some(value) = members.remove(&name) {
                secrets.insert(pointer, value);
            }
        } else if let Some(value) = members.get_mut(&name) {
            take(of_member, value, &pointer, secrets);
        }
    }
}

/// Puts a value where it was taken from. In a list its place was kept.
fn put(whole: &mut Value, pointer: &str, value: &Value) {
    let mut place = whole;
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        place = match place {
            Value::Array(items) => match name.parse::<usize>().ok().and_then(|i| items.get_mut(i)) {
                Some(item) => item,
                None => return,
            },
            Value::Object(members) => members.entry(name).or_insert_with(|| Value::Object(Map::new())),
            _ => return,
        };
    }
    *place = value.clone();
}
