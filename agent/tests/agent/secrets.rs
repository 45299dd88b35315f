//! Secrets of containers on the fake engine: they are where the container finds them before it starts, whichever call fails,
//! and nowhere else.

use crate::bench::{Bench, Options, container};
use dockerforge_agent::docker::fake::Moment;
use dockerforge_agent::executor::Values;
use dockerforge_protocol::command::Command;
use dockerforge_protocol::ids::{JobId, SecretId};
use dockerforge_protocol::report::{FailureKind, Outcome};
use std::path::Path;

const PASSWORD: &str = "pa$$ ' \\ \" wörd";
const TOKEN: &str = "t0ken-4711";

fn bench() -> (Bench, String) {
    let ids = [SecretId::new(), SecretId::new()];
    let secrets: Values = ids.into_iter().zip([PASSWORD.into(), TOKEN.into()]).collect();
    let [file, env] = ids;
    let spec = format!(
        r#"{{"env":{{"A":"b"}},"secrets":{{"PASSWORD":{{"id":"{file}","form":"file"}},"TOKEN":{{"id":"{env}","form":"env"}}}}}}"#
    );
    (Bench::with(Options { secrets, ..Options::default() }), spec)
}

/// What the archive that was unpacked last holds: names, modes, texts.
fn unpacked(archive: &[u8]) -> Vec<(String, u32, String)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), text)
    });
    entries.collect()
}

/// Whether any file below a folder holds a text.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test]
async fn whichever_call_fails_a_container_starts_with_its_secrets_and_the_agents_folder_never_has_them() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let (bench, spec) = bench();
            let command = Command::CreateContainer(container(&bench, &spec));
            let job = JobId::new();
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            let done = matches!(first, Outcome::Succeeded { .. });
            if !done {
                let second = bench.run(job, 2, &command).await;
                assert!(matches!(second, Outcome::Succeeded { .. }), "call {n} failed {moment:?}: {second:?}");
            }
            let world = bench.engine.world();
            let (_, (found, new, _)) = world.containers.iter().next().unwrap();
            assert_eq!(new.env, ["A=b".to_owned(), format!("TOKEN={TOKEN}")]);
            let archive = &world.unpacked[&found.id];
            assert_eq!(unpacked(archive), [("PASSWORD".to_owned(), 0o444, PASSWORD.to_owned())]);
            let place = |call: &str| world.calls.iter().position(|made| made.starts_with(call));
            assert!(place("container unpack") < place("container start"), "{:?}", world.calls);
            for secret in [PASSWORD, TOKEN] {
                assert!(!holds(bench.folder.path(), secret), "call {n} failed {moment:?}");
            }
            if done {
                assert!(n > 5, "only {n} calls were made");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_secret_that_the_coordinator_does_not_give_is_tried_again_and_nothing_is_made() {
    let (bench, _) = bench();
    let other = SecretId::new();
    let spec = format!(r#"{{"secrets":{{"PASSWORD":{{"id":"{other}","form":"file"}}}}}}"#);
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(container(&bench, &spec))).await;
    let Outcome::Failed { failure } = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.kind, failure.retryable()), (FailureKind::SecretsUnavailable, true), "{failure}");
    assert!(bench.engine.world().containers.is_empty());
}
