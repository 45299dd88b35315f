//! What is chosen of a template on the command line: documents of files, and single values by their path. Used by
//! `configuration` and `template`.
//!
//! A value that is secret comes from a file (`--set key=@FILE`, `--parameters -`): what stands on a command line, `ps` and a
//! shell's history show.

use super::error::CliError;
use serde_json::{Map, Value};
use std::{
    fmt, fs,
    io::{self, Read},
    path::Path,
};

/// `path.to.key=value`.
#[derive(Clone)]
pub struct Setting {
    path: Vec<String>,
    value: Value,
}

impl fmt::Debug for Setting {
    /// Without the value: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("path", &self.path).finish_non_exhaustive()
    }
}

/// `path.to.key`, in which a dot that belongs to a name stands behind a backslash.
pub(super) fn path(text: &str) -> Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, names.last_mut()) {
            ('.', _) => names.push(String::new()),
            ('\\', Some(name)) => name.extend(letters.next()),
            (letter, Some(name)) => name.push(letter),
            (_, None) => {}
        }
    }
    if names.iter().any(String::is_empty) { Err("expected a path such as page.title".to_owned()) } else { Ok(names) }
}

/// `path.to.key=value`: what is JSON is that, all else a text; `@FILE` is the text in a file.
pub(super) fn setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE or KEY=@FILE")?;
    let path = path(key)?;
    let value = match value.strip_prefix('@') {
        Some(file) => {
            let text = fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
            // One line's end at its end is not part of a value that a person typed.
            Value::from(text.strip_suffix('\n').unwrap_or(&text))
        }
        None => serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)),
    };
    Ok(Setting { path, value })
}

/// The object of JSON in a file; `-` is stdin.
pub(super) fn object(file: &Path) -> Result<Map<String, Value>, CliError> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    let wrong = |why: String| CliError::Usage(format!("{}: {why}", file.display()));
    match serde_json::from_str(&text.map_err(|error| wrong(error.to_string()))?) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(wrong("expected an object of JSON".to_owned())),
        Err(error) => Err(wrong(format!("expected JSON: {error}"))),
    }
}

/// A document with these settings laid over it, and `null` where something is unset: a merge patch (RFC 7396).
pub(super) fn laid_over(
    mut document: Map<String, Value>,
    settings: Vec<Setting>,
    unset: Vec<Vec<String>>,
) -> Result<Map<String, Value>, CliError> {
    let unset = unset.into_iter().map(|path| Setting { path, value: Value::Null });
    for Setting { path, value } in settings.into_iter().chain(unset) {
        put(&mut document, &path, value)
            .map_err(|name| CliError::Usage(format!("{}: {name} is no object", path.join("."))))?;
    }
    Ok(document)
}

/// Puts a value where the path leads; fails with the name on the way that is something else than an object.
fn put<'a>(object: &mut Map<String, Value>, path: &'a [String], value: Value) -> Result<(), &'a str> {
    match path {
        [] => Ok(()),
        [name] => {
            object.insert(name.clone(), value);
            Ok(())
        }
        [name, below @ ..] => {
            let inner = object.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            put(inner.as_object_mut().ok_or(name.as_str())?, below, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn built(texts: &[&str], unset: &[&str]) -> Result<Value, String> {
        let settings = texts.iter().map(|text| setting(text)).collect::<Result<_, _>>()?;
        let unset = unset.iter().map(|text| path(text)).collect::<Result<_, _>>()?;
        let document = json!({"page": {"title": "old", "lang": "en"}}).as_object().cloned().unwrap_or_default();
        laid_over(document, settings, unset).map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_laid_over_a_document_along_their_paths() {
        let texts = ["page.title=A = b", "port=80", r#"zip="01""#, "on=true", "a.b.c=[1]", r"a.x\.y=", "id=007"];
        assert_eq!(
            built(&texts, &["page.lang"]),
            Ok(json!({"page": {"title": "A = b", "lang": null}, "port": 80, "zip": "01", "on": true,
                "a": {"b": {"c": [1]}, "x.y": ""}, "id": "007"}))
        );
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for bad in ["", "x", "=x", "a..b=x", ".a=x", "a.=x", "a=@/nowhere/at/all", "page.title.x=1"] {
            assert!(built(&[bad], &[]).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_value_is_never_shown_by_a_trace() {
        assert!(!format!("{:?}", setting("password=hunter22")).contains("hunter22"));
    }
}
