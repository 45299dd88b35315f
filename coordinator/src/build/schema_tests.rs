//! The schema of parameters: what is refused in it, what it says of parameters, and that secrets are found.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn document(value: Value) -> Document {
    Document::try_from(value).unwrap()
}

fn schema(value: Value) -> Schema {
    Schema::compile(&document(value)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn refused(value: Value) -> Vec<String> {
    let problems = Schema::compile(&document(value)).err().unwrap_or_default();
    problems.into_iter().map(|problem| problem.pointer).collect()
}

#[test]
fn a_schema_that_leads_elsewhere_or_is_none_is_refused_with_its_pointer() {
    assert_eq!(
        refused(json!({"properties": {"a": {"$ref": "http://127.0.0.1/x"}}})),
        ["/parameters/properties/a/$ref"]
    );
    assert_eq!(refused(json!({"$defs": {"a": {"$ref": "#"}}})), ["/parameters/$defs/a/$ref"]);
    assert_eq!(refused(json!({"type": "objekt"})), ["/parameters/type"]);
    assert_eq!(refused(json!({"properties": {"a": {"minimum": "1"}}})), ["/parameters/properties/a/minimum"]);
    assert_eq!(refused(json!({"properties": {"a": {"pattern": "("}}})).len(), 1);
    // A property may be called like a keyword.
    assert_eq!(refused(json!({"properties": {"$ref": {"type": "string"}, "default": {"type": "string"}}})), [""; 0]);
}

#[test]
fn more_patterns_than_can_be_compiled_at_ease_are_refused_before_they_are() {
    let named = |count: usize, pattern: &str| {
        let each = (0..count).map(|i| (format!("a{i}"), json!({"pattern": pattern}))).collect::<Map<_, _>>();
        json!({"properties": each})
    };
    assert_eq!(refused(named(200, "^[a-z]{1,64}$")), [""; 0]);
    assert_eq!(refused(named(201, "a")).len(), 1);
    assert_eq!(refused(named(2, &"a".repeat(9000))), ["/parameters/properties/a1/pattern"]);
    let by_name: Map<_, _> = (0..300).map(|i| (format!("^a{i}$"), json!({}))).collect();
    assert_eq!(refused(json!({"not": {"patternProperties": by_name}})), ["/parameters/not/patternProperties"]);
    // What is called so is no pattern.
    assert_eq!(refused(json!({"properties": {"pattern": {"const": "a".repeat(20_000)}}})), [""; 0]);
}

#[test]
fn a_secret_stands_only_where_it_is_found() {
    for blind in [
        json!({"patternProperties": {"^a": {"writeOnly": true}}}),
        json!({"properties": {"a": {"not": {"writeOnly": true}}}}),
        json!({"properties": {"a": {"contains": {"properties": {"b": {"writeOnly": true}}}}}}),
        json!({"unevaluatedProperties": {"writeOnly": true}}),
        json!({"$defs": {"a": {"properties": {"b": {"writeOnly": true}}}}}),
    ] {
        assert_eq!(refused(blind.clone()).len(), 1, "{blind}");
    }
    // The parameters as a whole are none, and nothing that is said of them in place either.
    for whole in [
        json!({"writeOnly": true}),
        json!({"allOf": [{"writeOnly": true}]}),
        json!({"then": {"anyOf": [{}, {"writeOnly": true}]}}),
        json!({"dependentSchemas": {"a": {"writeOnly": true}}}),
        json!({"dependentSchemas": {"a": {"allOf": [{"writeOnly": true}]}}}),
    ] {
        assert_eq!(refused(whole.clone()).len(), 1, "{whole}");
    }
    // What is no schema is not read as one.
    assert_eq!(refused(json!({"properties": {"a": {"not": {"const": {"writeOnly": true}}}}})).len(), 0);
}

#[test]
fn every_problem_of_parameters_is_told_with_its_pointer_and_without_the_value() {
    let schema = schema(json!({
        "type": "object", "required": ["title"], "additionalProperties": false,
        "properties": {
            "title": {"type": "string", "minLength": 1},
            "theme": {"enum": ["light", "dark"]},
            "domain": {"type": "string", "format": "hostname"},
            "db": {"type": "object", "properties": {"password": {"type": "string", "minLength": 12, "writeOnly": true}}},
        },
    }));
    let wrong =
        document(json!({"theme": "secret-one", "domain": "a b", "db": {"password": "hunter2"}, "x": "secret-two"}));
    let problems = schema.problems(&wrong);
    let mut pointers: Vec<&str> = problems.iter().map(|p| p.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        ["/parameters", "/parameters", "/parameters/db/password", "/parameters/domain", "/parameters/theme"]
    );
    let told = format!("{problems:?}");
    for value in ["hunter2", "secret-one"] {
        assert!(!told.contains(value), "{told}");
    }
    assert!(schema.problems(&document(json!({"title": "a", "theme": "dark"}))).is_empty());
}

#[test]
fn what_holds_where_nothing_was_chosen_is_found_at_every_depth() {
    let schema = schema(json!({
        "allOf": [{"properties": {"from": {"default": "all"}}}],
        "properties": {
            "a": {"default": 1}, "b": {"properties": {"c": {"default": [1]}, "d": {"type": "string"}}}, "e": {"type": "string"},
        },
    }));
    assert_eq!(schema.defaults(), document(json!({"from": "all", "a": 1, "b": {"c": [1]}})));
}

#[test]
fn secrets_are_taken_out_wherever_they_are_and_put_back() {
    let schema = schema(json!({
        "properties": {
            "root": {"type": "string", "writeOnly": true},
            "users": {"additionalProperties": {"properties": {"password": {"writeOnly": true}}}},
            "list": {"items": {"properties": {"key": {"writeOnly": true}}}},
            "pair": {"prefixItems": [{}, {"writeOnly": true}]},
            "either": {"anyOf": [{"type": "number"}, {"writeOnly": true}]},
        },
        "if": {"required": ["root"]}, "then": {"properties": {"late": {"writeOnly": true}}},
    }));
    let whole = document(json!({
        "root": "r", "users": {"a/b": {"password": "p", "name": "n"}, "c": {}}, "list": [{"key": "k"}, {"other": 1}],
        "pair": [1, {"deep": "s"}], "either": "e", "late": "l", "open": "o",
    }));
    let (open, secrets) = schema.part(&whole);
    let pointers: Vec<&str> = secrets.keys().map(String::as_str).collect();
    assert_eq!(pointers, ["/either", "/late", "/list/0/key", "/pair/1", "/root", "/users/a~1b/password"]);
    assert_eq!(
        open,
        document(
            json!({"users": {"a/b": {"name": "n"}, "c": {}}, "list": [{}, {"other": 1}], "pair": [1, null], "open": "o"})
        )
    );
    assert_eq!(join(&open, &secrets), whole);
}

#[test]
fn what_several_branches_say_of_a_secret_is_one_secret_and_none_is_lost() {
    let branch = || json!({"properties": {"list": {"items": {"writeOnly": true}}, "a": {"writeOnly": true}}});
    let schema = schema(json!({
        "oneOf": [branch(), {"required": ["x"], "allOf": [branch()]}],
        "properties": {"list": {"items": {"properties": {"key": {"writeOnly": true}}}}, "late": {"dependentSchemas": {"b": {"writeOnly": true}}}},
    }));
    let whole = document(json!({"list": ["one", {"key": "two"}], "a": "three", "late": {"b": 1}}));
    let (open, secrets) = schema.part(&whole);
    assert_eq!(open, document(json!({"list": [null, null]})));
    assert_eq!(join(&open, &secrets), whole);
}

#[test]
fn a_default_at_or_above_a_secret_is_refused_with_its_pointer() {
    let secret = || json!({"properties": {"key": {"writeOnly": true}}});
    for (wrong, pointer) in [
        (json!({"properties": {"a": {"writeOnly": true, "default": "x"}}}), "/properties/a/default"),
        (json!({"properties": {"a": {"allOf": [{"writeOnly": true}], "default": "x"}}}), "/properties/a/default"),
        (json!({"default": {"a": {"key": 1}}, "properties": {"a": secret()}}), "/default"),
        (
            json!({"properties": {"a": {"additionalProperties": secret(), "default": {"b": {"key": 1}}}}}),
            "/properties/a/default",
        ),
        (json!({"properties": {"a": {"items": {"default": 1, "writeOnly": true}}}}), "/properties/a/items/default"),
        // One branch says the default, another one that it is a secret.
        (
            json!({"allOf": [{"properties": {"a": {"default": {"key": 1}}}}], "properties": {"a": secret()}}),
            "/allOf/0/properties/a/default",
        ),
    ] {
        assert_eq!(refused(wrong.clone()), [format!("/parameters{pointer}")], "{wrong}");
    }
    let beside =
        json!({"properties": {"a": {"additionalProperties": secret(), "default": {}}, "b": {"default": {"key": 1}}}});
    assert_eq!(refused(beside), [""; 0]);
}

#[test]
fn a_place_that_held_a_secret_and_is_open_now_is_found() {
    let before = ["/a".to_owned(), "/b/key".to_owned(), "/list/0".to_owned()];
    let opened = |open: Value, secrets: &[&str]| {
        let secrets: Vec<String> = secrets.iter().map(|place| (*place).to_owned()).collect();
        crate::build::secrets::opened(&before, &document(open), &secrets)
    };
    assert_eq!(opened(json!({"a": "x", "b": {"key": 1}, "list": [1]}), &[]), before);
    assert_eq!(opened(json!({"a": {"rest": 1}, "list": [null]}), &["/a/key", "/b", "/list/0"]), ["/a"]);
    assert_eq!(opened(json!({"b": {}, "list": []}), &[]), [""; 0]);
}

proptest! {
    #[test]
    fn whatever_stands_in_a_secret_it_is_taken_whole_and_put_back(name in "[a-z~/ ]{1,12}", value in "\\PC{0,40}", deep in any::<bool>()) {
        let schema = schema(json!({"properties": {name.clone(): {"writeOnly": true}}}));
        let secret = if deep { json!({"x": [value.clone()]}) } else { json!(value) };
        let whole = document(json!({name: secret.clone(), "open": 1}));
        let (open, secrets) = schema.part(&whole);
        prop_assert_eq!(&open, &document(json!({"open": 1})));
        prop_assert_eq!(secrets.values().collect::<Vec<_>>(), [&secret]);
        prop_assert_eq!(join(&open, &secrets), whole);
    }
}
