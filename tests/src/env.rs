//! What the test bed exports. `make test` sets all of it; a test that needs what is not set fails and says so, because
//! a test that quietly does nothing looks like one that passes.

use std::path::PathBuf;

fn needed(name: &str, what: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set ({what}). `make test` starts what the tests need and sets it; run that, or set it by hand")
    })
}

/// A binary of the project, built with the feature `testing`.
pub fn binary(name: &str) -> PathBuf {
    let path =
        PathBuf::from(needed("DOCKERFORGE_BIN_DIR", "the folder of dockerforge and dockerforge-agent")).join(name);
    assert!(path.is_file(), "{} is not there: `cargo build --workspace --features testing` makes it", path.display());
    path
}

/// The Docker Engine of the first host: `unix:///…`.
pub fn docker() -> String {
    needed("DOCKERFORGE_TEST_DOCKER", "the Docker Engine to test on: unix:///var/run/docker.sock")
}

/// PostgreSQL, without a database's name: `postgres://user@127.0.0.1:5432/`.
pub fn postgres() -> String {
    let url = needed("DOCKERFORGE_TEST_POSTGRES", "a PostgreSQL whose user may create databases");
    if url.ends_with('/') { url } else { format!("{url}/") }
}

/// Further Docker Engines, each a host of its own: their names in the test bed and their sockets.
pub fn hosts() -> Vec<(String, String)> {
    needed("DOCKERFORGE_TEST_HOSTS", "two further Docker Engines: 1=unix:///…,2=unix:///…")
        .split(',')
        .map(|host| {
            let (name, socket) = host.split_once('=').expect("DOCKERFORGE_TEST_HOSTS holds name=socket pairs");
            (name.to_owned(), socket.to_owned())
        })
        .collect()
}

/// A further Docker Engine with a disk of a few hundred megabytes.
pub fn small() -> String {
    needed("DOCKERFORGE_TEST_SMALL", "a Docker Engine whose disk may be filled: unix:///…")
}

/// The registry, `127.0.0.1:port`, that holds [`BASE_IMAGE`].
pub fn registry() -> String {
    needed("DOCKERFORGE_TEST_REGISTRY", "a registry that holds the base image: 127.0.0.1:port")
}

/// The script that cuts, heals, crashes and starts the further hosts.
pub fn hosts_script() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/hosts")
}

/// The script that is a machine as a provider delivers it.
pub fn bare_machine_script() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/bare-machine")
}

/// A program of the contract tests, as `tests/contract/requirements.txt` names them.
pub fn contract_tool(name: &str) -> PathBuf {
    let folder = needed("DOCKERFORGE_TEST_CONTRACT", "the Python environment of tests/contract/requirements.txt");
    PathBuf::from(folder).join("bin").join(name)
}

/// What the contract tests bring: configuration and hooks.
pub fn contract_folder() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("contract")
}

/// Whether the long contract tests were asked for.
pub fn full_contract() -> bool {
    std::env::var("DOCKERFORGE_CONTRACT").is_ok_and(|value| value == "full")
}

/// An image of Debian 12 that somebody put Chef into, on the first Docker Engine: Chef is in no package of Debian's, so that
/// the test bed cannot make it.
///
/// # Panics
/// Without one.
pub fn chef_image() -> String {
    std::env::var("DOCKERFORGE_TEST_CHEF_IMAGE").ok().filter(|image| !image.is_empty()).unwrap_or_else(|| {
        panic!("DOCKERFORGE_TEST_CHEF_IMAGE is not set: an image on this machine's Docker that has Debian 12 and chef-solo, NAME:TAG")
    })
}

/// The image that every Docker Engine of the test bed has: busybox, with `sh` and `httpd`.
pub const BASE_IMAGE: &str = "dockerforge-test/busybox:1";

/// Debian with Ansible in it, on the first Docker Engine of the test bed.
pub const ANSIBLE_IMAGE: &str = "dockerforge-test/ansible:1";

/// A line of a Dockerfile: a program that runs until it is told to end, and then ends at once. (`sleep` as process 1 is
/// deaf to SIGTERM, and each of its ends would take the whole grace period.)
pub const SLEEPER: &str = r#"CMD ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]"#;

/// Whether the whole matrix of faults was asked for.
pub fn full_fault_matrix() -> bool {
    std::env::var("DOCKERFORGE_FAULTS").is_ok_and(|value| value == "full")
}
