//! A Rust file as the rules read it: its code without comments, strings and test modules, and the crate's own modules
//! that it names. This is no parser of Rust; it reads what rustfmt writes, and errs towards reporting.

use std::collections::BTreeSet;

/// One source file.
pub struct Source {
    /// Its path below the workspace's root.
    pub path: String,
    /// As it stands in the file.
    pub text: String,
    /// The code alone, line for line: comments, strings and `#[cfg(test)]` modules are blank.
    pub code: String,
}

impl Source {
    /// Reads a file's text.
    pub fn new(path: &str, text: &str) -> Self {
        let stripped = strip(text);
        let code = if is_test(path) { stripped } else { without_test_modules(&stripped) };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// Whether the file is a test as a whole.
    pub fn is_test(&self) -> bool {
        is_test(&self.path)
    }

    /// The crate's folder and the module path of the file: `("coordinator", ["hub", "session"])`. Nothing for a file
    /// outside a crate's `src`.
    pub fn module(&self) -> Option<(&str, Vec<&str>)> {
        let (krate, inside) = self.path.split_once("/src/")?;
        let inside = inside.strip_suffix(".rs")?;
        let mut parts: Vec<&str> = inside.split('/').collect();
        if matches!(parts.last(), Some(&("mod" | "lib"))) {
            parts.pop();
        }
        Some((krate, parts))
    }

    /// The top-level modules of its own crate that the code names, with the line of each: through `crate::`, through
    /// enough `super::`s, and inside groups.
    pub fn rooms_named(&self) -> BTreeSet<(String, usize)> {
        let depth = self.module().map_or(0, |(_, parts)| parts.len());
        let mut named = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            if !preceded_by_word(&self.code, at) {
                heads(&self.code[at + "crate::".len()..], &mut |room| {
                    named.insert((room.to_owned(), line_of(&self.code, at)));
                });
            }
        }
        let mut from = 0;
        while let Some(found) = self.code[from..].find("super::") {
            let at = from + found;
            let mut end = at;
            let mut supers = 0;
            while self.code[end..].starts_with("super::") {
                supers += 1;
                end += "super::".len();
            }
            from = end;
            if !preceded_by_word(&self.code, at) && supers >= depth + inline_depth(&self.code[..at]) {
                heads(&self.code[end..], &mut |room| {
                    named.insert((room.to_owned(), line_of(&self.code, at)));
                });
            }
        }
        named
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests" || part == "benches")
}

/// The line a byte stands on, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].bytes().filter(|&b| b == b'\n').count() + 1
}

/// Whether a word character stands right before this byte, so that what begins here is the end of a longer name.
pub fn preceded_by_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first name of a path, or of every path of a group: `a::b` → a; `{a::{b, c}, d}` → a, d.
fn heads(text: &str, take: &mut impl FnMut(&str)) {
    let Some(group) = text.strip_prefix('{') else {
        let name = word(text);
        // A macro of the crate is not a room, and a type at the root is reported as an unknown one.
        if !name.is_empty() {
            take(name);
        }
        return;
    };
    let mut depth = 0;
    let mut at_head = true;
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if c.is_whitespace() => {}
            _ if at_head && depth == 0 => {
                take(word(&group[i..]));
                at_head = false;
            }
            _ => {}
        }
    }
}

/// How many inline modules are open at the end of this code.
fn inline_depth(code: &str) -> usize {
    let mut stack = Vec::new();
    let mut statement = 0;
    for (i, c) in code.char_indices() {
        match c {
            '{' => {
                let before = code[statement..i].trim();
                stack.push(before.split_whitespace().rev().nth(1) == Some("mod"));
                statement = i + 1;
            }
            '}' => {
                stack.pop();
                statement = i + 1;
            }
            ';' => statement = i + 1,
            _ => {}
        }
    }
    stack.into_iter().filter(|is_module| *is_module).count()
}

/// Blanks `#[cfg(test)] mod … { … }`.
fn without_test_modules(code: &str) -> String {
    let mut kept = code.to_owned();
    let mut from = 0;
    while let Some(found) = kept[from..].find("#[cfg(test)]") {
        let at = from + found;
        from = at + 1;
        let rest = &kept[at..];
        let Some(open) = rest.find('{') else { continue };
        let is_module = rest[..open].contains("mod ") && !rest[..open].contains(';');
        if !is_module {
            continue;
        }
        let mut depth = 0_usize;
        let end = rest[open..].char_indices().find_map(|(i, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at + open + i + 1)
        });
        let end = end.unwrap_or(kept.len());
        let blank: String = kept[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        kept.replace_range(at..end, &blank);
    }
    kept
}

/// Blanks comments and the insides of strings and character literals; keeps every line break.
fn strip(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    let blank = |out: &mut String, c: char| out.push(if c == '\n' { '\n' } else { ' ' });
    while i < chars.len() {
        let rest = &chars[i..];
        let end = match rest {
            ['/', '/', ..] => i + rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => i + block_comment(rest),
            ['r', '"' | '#', ..] if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => i + raw_string(rest),
            ['"', ..] => i + quoted(rest),
            ['\'', '\\', ..] => i + 2 + rest[2..].iter().skip(1).position(|&c| c == '\'').map_or(1, |p| p + 2),
            ['\'', _, '\'', ..] => i + 3,
            _ => {
                out.push(chars[i]);
                i += 1;
                continue;
            }
        };
        let end = end.clamp(i + 1, chars.len());
        for &c in &chars[i..end] {
            blank(&mut out, c);
        }
        i = end;
    }
    out
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut i = 0;
    while i + 1 < rest.len() {
        match (rest[i], rest[i + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    rest.len()
}

fn quoted(rest: &[char]) -> usize {
    let mut i = 1;
    while i < rest.len() {
        match rest[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    rest.len()
}

/// The length of `r"…"` or `r#"…"#`; 1 for what only looks like one (`r#type`).
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 1;
    }
    let mut i = 2 + hashes;
    while i < rest.len() {
        if rest[i] == '"' && rest[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(path: &str, text: &str) -> Vec<String> {
        Source::new(path, text).rooms_named().into_iter().map(|(room, _)| room).collect()
    }

    #[test]
    fn comments_strings_and_test_modules_are_not_code() {
        let text = "a // crate::x\n/* crate::y /* */ */ b \"crate::z\\\"\" r#\"crate::w\"# 'c' '\\'' c\n#[cfg(test)]\nmod tests {\n use crate::v; {}\n}\nd";
        let code = Source::new("agent/src/lib.rs", text).code;
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn a_lifetime_is_not_a_character() {
        let code = Source::new("agent/src/lib.rs", "fn f<'a>(x: &'a str) -> &'a str { x }").code;
        assert_eq!(code, "fn f<'a>(x: &'a str) -> &'a str { x }");
    }

    #[test]
    fn rooms_are_found_in_uses_groups_and_inline_paths() {
        let text =
            "use crate::store::Store;\nuse crate::{domain::{job, host}, access};\nfn f() { crate::queue::go(); }";
        assert_eq!(rooms("coordinator/src/hub/mod.rs", text), ["access", "domain", "queue", "store"]);
        assert_eq!(
            rooms("coordinator/src/hub/mod.rs", "use dockerforge_crate::x; mycrate::y();"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn supers_that_leave_the_room_are_found() {
        assert_eq!(rooms("coordinator/src/hub/session.rs", "use super::super::store::Store;"), ["store"]);
        assert_eq!(rooms("coordinator/src/hub/mod.rs", "use super::store::Store;"), ["store"]);
        assert_eq!(rooms("coordinator/src/hub/session.rs", "use super::listener;"), Vec::<String>::new());
        let inline = "mod inner {\n use super::super::listener;\n use super::super::super::queue;\n}";
        assert_eq!(rooms("coordinator/src/hub/session.rs", inline), ["queue"]);
    }
}
