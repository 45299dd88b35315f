//! What happened, as a panel follows it: live, resumed, by page, of one user or of all.

use dockerforge_tests::{
    backend::Backend,
    client::{Api, Events, Job},
    cluster::Cluster,
};
use futures_util::future::join_all;
use serde_json::Value;

/// Makes something happen that needs no Docker: a job is enqueued on a host that has no agent yet.
async fn happen(api: &Api, host: &str, name: &str) -> Job {
    api.build(host, name, "FROM scratch").await
}

fn about(event: &Value) -> (&str, &str) {
    (event["kind"].as_str().unwrap(), event["resource"]["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_stream_tells_what_happens_and_goes_on_where_its_reader_left() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let mut stream = Events::open(&api, "/v1/events", None).await;
    let ready = stream.next().await.unwrap();
    assert_eq!(ready.event, "ready");

    let first = happen(&api, &host.id, "one").await;
    let event = stream.next().await.unwrap();
    let body: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!((event.event.as_str(), about(&body)), ("job.queued", ("job.queued", first.id.as_str())));
    assert_eq!(body["id"].as_str(), Some(event.id.as_str()));
    drop(stream);

    // While nobody reads, over a crash, and from the id that `ready` gave.
    let second = happen(&api, &host.id, "two").await;
    cluster.crash_and_restart().await;
    api.delete(&format!("/v1/queue/{}", second.id)).await.accepted();
    for (from, expected) in [(&event.id, 1), (&ready.id, 2)] {
        let mut stream = Events::open(&api, "/events", Some(from)).await;
        assert_eq!(stream.next().await.unwrap().event, "ready");
        let mut told = Vec::new();
        while told.last().is_none_or(|kind: &String| kind != "job.cancelled") {
            told.push(stream.next().await.unwrap().event);
        }
        assert_eq!(told.iter().filter(|kind| *kind == "job.queued").count(), expected, "from {from}: {told:?}");
    }
}

#[tokio::test]
async fn a_page_of_events_goes_on_from_its_next_and_kinds_can_be_chosen() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let jobs = [happen(&api, &host.id, "one").await, happen(&api, &host.id, "two").await];
    let mut after = "0".to_owned();
    let mut ids = Vec::new();
    loop {
        let page = api.get(&format!("/v1/events?limit=1&kind=job.queued&after={after}")).await.expect(200).json;
        let Some(event) = page["items"].get(0) else { break };
        ids.push(about(event).1.to_owned());
        page["next"].as_str().unwrap().clone_into(&mut after);
    }
    assert_eq!(ids, [jobs[0].id.clone(), jobs[1].id.clone()]);
    let none = api.get("/v1/events?kind=container.*,user.created").await.expect(200).json;
    assert_eq!(none["items"], Value::Array(Vec::new()));
    for bad in ["kind=job", "kind=*", "after=-1", "after=x", "limit=0", "limit=201", "since=1"] {
        let problem = api.get(&format!("/v1/events?{bad}")).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [bad.split('=').next().unwrap()], "{bad}");
    }
}

#[tokio::test]
async fn everybodys_events_are_for_administrators_and_ones_own_for_everybody() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let (_, eva) = cluster.user("eva").await;
    let (host, _) = api.create_host("vps").await;
    let mut hers = Events::open(&eva, "/v1/events", None).await;
    let mut all = Events::open(&cluster.admin(), "/v1/events?all=true&kind=job.*", None).await;
    assert_eq!(hers.next().await.unwrap().event, "ready");
    assert_eq!(all.next().await.unwrap().event, "ready");
    let job = happen(&api, &host.id, "one").await;
    let (own, _) = eva.create_host("own").await;
    let own_job = happen(&eva, &own.id, "two").await;

    let first: Value = serde_json::from_str(&all.next().await.unwrap().data).unwrap();
    assert_eq!((about(&first).1, first["user"].as_str().unwrap()), (job.id.as_str(), ana.user.id.as_str()));
    let first: Value = serde_json::from_str(&hers.next().await.unwrap().data).unwrap();
    assert_eq!(about(&first).1, own_job.id, "I14: the first thing that she hears of is her own");
    eva.get("/v1/events?all=true").await.problem(403, "forbidden");
    let acting = cluster.admin().acting_for(&ana.user.id).get("/v1/events?kind=job.queued").await.expect(200).json;
    assert_eq!(acting["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn on_postgresql_a_reader_misses_nothing_while_many_write() {
    let cluster = Cluster::start_on(Backend::Postgres).await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let mut stream = Events::open(&api, "/v1/events?kind=job.queued", None).await;
    assert_eq!(stream.next().await.unwrap().event, "ready");
    let names: Vec<String> = (0..60).map(|number| format!("i{number}")).collect();
    let mut jobs: Vec<String> =
        join_all(names.iter().map(|name| happen(&api, &host.id, name))).await.into_iter().map(|job| job.id).collect();
    let mut told = Vec::new();
    while told.len() < jobs.len() {
        let event: Value = serde_json::from_str(&stream.next().await.unwrap().data).unwrap();
        told.push(about(&event).1.to_owned());
    }
    jobs.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, jobs);
}
