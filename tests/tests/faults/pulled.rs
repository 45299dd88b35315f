//! A reference in the test bed's registry that one run alone pulls.

use dockerforge_tests::{
    docker::{Witness, block_on},
    env,
};

/// A reference of one run alone, and what the host has under it. Removed from the host when dropped.
pub struct Pulled {
    /// The host.
    pub docker: Witness,
    /// What is pulled.
    pub reference: String,
    /// Whether the host's owner had it before.
    pub owners: bool,
}

impl Pulled {
    /// A further tag of the base image in the registry; with `owners` the host's owner has it already.
    pub async fn publish(docker: &Witness, tag: &str, owners: bool) -> Self {
        const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
        let (repository, from) = env::BASE_IMAGE.split_once(':').unwrap();
        let url = |tag: &str| format!("http://{}/v2/{repository}/manifests/{tag}", env::registry());
        let client = reqwest::Client::new();
        let manifest = client.get(url(from)).header("accept", MANIFEST).send().await.unwrap();
        let manifest = manifest.error_for_status().unwrap().bytes().await.unwrap();
        let put = client.put(url(tag)).header("content-type", MANIFEST).body(manifest).send().await.unwrap();
        put.error_for_status().unwrap();
        let reference = format!("{}/{repository}:{tag}", env::registry());
        let pulled = Self { docker: docker.clone(), reference, owners };
        if owners {
            pulled.docker.tag(env::BASE_IMAGE, &pulled.reference).await;
        }
        pulled
    }
}

impl Drop for Pulled {
    fn drop(&mut self) {
        let (docker, reference) = (self.docker.clone(), self.reference.clone());
        block_on(async move { docker.untag(&reference).await });
    }
}
