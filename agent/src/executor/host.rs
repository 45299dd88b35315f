//! What a container is given of this host, looked at on this host: called before a container is made and before it is
//! started. What must hold: on a host that users share nothing is given, whoever asks; and nothing is mounted that is,
//! lies in, or lies around what is Docker's own or the agent's, whatever links lead there. The path that was looked at is
//! the path that Docker is given, without links.
//!
//! Between a look and Docker's mount a folder that somebody else may write can become a link. Whoever can do that on
//! purpose has a container that may write there, so the owner's list of sources (`policy`) is what bounds him.

use super::Ended;
use super::work::{Work, failed};
use crate::docker::Container;
use crate::policy::Policy;
use dockerforge_protocol::command::{CreateContainer, Hardening};
use dockerforge_protocol::report::FailureKind;
use dockerforge_protocol::spec::{Bind, HostAccess, NEVER_MOUNTED, overlap};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the command asks for of the host, with the sources of its mounts as they are: without links.
pub(super) async fn given(work: &Work<'_>, command: &CreateContainer) -> Result<HostAccess, Ended> {
    let asked = &command.spec.host_access;
    if asked.is_empty() {
        return Ok(HostAccess::default());
    }
    if command.hardening == Hardening::Pool {
        return Err(forbidden("a container on a shared host is given nothing of it".to_owned()));
    }
    let sources: Vec<PathBuf> = asked.binds.iter().map(|bind| PathBuf::from(bind.source.to_string())).collect();
    let found = look(work, sources).await?;
    let mut binds = Vec::with_capacity(asked.binds.len());
    for (bind, real) in asked.binds.iter().zip(found) {
        let source = real.to_str().and_then(|text| text.parse().ok());
        let source = source.ok_or_else(|| forbidden(format!("{} leads to {}", bind.source, real.display())))?;
        binds.push(Bind { source, ..bind.clone() });
    }
    Ok(HostAccess { binds, ..asked.clone() })
}

/// Whether what a container was made with may still be mounted: Docker follows links anew at every start.
pub(super) async fn still_allowed(work: &Work<'_>, container: &Container) -> Result<(), Ended> {
    let sources = container.binds.clone();
    if sources.is_empty() {
        return Ok(());
    }
    let found = look(work, sources.clone()).await?;
    match sources.iter().zip(&found).find(|(source, real)| source != real) {
        Some((source, real)) => Err(forbidden(format!("{} leads to {} by now", source.display(), real.display()))),
        None => Ok(()),
    }
}

fn forbidden(detail: String) -> Ended {
    failed(FailureKind::Policy, detail)
}

/// The real paths of sources, each allowed.
async fn look(work: &Work<'_>, sources: Vec<PathBuf>) -> Result<Vec<PathBuf>, Ended> {
    if sources.is_empty() {
        return Ok(sources);
    }
    let dockers = work.settings.engine.own_paths().await?;
    let guard = Guard { own: work.settings.own_paths.iter().cloned().chain(dockers).collect() };
    let policy = work.settings.policy.clone();
    // A look may take as long as a disk does.
    let looked = tokio::task::spawn_blocking(move || sources.iter().map(|s| guard.real(s, &policy)).collect());
    let looked: Result<Vec<PathBuf>, String> =
        looked.await.map_err(|error| failed(FailureKind::Internal, error.to_string()))?;
    looked.map_err(forbidden)
}

/// What is never mounted on this host.
struct Guard {
    /// Docker's and the agent's own.
    own: Vec<PathBuf>,
}

impl Guard {
    /// A source without links, if it may be mounted; why not, in words.
    fn real(&self, source: &Path, policy: &Policy) -> Result<PathBuf, String> {
        let shown = source.display();
        // What the agent cannot look at it does not let Docker, who can, mount.
        let real =
            source.canonicalize().map_err(|error| format!("{shown} cannot be looked at by the agent: {error}"))?;
        let lineage = lineage(&real);
        for never in NEVER_MOUNTED.iter().map(Path::new).chain(self.own.iter().map(PathBuf::as_path)) {
            // What is not there may come; its place is kept from being mounted all the same.
            let place = never.canonicalize().unwrap_or_else(|_| never.to_owned());
            let same = |a: &Path, line: &HashSet<(u64, u64)>| identity(a).is_some_and(|id| line.contains(&id));
            if overlap(&real, &place)
                || overlap(&real, never)
                // The same folder can be mounted in two places.
                || same(&place, &lineage)
                || same(&real, &self::lineage(&place))
            {
                return Err(format!("{shown} is not mounted: {} is never, nor a folder around it", never.display()));
            }
        }
        if real.file_name().is_some_and(|name| name == "docker.sock" || name == "containerd.sock") {
            return Err(format!("{shown} is not mounted: it is a socket of Docker's"));
        }
        policy.allows_source(&real)?;
        Ok(real)
    }
}

/// Which file or folder it is, whatever its path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// It and all folders around it.
fn lineage(path: &Path) -> HashSet<(u64, u64)> {
    path.ancestors().filter_map(identity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_path_leads_to_what_is_never_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["around/docker", "elsewhere", "fine/inner"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("elsewhere/engine.sock"), "").unwrap();
        std::fs::hard_link(at("elsewhere/engine.sock"), at("fine/hard")).unwrap();
        std::fs::write(at("fine/docker.sock"), "").unwrap();
        for (link, to) in [("link", "around"), ("inner", "around/docker"), ("good", "fine/inner")] {
            symlink(at(to), at(link)).unwrap();
        }
        symlink("/", at("root")).unwrap();
        symlink("/proc/self/root", at("fine/magic")).unwrap();
        let guard = Guard { own: vec![at("around/docker"), at("elsewhere/engine.sock"), at("not-there-yet/data")] };
        let policy = Policy::default();
        let real = |path: &Path| guard.real(path, &policy);
        for bad in [
            "around",
            "around/docker",
            "link",
            "inner",
            "root",
            "root/var",
            "elsewhere",
            "elsewhere/engine.sock",
            "fine/hard",
            "fine/docker.sock",
            "fine/magic",
            "missing",
            ".",
        ] {
            assert!(real(&at(bad)).is_err(), "{bad} was accepted");
        }
        assert_eq!(real(&at("fine")), Ok(at("fine").canonicalize().unwrap()));
        assert_eq!(real(&at("good")), Ok(at("fine/inner").canonicalize().unwrap()), "what a link leads to is mounted");
        let narrow = Policy { host_mounts: Some(vec![at("fine/inner")]), ..Policy::default() };
        assert!(guard.real(&at("fine"), &narrow).is_err());
        assert!(guard.real(&at("good"), &narrow).is_ok(), "what counts is where it leads");
    }
}
