//! One resource as a person reads it: every field of the server's JSON on a line, whatever it is, so that a field
//! that is new in the server shows in an old client. Used by every `show`.

use super::{console::Style, error::Shown, human};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// What a reader looks for first.
const FIRST: [&str; 5] = ["id", "name", "kind", "state", "unusable"];

/// Fields that count bytes.
const BYTES: [&str; 6] = ["memory", "memory_used", "disk", "disk_free", "size", "shared_memory"];

/// The lines for a resource.
pub(super) fn lines(value: &Value, now: Timestamp, color: bool) -> Vec<String> {
    let mut rows = Vec::new();
    match value {
        Value::Object(map) => object(map, 0, now, color, &mut rows),
        other => rows.push((String::new(), scalar("", other, now, color))),
    }
    let width = rows.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    rows.into_iter().map(|(key, value)| format!("{key:<width$}  {value}").trim_end().to_owned()).collect()
}

fn object(map: &Map<String, Value>, depth: usize, now: Timestamp, color: bool, rows: &mut Vec<(String, String)>) {
    let first = FIRST.iter().filter_map(|key| map.get_key_value(*key));
    let rest = map.iter().filter(|(key, _)| !FIRST.contains(&key.as_str()));
    for (key, value) in first.chain(rest) {
        field(key, value, depth, now, color, rows);
    }
}

fn field(key: &str, value: &Value, depth: usize, now: Timestamp, color: bool, rows: &mut Vec<(String, String)>) {
    let label = format!("{}{}", "  ".repeat(depth), Shown(key));
    match value {
        // What is absent is not worth a line.
        Value::Null => {}
        Value::Object(map) if map.is_empty() => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(map) => {
            rows.push((label, String::new()));
            object(map, depth + 1, now, color, rows);
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let words: Vec<String> = items.iter().map(|item| scalar(key, item, now, color)).collect();
            rows.push((label, words.join(" ")));
        }
        Value::Array(items) => {
            rows.push((label, String::new()));
            for item in items {
                let text = match item {
                    Value::Object(map) => map
                        .iter()
                        .filter(|(_, value)| !value.is_null())
                        .map(|(key, value)| format!("{}={}", Shown(key), scalar(key, value, now, color)))
                        .collect::<Vec<_>>()
                        .join(" "),
                    other => other.to_string(),
                };
                rows.push((format!("{}-", "  ".repeat(depth + 1)), text));
            }
        }
        Value::String(text) if text.contains('\n') => {
            rows.push((label, String::new()));
            let indent = "  ".repeat(depth + 1);
            rows.extend(text.lines().map(|line| (String::new(), format!("{indent}{}", Shown(line)))));
        }
        value => rows.push((label, scalar(key, value, now, color))),
    }
}

fn scalar(key: &str, value: &Value, now: Timestamp, color: bool) -> String {
    match value {
        Value::String(state) if key == "state" => Style::of_state(state).paint(color, &Shown(state).to_string()),
        Value::String(time) if key.ends_with("_at") && time.parse::<Timestamp>().is_ok() => {
            format!("{time} ({})", human::age(time, now))
        }
        Value::String(text) => Shown(text).to_string(),
        Value::Number(n) if BYTES.contains(&key) => n.as_u64().map_or_else(|| n.to_string(), human::size),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_line_and_absent_ones_have_none() {
        let host = serde_json::json!({
            "capacity": {"cpus": 2, "memory": 1_610_612_736}, "created_at": "2025-01-01T00:00:00Z", "docker": null,
            "hosts": [{"host": "hst_1", "state": "present"}], "labels": {}, "id": "hst_1", "name": "a\u{7}",
            "public": false, "state": "online", "command": ["sh", "-c"], "dockerfile": "FROM a\nRUN b\n",
        });
        let now = "2025-01-01T01:00:00Z".parse().unwrap();
        assert_eq!(
            lines(&host, now, false),
            [
                "id          hst_1",
                "name        a\\u{7}",
                "state       online",
                "capacity",
                "  cpus      2",
                "  memory    1.5 GiB",
                "command     sh -c",
                "created_at  2025-01-01T00:00:00Z (1h ago)",
                "dockerfile",
                "              FROM a",
                "              RUN b",
                "hosts",
                "  -         host=hst_1 state=present",
                "public      no",
            ]
        );
    }
}
