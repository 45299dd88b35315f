//! The schema of a template's parameters: JSON Schema, draft 2020-12, without references, for nothing outside is fetched
//! and nothing inside can blow up. Says what is wrong with parameters, what holds where nothing was chosen, and which of
//! them are secrets (`writeOnly`). Called by the services; what must hold: no message repeats a value, which may be a secret.

use crate::domain::Violation;
use dockerforge_protocol::spec::Document;
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The most problems that are told at once.
const MAX_PROBLEMS: usize = 50;
/// Bytes that a compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;

/// Keywords that lead elsewhere.
const REFERENCES: [&str; 5] = ["$ref", "$dynamicRef", "$recursiveRef", "$id", "$schema"];
/// The one dialect that is read here, which a schema may name.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Keywords under which a schema is of the same value.
const IN_PLACE: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const CONDITIONS: [&str; 3] = ["if", "then", "else"];

/// The values of secrets, by their JSON pointer in the parameters.
pub type Secrets = BTreeMap<String, Value>;

/// A schema that can be used.
pub struct Schema {
    document: Value,
    validator: Validator,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// What is wrong with it, with pointers below `/parameters`.
    pub fn compile(document: &Document) -> Result<Self, Vec<Violation>> {
        let value = document.clone().into_value();
        let mut problems = Vec::new();
        refuse(&value, "/parameters", Place::Schema, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        if let Err(error) = jsonschema::draft202012::meta::validate(&value) {
            return Err(vec![at("/parameters", &error)]);
        }
        let options = jsonschema::options().with_draft(Draft::Draft202012).offline().should_validate_formats(true);
        let patterns = PatternOptions::regex().size_limit(MAX_PATTERN);
        match options.with_pattern_options(patterns).build(&value) {
            Ok(validator) => Ok(Self { document: value, validator }),
            Err(error) => Err(vec![at("/parameters", &error)]),
        }
    }

    /// What is wrong with parameters, each with its pointer.
    #[must_use]
    pub fn problems(&self, parameters: &Document) -> Vec<Violation> {
        let value = parameters.clone().into_value();
        self.validator.iter_errors(&value).take(MAX_PROBLEMS).map(|error| at("/parameters", &error)).collect()
    }

    /// What holds where nothing was chosen.
    #[must_use]
    pub fn defaults(&self) -> Document {
        let mut members = Map::new();
        if let Value::Object(found) = default_of(&self.document).unwrap_or_default() {
            members = found;
        }
        Document::try_from(Value::Object(members)).unwrap_or_default()
    }

    /// Parameters without their secrets, and these.
    #[must_use]
    pub fn part(&self, parameters: &Document) -> (Document, Secrets) {
        let mut value = parameters.clone().into_value();
        let mut secrets = Secrets::new();
        take(&self.document, &mut value, "", &mut secrets);
        (Document::try_from(value).unwrap_or_default(), secrets)
    }
}

/// Parameters with their secrets again.
#[must_use]
pub fn join(parameters: &Document, secrets: &Secrets) -> Document {
    let mut whole = parameters.clone().into_value();
    for (pointer, value) in secrets {
        put(&mut whole, pointer, value);
    }
    Document::try_from(whole).unwrap_or_default()
}

fn at(root: &str, error: &jsonschema::ValidationError<'_>) -> Violation {
    Violation::new(format!("{root}{}", error.instance_path().as_str()), error.masked_with("the value").to_string())
}

/// What a part of a schema's document is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A schema whose value is reached when secrets are looked for.
    Schema,
    /// Schemas by name, or in a list.
    Schemas,
    /// Where secrets would not be found.
    Blind,
    /// Schemas by name that are blind.
    BlindSchemas,
}

/// What must not stand in a schema: a reference anywhere, and a secret where it would not be found.
fn refuse(value: &Value, pointer: &str, place: Place, problems: &mut Vec<Violation>) {
    let below = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    match (value, place) {
        (Value::Array(items), _) => {
            let each = match place {
                Place::Blind | Place::BlindSchemas => Place::Blind,
                Place::Schema | Place::Schemas => Place::Schema,
            };
            for (i, item) in items.iter().enumerate() {
                refuse(item, &format!("{pointer}/{i}"), each, problems);
            }
        }
        (Value::Object(members), Place::Schemas | Place::BlindSchemas) => {
            let each = if place == Place::Schemas { Place::Schema } else { Place::Blind };
            for (key, member) in members {
                refuse(member, &below(key), each, problems);
            }
        }
        (Value::Object(members), Place::Schema | Place::Blind) => {
            for (key, member) in members {
                if REFERENCES.contains(&key.as_str()) && !(key == "$schema" && member == DIALECT) {
                    problems.push(Violation::new(below(key), "references are not taken: write the schema out"));
                    continue;
                }
                if key == "writeOnly" && place == Place::Blind && *member == Value::Bool(true) {
                    problems.push(Violation::new(
                        below(key),
                        "a secret cannot stand here: only in properties, items, prefixItems, additionalProperties, allOf, anyOf, \
                         oneOf, if, then, else or dependentSchemas",
                    ));
                }
                let inside = match key.as_str() {
                    // Values, not schemas.
                    "default" | "enum" | "const" | "examples" | "required" | "dependentRequired" => continue,
                    "properties" | "dependentSchemas" if place == Place::Schema => Place::Schemas,
                    "properties" | "dependentSchemas" | "patternProperties" | "$defs" | "definitions" => {
                        Place::BlindSchemas
                    }
                    "items"
                    | "prefixItems"
                    | "additionalProperties"
                    | "allOf"
                    | "anyOf"
                    | "oneOf"
                    | "if"
                    | "then"
                    | "else"
                        if place == Place::Schema =>
                    {
                        Place::Schema
                    }
                    _ => Place::Blind,
                };
                refuse(member, &below(key), inside, problems);
            }
        }
        _ => {}
    }
}

/// The default of a schema: its own, or what its properties' come to.
fn default_of(schema: &Value) -> Option<Value> {
    if let Some(default) = schema.get("default") {
        return Some(default.clone());
    }
    let mut members = Map::new();
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        if let Some(Value::Object(found)) = default_of(part) {
            members.extend(found);
        }
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = default_of(property) {
            members.insert(name.clone(), value);
        }
    }
    (!members.is_empty()).then_some(Value::Object(members))
}

/// Moves what is secret out of a value.
fn take(schema: &Value, value: &mut Value, pointer: &str, secrets: &mut Secrets) {
    for key in IN_PLACE {
        for part in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            take(part, value, pointer, secrets);
        }
    }
    for part in CONDITIONS.iter().filter_map(|key| schema.get(*key)) {
        take(part, value, pointer, secrets);
    }
    for part in schema.get("dependentSchemas").and_then(Value::as_object).into_iter().flat_map(Map::values) {
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
                    secrets.insert(pointer, std::mem::take(item));
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
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        if is_secret(of_member) {
            if let Some(value) = members.remove(&name) {
                secrets.insert(pointer, value);
            }
        } else if let Some(value) = members.get_mut(&name) {
            take(of_member, value, &pointer, secrets);
        }
    }
}

fn is_secret(schema: &Value) -> bool {
    let own = schema.get("writeOnly") == Some(&Value::Bool(true));
    let parts = IN_PLACE.iter().filter_map(|key| schema.get(*key)?.as_array()).flatten();
    own || parts.chain(CONDITIONS.iter().filter_map(|key| schema.get(*key))).any(is_secret)
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

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
