//! Renders a configuration into a build context: a Dockerfile of one form for all, the provisioner's files, the template's
//! archive, the run list and the node without its secrets. Called by the services, in a blocking thread.
//!
//! What must hold: equal configurations give equal bytes, or Docker's cache would be of no use; no value that a client
//! chose stands in the Dockerfile but through types that cannot hold another instruction; no secret is in a context.

use super::archive::File;
use super::{node, provision};
use crate::domain::configuration::{Configuration, run_list};
use crate::domain::template::{Provisioner, RunListItem, Template};
use dockerforge_protocol::spec::Document;
use minijinja::{Environment, UndefinedBehavior, context};

/// Where everything of ours is in an image.
pub const HOME: &str = "/opt/dockerforge";
/// What the Dockerfile is called in a context.
pub const DOCKERFILE: &str = "Dockerfile";
/// Where the template's archive is in a context.
pub const ARCHIVE: &str = "archive";
/// Where what converges a container is unpacked beside what is there, and put in its place when it is whole.
const NEXT: &str = "dockerforge.next";
/// Where the template's archive is then.
pub const CONVERGENCE_ARCHIVE: &str = "dockerforge.next/archive";
/// What labels of ours begin with.
const LABEL: &str = "dev.dockerforge";

/// Why a context could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The Dockerfile's own template: a defect.
    #[error("the Dockerfile could not be rendered")]
    Dockerfile(#[from] minijinja::Error),
    /// The node has no text: a defect.
    #[error("the node could not be written")]
    Node(#[from] serde_json::Error),
}

/// The files of a context beside the archive.
pub fn files(
    template: &Template,
    configuration: &Configuration,
    defaults: &Document,
) -> Result<Vec<File>, RenderError> {
    let mut files = vec![File::new(DOCKERFILE, dockerfile(template, configuration)?)];
    files.extend(laid(template, "provisioner"));
    files.extend(chosen(template, configuration, defaults)?);
    Ok(files)
}

/// The files that converge a container, beside the archive: what an image has of ours, in the newest form.
pub fn convergence(
    template: &Template,
    configuration: &Configuration,
    defaults: &Document,
) -> Result<Vec<File>, RenderError> {
    let chosen = chosen(template, configuration, defaults)?.into_iter();
    let below = chosen.map(|file| File { path: format!("{NEXT}/{}", file.path), ..file });
    Ok(laid(template, NEXT).chain(below).collect())
}

/// The provisioner's files, in a folder.
fn laid(template: &Template, folder: &str) -> impl Iterator<Item = File> {
    let laid = [provision::CONVERGE].into_iter().chain(provision::files(template.spec.provisioner).iter().copied());
    laid.map(move |(path, text)| {
        let file = File::new(format!("{folder}/{path}"), text);
        if path.starts_with("bin/") { file.executable() } else { file }
    })
}

/// What was chosen: the run list, and the node without its secrets.
fn chosen(template: &Template, configuration: &Configuration, defaults: &Document) -> Result<[File; 2], RenderError> {
    let node = node::node(template, configuration, defaults, &configuration.choice.parameters);
    let list = run_list(&template.spec.run_list, &configuration.choice.run_list);
    // What is called so, and for a shell where it may be.
    let line = |item: &RunListItem| {
        let called = item.part().map_or_else(|| item.name().to_owned(), |part| format!("{}::{part}", item.name()));
        let scripts = match template.spec.provisioner {
            Provisioner::Shell => provision::scripts(item),
            Provisioner::Ansible | Provisioner::ChefSolo => Vec::new(),
        };
        let words: Vec<String> = [called].into_iter().chain(scripts).collect();
        format!("{}\n", words.join(" "))
    };
    let lines: String = list.iter().map(line).collect();
    Ok([File::new("run-list", lines), File::new("node.json", serde_json::to_string_pretty(&node)?)])
}

fn dockerfile(template: &Template, configuration: &Configuration) -> Result<String, RenderError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(100_000));
    environment.add_template("Dockerfile", include_str!("Dockerfile.j2"))?;
    let run = &template.spec.run;
    let rendered = environment.get_template("Dockerfile")?.render(context! {
        home => HOME,
        label => LABEL,
        name => configuration.name.as_str(),
        configuration => configuration.id.to_string(),
        version => configuration.version,
        template => template.id.to_string(),
        template_version => template.version,
        base => template.spec.base.to_string(),
        expose => run.expose.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect::<Vec<_>>(),
        volumes => run.volumes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        stop_signal => run.stop_signal.as_ref().map(ToString::to_string),
        command => run.command.clone(),
    })?;
    Ok(rendered)
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
