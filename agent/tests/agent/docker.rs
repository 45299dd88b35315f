//! The real engine, where `DOCKERFORGE_TEST_DOCKER` names one (`unix:///var/run/docker.sock`): what the fake engine
//! claims is what Docker does. Ignored otherwise, for it needs a Docker: `cargo test -- --ignored`.

use dockerforge_agent::docker::engine::UnixEngine;
use dockerforge_agent::docker::{ContextStream, DockerError, Engine, LabelMap, NewBuild, NewContainer, Output};
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::spec::{PortProtocol, Resources};
use futures_util::{StreamExt, TryStreamExt};
use std::time::Duration;

fn engine() -> UnixEngine {
    let socket = std::env::var("DOCKERFORGE_TEST_DOCKER").expect("DOCKERFORGE_TEST_DOCKER names no Docker");
    UnixEngine::new(&socket)
}

/// A tar (ustar) of one Dockerfile.
fn context(dockerfile: &str) -> ContextStream {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "Dockerfile");
    put(100, "0000644\0");
    put(124, &format!("{:011o}\0", dockerfile.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    tar.extend_from_slice(dockerfile.as_bytes());
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    futures_util::stream::iter([Ok(tar.into())]).boxed()
}

fn new_build(tag: &str) -> NewBuild {
    NewBuild {
        tag: tag.to_owned(),
        dockerfile: "Dockerfile".to_owned(),
        args: std::collections::BTreeMap::new(),
        labels: LabelMap::from([("dev.dockerforge.test".to_owned(), "agent".to_owned())]),
        no_cache: false,
        limits: Resources::default(),
    }
}

#[tokio::test]
#[ignore = "needs a Docker Engine: set DOCKERFORGE_TEST_DOCKER"]
async fn the_real_engine_does_what_the_fake_one_claims() {
    let engine = engine();
    engine.ping().await.unwrap();
    let info = engine.version().await.unwrap();
    assert!(!info.version.is_empty() && info.platform.starts_with("linux/"), "{info:?}");

    let name = format!("df-agent-test-{}", JobId::new());
    let labels = LabelMap::from([("dev.dockerforge.test".to_owned(), name.clone())]);
    let filter = [format!("dev.dockerforge.test={name}")];
    let not_found = |e: &DockerError| matches!(e, DockerError::NotFound { .. });
    let conflict = |e: &DockerError| matches!(e, DockerError::Conflict { .. });

    engine.network_create(&name, &labels).await.unwrap();
    assert!(conflict(&engine.network_create(&name, &labels).await.unwrap_err()));
    assert_eq!(engine.network_inspect(&name).await.unwrap().labels, labels);
    engine.volume_create(&name, &labels).await.unwrap();
    engine.volume_create(&name, &labels).await.unwrap();
    assert_eq!(engine.volume_list(&filter).await.unwrap().len(), 1);

    // The program is an empty file: it is made, and refused at the start.
    let tag = format!("dockerforge.invalid/{name}:latest");
    let output: Vec<Output> = engine
        .image_build(&new_build(&tag), context("FROM scratch\nCMD [\"/none\"]\n"))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(output.iter().any(|o| o.text.starts_with("Step 1/")), "{output:?}");
    let image = engine.image_inspect(&tag).await.unwrap();
    assert_eq!(image.labels.get("dev.dockerforge.test").map(String::as_str), Some("agent"));
    let pattern = "dockerforge.invalid/*";
    assert!(engine.image_list(pattern).await.unwrap().iter().any(|i| i.tags.contains(&tag)));
    let failed = engine.image_build(&new_build(&tag), context("FROM scratch\nNONSENSE\n")).await;
    let failed = match failed {
        Ok(stream) => stream.try_collect::<Vec<_>>().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(failed.unwrap_err().to_string().to_lowercase().contains("unknown instruction"));

    let new = NewContainer {
        name: name.clone(),
        image: tag.clone(),
        command: Vec::new(),
        env: vec!["A=b".to_owned()],
        labels,
        network: name.clone(),
        alias: "web".to_owned(),
        ports: vec![(80, PortProtocol::Tcp, 22_123)],
        volumes: vec![(name.clone(), "/data".to_owned(), true)],
        nano_cpus: Some(500_000_000),
        memory: Some(32 << 20),
        pids: Some(10),
        restart: "no",
        ..NewContainer::default()
    };
    let id = engine.container_create(&new).await.unwrap();
    assert!(conflict(&engine.container_create(&new).await.unwrap_err()));
    let found = engine.container_inspect(&name).await.unwrap();
    assert_eq!(
        (found.id.as_str(), found.state, found.volumes.as_slice()),
        (id.as_str(), ContainerState::Created, [name.clone()].as_slice())
    );
    assert!(matches!(engine.container_start(&id).await.unwrap_err(), DockerError::Refused { .. }));
    assert_eq!(engine.container_list(&filter).await.unwrap().len(), 1);
    assert!(conflict(&engine.image_remove(&tag).await.unwrap_err()));
    assert!(conflict(&engine.volume_remove(&name).await.unwrap_err()));
    engine.container_stop(&id, Duration::from_secs(1)).await.unwrap();
    engine.container_remove(&id).await.unwrap();
    assert!(not_found(&engine.container_remove(&id).await.unwrap_err()));
    engine.image_remove(&tag).await.unwrap();
    assert!(not_found(&engine.image_remove(&tag).await.unwrap_err()));
    engine.volume_remove(&name).await.unwrap();
    engine.network_remove(&name).await.unwrap();
    assert!(not_found(&engine.network_remove(&name).await.unwrap_err()));
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unavailable() {
    let engine = UnixEngine::new("unix:///does/not/exist.sock");
    assert!(matches!(engine.ping().await.unwrap_err(), DockerError::Unavailable { .. }));
}
