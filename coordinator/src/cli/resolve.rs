//! Names and ids: everywhere an id is expected, a name does as well. An id is taken as it is; a name is looked up
//! with `?name=`, and the answer is compared again, so that a filter that matches loosely does no harm.

use super::{
    client::Client,
    error::CliError,
    list::{Page, text},
};
use dockerforge_protocol::ids::{ConfigurationId, ContainerId, HostId, ImageId, TemplateId, TokenId, UserId};
use serde_json::Value;
use std::collections::HashMap;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A user.
    User,
    /// A host.
    Host,
    /// A template.
    Template,
    /// A configuration.
    Configuration,
    /// An image.
    Image,
    /// A container.
    Container,
}

impl Kind {
    /// The word for it.
    const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
            Self::Template => "template",
            Self::Configuration => "configuration",
            Self::Image => "image",
            Self::Container => "container",
        }
    }

    /// Where the API lists it.
    const fn path(self) -> &'static str {
        match self {
            Self::User => "/users",
            Self::Host => "/hosts",
            Self::Template => "/templates",
            Self::Configuration => "/configurations",
            Self::Image => "/images",
            Self::Container => "/containers",
        }
    }

    fn is_id(self, text: &str) -> bool {
        match self {
            Self::User => text.parse::<UserId>().is_ok(),
            Self::Host => text.parse::<HostId>().is_ok(),
            Self::Template => text.parse::<TemplateId>().is_ok(),
            Self::Configuration => text.parse::<ConfigurationId>().is_ok(),
            Self::Image => text.parse::<ImageId>().is_ok(),
            Self::Container => text.parse::<ContainerId>().is_ok(),
        }
    }
}

/// The id of what this name or id stands for.
pub(super) async fn id(client: &Client, kind: Kind, name: &str) -> Result<String, CliError> {
    if kind.is_id(name) {
        return Ok(name.to_owned());
    }
    one(client, kind.word(), kind.path(), name).await
}

/// The id of a user's token.
pub(super) async fn token(client: &Client, user: &str, name: &str) -> Result<String, CliError> {
    if name.parse::<TokenId>().is_ok() {
        return Ok(name.to_owned());
    }
    one(client, "token", &format!("/users/{user}/tokens"), name).await
}

async fn one(client: &Client, kind: &'static str, path: &str, name: &str) -> Result<String, CliError> {
    let mut ids = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("name", name.to_owned())];
        query.extend(after.map(|cursor| ("after", cursor)));
        let page: Page = client.get(path, &query).await?.parse()?;
        // What is being deleted still has its name, and gives way to a live one of that name.
        let named = page.items.iter().filter(|item| text(item, "/name") == name);
        ids.extend(named.map(|item| (text(item, "/state") == "deleting", text(item, "/id").to_owned())));
        match page.next {
            Some(cursor) => after = Some(cursor),
            None => break,
        }
    }
    if ids.iter().any(|(deleting, _)| !deleting) {
        ids.retain(|(deleting, _)| !deleting);
    }
    match ids.as_slice() {
        [] => Err(CliError::UnknownName { kind, name: name.to_owned() }),
        [(_, id)] => Ok(id.clone()),
        _ => Err(CliError::AmbiguousName {
            kind,
            name: name.to_owned(),
            ids: ids.into_iter().map(|(_, id)| id).collect(),
        }),
    }
}

/// The names of these ids, for tables: best effort, from the first page of the list; an id stands for itself where
/// its name is not found.
pub(super) async fn names(client: &Client, kind: Kind, items: &[Value], field: &str) -> HashMap<String, String> {
    if items.iter().all(|item| text(item, field).is_empty()) {
        return HashMap::new();
    }
    let Ok(answer) = client.get(kind.path(), &[]).await else { return HashMap::new() };
    let Ok(page) = answer.parse::<Page>() else { return HashMap::new() };
    page.items.iter().map(|item| (text(item, "/id").to_owned(), text(item, "/name").to_owned())).collect()
}
