//! How a machine becomes a host, and how it does not: the token is good once, in time, and for the coordinator that
//! issued it.

use dockerforge_tests::{agent::Agent, cluster::Cluster, env, proxy::Proxy, wait};
use sqlx::{Connection, SqliteConnection};
use std::os::unix::process::ExitStatusExt;

/// An agent that is started with a token and has to give up; answers what it said.
async fn refused(cluster: &Cluster, agent: &mut Agent, token: &str) -> String {
    agent.launch(Some(token), &[]);
    let status = agent.process().wait_ended(20).await;
    assert!(!status.success(), "{status}");
    assert!(!agent.process().output().contains(token), "a token is in the agent's log");
    let _ = cluster;
    agent.process().output().to_lowercase()
}

#[tokio::test]
async fn an_enrolled_agent_needs_no_token_and_its_token_enrols_nobody_else() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, join) = api.create_host("vps").await;
    let mut agent = Agent::new(cluster.folder(), cluster.agent_port(), &api, &host.id, &env::docker());
    agent.launch(Some(&join.token), &[]);
    agent.is_online(20).await;
    agent.note(&cluster);
    for private in ["key.pem", "identity.json"] {
        let path = agent.state().join(private);
        if let Ok(metadata) = std::fs::metadata(&path) {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(metadata.permissions().mode() & 0o077, 0, "{} is for its owner alone", path.display());
        }
    }
    agent.crash_and_restart().await;

    let second = cluster.folder().join("second");
    std::fs::create_dir(&second).unwrap();
    let mut thief = Agent::new(&second, cluster.agent_port(), &api, &host.id, &env::docker());
    let said = refused(&cluster, &mut thief, &join.token).await;
    assert!(said.contains("used"), "{said}");
    assert_eq!(api.host(&host.id).await.state, "online", "the refused one disturbs nothing");
}

#[tokio::test]
async fn an_altered_token_and_one_of_another_coordinator_are_refused_with_the_reason() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, join) = api.create_host("vps").await;
    let mut agent = Agent::new(cluster.folder(), cluster.agent_port(), &api, &host.id, &env::docker());

    let mut altered = join.token.clone().into_bytes();
    altered[40] = if altered[40] == b'A' { b'B' } else { b'A' };
    let said = refused(&cluster, &mut agent, &String::from_utf8(altered).unwrap()).await;
    assert!(said.contains("damaged"), "{said}");
    let said = refused(&cluster, &mut agent, "hello").await;
    assert!(said.contains("dfj1_"), "{said}");

    let other = Cluster::start().await;
    let (_, stranger) = other.user("eva").await;
    let (_, foreign) = stranger.create_host("vps").await;
    let said = refused(&cluster, &mut agent, &foreign.token).await;
    assert!(said.contains("is not the one that issued this token"), "{said}");

    assert_eq!(api.host(&host.id).await.state, "pending");
    // What was refused for its form did not burn the token.
    agent.launch(Some(&join.token), &[]);
    agent.is_online(20).await;
    agent.note(&cluster);
}

#[tokio::test]
async fn a_token_whose_time_is_over_is_refused_and_a_fresh_one_is_good() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, join) = api.create_host("vps").await;
    cluster.stop().await;
    let database = cluster.data().join("dockerforge.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", database.display())).await.unwrap();
    sqlx::query("UPDATE join_tokens SET expires_at = created_at").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    cluster.launch(&[]).await;

    let mut agent = Agent::new(cluster.folder(), cluster.agent_port(), &api, &host.id, &env::docker());
    let said = refused(&cluster, &mut agent, &join.token).await;
    assert!(said.contains("expired"), "{said}");

    let answer = api.call(reqwest::Method::POST, &format!("/v1/hosts/{}/token", host.id)).send().await.expect(201);
    let fresh = answer.json["token"].as_str().unwrap().to_owned();
    agent.launch(Some(&fresh), &[]);
    agent.is_online(20).await;
    agent.note(&cluster);
}

#[tokio::test]
async fn a_fresh_token_voids_the_earlier_one_and_is_not_given_for_a_connected_host() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, first) = api.create_host("vps").await;
    let path = format!("/v1/hosts/{}/token", host.id);
    let answer = api.call(reqwest::Method::POST, &path).send().await.expect(201);
    let fresh = answer.json["token"].as_str().unwrap().to_owned();
    let mut agent = Agent::new(cluster.folder(), cluster.agent_port(), &api, &host.id, &env::docker());
    let said = refused(&cluster, &mut agent, &first.token).await;
    assert!(said.contains("token"), "{said}");
    agent.launch(Some(&fresh), &[]);
    agent.is_online(20).await;
    agent.note(&cluster);
    api.call(reqwest::Method::POST, &path).send().await.problem(409, "host-connected");
}

#[tokio::test]
async fn an_enrolment_whose_answer_was_lost_is_answered_again() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, join) = api.create_host("vps").await;
    // The agent finds nobody, and goes on trying.
    let proxy = Proxy::start(cluster.agent_port()).await;
    proxy.cut();
    let mut agent = Agent::new(cluster.folder(), proxy.address(), &api, &host.id, &env::docker());
    agent.launch(Some(&join.token), &[("FAILPOINTS", "agent.enrol.answered=panic")]);
    wait::until(10, "the agent tries", async || {
        let output = agent.process().output();
        wait::check(!output.is_empty() && agent.process().ended().is_none(), output)
    })
    .await;
    // Somebody answers at last, and it dies before it could keep the answer: the token is used, the same key enrols again.
    proxy.heal();
    let status = agent.process().wait_ended(20).await;
    assert_eq!(status.signal(), Some(9), "{status}");
    assert!(api.host(&host.id).await.enrolled_at.is_some(), "the coordinator has committed");
    agent.launch(Some(&join.token), &[]);
    agent.is_online(20).await;
    agent.note(&cluster);
    cluster.crash_and_restart().await;
    agent.is_online(45).await;
}
