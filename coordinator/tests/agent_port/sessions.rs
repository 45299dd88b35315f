//! How sessions begin and end: who is let through to the knock, who is live, and that whoever does not keep up, does
//! not answer or is not wanted any more is off in time.

use crate::support::*;
use dockerforge_coordinator::hub::listener::Limits;
use dockerforge_coordinator::hub::{HubConfig, SessionGone};
use dockerforge_protocol::handshake::{Hello, Refused, RefusedReason};
use dockerforge_protocol::ids::{ClusterId, HostId, JobId};
use dockerforge_protocol::message::{FromAgent, ToAgent};
use dockerforge_protocol::report::Attempt;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::{self, Message};

fn attempt(number: u32) -> Attempt {
    Attempt { job: JobId::from_uuid(uuid::Uuid::nil()), number }
}

fn refused(reason: RefusedReason) -> Refused {
    Refused { reason, detail: "because".into() }
}

fn fast() -> HubConfig {
    HubConfig {
        hello: Duration::from_millis(200),
        ping: Duration::from_millis(50),
        silence: Duration::from_millis(400),
        ..HubConfig::default()
    }
}

#[tokio::test]
async fn an_agent_is_welcomed_and_both_sides_are_heard_in_order() {
    let mut port = port().await;
    let host = HostId::new();
    let mut agent = Agent::dial(&port, host).await;
    let hello = agent.hello();
    agent.say(&FromAgent::Hello(hello.clone())).await;
    let knock = port.knock().await;
    assert_eq!((knock.peer.host, knock.peer.cluster, knock.version), (host, port.cluster, 1));
    assert_eq!((knock.remote.ip(), &knock.hello), (port.addr.ip(), &hello));
    assert!(port.hub.session(host).is_none(), "it is not live before it is welcomed");
    // Said before the welcome, heard after it.
    knock.session.send(ToAgent::Cancel { attempt: attempt(1) }).unwrap();
    knock.answer.send(Ok(welcome(1, 7))).unwrap();
    assert!(matches!(agent.hear().await, Some(ToAgent::Welcome(welcome)) if welcome.epoch == 7));
    for number in 2..100 {
        port.hub.session(host).unwrap().send(ToAgent::Cancel { attempt: attempt(number) }).unwrap();
    }
    for number in 1..100 {
        assert_eq!(agent.hear().await, Some(ToAgent::Cancel { attempt: attempt(number) }));
    }
    let mut inbound = knock.inbound;
    for number in 0..500 {
        agent.say(&FromAgent::Accepted { attempt: attempt(number) }).await;
        assert_eq!(inbound.recv().await, Some(FromAgent::Accepted { attempt: attempt(number) }));
    }
    let live = port.hub.session(host).unwrap();
    assert_eq!((live.epoch(), live.host(), live.id(), port.hub.len()), (7, host, knock.session.id(), 1));
    port.shut_down().await;
}

#[tokio::test]
async fn a_hello_that_does_not_come_ends_the_connection() {
    let mut port = port_with(fast(), Limits::default()).await;
    let mut agent = Agent::dial(&port, HostId::new()).await;
    // A ping is no hello.
    agent.send(Message::Ping(vec![].into())).await;
    assert_eq!(agent.hear_the_end().await.unwrap().reason, RefusedReason::Timeout);
    port.nobody_knocked();
    port.shut_down().await;
}

/// Makes the first frame that an agent sends.
type First = Box<dyn Fn(&Agent) -> Message>;

#[tokio::test]
async fn a_first_word_that_does_not_fit_is_refused_by_name_and_never_knocks() {
    let mut port = port().await;
    let hello = |change: fn(&mut Hello)| {
        move |agent: &Agent| {
            let mut hello = agent.hello();
            change(&mut hello);
            Message::Binary(dockerforge_protocol::codec::encode(&FromAgent::Hello(hello)).unwrap().into())
        }
    };
    let cases: Vec<(&str, RefusedReason, First)> = vec![
        ("another host", RefusedReason::Identity, Box::new(hello(|hello| hello.host = HostId::new()))),
        ("another cluster", RefusedReason::Identity, Box::new(hello(|hello| hello.cluster = ClusterId::new()))),
        ("another version", RefusedReason::Version, Box::new(hello(|hello| hello.versions = (1000, 1001)))),
        ("not a message", RefusedReason::Protocol, Box::new(|_| Message::Binary(vec![1, 2, 3].into()))),
        ("text", RefusedReason::Protocol, Box::new(|_| Message::Text("hello".into()))),
        (
            "another message",
            RefusedReason::Protocol,
            Box::new(|_| {
                let message = FromAgent::Accepted { attempt: attempt(1) };
                Message::Binary(dockerforge_protocol::codec::encode(&message).unwrap().into())
            }),
        ),
    ];
    for (what, reason, first) in cases {
        let mut agent = Agent::dial(&port, HostId::new()).await;
        let first = first(&agent);
        agent.send(first).await;
        assert_eq!(agent.hear_the_end().await.map(|refused| refused.reason), Some(reason), "{what}");
    }
    port.nobody_knocked();
    assert!(port.hub.is_empty());
    port.shut_down().await;
}

#[tokio::test]
async fn a_turned_away_agent_hears_the_reason() {
    let mut port = port().await;
    let mut agent = Agent::dial(&port, HostId::new()).await;
    agent.say(&FromAgent::Hello(agent.hello())).await;
    let mut knock = port.knock().await;
    knock.answer.send(Err(refused(RefusedReason::Revoked))).unwrap();
    assert_eq!(agent.hear_the_end().await, Some(refused(RefusedReason::Revoked)));
    assert_eq!(knock.inbound.recv().await, None);
    closed_within(&knock.session, SOON).await;
    port.shut_down().await;
}

#[tokio::test]
async fn an_unanswered_knock_turns_the_agent_away_for_now() {
    let config = HubConfig { answer: Duration::from_millis(200), ..HubConfig::default() };
    let mut port = port_with(config, Limits::default()).await;
    for dropped in [true, false] {
        let mut agent = Agent::dial(&port, HostId::new()).await;
        agent.say(&FromAgent::Hello(agent.hello())).await;
        let knock = port.knock().await;
        let kept = (!dropped).then_some(knock);
        assert_eq!(agent.hear_the_end().await.unwrap().reason, RefusedReason::Unavailable);
        drop(kept);
    }
    port.shut_down().await;
}

#[tokio::test]
async fn the_newest_session_of_a_host_supersedes_the_older() {
    let mut port = port().await;
    let host = HostId::new();
    let (mut old, mut old_end) = Agent::join(&mut port, host, 1).await;
    let (mut new, _new_end) = Agent::join(&mut port, host, 2).await;
    assert_eq!(old.hear_the_end().await.unwrap().reason, RefusedReason::Superseded);
    assert_eq!(old_end.inbound.recv().await, None);
    assert_eq!(old_end.session.send(ToAgent::Cancel { attempt: attempt(1) }), Err(SessionGone));
    let live = port.hub.session(host).unwrap();
    assert_eq!((live.epoch(), port.hub.len()), (2, 1));
    live.send(ToAgent::Cancel { attempt: attempt(1) }).unwrap();
    assert_eq!(new.hear().await, Some(ToAgent::Cancel { attempt: attempt(1) }));
    port.shut_down().await;
}

#[tokio::test]
async fn a_second_hello_ends_the_session() {
    let mut port = port().await;
    let (mut agent, mut taken) = Agent::join(&mut port, HostId::new(), 1).await;
    agent.say(&FromAgent::Hello(agent.hello())).await;
    assert_eq!(agent.hear_the_end().await.unwrap().reason, RefusedReason::Protocol);
    assert_eq!(taken.inbound.recv().await, None);
    port.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_leaves_or_breaks_off_leaves_nothing_behind() {
    let mut port = port().await;
    for politely in [true, false] {
        let host = HostId::new();
        let (mut agent, mut taken) = Agent::join(&mut port, host, 1).await;
        // What it said last is still heard.
        agent.say(&FromAgent::Accepted { attempt: attempt(1) }).await;
        if politely {
            agent.ws.close(None).await.unwrap();
        }
        drop(agent);
        assert_eq!(taken.inbound.recv().await, Some(FromAgent::Accepted { attempt: attempt(1) }));
        assert_eq!(taken.inbound.recv().await, None);
        closed_within(&taken.session, SOON).await;
        assert!(port.hub.session(host).is_none() && port.hub.is_empty());
    }
    port.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_says_nothing_at_all_is_taken_for_gone() {
    let mut port = port_with(fast(), Limits::default()).await;
    let (agent, mut taken) = Agent::join(&mut port, HostId::new(), 1).await;
    let since = Instant::now();
    // Nobody polls the agent's end, so that it does not even answer pings.
    assert_eq!(taken.inbound.recv().await, None);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    closed_within(&taken.session, Duration::from_secs(3)).await;
    drop(agent);
    port.shut_down().await;
}

#[tokio::test]
async fn an_answer_to_a_ping_is_life_enough() {
    let mut port = port_with(fast(), Limits::default()).await;
    let (mut agent, taken) = Agent::join(&mut port, HostId::new(), 1).await;
    let since = Instant::now();
    let mut pings = 0;
    while since.elapsed() < Duration::from_millis(1200) {
        let frame = tokio::time::timeout(SOON, agent.ws.next()).await.unwrap();
        assert!(matches!(frame, Some(Ok(Message::Ping(_)))), "{frame:?}");
        pings += 1;
    }
    assert!(pings >= 10 && !taken.session.is_closed());
    port.shut_down().await;
}

#[tokio::test]
async fn a_full_inbox_stops_the_reading_and_nothing_else() {
    let mut port = port_with(HubConfig { inbound: 2, ..fast() }, Limits::default()).await;
    let (mut agent, mut taken) = Agent::join(&mut port, HostId::new(), 1).await;
    for number in 0..50 {
        agent.say(&FromAgent::Accepted { attempt: attempt(number) }).await;
    }
    // Far longer than the silence that is allowed; pings go on, and what is sent arrives.
    let since = Instant::now();
    taken.session.send(ToAgent::Cancel { attempt: attempt(1) }).unwrap();
    let (mut pings, mut heard) = (0, false);
    while since.elapsed() < Duration::from_millis(1200) {
        match tokio::time::timeout(SOON, agent.ws.next()).await.unwrap() {
            Some(Ok(Message::Ping(_))) => pings += 1,
            Some(Ok(Message::Binary(_))) => heard = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(pings >= 10 && heard && !taken.session.is_closed());
    let mut said = Vec::new();
    while said.len() < 50 {
        assert!(taken.inbound.recv_many(&mut said, 10).await > 0);
    }
    let expected: Vec<_> = (0..50).map(|number| FromAgent::Accepted { attempt: attempt(number) }).collect();
    assert_eq!(said, expected);
    port.shut_down().await;
}

/// A message of about a megabyte: a few of them fill what the kernel keeps for a connection.
fn large() -> ToAgent {
    ToAgent::Certificate { certificate: "x".repeat(1_000_000) }
}

#[tokio::test]
async fn an_agent_that_does_not_read_is_cut_off() {
    let limits = Limits { write: Duration::from_millis(500), ..Limits::default() };
    let mut port = port_with(HubConfig::default(), limits).await;
    let (agent, mut taken) = Agent::join(&mut port, HostId::new(), 1).await;
    for _ in 0..20 {
        taken.session.send(large()).unwrap();
    }
    let since = Instant::now();
    assert_eq!(taken.inbound.recv().await, None);
    closed_within(&taken.session, Duration::from_secs(5)).await;
    // Long before its silence would be noticed.
    let lasted = since.elapsed();
    assert!(lasted >= Duration::from_millis(400) && lasted < Duration::from_secs(8), "{lasted:?}");
    drop(agent);
    port.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_does_not_keep_up_with_what_is_queued_is_cut_off() {
    let mut port = port_with(HubConfig { outbound: 8, ..HubConfig::default() }, Limits::default()).await;
    let (agent, taken) = Agent::join(&mut port, HostId::new(), 1).await;
    let mut sent = 0;
    while taken.session.send(large()).is_ok() {
        sent += 1;
        assert!(sent < 500, "it is queued without bound");
        tokio::task::yield_now().await;
    }
    closed_within(&taken.session, Duration::from_secs(2)).await;
    drop(agent);
    port.shut_down().await;
}

#[tokio::test]
async fn a_closed_host_is_off_within_two_seconds_whether_or_not_it_reads() {
    let mut port = port().await;
    let (reading, stalled, knocking) = (HostId::new(), HostId::new(), HostId::new());
    let (mut agent, taken) = Agent::join(&mut port, reading, 1).await;
    let (_stalled, stuck) = Agent::join(&mut port, stalled, 1).await;
    for _ in 0..20 {
        stuck.session.send(large()).unwrap();
    }
    let mut third = Agent::dial(&port, knocking).await;
    third.say(&FromAgent::Hello(third.hello())).await;
    let knock = port.knock().await;

    for host in [reading, stalled, knocking] {
        assert!(port.hub.close_host(host, &refused(RefusedReason::Revoked)));
        assert!(port.hub.session(host).is_none(), "it is not found from then on");
    }
    assert_eq!(agent.hear_the_end().await, Some(refused(RefusedReason::Revoked)));
    for session in [&taken.session, &stuck.session, &knock.session] {
        closed_within(session, Duration::from_secs(2)).await;
    }
    // An answer that was on its way changes nothing.
    let _ = knock.answer.send(Ok(welcome(1, 1)));
    assert_eq!(third.hear_the_end().await, Some(refused(RefusedReason::Revoked)));
    assert!(port.hub.session(knocking).is_none());
    assert!(!port.hub.close_host(reading, &refused(RefusedReason::Revoked)), "there is nothing left to close");
    port.shut_down().await;
}

#[tokio::test]
async fn a_session_ends_with_the_certificate_that_it_began_with() {
    let mut port = port().await;
    let host = HostId::new();
    let almost_over = Timestamp::now() - SignedDuration::from_hours(30 * 24) + SignedDuration::from_secs(2);
    let identity = identity(&port.authority, host, almost_over);
    let mut agent = Agent::dial_with(&port, host, identity).await.unwrap();
    agent.say(&FromAgent::Hello(agent.hello())).await;
    let taken = port.welcome(1).await;
    let end = agent.hear_the_end().await.unwrap();
    assert_eq!(end.reason, RefusedReason::Unavailable, "{}", end.detail);
    assert_eq!(taken.knock.0.host, host);
    port.shut_down().await;
}

#[tokio::test]
async fn a_host_has_only_so_many_connections() {
    let port = port_with(HubConfig { per_host: 2, ..HubConfig::default() }, Limits::default()).await;
    let host = HostId::new();
    let mut kept = vec![Agent::dial(&port, host).await, Agent::dial(&port, host).await];
    match Agent::try_dial(&port, host).await.map(|_| ()) {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 429),
        other => panic!("{other:?}"),
    }
    Agent::dial(&port, HostId::new()).await;
    kept.clear();
    let until = Instant::now() + SOON;
    while Agent::try_dial(&port, host).await.is_err() {
        assert!(Instant::now() < until, "the places of connections that ended are not given back");
    }
    port.shut_down().await;
}

#[tokio::test]
async fn a_draining_hub_tells_everybody_and_takes_nobody() {
    let mut port = port().await;
    let mut agents = Vec::new();
    for _ in 0..5 {
        agents.push(Agent::join(&mut port, HostId::new(), 1).await);
    }
    let (stalled, stuck) = Agent::join(&mut port, HostId::new(), 1).await;
    for _ in 0..20 {
        stuck.session.send(large()).unwrap();
    }
    let listening = async {
        for (agent, taken) in &mut agents {
            assert_eq!(agent.hear_the_end().await, Some(refused(RefusedReason::Unavailable)));
            assert_eq!(taken.inbound.recv().await, None);
        }
    };
    let (open, ()) = tokio::join!(port.hub.drain(refused(RefusedReason::Unavailable), SOON), listening);
    assert_eq!(open, 0);
    drop(stalled);
    match Agent::try_dial(&port, HostId::new()).await.map(|_| ()) {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    port.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_of_all_tasks_tells_the_agents_too() {
    let mut port = port().await;
    let (mut agent, _taken) = Agent::join(&mut port, HostId::new(), 1).await;
    let tasks = port.tasks.clone();
    let (left, last) = tokio::join!(tasks.shutdown(SOON), agent.hear_the_end());
    assert_eq!((left, last.unwrap().reason), (vec![], RefusedReason::Unavailable));
    eventually("the hub is empty", || port.hub.is_empty()).await;
    assert!(tokio::net::TcpStream::connect(port.addr).await.is_err(), "nobody listens any more");
}
