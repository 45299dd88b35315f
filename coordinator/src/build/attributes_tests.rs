//! Attributes by the schema: what it says nothing of is free, and nothing goes past what it says.

use super::*;

fn document(value: Value) -> Document {
    Document::try_from(value).unwrap()
}

fn schema() -> Schema {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["title"],
        "allOf": [{"properties": {"theme": {"enum": ["light", "dark"]}}}],
        "patternProperties": {"^x-": {"type": "integer"}},
        "properties": {
            "title": {"type": "string"},
            "theme": {},
            "pair": {"dependentRequired": {"b": ["c"]}},
            "mysql": {"type": "object", "additionalProperties": false, "required": ["port"], "properties": {
                "port": {"type": "integer"},
                "databases": {"additionalProperties": {
                    "required": ["user"], "properties": {"user": {"pattern": "^[a-z]+$"}, "password": {"writeOnly": true}}}},
            }},
        },
    });
    Schema::compile(&document(schema)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn pointers(problems: Vec<Violation>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.pointer).collect()
}

#[test]
fn attributes_go_past_nothing_that_the_schema_says() {
    let schema = schema();
    let judged = |attributes: Value| {
        let (template, parameters) = (json!({"mysql": {"port": 1}}), json!({"title": "x"}));
        pointers(schema.problems_of_attributes(&document(template), &document(parameters), &document(attributes)))
    };
    for (wrong, pointer) in [
        (json!({"title": 1}), "/title"),
        (json!({"theme": "purple"}), "/theme"),
        (json!({"x-a": "one"}), "/x-a"),
        (json!({"mysql": {"port": "2"}}), "/mysql/port"),
        (json!({"mysql": {"socket": "/tmp/x"}}), "/mysql"),
        (json!({"mysql": null}), "/mysql"),
        (json!({"mysql": {"databases": {"blog": {"user": "A B"}}}}), "/mysql/databases/blog/user"),
        (json!({"mysql": {"databases": {"blog": {}}}}), "/mysql/databases/blog"),
        (json!({"pair": {"b": 1}}), "/pair"),
        // A secret would be in the open there.
        (json!({"mysql": {"databases": {"a/b": {"user": "b", "password": "p"}}}}), "/mysql/databases/a~1b/password"),
    ] {
        assert_eq!(judged(wrong.clone()), [format!("/attributes{pointer}")], "{wrong}");
    }
    // What the template gives is there, and what nobody describes is free.
    for right in [
        json!({"mysql": {"databases": {"blog": {"user": "b"}}}, "theme": "dark", "x-a": 1}),
        json!({"apache": {"title": 1}, "y-a": "one"}),
    ] {
        assert_eq!(judged(right.clone()), [""; 0], "{right}");
    }
}

#[test]
fn what_is_wrong_already_below_attributes_is_not_held_against_them() {
    let schema = schema();
    let template = document(json!({"mysql": {"port": "old"}}));
    let judged = |attributes: Value| {
        pointers(schema.problems_of_attributes(&template, &document(json!({"title": "x"})), &document(attributes)))
    };
    assert_eq!(judged(json!({"theme": "dark"})), [""; 0]);
    assert_eq!(judged(json!({"mysql": {"port": 3}})), [""; 0]);
}

#[test]
fn a_template_breaks_its_own_schema_only_where_nothing_laid_over_it_could_mend_it() {
    let schema = schema();
    let judged = |attributes: Value| pointers(schema.problems_of_template(&document(attributes)));
    for (wrong, pointer) in [
        (json!({"theme": "purple"}), "/theme"),
        (json!({"mysql": {"socket": 1}}), "/mysql"),
        (json!({"mysql": {"databases": {"blog": {"password": "p"}}}}), "/mysql/databases/blog/password"),
    ] {
        assert_eq!(judged(wrong.clone()), [format!("/attributes{pointer}")], "{wrong}");
    }
    let lacking = json!({"mysql": {"databases": {"blog": {}}}, "pair": {"b": 1}, "page": {"footer": 1}});
    assert_eq!(judged(lacking), [""; 0]);
}

#[test]
fn a_member_of_a_node_is_a_parameter_wherever_the_schema_names_it() {
    let schema = json!({"anyOf": [{"properties": {"a": {}}}], "additionalProperties": false});
    assert!(names(&schema, "a") && !names(&schema, "b"));
    assert!(names(&json!({"additionalProperties": {"writeOnly": true}}), "b"));
}
