//! `dockerforge image`: images built from a configuration or a Dockerfile, or pulled by reference.

use super::{
    args,
    context::Context,
    error::CliError,
    human,
    list::{self, ListOptions, age, number, text},
    resolve::Kind,
    session::Session,
    table::{Cell, Table},
};
use dockerforge_protocol::spec::ResourceName;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The commands on images.
#[derive(Debug, clap::Subcommand)]
pub enum ImageCommand {
    /// Build an image on a host: from a folder, from a Dockerfile alone, or from a configuration
    #[command(after_help = "\
The folder is sent without what its .dockerignore names. Its patterns are Docker's: * ? [a-z] within a name, ** across \
folders, ! takes back, the last match decides, # comments. A <Dockerfile>.dockerignore is not looked at.")]
    Build {
        /// Its name
        name: ResourceName,
        /// The folder to build from; without one, -f is sent alone
        #[arg(value_name = "PATH", required_unless_present_any = ["dockerfile", "configuration"])]
        path: Option<PathBuf>,
        /// Where.
        #[command(flatten)]
        places: Places,
        /// The Dockerfile, in the folder [default: PATH/Dockerfile]; without a folder - is stdin
        #[arg(long = "file", short = 'f', value_name = "DOCKERFILE")]
        dockerfile: Option<PathBuf>,
        /// The configuration to build from, by name or id, instead of a folder
        #[arg(long, value_name = "CONFIGURATION", conflicts_with_all = ["path", "dockerfile", "build_args"])]
        configuration: Option<String>,
        /// The version of the configuration [default: the newest]
        #[arg(long, value_name = "N", requires = "configuration",
            conflicts_with_all = ["path", "dockerfile", "build_args"], value_parser = clap::value_parser!(u32).range(1..))]
        configuration_version: Option<u32>,
        /// A build argument; may be repeated
        #[arg(long = "build-arg", value_name = "NAME=VALUE", value_parser = args::build_arg)]
        build_args: Vec<String>,
        /// Do not use what earlier builds left
        #[arg(long)]
        no_cache: bool,
        /// Follow the build, with its log, until it is over
        #[arg(long)]
        wait: bool,
    },
    /// Pull an image to a host
    Pull {
        /// Its name here
        name: ResourceName,
        /// What to pull: debian:12, registry.example/team/app@sha256:…
        #[arg(value_parser = args::reference)]
        reference: String,
        /// Where.
        #[command(flatten)]
        places: Places,
        /// Follow the job, with its log, until it is over
        #[arg(long)]
        wait: bool,
    },
    /// List images
    Ls {
        /// Which part of the list.
        #[command(flatten)]
        list: ListOptions,
    },
    /// Show all of an image
    Show {
        /// Name or id
        image: String,
    },
    /// Remove an image from its hosts
    Rm {
        /// Name or id
        image: String,
        /// Follow the job until it is over
        #[arg(long)]
        wait: bool,
    },
}

/// Where an image is made, and where it is to be.
#[derive(Debug, clap::Args)]
pub struct Places {
    /// The host to make it on, by name or id [default: one of --hosts]
    #[arg(long, required_unless_present = "hosts")]
    host: Option<String>,
    /// Where it is to be: all, mine, or a host by name or id; hosts may be repeated
    #[arg(long, value_name = "all|mine|HOST")]
    hosts: Vec<String>,
}

impl Places {
    /// The ids of what is named, as the API has them: the host, and the words or ids of the others.
    async fn ids(&self, session: &mut Session) -> Result<(Option<String>, Vec<String>), CliError> {
        let host = match &self.host {
            Some(host) => Some(session.id(Kind::Host, host).await?),
            None => None,
        };
        let mut hosts = Vec::with_capacity(self.hosts.len());
        for named in &self.hosts {
            let is_word = matches!(named.as_str(), "all" | "mine");
            hosts.push(if is_word { named.clone() } else { session.id(Kind::Host, named).await? });
        }
        if hosts.len() > 1 && hosts.iter().any(|named| matches!(named.as_str(), "all" | "mine")) {
            return Err(CliError::Usage("--hosts: say all, or mine, or name hosts".to_owned()));
        }
        Ok((host, hosts))
    }

    /// Adds them to a body.
    async fn add(&self, session: &mut Session, body: &mut Value) -> Result<(), CliError> {
        let (host, hosts) = self.ids(session).await?;
        if let Some(host) = host {
            body["host"] = json!(host);
        }
        match hosts.as_slice() {
            [] => {}
            [word] if matches!(word.as_str(), "all" | "mine") => body["hosts"] = json!(word),
            ids => body["hosts"] = json!(ids),
        }
        Ok(())
    }
}

/// Runs one of them.
pub(super) async fn run(command: ImageCommand, session: &mut Session) -> Result<(), CliError> {
    match command {
        ImageCommand::Build {
            name,
            places,
            configuration: Some(configuration),
            configuration_version,
            no_cache,
            wait,
            ..
        } => {
            let configuration = session.id(Kind::Configuration, &configuration).await?;
            let mut body = json!({ "name": name, "configuration": configuration });
            places.add(session, &mut body).await?;
            if let Some(version) = configuration_version {
                body["configuration_version"] = json!(version);
            }
            if no_cache {
                body["no_cache"] = json!(true);
            }
            let answer = session.client.post("/images", &body).await?;
            session.accepted(&answer, wait).await
        }
        ImageCommand::Build { name, path, places, dockerfile, build_args, no_cache, wait, .. } => {
            let context = match (&path, &dockerfile) {
                (Some(folder), dockerfile) => Context::folder(folder, dockerfile.as_deref())?,
                (None, Some(dockerfile)) => Context::dockerfile(dockerfile)?,
                (None, None) => {
                    return Err(CliError::Usage(
                        "say what to build: a folder, -f DOCKERFILE, or --configuration".to_owned(),
                    ));
                }
            };
            let (host, hosts) = places.ids(session).await?;
            let mut query = vec![("name", name.to_string())];
            query.extend(host.map(|host| ("host", host)));
            query.extend(hosts.into_iter().map(|host| ("hosts", host)));
            query.push(("dockerfile", context.dockerfile.clone()));
            query.extend(build_args.into_iter().map(|arg| ("build_arg", arg)));
            if no_cache {
                query.push(("no_cache", "true".to_owned()));
            }
            let answer = session.client.post_context("/images", &query, &context).await?;
            session.accepted(&answer, wait).await
        }
        ImageCommand::Pull { name, reference, places, wait } => {
            let mut body = json!({ "name": name, "reference": reference });
            places.add(session, &mut body).await?;
            let answer = session.client.post("/images", &body).await?;
            session.accepted(&answer, wait).await
        }
        ImageCommand::Ls { list } => ls(session, &list).await,
        ImageCommand::Show { image } => {
            let id = session.id(Kind::Image, &image).await?;
            let answer = session.client.get(&format!("/images/{id}"), &[]).await?;
            session.show(&answer)
        }
        ImageCommand::Rm { image, wait } => {
            let id = session.id(Kind::Image, &image).await?;
            let answer = session.client.delete(&format!("/images/{id}"), &[]).await?;
            session.accepted(&answer, wait).await
        }
    }
}

async fn ls(session: &mut Session, options: &ListOptions) -> Result<(), CliError> {
    let Some(images) = list::fetch(session, "/images", options, &[]).await? else { return Ok(()) };
    let mut table = Table::new(["NAME", "ID", "STATE", "SOURCE", "HOSTS", "SIZE", "CREATED"]);
    for image in &images {
        let source = match text(image, "/source/kind") {
            "reference" => text(image, "/source/reference"),
            kind => kind,
        };
        let hosts = image.get("hosts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let present = hosts.iter().filter(|host| text(host, "/state") == "present").count();
        let size = hosts.iter().filter_map(|host| number(host, "/size")).max().map(human::size).unwrap_or_default();
        table.row([
            Cell::text(text(image, "/name")),
            Cell::text(text(image, "/id")),
            Cell::state(text(image, "/state")),
            Cell::text(source),
            Cell::text(&format!("{present} of {}", hosts.len())),
            Cell::number(&size),
            Cell::text(&age(image, "/created_at")),
        ]);
    }
    table.print(&mut session.console)
}
