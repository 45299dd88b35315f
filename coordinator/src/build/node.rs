//! The node of a configuration: the run list and the attributes, as `chef-solo -j` reads them and Ansible's `-e @file` does.
//! Called by the services and by [`super::render`].

use crate::domain::configuration::{Configuration, run_list};
use crate::domain::template::{RunListItem, Template};
use dockerforge_protocol::spec::Document;
use serde_json::{Value, json};

/// Members of a node that are ours: attributes must not be called so.
pub const RESERVED: [&str; 2] = ["run_list", "dockerforge"];

/// The node JSON: `run_list` beside the attributes, these merged from the schema's defaults, the template's attributes, the
/// parameters and the additions, each over the one before; and under `dockerforge` what it is the node of. Secrets are in it
/// if they are in the parameters.
#[must_use]
pub fn node(template: &Template, configuration: &Configuration, defaults: &Document, parameters: &Document) -> Value {
    let layers = [&template.spec.attributes, parameters, &configuration.choice.attributes];
    // Each layer is within the limits of a document; a sum above them keeps what is there so far.
    let attributes = layers.into_iter().fold(defaults.clone(), |whole, layer| whole.merged(layer).unwrap_or(whole));
    let list = run_list(&template.spec.run_list, &configuration.choice.run_list);
    let mut node = attributes.members().clone();
    node.insert("run_list".to_owned(), list.iter().map(RunListItem::to_string).collect());
    node.insert(
        "dockerforge".to_owned(),
        json!({
            "configuration": configuration.id, "version": configuration.version, "name": configuration.name,
            "template": template.id, "template_version": template.version, "secrets": configuration.secrets,
        }),
    );
    Value::Object(node)
}
