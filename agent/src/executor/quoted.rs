//! Secrets as programs write them: quoted, escaped, line by line. And texts without them, also without what is left of one
//! where a text was cut. Used by what reads the output of a converge.

use super::secrets::{Redactor, STARS};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeSet;

/// What stands where a provisioner has cut a text.
const CUT: char = '…';
/// Bytes of a secret that are one also without the rest: fewer begin or end many another word.
const PART: usize = 4;
/// Bytes of a line that is taken out by itself, of a secret of several. Keys consist of longer ones.
const LINE: usize = 8;

/// Values as they are, and as programs write them when they quote them.
pub(super) fn in_every_form(values: &[SecretString]) -> Vec<SecretString> {
    let forms: BTreeSet<String> = values.iter().flat_map(|value| forms(value.expose_secret())).collect();
    forms.into_iter().map(SecretString::from).collect()
}

fn forms(value: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([value.to_owned()]);
    if value.contains(char::is_control) {
        // What a program shows a line at a time, and what a script that writes lines makes of it.
        forms.extend(value.lines().filter(|line| line.len() >= LINE).map(str::to_owned));
        forms.insert(value.replace(|c: char| c.is_ascii_control(), ""));
    }
    for text in forms.clone() {
        forms.extend(quoted(&text));
    }
    // A text that a program quoted is quoted again in its log.
    for text in forms.clone() {
        let json = json(&text);
        forms.extend([ascii(&json), json]);
    }
    forms
}

/// In JSON, also of ASCII alone and as PHP has it; as Ruby and Python show a text; for a shell, character by character and between
/// quotes; and in YAML.
fn quoted(value: &str) -> [String; 9] {
    let json = json(value);
    let ascii = ascii(&json);
    let php = ascii.replace('/', "\\/");
    let ruby = ["#{", "#$", "#@"].iter().fold(json.clone(), |text, of| text.replace(of, &format!("\\{of}")));
    // Python takes the quotes that it need not escape, if there are such.
    let bare = json.replace("\\\"", "\"");
    let python = if value.contains('"') { bare.replace('\'', "\\'") } else { bare.clone() };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.,:+/@".contains(c);
    let shell = value.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect();
    let single = ["'\\''", "'\"'\"'", "''"].map(|quote| value.replace('\'', quote));
    let [closed, python_shell, yaml] = single;
    [json, ascii, php, ruby, python, shell, closed, python_shell, yaml]
}

fn json(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_default();
    json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default().to_owned()
}

/// JSON of ASCII characters alone.
fn ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            ascii.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    ascii
}

/// A text without these values, and without what is left of one at a place where the text was cut: at its end, and on both sides
/// of what stands for what was left out.
pub(super) fn without(values: &[SecretString], text: &str) -> String {
    let mut redactor = Redactor::of(values.to_vec());
    let parts = text.split(CUT).enumerate().map(|(i, part)| {
        let (head, rest) = part.split_at(if i == 0 { 0 } else { end_at_start(values, part) });
        let (rest, tail) = rest.split_at(start_at_end(values, rest));
        let mut shown = if head.is_empty() { Vec::new() } else { STARS.to_vec() };
        shown.extend(redactor.pass(rest.as_bytes()));
        shown.extend(redactor.rest());
        shown.extend(if tail.is_empty() { &[] } else { STARS });
        String::from_utf8_lossy(&shown).into_owned()
    });
    parts.collect::<Vec<_>>().join(&CUT.to_string())
}

/// How much of a text's beginning is the end of a value.
fn end_at_start(values: &[SecretString], text: &str) -> usize {
    let begun = text.trim_start();
    let found = values.iter().filter_map(|value| {
        let value = value.expose_secret();
        let ends = value.char_indices().map(|(at, _)| &value[at..]);
        ends.take_while(|end| end.len() >= PART).find(|end| begun.starts_with(end)).map(str::len)
    });
    found.max().map_or(0, |length| text.len() - begun.len() + length)
}

/// Where at a text's end a value begins.
fn start_at_end(values: &[SecretString], text: &str) -> usize {
    let ended = text.trim_end();
    let found = values.iter().filter_map(|value| {
        let value = value.expose_secret();
        let starts = value.char_indices().rev().map(|(at, c)| &value[..at + c.len_utf8()]);
        starts.take_while(|start| start.len() >= PART).find(|start| ended.ends_with(start)).map(str::len)
    });
    found.max().map_or(text.len(), |length| ended.len() - length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(values: &[&str], text: &str) -> String {
        let values: Vec<_> = values.iter().map(|value| SecretString::from(*value)).collect();
        without(&in_every_form(&values), text)
    }

    #[test]
    fn a_value_is_not_shown_however_a_program_quotes_it() {
        let value = "$a/'b\\ \"c`d #{e} \u{f1}\u{1f511}";
        for written in [
            value,
            // `serde_json`; `json.dumps`; `json_encode` of PHP.
            r#"$a/'b\\ \"c`d #{e} ñ🔑"#,
            r#"$a/'b\\ \"c`d #{e} \u00f1\ud83d\udd11"#,
            r#"$a\/'b\\ \"c`d #{e} \u00f1\ud83d\udd11"#,
            // Ruby's `inspect` and `Shellwords.escape`; Python's `repr` and `shlex.quote`.
            r#"$a/'b\\ \"c`d \#{e} ñ🔑"#,
            r#"\$a/\'b\\\ \"c\`d\ \#\{e\}\ \ñ\🔑"#,
            r#"$a/\'b\\ "c`d #{e} ñ🔑"#,
            r#"$a/'"'"'b\ "c`d #{e} ñ🔑"#,
            // What a careful script makes of it, and YAML.
            r#"$a/'\''b\ "c`d #{e} ñ🔑"#,
            r#"$a/''b\ "c`d #{e} ñ🔑"#,
            // A JSON in a JSON, and the first with escapes.
            r#"$a/'b\\\\ \\\"c`d #{e} ñ🔑"#,
            r#"$a/'b\\\\ \\\"c`d #{e} \\u00f1\\ud83d\\udd11"#,
        ] {
            assert_eq!(shown(&[value], &format!("is {written}.")), "is ********.", "{written}");
        }
        // Without a double quote within, Python needs no escape.
        assert_eq!(shown(&["a'b\\cd"], r#"["a'b\\cd"]"#), r#"["********"]"#);
    }

    #[test]
    fn of_a_value_of_several_lines_no_line_is_shown() {
        let key = "-----BEGIN KEY-----\nMIIabc/def+ghi==\n-----END KEY-----\n";
        assert_eq!(shown(&[key], r#"{"lines": ["MIIabc/def+ghi=="]}"#), r#"{"lines": ["********"]}"#);
        assert_eq!(shown(&["tab\tand end"], "changed taband end"), "changed ********");
    }

    #[test]
    fn where_a_text_was_cut_no_part_of_a_value_is_shown() {
        let secret = "p\u{e4}ss-of-\"the\"-database";
        for cut in 1..secret.len() {
            let Some((left, right)) = secret.split_at_checked(cut) else { continue };
            let text = shown(&[secret], &format!("is {left} … {right} it is"));
            let before = if left.len() < PART { format!("{left} ") } else { "********".to_owned() };
            let after = if right.len() < PART { format!(" {right}") } else { "********".to_owned() };
            assert_eq!(text, format!("is {before}…{after} it is"));
            let text = shown(&[secret], &format!("is {left}"));
            assert_eq!(text, format!("is {}", before.trim_end()));
        }
        assert_eq!(shown(&["abcdabcd"], "is abcdabcd"), "is ********");
        assert_eq!(shown(&["a secret"], "nothing of it … was here"), "nothing of it … was here");
    }
}
