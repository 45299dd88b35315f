//! What a converge writes, read: in whatever pieces it comes, and as the provisioners really write it.

use super::*;

fn heard(pieces: &[&str]) -> (String, Outcomes) {
    let mut outcomes = Outcomes::default();
    let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| outcomes.pass(piece.as_bytes(), false)).collect();
    shown.extend(outcomes.pass(b"", true));
    (String::from_utf8(shown).unwrap(), outcomes)
}

fn read(pieces: &[&str]) -> (String, Vec<ResourceOutcome>) {
    let (shown, outcomes) = heard(pieces);
    (shown, outcomes.resources())
}

#[test]
fn what_became_of_resources_is_read_however_the_output_is_cut() {
    let text = "one\ndockerforge-outcome: {\"resource\": \"a\", \"status\": \"changed\"}\ntwo dockerforge-outcome: {}\n\
                dockerforge-outcome: {\"resource\": \"b\", \"status\": \"failed\", \"detail\": \"why\"}";
    for cut in 0..=text.len() {
        let (shown, resources) = read(&[&text[..cut], &text[cut..]]);
        assert_eq!(shown, "one\ntwo dockerforge-outcome: {}\n", "cut at {cut}");
        assert_eq!(resources.iter().map(|r| r.resource.as_str()).collect::<Vec<_>>(), ["a", "b"], "cut at {cut}");
        assert_eq!(resources[1].status, ResourceStatus::Failed);
    }
}

#[test]
fn what_only_looks_like_one_is_shown_and_nothing_is_held_without_bound() {
    assert_eq!(read(&["dockerforge-outcome: nonsense\n"]).0, "dockerforge-outcome: nonsense\n");
    let long = format!("dockerforge-outcome: {}", "x".repeat(3 * LONGEST));
    assert_eq!(read(&[&long]).0, long);
    assert_eq!(read(&["docker", "forge"]).0, "dockerforge");
}

#[test]
fn what_failed_is_told_however_much_was_changed_before() {
    let changed = "dockerforge-outcome: {\"resource\":\"file[/a]\",\"status\":\"changed\"}\n".repeat(2 * MAX_RESOURCES);
    let failed =
        "dockerforge-outcome: {\"resource\":\"file[/b]\",\"status\":\"failed\",\"detail\":\"no such folder\"}\n";
    let (_, outcomes) = heard(&[&changed, failed]);
    assert_eq!(outcomes.explain(1), "file[/b] failed: no such folder");
    assert_eq!(outcomes.resources().len(), MAX_RESOURCES);
}

#[test]
fn a_converge_that_says_of_no_resource_that_it_failed_is_told_by_its_last_words() {
    assert_eq!(heard(&["\n"]).1.explain(137), "the converge ended with 137, and said nothing");
    // Chef 18.10.17 of a node that is none: it ends before anybody is told of anything.
    let told = "[2026-11-28T19:51:22+00:00] FATAL: Could not parse the provided JSON file (/dev/shm/dockerforge.GiJEHI/node.json): \
                lexical error: invalid char in json text.\n                                     { bad \n\
                \x20                    (right here) ------^\n\n";
    let explained = heard(&[told]).1.explain(1);
    assert!(
        explained.starts_with(
            "the converge ended with 1; its last words: [2026-11-28T19:51:22+00:00] FATAL: Could not parse"
        )
    );
    assert!(explained.ends_with("(right here) ------^"), "{explained}");
}

/// What Chef 18.10.17 wrote of a recipe whose second resource failed, with less of what it says of its systems.
const FAILED_RECIPE: &str = r#"Recipe: web::fails
  * directory[/srv/before] action create
    - create new directory /srv/before
  * execute[the step] action run
    
    ================================================================================
    Error executing action `run` on resource 'execute[the step]'
    ================================================================================
    
    Mixlib::ShellOut::ShellCommandFailed
    ------------------------------------
    Expected process to exit with [0], but received '3'

Infra Phase failed. 1 resources updated in 00 seconds
[2026-11-28T19:50:22+00:00] FATAL: Stacktrace dumped to /var/cache/dockerforge-chef/chef-stacktrace.out
[2026-11-28T19:50:22+00:00] FATAL: Mixlib::ShellOut::ShellCommandFailed: execute[the step] (web::fails line 2) had an error: Mixlib::ShellOut::ShellCommandFailed: Expected process to exit with [0], but received '3'
---- Begin output of echo some output; echo why it is so >&2; exit 3 ----
STDOUT: some output
STDERR: why it is so
---- End output of echo some output; echo why it is so >&2; exit 3 ----
Ran echo some output; echo why it is so >&2; exit 3 returned 3
dockerforge-outcome: {"resource":"directory[/srv/before]","status":"changed","detail":"create new directory /srv/before"}
dockerforge-outcome: {"resource":"execute[the step]","status":"failed","detail":"Mixlib::ShellOut::ShellCommandFailed: Expected process to exit with [0], but received '3'\n---- Begin output of echo some output; echo why it is so >&2; exit 3 ----\nSTDOUT: some output\nSTDERR: why it is so\n---- End output of echo some output; echo why it is so >&2; exit 3 ----\nRan echo some output; echo why it is so >&2; exit 3 returned 3"}
"#;

/// Of a run list with a cookbook that is not there, of one with an error in a recipe, and of one that went well.
const MISSING: &str = r#"dockerforge-outcome: {"resource":"chef-solo","status":"failed","detail":"Missing Cookbooks: No such cookbook: nope"}
"#;
const BROKEN: &str = r#"dockerforge-outcome: {"resource":"chef-solo","status":"failed","detail":"NoMethodError: undefined method `[]' for nil:NilClass (at web/recipes/compile.rb:1)"}
"#;
const WENT_WELL: &str = r#"Infra Phase complete, 4/5 resources updated in 00 seconds
dockerforge-outcome: {"resource":"web_site[main]","status":"changed","detail":"create new directory /srv/site; change mode from '' to '0750'; create new file /srv/site/page; update content in file /srv/site/page from none to 77363e"}
dockerforge-outcome: {"resource":"execute[reload]","status":"changed","detail":"execute echo reloaded"}
"#;

#[test]
fn what_chef_tells_is_understood() {
    let (shown, outcomes) = heard(&[FAILED_RECIPE]);
    let explained = outcomes.explain(1);
    assert!(
        explained
            .starts_with("execute[the step] failed: Mixlib::ShellOut::ShellCommandFailed: Expected process to exit")
    );
    assert!(explained.contains("STDERR: why it is so"), "{explained}");
    assert!(shown.ends_with("exit 3 returned 3\n") && !shown.contains(OUTCOME_MARK), "{shown}");
    assert_eq!(heard(&[MISSING]).1.explain(1), "chef-solo failed: Missing Cookbooks: No such cookbook: nope");
    let nil = "chef-solo failed: NoMethodError: undefined method `[]' for nil:NilClass (at web/recipes/compile.rb:1)";
    assert_eq!(heard(&[BROKEN]).1.explain(1), nil);
    let (_, resources) = read(&[WENT_WELL]);
    let told: Vec<_> = resources.iter().map(|one| (one.resource.as_str(), one.detail.as_str())).collect();
    assert_eq!((told.len(), told[0].0, told[1]), (2, "web_site[main]", ("execute[reload]", "execute echo reloaded")));
}

/// Of a converge that knows this secret, what is shown and what is told of what it wrote.
fn told_of(secret: &str, written: &str) -> (String, String) {
    let mut outcomes = Outcomes::without(&[SecretString::from(secret)]);
    let shown = outcomes.pass(written.as_bytes(), true);
    (String::from_utf8(shown).unwrap(), outcomes.explain(1))
}

#[test]
fn a_secret_that_an_error_quotes_is_not_told() {
    let secret = "a 'b\\ \"c`d #{e}";
    // As Ruby shows a text in an error, and that as JSON.
    let line = r#"dockerforge-outcome: {"resource":"chef-solo","status":"failed","detail":"KeyError: key not found: \"a 'b\\\\ \\\"c`d \\#{e}\""}"#;
    let expected = "chef-solo failed: KeyError: key not found: \"********\"";
    assert_eq!(told_of(secret, line), (String::new(), expected.to_owned()));
    // As Ansible wrote it: with escapes that are gone when the line is read.
    let line = r#"dockerforge-outcome: {"resource": "user p\u00e4ssword", "status": "failed", "detail": "no p\u00e4ssword; \"p\\u00e4ssword\""}"#;
    let expected = "user ******** failed: no ********; \"********\"";
    assert_eq!(told_of("p\u{e4}ssword", line), (String::new(), expected.to_owned()));
}

#[test]
fn a_secret_that_was_cut_is_not_told_in_part() {
    let outcome = |detail: &str| {
        format!("dockerforge-outcome: {{\"resource\":\"key\",\"status\":\"failed\",\"detail\":\"{detail}\"}}\n")
    };
    let secret = "0123456789abcdef".repeat(60);
    let (_, told) = told_of(&secret, &outcome(&format!("it is {}", &secret[..500])));
    assert_eq!(told, "key failed: it is ********");
    let (_, told) = told_of(&secret, &outcome(&format!("it is {} … {} indeed", &secret[..200], &secret[600..])));
    assert_eq!(told, "key failed: it is ********…******** indeed");
    // Not cut by whoever told it, but here: afterwards.
    let (_, told) = told_of(&secret, &outcome(&format!("it is {secret} {}", "x".repeat(2 * OUTCOME))));
    assert!(
        told.starts_with("key failed: it is ******** xx") && told.ends_with("xx") && told.contains(" … "),
        "{told}"
    );
}

#[test]
fn a_secret_that_is_a_word_of_ours_hides_no_outcome() {
    let line = r#"dockerforge-outcome: {"resource":"page","status":"failed","detail":"it failed"}"#;
    assert_eq!(told_of("failed", line), (String::new(), "page failed: it ********".to_owned()));
}

#[test]
fn a_failure_has_the_last_words_of_what_failed() {
    let (shown, told) = told_of(
        "s3cret",
        "before\nno s3cret\ndockerforge-outcome: {\"resource\":\"page\",\"status\":\"failed\",\"detail\":\"exit code 1\"}\n",
    );
    assert_eq!(shown, "before\nno ********\n");
    assert_eq!(told, "page failed: exit code 1; its last words: before\nno ********");
}
