//! Attributes, judged by the schema of the parameters: a template and who configures it may say more than the schema knows,
//! and what it knows they may say no other way than it allows. Nothing in attributes is sealed, so no secret stands there.
//! Called by the services.

use super::schema::{MAX_PATTERN, MAX_PROBLEMS, Schema, at, validator};
use super::secrets::{Secrets, in_place, take};
use crate::domain::Violation;
use dockerforge_protocol::spec::Document;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// Where attributes stand in a body.
const POINTER: &str = "/attributes";

/// Keywords by which a schema is asked only where a value is as others say.
const CONDITIONAL: [&str; 3] = ["then", "else", "dependentSchemas"];

/// Whether a schema says anything of a member of this name, other than by a pattern.
#[must_use]
pub fn names(schema: &Value, name: &str) -> bool {
    let named = schema.get("properties").is_some_and(|named| named.get(name).is_some());
    let others = ["additionalProperties", "unevaluatedProperties"];
    let says = |key: &&str| schema.get(*key).and_then(Value::as_object).is_some_and(|others| !others.is_empty());
    named || others.iter().any(says) || in_place(schema).any(|part| names(part, name))
}

/// The patterns by which a schema says something of members, here or in place.
fn patterns(schema: &Value, found: &mut Map<String, Value>) {
    let own = schema.get("patternProperties").and_then(Value::as_object);
    found.extend(own.into_iter().flat_map(Map::keys).map(|pattern| (pattern.clone(), Value::Bool(false))));
    in_place(schema).for_each(|part| patterns(part, found));
}

impl Schema {
    /// Attributes without the members that the schema says nothing of.
    fn described(&self, attributes: &Document) -> Map<String, Value> {
        let mut found = Map::new();
        patterns(&self.document, &mut found);
        // They were compiled with the schema, so they can be.
        let matching =
            (!found.is_empty()).then(|| validator(&json!({"patternProperties": found}), MAX_PATTERN).ok()).flatten();
        let matches = |name: &str| matching.as_ref().is_some_and(|matching| !matching.is_valid(&json!({name: null})));
        let known = attributes.members().iter().filter(|(name, _)| names(&self.document, name) || matches(name));
        known.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// A violation for each secret that stands in attributes.
    fn unsealed(&self, attributes: &Document, detail: &str) -> Vec<Violation> {
        let mut secrets = Secrets::new();
        take(&self.document, &mut attributes.clone().into_value(), "", &mut secrets);
        let places = secrets.keys().take(MAX_PROBLEMS);
        places.map(|place| Violation::new(format!("{POINTER}{place}"), detail)).collect()
    }

    /// What is wrong with a template's own attributes, whatever is laid over them.
    #[must_use]
    pub fn problems_of_template(&self, attributes: &Document) -> Vec<Violation> {
        let detail = "this is a secret by the schema, and would be in every image: each configuration has its own";
        let mut problems = self.unsealed(attributes, detail);
        let value = Value::Object(self.described(attributes));
        let told = self.validator.iter_errors(&value).filter(|error| {
            // What an object lacks, its configuration may give, and with that other conditions hold.
            let whole = !error.instance().is_object();
            let alien = matches!(error.kind(), ValidationErrorKind::AdditionalProperties { .. });
            (whole || alien) && !error.schema_path().as_str().split('/').any(|part| CONDITIONAL.contains(&part))
        });
        problems.extend(told.take(MAX_PROBLEMS).map(|error| at(POINTER, &error)));
        problems
    }

    /// What is wrong with the attributes of a configuration, laid over its parameters and its template's attributes.
    #[must_use]
    pub fn problems_of_attributes(
        &self,
        template: &Document,
        parameters: &Document,
        attributes: &Document,
    ) -> Vec<Violation> {
        let mut problems =
            self.unsealed(attributes, "this is a secret by the schema: give it in parameters, where it is sealed");
        let own = self.described(attributes);
        if own.is_empty() {
            return problems;
        }
        let own = Document::try_from(Value::Object(own)).unwrap_or_default();
        let below = Document::try_from(Value::Object(self.described(template))).unwrap_or_default();
        let merged = below.merged(parameters).and_then(|below| below.merged(&own).map(|whole| (below, whole)));
        let (below, whole) = match merged {
            Ok((below, whole)) => (below.into_value(), whole.into_value()),
            Err(error) => {
                problems.push(Violation::new(POINTER, error.to_string()));
                return problems;
            }
        };
        let place = |error: &jsonschema::ValidationError<'_>| {
            (error.instance_path().as_str().to_owned(), error.schema_path().as_str().to_owned())
        };
        // What was so without them is not their doing.
        let known: HashSet<_> = self.validator.iter_errors(&below).map(|error| place(&error)).collect();
        let own = own.into_value();
        let new = self.validator.iter_errors(&whole).filter(|error| !known.contains(&place(error)));
        problems.extend(new.take(MAX_PROBLEMS).map(|error| {
            let pointer = format!("{POINTER}{}", within(&own, error.instance_path().as_str()));
            Violation { pointer, ..at("", &error) }
        }));
        problems
    }
}

/// A pointer as far as it leads in a value.
fn within<'a>(value: &Value, pointer: &'a str) -> &'a str {
    let mut end = pointer.len();
    while value.pointer(&pointer[..end]).is_none() {
        end = pointer[..end].rfind('/').unwrap_or(0);
    }
    &pointer[..end]
}

#[cfg(test)]
#[path = "attributes_tests.rs"]
mod tests;
