//! kill -9 at every named step: of the coordinator and of the agent, during each kind of work, on both databases.
//! Afterwards exactly what was asked is there, every job has ended, and nothing is lost. By default each step once on
//! SQLite and a sample on PostgreSQL; `DOCKERFORGE_FAULTS=full` (`make faults-long`) runs the whole matrix, with each
//! step also hit twice in a row.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may; the lint spares only the functions marked as tests"
)]

mod due;
mod moves;
mod pulled;
mod registry;
mod scene;

use dockerforge_tests::{backend::Backend, env};
use scene::{Scene, Side, Work};

/// The steps of a side that a piece of work passes.
fn steps(side: Side, work: Work) -> Vec<&'static str> {
    let all: &[&'static str] = match side {
        Side::Coordinator => &dockerforge_coordinator::FAULT_POINTS,
        Side::Agent => dockerforge_agent::FAULT_POINTS,
    };
    let own = work.prefix();
    all.iter()
        .copied()
        .filter(|step| match side {
            Side::Coordinator => !step.starts_with(due::STEPS),
            Side::Agent => step.starts_with(own) || *step == "agent.journal.accepted",
        })
        .collect()
}

/// One run: at each of the steps the side dies once, or twice in a row.
async fn at_each_step(backend: Backend, side: Side, work: Work, only: impl Fn(usize) -> bool) {
    let steps = steps(side, work);
    assert!(steps.len() > 2, "{side:?} names no steps of {work:?}");
    let mut scene = Scene::start(backend).await;
    for (i, step) in steps.iter().enumerate().filter(|(i, _)| only(*i)) {
        scene.dies_once_at(side, work, step, i).await;
        if env::full_fault_matrix() {
            scene.dies_twice_at(side, work, step, 100 + i).await;
        }
    }
    scene.end().await;
}

/// On SQLite each step, on PostgreSQL every third unless the whole matrix was asked for.
async fn on(backend: Backend, side: Side, work: Work) {
    let all = backend == Backend::Sqlite || env::full_fault_matrix();
    at_each_step(backend, side, work, |i| all || i % 3 == 2).await;
}

macro_rules! matrix {
    ($($name:ident: $backend:ident $side:ident $work:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            on(Backend::$backend, Side::$side, Work::$work).await;
        }
    )*};
}

matrix! {
    a_container_is_created_once_wherever_the_coordinator_dies: Sqlite Coordinator CreateContainer;
    a_container_is_created_once_wherever_the_agent_dies: Sqlite Agent CreateContainer;
    an_image_is_built_wherever_the_coordinator_dies: Sqlite Coordinator BuildImage;
    an_image_is_built_wherever_the_agent_dies: Sqlite Agent BuildImage;
    an_image_is_pulled_wherever_the_agent_dies: Sqlite Agent PullImage;
    a_container_is_deleted_wherever_the_coordinator_dies: Sqlite Coordinator DeleteContainer;
    a_container_is_deleted_wherever_the_agent_dies: Sqlite Agent DeleteContainer;
    an_image_is_deleted_wherever_the_agent_dies: Sqlite Agent DeleteImage;
    a_container_is_made_anew_wherever_the_agent_dies: Sqlite Agent RecreateContainer;
    a_container_is_made_anew_wherever_the_coordinator_dies: Sqlite Coordinator RecreateContainer;
    a_containers_limits_change_wherever_the_agent_dies: Sqlite Agent LimitContainer;
    a_container_is_stopped_wherever_the_agent_dies: Sqlite Agent StopContainer;
    a_container_is_started_wherever_the_agent_dies: Sqlite Agent StartContainer;
    a_container_is_restarted_once_wherever_the_agent_dies: Sqlite Agent RestartContainer;
    a_container_is_created_once_wherever_the_coordinator_dies_on_postgresql: Postgres Coordinator CreateContainer;
    a_container_is_created_once_wherever_the_agent_dies_on_postgresql: Postgres Agent CreateContainer;
    an_image_is_built_wherever_the_coordinator_dies_on_postgresql: Postgres Coordinator BuildImage;
    an_image_is_built_wherever_the_agent_dies_on_postgresql: Postgres Agent BuildImage;
}

#[tokio::test]
async fn a_user_is_taken_out_of_service_wherever_the_agent_dies() {
    for step in dockerforge_agent::FAULT_POINTS.iter().filter(|step| step.starts_with("agent.user.delete")) {
        Scene::start(Backend::Sqlite).await.user_goes_though_the_agent_dies_at(step).await;
    }
}

#[tokio::test]
async fn a_program_runs_at_most_once_wherever_the_agent_dies() {
    let mut scene = Scene::start(Backend::Sqlite).await;
    for step in dockerforge_agent::FAULT_POINTS.iter().filter(|step| step.starts_with("agent.container.exec")) {
        scene.runs_at_most_once_though_the_agent_dies_at(step).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn an_image_comes_from_another_host_wherever_the_agent_dies() {
    let mut scene = Scene::start(Backend::Sqlite).await;
    let source = scene.further_host().await;
    for step in dockerforge_agent::FAULT_POINTS.iter().filter(|step| step.starts_with("agent.image.copy")) {
        if registry::is_step(step) {
            continue;
        }
        scene.image_comes_though_the_agent_dies_at(&source, step).await;
    }
    scene.end().await;
}

/// The steps of both hosts' agents in a move.
const OF_A_MOVE: [&str; 2] = ["agent.container.receive", "agent.container.resume"];

#[tokio::test]
async fn a_container_moves_whole_or_stays_whole_wherever_an_agent_dies() {
    let mut scene = moves::Move::set().await;
    let own = ["agent.container.stop", "agent.container.delete"];
    for (i, step) in dockerforge_agent::FAULT_POINTS.iter().enumerate() {
        let of_old_host = own.iter().any(|of| step.starts_with(of)) && (i % 2 == 0 || env::full_fault_matrix());
        if of_old_host || OF_A_MOVE.iter().any(|of| step.starts_with(of)) {
            scene.agent_dies_at(step).await;
        }
    }
}

#[tokio::test]
async fn a_container_moves_whole_or_stays_whole_whenever_the_coordinator_dies() {
    let mut scene = moves::Move::set().await;
    let pauses: &[u128] =
        if env::full_fault_matrix() { &[0, 100, 200, 400, 600, 800, 1200, 1600] } else { &[50, 500, 1100] };
    for pause in pauses {
        scene.coordinator_dies_after(*pause).await;
    }
}

#[tokio::test]
async fn what_was_made_anew_while_it_was_stopped_is_converged_wherever_the_coordinator_dies() {
    for backend in Backend::ALL {
        let mut scene = due::Due::set(backend).await;
        for step in dockerforge_coordinator::FAULT_POINTS.iter().filter(|step| step.starts_with(due::STEPS)) {
            scene.coordinator_dies_at(step).await;
        }
        scene.end().await;
    }
}

#[test]
fn every_step_that_the_sides_name_is_hit_by_some_run() {
    let hit: Vec<&str> = Work::ALL.into_iter().flat_map(|work| steps(Side::Agent, work)).collect();
    let missed: Vec<_> = dockerforge_agent::FAULT_POINTS
        .iter()
        .filter(|step| !hit.contains(*step) && !step.starts_with("agent.user.delete"))
        .filter(|step| !step.starts_with("agent.container.exec") && !step.starts_with("agent.image.copy"))
        .filter(|step| !registry::is_step(step))
        // What is discarded is so in the tests of moves that fail, and at each of its calls in the agent's own.
        .filter(|step| !step.starts_with("agent.container.discard") && !OF_A_MOVE.iter().any(|of| step.starts_with(of)))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[tokio::test]
async fn both_sides_killed_at_any_moment_lose_nothing() {
    let rounds = if env::full_fault_matrix() { 40 } else { 6 };
    for backend in Backend::ALL {
        let mut scene = Scene::start(backend).await;
        scene.killed_at_any_moment(rounds).await;
        scene.end().await;
    }
}
