//! Whether what is chosen of a template fits it, and what of that is sealed. Called by `configurations` before it writes, and by
//! whoever needs the secrets.

use super::Result;
use super::templates::{check_additions, reserved_names};
use crate::build::node;
use crate::build::schema::{Schema, Secrets, apart};
use crate::build::secrets::opened;
use crate::domain::configuration::{Choice, Configuration, SECRETS};
use crate::domain::template::Template;
use crate::domain::{Refusal, Violation};
use crate::store::{self, Conn};
use crate::vault::{Vault, VaultError};
use dockerforge_protocol::ids::UserId;
use dockerforge_protocol::spec::Document;
use secrecy::ExposeSecret;

/// A choice that fits its template, parted from its secrets.
#[derive(Clone)]
pub(super) struct Fitted {
    pub choice: Choice,
    /// Where in the parameters the secrets belong.
    pub pointers: Vec<String>,
    /// The secrets' JSON, if there are any.
    pub plain: Option<Vec<u8>>,
}

/// Says all that is wrong with a choice, of which that much is known, or parts it from its secrets.
fn fit(template: &Template, choice: Choice, mut problems: Vec<Violation>) -> Result<Fitted> {
    let provisioner = template.spec.provisioner;
    check_additions(provisioner, &choice.run_list, &choice.attributes, &mut problems);
    problems.extend(reserved_names(provisioner, "parameters", &choice.parameters));
    let schema = Schema::compile(&template.spec.parameters).map_err(Refusal::Invalid)?;
    problems.extend(schema.problems(&choice.parameters));
    // What they are laid over has to be right before they can be judged.
    if problems.is_empty() {
        let Choice { parameters, attributes, .. } = &choice;
        problems.extend(schema.problems_of_attributes(&template.spec.attributes, parameters, attributes));
        // Each is small enough, and all of them together may not be.
        if let Err(error) = node::attributes(&template.spec, &choice, &schema.defaults(), parameters) {
            problems.push(Violation::new(
                "/parameters",
                format!("with the attributes, its own and the template's: {error}"),
            ));
        }
    }
    if !problems.is_empty() {
        return Err(Refusal::Invalid(problems).into());
    }
    let (parameters, secrets) = schema.part(&choice.parameters);
    let pointers = secrets.keys().cloned().collect();
    Ok(Fitted { choice: Choice { parameters, ..choice }, pointers, plain: plain_of(&secrets) })
}

/// Secrets as they are sealed, if there are any.
pub(super) fn plain_of(secrets: &Secrets) -> Option<Vec<u8>> {
    (!secrets.is_empty()).then(|| serde_json::to_vec(secrets).unwrap_or_default())
}

/// What [`fit`] says, apart from what answers requests.
pub(super) async fn fitted(template: &Template, choice: Choice, known: Vec<Violation>) -> Result<Fitted> {
    let template = template.clone();
    apart(move || fit(&template, choice, known)).await?
}

/// Refuses another version of a template that would show what was sealed before.
pub(super) fn still_sealed(before: &Configuration, template: &Template, fitted: Fitted) -> Result<Fitted> {
    if before.template_version == template.version {
        return Ok(fitted);
    }
    let version = template.version;
    let shown = |part: &'static str, open: &Document| {
        let places = opened(&before.secrets, open, &fitted.pointers).into_iter();
        places.map(move |place| {
            let detail = format!(
                "this is sealed, and version {version} of the template would show it: set it to null in the same change"
            );
            Violation::new(format!("/{part}{place}"), detail)
        })
    };
    let choice = &fitted.choice;
    let mut problems: Vec<_> = shown("parameters", &choice.parameters).collect();
    // The configuration service's members that are no parameters any more are attributes.
    problems.extend(shown("attributes", &choice.attributes));
    if problems.is_empty() { Ok(fitted) } else { Err(Refusal::Invalid(problems).into()) }
}

pub(super) async fn seal(conn: &mut Conn, vault: &Vault, user: UserId, fitted: &Fitted) -> Result<Option<Vec<u8>>> {
    match &fitted.plain {
        Some(plain) => Ok(Some(vault.seal(conn, user, SECRETS, plain).await?)),
        None => Ok(None),
    }
}

/// The secrets of a configuration.
pub(super) async fn unseal(conn: &mut Conn, vault: &Vault, of: &Configuration) -> Result<Secrets> {
    let Some(sealed) = store::configurations::sealed(conn, of.id, of.version).await? else {
        return Ok(Secrets::new());
    };
    let plain = vault.open(conn, of.user, SECRETS, &sealed).await?;
    Ok(serde_json::from_slice(plain.expose_secret()).map_err(|_| VaultError::Sealed)?)
}
