//! What links provision. With a container that is made or changed go the accounts that its links ask for: rows, secrets, and
//! a converge of each container that is to make one, in the same transaction; its own job waits for these. An account whose
//! link is gone is marked so by whoever ended the link ([`crate::queue`]), and taken back here.
//!
//! What must hold: an account's password is in the provider's node and among the consumer's secrets, and nowhere else. What
//! was revoked is forgotten only once a converge has succeeded whose node said so.

use super::converge::request;
use super::supplies::SecretValue;
use super::{Result, ServiceError, Services, host_access, random};
use crate::build::{Claim, grant as judged};
use crate::domain::container::{DesiredState, ObservedState};
use crate::domain::grant::{Grant, Provision, made_up};
use crate::domain::host_access::reaches;
use crate::domain::job::{JobKind, Subject};
use crate::domain::user::Scopes;
use crate::domain::{Refusal, Timestamp, Violation};
use crate::queue::{self, Request};
use crate::store::{self, Conn};
use crate::vault::Vault;
use dockerforge_protocol::command::Convergence;
use dockerforge_protocol::ids::{ContainerId, GrantId, HostId, JobId, SecretId, UserId};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::spec::{ContainerSpec, ResourceName, Secret, SecretForm};
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for what is to be taken back.
const POLL: Duration = Duration::from_secs(1);
/// How long a container that cannot be converged now is left alone.
const LATER: SignedDuration = SignedDuration::from_secs(5);
/// The longest wait between two attempts to take something back.
const SELDOM: SignedDuration = SignedDuration::from_hours(6);

/// What a link asks for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Which of the container's links.
    pub link: usize,
    /// What is said of the account; the rest is made up.
    pub fields: BTreeMap<String, String>,
}

/// A container that is to make accounts.
#[derive(Clone)]
pub(super) struct Provider {
    /// What converges it.
    to: Convergence,
    /// How its template provisions, if it does.
    provision: Option<Provision>,
}

/// Those of them that a request names.
pub(super) type Providers = BTreeMap<ContainerId, Provider>;

/// Who uses the accounts.
pub(super) struct Consumer<'a> {
    pub(super) user: UserId,
    pub(super) id: ContainerId,
    pub(super) name: &'a ResourceName,
    pub(super) scopes: Scopes,
}

/// An account to be made.
pub(super) struct New {
    grant: Grant,
    password: String,
}

impl Services {
    /// What converges the containers that wishes are about. What is wrong with a link itself is found in the transaction.
    pub(super) async fn providers(
        &self,
        user: UserId,
        spec: &ContainerSpec,
        wishes: &[Wish],
    ) -> Result<(Providers, Vec<Claim>)> {
        let (mut providers, mut claims) = (Providers::new(), Vec::new());
        for wish in wishes {
            let Some(link) = spec.links.get(wish.link).filter(|link| !providers.contains_key(&link.container)) else {
                continue;
            };
            match self.converge_context(user, link.container, None).await {
                Ok((to, provision, claim)) => {
                    providers.insert(link.container, Provider { to, provision });
                    claims.push(claim);
                }
                // It is none, or not one of his own: what is asked of it is refused with its pointer.
                Err(ServiceError::Refused(_)) => {}
                Err(error) => {
                    self.release_all(claims).await;
                    return Err(error);
                }
            }
        }
        Ok((providers, claims))
    }

    pub(super) async fn release_all(&self, claims: impl IntoIterator<Item = Claim>) {
        for claim in claims {
            self.context_release(claim).await;
        }
    }

    /// Lets what was revoked be taken back, until told to stop: a container that has something to take back, runs, and has
    /// nothing under way that would do it, is converged.
    pub async fn run_revocations(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            if let Err(error) = self.revocations().await {
                tracing::error!(error = &error as &dyn std::error::Error, "revoked grants could not be looked at");
            }
        }
    }

    async fn revocations(&self) -> Result<()> {
        let due = store::grants::due(&mut self.store.read().await?, crate::clock::now()).await?;
        for due in due {
            // Each for itself: one that cannot be converged keeps nobody else's from it.
            if let Err(error) = self.take_back(due).await {
                let target = due.target;
                tracing::warn!(%target, error = &error as &dyn std::error::Error, "a container could not be asked to take back what it granted");
                self.put_off(due.target, SELDOM).await?;
            }
        }
        Ok(())
    }

    async fn put_off(&self, target: ContainerId, time: SignedDuration) -> Result<()> {
        let now = crate::clock::now();
        let until = now.checked_add(time).unwrap_or(now);
        let put_off = self
            .store
            .write(move |conn| Box::pin(async move { store::grants::put_off(conn, target, false, until, now).await }));
        put_off.await.map(drop).map_err(ServiceError::from)
    }

    async fn take_back(&self, due: store::grants::Due) -> Result<()> {
        let store::grants::Due { target, user, tries } = due;
        let mut conn = self.store.read().await?;
        let container = store::containers::get(&mut conn, user, target).await?;
        let busy = store::jobs::open_about(&mut conn, Subject::Container(target)).await?;
        drop(conn);
        let runs = container.as_ref().is_some_and(|container| {
            let seen = container.observed.state == ObservedState::Docker(ContainerState::Running);
            container.desired == DesiredState::Running && seen
        });
        if container.is_some_and(|container| reaches(&container.spec)) {
            // What its configuration says may be done as root on its host: those who may converge it take back what it granted.
            return self.put_off(target, LATER).await;
        }
        if !runs || busy.iter().any(|job| job.kind != JobKind::ContainerExec) {
            return self.put_off(target, LATER).await;
        }
        let (to, _, claim) = self.converge_context(user, target, None).await?;
        let asked =
            self.store.write(move |conn| Box::pin(async move { ask_back(conn, user, target, to, tries).await })).await;
        self.context_release(claim).await;
        if let Some(host) = asked? {
            self.signals.wake_host(host);
        }
        Ok(())
    }
}

async fn ask_back(
    conn: &mut Conn,
    user: UserId,
    target: ContainerId,
    to: Convergence,
    tries: u32,
) -> Result<Option<HostId>> {
    let now = crate::clock::now();
    let Some(container) = store::containers::hold(conn, user, target).await? else { return Ok(None) };
    // A minute, and twice as long each time: who is asked again and again in vain needs somebody to look.
    let wait = SignedDuration::from_secs(60 << tries.min(9)).min(SELDOM);
    let until = now.checked_add(wait).unwrap_or(now);
    if !store::grants::put_off(conn, target, true, until, now).await? {
        return Ok(None);
    }
    queue::enqueue_following(conn, request(&container, to, None), now).await?;
    Ok(Some(container.host))
}

/// Holds the containers that wishes are about, in the order of their ids: before hosts and images.
pub(super) async fn hold(conn: &mut Conn, user: UserId, spec: &ContainerSpec, wishes: &[Wish]) -> Result<()> {
    let linked = wishes.iter().filter_map(|wish| spec.links.get(wish.link));
    for target in linked.map(|link| link.container).collect::<BTreeSet<_>>() {
        store::containers::hold(conn, user, target).await?;
    }
    Ok(())
}

/// Works the accounts out that wishes ask for, and gives the spec their secrets; with the values of these.
pub(super) async fn plan(
    conn: &mut Conn,
    consumer: &Consumer<'_>,
    spec: &mut ContainerSpec,
    wishes: &[Wish],
    providers: &Providers,
) -> Result<(Vec<New>, Vec<SecretValue>)> {
    let (mut new, mut values, mut violations): (Vec<New>, _, Vec<Violation>) = (Vec::new(), Vec::new(), Vec::new());
    for wish in wishes {
        let Some(link) = spec.links.get(wish.link).cloned() else { continue };
        let at = format!("/links/{}/provision", wish.link);
        let Some(Provider { provision: Some(provision), .. }) = providers.get(&link.container) else {
            let detail = format!("the template of {} does not say how links to it are provisioned", link.container);
            violations.push(Violation::new(at, detail));
            continue;
        };
        let [a, b, c, d, ..] = random()?;
        let word = made_up(consumer.name, [a, b, c, d]);
        let fields = match judged::account(provision, &wish.fields, &word) {
            Ok(fields) => fields,
            Err(found) => {
                violations.extend(found.into_iter().map(|v| Violation { pointer: format!("{at}{}", v.pointer), ..v }));
                continue;
            }
        };
        let there = store::grants::of_target(conn, link.container).await?;
        let there = there.iter().map(|(grant, _)| grant).filter(|grant| !grant.revoked);
        let others: Vec<&Grant> = there.chain(new.iter().map(|new| &new.grant)).collect();
        for (name, _) in provision.fields.iter().filter(|(_, field)| field.unique) {
            let same = |other: &&&Grant| other.target == link.container && other.fields.get(name) == fields.get(name);
            if let Some(other) = others.iter().find(same) {
                let detail = format!("{} has it by its own link: expected another one", other.container);
                violations.push(Violation::new(format!("{at}/{name}"), detail));
            }
        }
        let password = hex::encode(random()?);
        let mut secrets = BTreeMap::new();
        for (name, text) in provision.secret_texts(&link.alias, &password, &fields) {
            if spec.secrets.contains_key(&name) || (provision.form == SecretForm::Env && spec.env.contains_key(&name)) {
                violations
                    .push(Violation::new(&at, format!("it gives the secret {name}, and there is another {name}")));
                continue;
            }
            let secret = Secret { id: SecretId::new(), form: provision.form };
            values.push(SecretValue { id: secret.id, value: text.into() });
            spec.secrets.insert(name.clone(), secret);
            secrets.insert(name, secret);
        }
        let grant = Grant {
            id: GrantId::new(),
            user: consumer.user,
            container: consumer.id,
            target: link.container,
            alias: link.alias,
            fields,
            secrets,
            revoked: false,
        };
        new.push(New { grant, password });
    }
    if violations.is_empty() {
        violations.extend(spec.problems().into_iter().map(|(pointer, detail)| Violation { pointer, detail }));
    }
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations).into());
    }
    for target in new.iter().map(|new| new.grant.target).collect::<BTreeSet<_>>() {
        let container = store::containers::get(conn, consumer.user, target).await?;
        let container = container.filter(|container| container.desired != DesiredState::Removed);
        let container = container.ok_or(Refusal::Changed(crate::domain::Kind::Container))?;
        // Whoever has something done as root in such a container may do so on its host.
        host_access::demand(conn, &container, consumer.scopes).await?;
        if container.desired == DesiredState::Stopped {
            return Err(Refusal::NotRunning(target).into());
        }
    }
    Ok((new, values))
}

/// What an account's password is sealed for.
fn purpose(id: GrantId) -> String {
    format!("grant {id}")
}

/// Keeps new accounts and enqueues what makes them, as parts of the job that is to use them, one after the other and all
/// after `after`; answers the last, for which that job has to wait.
pub(super) async fn begin(
    conn: &mut Conn,
    vault: &Vault,
    new: Vec<New>,
    providers: &Providers,
    job: JobId,
    (after, wait): (Option<JobId>, Option<SignedDuration>),
    now: Timestamp,
) -> Result<Option<JobId>> {
    let mut targets = BTreeSet::new();
    for New { grant, password } in &new {
        let sealed = vault.seal(conn, grant.user, &purpose(grant.id), password.as_bytes()).await?;
        store::grants::insert(conn, grant, &sealed).await?;
        targets.insert((grant.target, grant.user));
    }
    let mut last = after;
    for (target, user) in targets {
        let Some(provider) = providers.get(&target) else { continue };
        let Some(container) = store::containers::get(conn, user, target).await? else { continue };
        let request = Request { parent: Some(job), ..request(&container, provider.to.clone(), wait) };
        let part = queue::enqueue_following(conn, request, now).await?;
        if let Some(before) = last {
            store::jobs::set_after(conn, part, before).await?;
        }
        last = Some(part);
    }
    Ok(last)
}

/// What of a container's links stays granted when it is changed, and what they ask for anew. `spec` is given the secrets of
/// the one, and loses those of what is granted no more.
pub(super) async fn after_change(
    conn: &mut Conn,
    id: ContainerId,
    before: &ContainerSpec,
    spec: &mut ContainerSpec,
    wishes: Option<&[Wish]>,
) -> Result<Vec<Wish>> {
    let mut fresh: Vec<Wish> = wishes.unwrap_or_default().to_vec();
    let mut violations = Vec::new();
    for grant in store::grants::of_containers(conn, &[id]).await? {
        if !grant.is_in(&before.secrets) {
            continue;
        }
        let asked = |wish: &Wish| {
            spec.links.get(wish.link).is_some_and(|l| grant.is_asked(l.container, &l.alias, &wish.fields))
        };
        let kept = match wishes {
            // Nothing was said of links.
            None => true,
            Some(_) => fresh.iter().position(asked).map(|at| fresh.remove(at)).is_some(),
        };
        for (name, secret) in &grant.secrets {
            match spec.secrets.get(name) {
                Some(said) if said.id != secret.id && kept => {
                    let detail = format!("the link {} gives this secret", grant.alias);
                    violations.push(Violation::new(format!("/secrets/{name}"), detail));
                }
                Some(said) if said.id == secret.id && !kept => {
                    spec.secrets.remove(name);
                }
                _ if kept => {
                    spec.secrets.insert(name.clone(), *secret);
                }
                _ => {}
            }
        }
    }
    if violations.is_empty() { Ok(fresh) } else { Err(Refusal::Invalid(violations).into()) }
}

/// What a container grants and is to take back, as its node says it. From here on the job knows what is revoked.
pub(super) async fn shown(
    conn: &mut Conn,
    vault: &Vault,
    target: ContainerId,
    job: JobId,
) -> Result<Vec<(Grant, Option<String>)>> {
    store::grants::show(conn, target, job).await?;
    let mut shown = Vec::new();
    for (grant, sealed) in store::grants::of_target(conn, target).await? {
        let password = match sealed {
            Some(sealed) => {
                let plain = vault.open(conn, grant.user, &purpose(grant.id), &sealed).await?;
                Some(String::from_utf8_lossy(secrecy::ExposeSecret::expose_secret(&plain)).into_owned())
            }
            None => None,
        };
        shown.push((grant, password));
    }
    Ok(shown)
}
