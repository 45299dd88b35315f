//! I18: no secret is outside its place. What a cluster under test knows of its keys and tokens is looked for in everything
//! that coordinator and agents keep and say, in the jobs' logs and in what Docker shows of its containers.

use crate::{client::Job, cluster::Cluster};
use dockerforge_protocol::command::labels;
use std::path::Path;

/// The file that the administrator's key belongs into.
const PLACE_OF_ADMIN_KEY: &str = "admin.key";

/// The files below a folder that hold a text, without those of a name.
pub fn holding(folder: &Path, text: &str, except: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(holding(&path, text, except));
        } else if path.file_name().is_none_or(|name| name != except)
            && std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Looks for every key and token that the cluster's tests were given, and for what else they were told is secret.
///
/// # Panics
/// Naming where one is; not the secret itself.
pub async fn hold(cluster: &Cluster) {
    let secrets = cluster.secrets();
    let mut elsewhere = Vec::new();
    for (witness, id) in cluster.witnesses() {
        for container in witness.containers(labels::CLUSTER, &id).await {
            let name = container.id.unwrap_or_default();
            if let Some(mut shown) = witness.inspect(&name).await {
                // A secret that is given as a variable has its place there.
                if let Some(config) = &mut shown.config {
                    config.env = None;
                }
                elsewhere
                    .push((format!("what Docker shows of {name}"), serde_json::to_string(&shown).unwrap_or_default()));
            }
        }
    }
    for user in cluster.users().await {
        let api = cluster.admin().acting_for(&user);
        for list in ["hosts", "templates", "configurations", "images", "containers", "queue", "webhooks", "events"] {
            let path = format!("/v1/{list}");
            elsewhere.push((format!("{path} of {user}"), api.get(&path).await.text));
        }
        for job in api.all::<Job>("/v1/queue").await.iter().filter(|job| job.log.size > 0) {
            elsewhere
                .push((format!("the log of {}", job.id), api.get(&format!("/v1/queue/{}/log", job.id)).await.text));
        }
    }
    let mut reader = cluster.database().reader(&cluster.data()).await;
    for (number, secret) in secrets.iter().enumerate() {
        let mut found = holding(cluster.folder(), secret, PLACE_OF_ADMIN_KEY);
        found.extend(
            elsewhere.iter().filter(|(_, text)| text.contains(secret.as_str())).map(|(place, _)| place.clone()),
        );
        found.extend(reader.tables_with(secret).await);
        assert!(found.is_empty(), "I18: secret {number} of {} is in {found:?}", secrets.len());
    }
}
