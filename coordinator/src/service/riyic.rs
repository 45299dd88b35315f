//! Choices that come from the operator's configuration service: a node becomes what a client could have chosen himself, and is
//! judged like that. Called by `configurations`.

use super::{Result, ServiceError, Services};
use crate::domain::configuration::Choice;
use crate::domain::template::{RunListItem, Template};
use crate::domain::{Refusal, Violation};
use crate::riyic::{Node, RiyicError};
use dockerforge_protocol::spec::Document;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Where a body names the server.
const POINTER: &str = "/riyic/server";
/// How long a run list may be, as in a body.
const MAX_ITEMS: usize = 100;

impl Services {
    /// The node of a server.
    pub(super) async fn riyic_node(&self, server: Uuid) -> Result<Node> {
        let Some(riyic) = &self.riyic else {
            return Err(Refusal::invalid("/riyic", "this coordinator has no configuration service").into());
        };
        riyic.node(server).await.map_err(|error| match error {
            RiyicError::UnknownServer(_) | RiyicError::Node { .. } => {
                Refusal::invalid(POINTER, error.to_string()).into()
            }
            RiyicError::Unavailable(_) => ServiceError::Riyic(error),
        })
    }
}

/// What a node chooses of a template: members that the template has parameters of are those, so that they are checked, and what
/// is a secret among them is sealed; all others are attributes.
pub(super) fn choice(template: &Template, node: &Node) -> Result<Choice> {
    let mut wrong = Vec::new();
    let run_list: Vec<RunListItem> = node
        .run_list
        .iter()
        .filter_map(|text| {
            let item = text.parse();
            item.map_err(|why: &str| wrong.push(Violation::new(POINTER, format!("its run list: {why}")))).ok()
        })
        .collect();
    if run_list.len() > MAX_ITEMS {
        wrong.push(Violation::new(POINTER, format!("its run list has more than {MAX_ITEMS} entries")));
    }
    // What the template converges anyway is no addition.
    let run_list = run_list.into_iter().filter(|item| !template.spec.run_list.contains(item)).collect();
    let known = template.spec.parameters.members().get("properties").and_then(Value::as_object);
    let is_parameter = |name: &str| known.is_some_and(|known| known.contains_key(name));
    let (parameters, attributes): (Map<_, _>, Map<_, _>) =
        node.attributes.clone().into_iter().partition(|(name, _)| is_parameter(name));
    let mut document = |members: Map<String, Value>| {
        Document::try_from(Value::Object(members))
            .map_err(|why| wrong.push(Violation::new(POINTER, why.to_string())))
            .unwrap_or_default()
    };
    let choice = Choice { parameters: document(parameters), run_list, attributes: document(attributes) };
    if wrong.is_empty() { Ok(choice) } else { Err(Refusal::Invalid(wrong).into()) }
}

/// Lays what a body says itself over what came from the service: members are merged, entries are added.
pub(super) fn laid_over(below: Choice, own: &Choice) -> Result<Choice> {
    let merged = |below: &Document, own: &Document, pointer: &str| {
        below.merged(own).map_err(|error| Refusal::invalid(pointer, error.to_string()))
    };
    let mut run_list = below.run_list;
    run_list.extend(own.run_list.iter().cloned());
    Ok(Choice {
        parameters: merged(&below.parameters, &own.parameters, "/parameters")?,
        run_list,
        attributes: merged(&below.attributes, &own.attributes, "/attributes")?,
    })
}

/// What is wrong with a run list of which the first so many entries are the server's, and the others a body's.
pub(super) fn blamed(violations: Vec<Violation>, theirs: usize) -> Vec<Violation> {
    let place = |violation: &Violation| violation.pointer.rsplit('/').next()?.parse::<usize>().ok();
    let blamed = violations.into_iter().map(|violation| match place(&violation) {
        Some(i) if i >= theirs => Violation { pointer: format!("/run_list/{}", i - theirs), ..violation },
        _ => Violation::new(POINTER, format!("its run list: {}", violation.detail)),
    });
    blamed.collect()
}

/// Points at the server wherever a pointer leads to something that the body does not say itself.
pub(super) fn blame(error: ServiceError, own: &Choice) -> ServiceError {
    let ServiceError::Refused(Refusal::Invalid(violations)) = error else { return error };
    let is_own = |pointer: &str| {
        let mut parts = pointer.split('/').skip(1);
        let members = match parts.next() {
            Some("parameters") => &own.parameters,
            Some("attributes") => &own.attributes,
            // The server's run list was judged before.
            _ => return true,
        };
        parts.next().is_some_and(|name| members.members().contains_key(&name.replace("~1", "/").replace("~0", "~")))
    };
    let blamed = violations.into_iter().map(|violation| {
        if is_own(&violation.pointer) {
            violation
        } else {
            let detail =
                format!("what the configuration service says of it, {}: {}", violation.pointer, violation.detail);
            Violation::new(POINTER, detail)
        }
    });
    Refusal::Invalid(blamed.collect()).into()
}
