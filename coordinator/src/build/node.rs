//! The node of a configuration: the run list and the attributes, as `chef-solo -j` reads them and Ansible's `-e @file` does.
//! Called by the services and by [`super::render`].

use crate::domain::configuration::{Configuration, run_list};
use crate::domain::template::{Provisioner, RunListItem, Template};
use dockerforge_protocol::spec::Document;
use serde_json::{Value, json};

/// Members of a node that are ours.
const OURS: [&str; 2] = ["run_list", "dockerforge"];
/// What the names of Ansible's own variables begin with, and those of our playbook's. A node's attributes are extra variables,
/// which win over all others: one called `ansible_connection` would lead Ansible elsewhere.
const VARIABLES: [&str; 2] = ["ansible_", "dockerforge_"];
/// What Chef takes out of a node for itself: another run list, and where on a server its run list is. With any of them it refuses
/// ours.
const CHEF: [&str; 3] = ["recipes", "policy_name", "policy_group"];

/// Whether attributes and parameters cannot be called so.
#[must_use]
pub fn reserved(provisioner: Provisioner, name: &str) -> bool {
    let own = match provisioner {
        Provisioner::Ansible => VARIABLES.iter().any(|own| name.starts_with(own)),
        Provisioner::ChefSolo => CHEF.contains(&name),
        Provisioner::Shell => false,
    };
    own || OURS.contains(&name)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_provisioner_reads_for_itself_is_no_name_of_an_attribute() {
        for name in ["run_list", "dockerforge"] {
            assert!(Provisioner::ALL.iter().all(|provisioner| reserved(*provisioner, name)), "{name}");
        }
        for name in ["ansible_connection", "ansible_python_interpreter", "dockerforge_phase", "dockerforge_entry"] {
            assert!(reserved(Provisioner::Ansible, name), "{name}");
            assert!(!reserved(Provisioner::ChefSolo, name) && !reserved(Provisioner::Shell, name), "{name}");
        }
        for name in ["recipes", "policy_name", "policy_group"] {
            assert!(reserved(Provisioner::ChefSolo, name), "{name}");
            assert!(!reserved(Provisioner::Ansible, name) && !reserved(Provisioner::Shell, name), "{name}");
        }
        assert!(!reserved(Provisioner::Ansible, "ansible") && !reserved(Provisioner::Ansible, "mysql"));
    }
}
