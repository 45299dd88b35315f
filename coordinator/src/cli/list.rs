//! Lists: the options of every `ls`, the pages of an answer, and small helpers to read fields of items.

use super::{error::CliError, session::Session};
use serde::Deserialize;
use serde_json::Value;

/// One page as the API writes it.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    /// The items.
    pub items: Vec<Value>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next: Option<String>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ListOptions {
    /// At most this many on a page
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Go on after this cursor, which the page before told
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// All pages; with --json each page is one document
    #[arg(long)]
    all: bool,
}

/// Fetches what is wanted of a list. With `--json` it is printed and `None` comes back; otherwise its items do.
pub(super) async fn fetch(
    session: &mut Session,
    path: &str,
    options: &ListOptions,
    filters: &[(&'static str, Option<String>)],
) -> Result<Option<Vec<Value>>, CliError> {
    let mut items = Vec::new();
    let mut after = options.after.clone();
    loop {
        let mut query: Vec<(&str, String)> =
            filters.iter().filter_map(|(name, value)| value.clone().map(|value| (*name, value))).collect();
        query.extend(options.limit.map(|limit| ("limit", limit.to_string())));
        query.extend(after.clone().map(|cursor| ("after", cursor)));
        let answer = session.client.get(path, &query).await?;
        let page: Page = answer.parse()?;
        if session.console.json {
            session.console.json(&answer.body)?;
        } else {
            items.extend(page.items);
        }
        match page.next {
            Some(cursor) if options.all => after = Some(cursor),
            Some(cursor) if !session.console.json => {
                session.more = Some(cursor);
                break;
            }
            _ => break,
        }
    }
    Ok((!session.console.json).then_some(items))
}

/// The text at a JSON pointer, empty where there is none.
pub(super) fn text<'a>(item: &'a Value, pointer: &str) -> &'a str {
    item.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at a JSON pointer.
pub(super) fn number(item: &Value, pointer: &str) -> Option<u64> {
    item.pointer(pointer).and_then(Value::as_u64)
}

/// The name of an id, or the id itself.
pub(super) fn named<'a>(names: &'a std::collections::HashMap<String, String>, id: &'a str) -> &'a str {
    names.get(id).map_or(id, String::as_str)
}

/// The age of the time at a JSON pointer, empty where there is none.
pub(super) fn age(item: &Value, pointer: &str) -> String {
    match text(item, pointer) {
        "" => String::new(),
        time => super::human::age(time, jiff::Timestamp::now()),
    }
}
