//! Which files of a folder belong to a build context: the `.dockerignore` file, as Docker reads it. Pure; `context`
//! reads the file and asks for each path.
//!
//! Supported: one pattern a line, `#` comments, blank lines; `*` and `?` within a name, `**` across folders, `[a-z]` and
//! `[^a-z]`, `\` before a character that is meant literally; a first or last `/` means nothing; `!` takes back; the last
//! pattern that matches decides; a pattern that matches a folder matches all in it. Not supported: a
//! `<Dockerfile>.dockerignore` beside the Dockerfile, which only BuildKit knows.

/// The patterns of a file, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    takes_back: bool,
    parts: Vec<String>,
}

impl Ignore {
    /// Reads the text of a `.dockerignore`.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // As Docker has it, only a '#' in the first column begins a comment.
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
        Self { patterns: lines.filter_map(Pattern::parse).collect() }
    }

    /// Whether this path, relative to the context and with `/`, is left out.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        self.patterns.iter().rev().find(|p| p.matches(&parts)).is_some_and(|p| !p.takes_back)
    }

    /// Whether something within a folder that is left out may be taken back, so that it has to be looked through.
    pub(super) fn takes_back(&self) -> bool {
        self.patterns.iter().any(|p| p.takes_back)
    }
}

impl Pattern {
    fn parse(line: &str) -> Option<Self> {
        let (takes_back, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut parts: Vec<String> = Vec::new();
        for part in line.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part.to_owned()),
            }
        }
        (!parts.is_empty()).then_some(Self { takes_back, parts })
    }

    /// Whether the pattern matches the path or a folder that it is in.
    fn matches(&self, path: &[&str]) -> bool {
        (1..=path.len()).any(|end| parts_match(&self.parts, &path[..end]))
    }
}

fn parts_match(pattern: &[String], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            // `a/**` is all within `a`, but not `a` itself.
            let from = usize::from(rest.is_empty());
            (from..=path.len()).any(|n| parts_match(rest, &path[n..]))
        }
        (Some((first, rest)), Some((name, below))) => {
            let first: Vec<char> = first.chars().collect();
            let name: Vec<char> = name.chars().collect();
            name_matches(&first, &name) && parts_match(rest, below)
        }
        _ => false,
    }
}

fn name_matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => (0..=name.len()).any(|n| name_matches(rest, &name[n..])),
        (Some(('?', rest)), Some((_, below))) => name_matches(rest, below),
        (Some(('[', rest)), Some((c, below))) => {
            class(rest, *c).is_some_and(|(matched, rest)| matched && name_matches(rest, below))
        }
        (Some(('\\', rest)), Some((c, below))) if !rest.is_empty() => rest[0] == *c && name_matches(&rest[1..], below),
        (Some((p, rest)), Some((c, below))) => p == c && name_matches(rest, below),
        _ => false,
    }
}

/// Whether a character is in a class, and the pattern behind it; nothing where the class has no end.
fn class(pattern: &[char], c: char) -> Option<(bool, &[char])> {
    let (negated, mut rest) = match pattern.split_first()? {
        ('^' | '!', rest) => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    let mut first = true;
    loop {
        let (mut low, mut after) = rest.split_first()?;
        if *low == ']' && !first {
            return Some((found != negated, after));
        }
        if *low == '\\' {
            (low, after) = after.split_first()?;
        }
        let mut high = low;
        if let ['-', end, tail @ ..] = after
            && *end != ']'
        {
            (high, after) = (end, tail);
        }
        found |= (low..=high).contains(&&c);
        rest = after;
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_docker_says() {
        let ignore = Ignore::parse(
            "# no\n\n/node_modules/\n*.log\n!keep.log\n**/*.tmp\ndocs/**\n!docs/readme.md\nsrc/[a-c]?.rs\nx[^0-9]\n\\*star\n*/cache\n ./out/../build ",
        );
        for path in [
            "node_modules",
            "node_modules/a/b",
            "a.log",
            "deep/a.tmp",
            "a.tmp",
            "docs/a",
            "docs/a/b",
            "src/a1.rs",
            "xy",
            "*star",
            "any/cache",
            "any/cache/x",
            "build",
        ] {
            assert!(ignore.leaves_out(path), "{path} was taken");
        }
        for path in [
            "# no",
            "src",
            "deep/a.log",
            "keep.log",
            "docs",
            "docs/readme.md",
            "src/d1.rs",
            "src/a12.rs",
            "x7",
            "astar",
            "cache",
            "a/b/cache",
            "out",
        ] {
            assert!(!ignore.leaves_out(path), "{path} was left out");
        }
        assert!(ignore.takes_back() && !Ignore::parse("a\n").takes_back());
    }

    #[test]
    fn all_but_one_is_said_with_a_star_and_an_exception() {
        let ignore = Ignore::parse("*\n!app\n");
        assert!(ignore.leaves_out("x") && !ignore.leaves_out("app") && !ignore.leaves_out("app/main.rs"));
    }

    #[test]
    fn a_class_without_an_end_matches_nothing() {
        assert!(!Ignore::parse("[a-\n[\n[]\n").leaves_out("a"));
    }
}
