//! Who may have a container that reaches into its host, and touch one that does. Whoever has one is root on that host, and
//! so is who decides what it runs, or runs something in it: all of it is one question, whether the token has `host:root`.

use super::Refusal;
use super::container::{Container, DesiredState};
use super::host::Host;
use super::placement::Place;
use super::user::{Scope, Scopes};
use dockerforge_protocol::command::{Command, RecreateContainer};
use dockerforge_protocol::ids::{ContainerId, UserId};
use dockerforge_protocol::spec::ContainerSpec;

/// Whether a container of this spec reaches into its host.
#[must_use]
pub fn reaches(spec: &ContainerSpec) -> bool {
    !spec.host_access.is_empty()
}

/// Whether a command makes such a container.
#[must_use]
pub fn makes_reaching(command: &Command) -> bool {
    match command {
        Command::CreateContainer(create) | Command::RecreateContainer(RecreateContainer { create, .. }) => {
            reaches(&create.spec)
        }
        _ => false,
    }
}

/// Whether a token may touch such a container: change it, run something in it, make it another.
///
/// # Errors
/// [`Refusal::ScopeMissing`].
pub const fn may_touch(reaching: bool, scopes: Scopes) -> Result<(), Refusal> {
    if reaching && !scopes.has(Scope::HostRoot) { Err(Refusal::ScopeMissing(Scope::HostRoot)) } else { Ok(()) }
}

/// Whether a container may be asked for there, before anybody looks for a place.
///
/// # Errors
/// [`Refusal::ScopeMissing`]; [`Refusal::Invalid`] where no host is named.
pub fn may_ask(spec: &ContainerSpec, scopes: Scopes, place: &Place) -> Result<(), Refusal> {
    may_touch(reaches(spec), scopes)?;
    if reaches(spec) && !matches!(place, Place::Host(_)) { Err(only_on_own()) } else { Ok(()) }
}

/// Whether a container may be on that host, whatever the token: one that reaches into it only where nobody else is.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn may_be_on(spec: &ContainerSpec, user: UserId, host: &Host) -> Result<(), Refusal> {
    if reaches(spec) && (host.pool || host.user != user) { Err(only_on_own()) } else { Ok(()) }
}

fn only_on_own() -> Refusal {
    Refusal::invalid("/host_access", "this is only given on a host of your own that nobody shares: name it as host")
}

/// Whether a container would write to a volume of one that reaches into the host: what that one runs from there would be
/// another's to decide. `others` are all containers on the host.
#[must_use]
pub fn writes_where_another_reaches(
    spec: &ContainerSpec,
    user: UserId,
    except: ContainerId,
    others: &[Container],
) -> bool {
    let reaching = others.iter().filter(|other| {
        other.id != except && other.user == user && other.desired != DesiredState::Removed && reaches(&other.spec)
    });
    let volumes: Vec<_> = reaching.flat_map(|other| &other.spec.volumes).map(|mount| &mount.volume).collect();
    spec.volumes.iter().any(|mount| !mount.read_only && volumes.contains(&&mount.volume))
}

/// What the audit says of what a container is given: nothing where it is given nothing and had nothing.
#[must_use]
pub fn audited(before: Option<&ContainerSpec>, after: &ContainerSpec) -> Option<String> {
    let given = after.host_access.describe().join(", ");
    match (reaches(after), before.is_some_and(reaches)) {
        (true, _) => Some(format!("host access: {given}")),
        (false, true) => Some("host access: none any more".to_owned()),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::placement::Wish;
    use dockerforge_protocol::ids::HostId;

    fn spec(text: &str) -> ContainerSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn each_thing_of_the_host_needs_the_scope_and_a_host_that_is_named() {
        let usual = Scopes::parse("read write admin").unwrap();
        let named = Place::Host(HostId::new());
        for access in [
            r#"{"privileged":true}"#,
            r#"{"devices":[{"host":"/dev/fuse","container":"/dev/fuse","permissions":"r"}]}"#,
            r#"{"cap_add":["SYS_TIME"]}"#,
            r#"{"binds":[{"source":"/srv","target":"/srv","read_only":true}]}"#,
            r#"{"namespaces":["uts"]}"#,
            r#"{"sysctls":{"net.core.somaxconn":"1"}}"#,
            r#"{"runtime":"runc"}"#,
            r#"{"security_options":["apparmor=unconfined"]}"#,
        ] {
            let spec = spec(&format!(r#"{{"host_access":{access}}}"#));
            assert_eq!(may_ask(&spec, usual, &named), Err(Refusal::ScopeMissing(Scope::HostRoot)), "{access}");
            assert_eq!(may_ask(&spec, Scopes::ALL, &named), Ok(()), "{access}");
            for place in [Place::Open, Place::Pool(Wish::default())] {
                assert!(matches!(may_ask(&spec, Scopes::ALL, &place), Err(Refusal::Invalid(_))), "{access}");
            }
            assert!(audited(None, &spec).is_some_and(|text| text.len() > "host access: ".len()), "{access}");
        }
        for plain in ["{}", r#"{"cap_drop":["ALL"]}"#, r#"{"host_access":{"privileged":false}}"#] {
            assert_eq!(may_ask(&spec(plain), Scopes::USUAL, &Place::Open), Ok(()), "{plain}");
            assert_eq!(audited(None, &spec(plain)), None);
        }
    }

    #[test]
    fn what_is_taken_away_is_audited_too() {
        let before = spec(r#"{"host_access":{"privileged":true}}"#);
        assert_eq!(audited(Some(&before), &spec("{}")).as_deref(), Some("host access: none any more"));
        assert_eq!(audited(Some(&before), &before).as_deref(), Some("host access: privileged"));
    }
}
