//! The schema of a template's parameters: JSON Schema, draft 2020-12, without references, for nothing outside is fetched
//! and nothing inside can blow up. Says what is wrong with parameters, what holds where nothing was chosen, and which of
//! them are secrets (`writeOnly`). Called by the services; what must hold: no message repeats a value, which may be a secret.

use super::ContextError;
use super::secrets::{CONDITIONS, DEPENDENT, IN_PLACE, escaped, is_secret, take};
pub use super::secrets::{Secrets, join};
use crate::domain::Violation;
use dockerforge_protocol::spec::Document;
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

/// The most problems that are told at once.
pub(super) const MAX_PROBLEMS: usize = 50;
/// Bytes that a compiled pattern may take.
pub(super) const MAX_PATTERN: usize = 1 << 20;
/// How many patterns a schema may have, and how long they may be together: compiling them takes time.
const MAX_PATTERNS: usize = 200;
const MAX_PATTERN_TEXT: usize = 16 << 10;
/// Of how many schemas a coordinator compiles the patterns at a time.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Keywords that lead elsewhere.
const REFERENCES: [&str; 5] = ["$ref", "$dynamicRef", "$recursiveRef", "$id", "$schema"];
/// The one dialect that is read here, which a schema may name.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A schema that can be used.
pub struct Schema {
    pub(super) document: Value,
    pub(super) validator: Validator,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// What is wrong with it, with pointers below `/parameters`.
    pub fn compile(document: &Document) -> Result<Self, Vec<Violation>> {
        Self::compile_within(document, MAX_PATTERN)
    }

    /// The same, where a compiled pattern may take so many bytes.
    pub(super) fn compile_within(document: &Document, pattern: usize) -> Result<Self, Vec<Violation>> {
        let value = document.clone().into_value();
        let mut found = Found::default();
        refuse(&value, "/parameters", Place::Root, &mut found);
        let mut problems = found.problems;
        if !problems.is_empty() {
            return Err(problems);
        }
        if let Err(error) = jsonschema::draft202012::meta::validate(&value) {
            return Err(vec![at("/parameters", &error)]);
        }
        refuse_shown_defaults(&value, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        match validator(&value, pattern) {
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
        by_default(&self.document)
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

/// Does something with schemas on a thread that it may block, where there is a place for it: a client's patterns may take
/// seconds, and keep nobody else from being answered.
///
/// # Errors
/// [`ContextError::Interrupted`] where the coordinator shuts down.
pub async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ContextError> {
    let place = PLACES.acquire().await.map_err(|_| ContextError::Interrupted)?;
    // The place is given back when it ends, also where nobody waits for it any more.
    let with_place = move || (work(), drop(place)).0;
    tokio::task::spawn_blocking(with_place).await.map_err(|_| ContextError::Interrupted)
}

/// What holds where nothing was chosen, by a schema that was taken: that costs nothing.
#[must_use]
pub fn defaults(schema: &Document) -> Document {
    by_default(&schema.clone().into_value())
}

fn by_default(schema: &Value) -> Document {
    default_of(schema).and_then(|found| Document::try_from(found).ok()).unwrap_or_default()
}

/// What judges by a schema.
pub(super) fn validator(schema: &Value, pattern: usize) -> Result<Validator, jsonschema::ValidationError<'static>> {
    let options = jsonschema::options().with_draft(Draft::Draft202012).offline().should_validate_formats(true);
    options.with_pattern_options(PatternOptions::regex().size_limit(pattern)).build(schema)
}

pub(super) fn at(root: &str, error: &jsonschema::ValidationError<'_>) -> Violation {
    Violation::new(format!("{root}{}", error.instance_path().as_str()), error.masked_with("the value").to_string())
}

/// What a part of a schema's document is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The schema of the parameters as a whole, which can be no secret.
    Root,
    /// Such schemas by name.
    Roots,
    /// A schema whose value is reached when secrets are looked for.
    Schema,
    /// Schemas by name, or in a list.
    Schemas,
    /// Where secrets would not be found.
    Blind,
    /// Schemas by name that are blind.
    BlindSchemas,
}

/// Why a secret cannot stand at the root.
const WHOLE: &str = "the parameters as a whole are no secret: say it of each that is one";
/// Why it cannot stand where it is not looked for.
const UNSEEN: &str = "a secret cannot stand here: only in properties, items, prefixItems, additionalProperties, allOf, anyOf, oneOf, if, \
                      then, else or dependentSchemas";
/// Why what is a secret has no default.
const SHOWN: &str = "a default is for everybody to read: what is a secret cannot have one";

/// What was found in a schema.
#[derive(Default)]
struct Found {
    problems: Vec<Violation>,
    patterns: usize,
    /// How long these are together.
    text: usize,
}

impl Found {
    /// Counts a pattern. The first one that is too much is a problem.
    fn pattern(&mut self, pattern: &str, pointer: impl Fn() -> String) {
        let had_too_much = self.has_too_much();
        self.patterns += 1;
        self.text += pattern.len();
        if self.has_too_much() && !had_too_much {
            let detail =
                format!("expected at most {MAX_PATTERNS} patterns of together at most {MAX_PATTERN_TEXT} bytes");
            self.problems.push(Violation::new(pointer(), detail));
        }
    }

    const fn has_too_much(&self) -> bool {
        self.patterns > MAX_PATTERNS || self.text > MAX_PATTERN_TEXT
    }
}

/// What must not stand in a schema: a reference anywhere, and a secret where it would not be found or not be one.
fn refuse(value: &Value, pointer: &str, place: Place, found: &mut Found) {
    let below = |key: &str| format!("{pointer}/{}", escaped(key));
    let each = match place {
        Place::Root | Place::Roots => Place::Root,
        Place::Schema | Place::Schemas => Place::Schema,
        Place::Blind | Place::BlindSchemas => Place::Blind,
    };
    match (value, place) {
        (Value::Array(items), _) => {
            for (i, item) in items.iter().enumerate() {
                refuse(item, &format!("{pointer}/{i}"), each, found);
            }
        }
        (Value::Object(members), Place::Roots | Place::Schemas | Place::BlindSchemas) => {
            for (key, member) in members {
                refuse(member, &below(key), each, found);
            }
        }
        (Value::Object(members), Place::Root | Place::Schema | Place::Blind) => {
            for (key, member) in members {
                if REFERENCES.contains(&key.as_str()) && !(key == "$schema" && member == DIALECT) {
                    found.problems.push(Violation::new(below(key), "references are not taken: write the schema out"));
                    continue;
                }
                match (key.as_str(), place) {
                    ("writeOnly", Place::Root) if *member == Value::Bool(true) => {
                        found.problems.push(Violation::new(below(key), WHOLE));
                    }
                    ("writeOnly", Place::Blind) if *member == Value::Bool(true) => {
                        found.problems.push(Violation::new(below(key), UNSEEN));
                    }
                    ("default", Place::Root | Place::Schema) if holds_secret(value, member) => {
                        found.problems.push(Violation::new(below(key), SHOWN));
                    }
                    ("pattern", _) => found.pattern(member.as_str().unwrap_or_default(), || below(key)),
                    ("patternProperties", _) => {
                        let patterns = member.as_object().into_iter().flat_map(Map::keys);
                        patterns.for_each(|pattern| found.pattern(pattern, || below(key)));
                    }
                    _ => {}
                }
                // The others are values, not schemas.
                if let Some(inside) = inside(key, place) {
                    refuse(member, &below(key), inside, found);
                }
            }
        }
        _ => {}
    }
}

/// What stands under a keyword of a schema; nothing where it is no schema.
fn inside(key: &str, place: Place) -> Option<Place> {
    let blind = place == Place::Blind;
    Some(match key {
        "default" | "enum" | "const" | "examples" | "required" | "dependentRequired" => return None,
        // Of the same value as the schema that they stand in.
        key if !blind && (IN_PLACE.contains(&key) || CONDITIONS.contains(&key)) => place,
        key if key == DEPENDENT && place == Place::Root => Place::Roots,
        key if key == DEPENDENT && place == Place::Schema => Place::Schemas,
        "properties" if !blind => Place::Schemas,
        "items" | "prefixItems" | "additionalProperties" if !blind => Place::Schema,
        "properties" | "dependentSchemas" | "patternProperties" | "$defs" | "definitions" => Place::BlindSchemas,
        _ => Place::Blind,
    })
}

/// Whether something of a value is a secret by its schema.
fn holds_secret(schema: &Value, value: &Value) -> bool {
    let mut secrets = Secrets::new();
    take(schema, &mut value.clone(), "", &mut secrets);
    !secrets.is_empty() || is_secret(schema)
}

/// Refuses defaults of what another branch of the schema says is a secret.
fn refuse_shown_defaults(schema: &Value, problems: &mut Vec<Violation>) {
    let Some(whole) = default_of(schema) else { return };
    if holds_secret(schema, &whole) {
        find_shown(schema, schema, "/parameters", &mut Vec::new(), problems);
    }
}

/// Looks for those where [`default_of`] finds them. `names` lead to the value that `part` is of.
fn find_shown<'a>(
    schema: &Value,
    part: &'a Value,
    pointer: &str,
    names: &mut Vec<&'a str>,
    problems: &mut Vec<Violation>,
) {
    if let Some(default) = part.get("default") {
        let within = |inner: Value, name: &&str| Value::Object(Map::from_iter([((*name).to_owned(), inner)]));
        if holds_secret(schema, &names.iter().rev().fold(default.clone(), within)) {
            problems.push(Violation::new(format!("{pointer}/default"), SHOWN));
        }
        return;
    }
    for (i, branch) in part.get("allOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
        find_shown(schema, branch, &format!("{pointer}/allOf/{i}"), names, problems);
    }
    for (name, property) in part.get("properties").and_then(Value::as_object).into_iter().flatten() {
        names.push(name);
        find_shown(schema, property, &format!("{pointer}/properties/{}", escaped(name)), names, problems);
        names.pop();
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

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
