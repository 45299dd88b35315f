//! A configuration: one client's choice from a template. Each change makes its next version; an image or a container says
//! of which version it is.

use super::template::RunListItem;
use super::{Refusal, Timestamp};
use dockerforge_protocol::ids::{ConfigurationId, ImageId, TemplateId, UserId};
use dockerforge_protocol::spec::{Document, ResourceName};

/// How many configurations a user may have.
pub const LIMIT: u32 = 1000;

/// What the secrets of a configuration are sealed as.
pub const SECRETS: &str = "configuration secrets";

/// A configuration in one of its versions, without its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// Its id.
    pub id: ConfigurationId,
    /// Whose it is.
    pub user: UserId,
    /// Its name among its user's configurations.
    pub name: ResourceName,
    /// Of which template.
    pub template: TemplateId,
    /// Of which version of that.
    pub template_version: u32,
    /// Which version this is, from 1.
    pub version: u32,
    /// What was chosen.
    pub choice: Choice,
    /// Where in the parameters its secrets are: JSON pointers.
    pub secrets: Vec<String>,
    /// When the configuration was made.
    pub created_at: Timestamp,
    /// When this version was.
    pub changed_at: Timestamp,
}

/// What a client chooses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// What the template lets him choose.
    pub parameters: Document,
    /// What is added to the template's run list.
    pub run_list: Vec<RunListItem>,
    /// Attributes that are laid over all others.
    pub attributes: Document,
}

/// The run list of a configuration: the template's, then what was added to it, each entry once.
#[must_use]
pub fn run_list(template: &[RunListItem], added: &[RunListItem]) -> Vec<RunListItem> {
    let mut whole: Vec<RunListItem> = Vec::with_capacity(template.len() + added.len());
    for item in template.iter().chain(added) {
        if !whole.contains(item) {
            whole.push(item.clone());
        }
    }
    whole
}

/// Whether a configuration can be deleted while these images are made of it.
pub fn deletable(id: ConfigurationId, images: Vec<ImageId>) -> Result<(), Refusal> {
    if images.is_empty() { Ok(()) } else { Err(Refusal::ConfigurationInUse { configuration: id, images }) }
}
