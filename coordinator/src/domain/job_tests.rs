//! The rules of the job's life, one test a rule.

use super::*;
use dockerforge_protocol::ids::ContainerId;

fn job(state: JobState, attempt: u32) -> Job {
    let now = Timestamp::from_second(0).unwrap();
    Job {
        id: JobId::new(),
        user: UserId::new(),
        host: Some(HostId::new()),
        parent: None,
        kind: JobKind::ContainerCreate,
        subject: Subject::Container(ContainerId::new()),
        state,
        attempt,
        refusals: 0,
        command: None,
        progress: None,
        error: None,
        product: None,
        log_size: 100,
        log_base: 40,
        created_at: now,
        started_at: None,
        ended_at: None,
        deadline_at: now,
        log_removed_at: None,
    }
}

fn failed(kind: FailureKind) -> Outcome {
    Outcome::Failed { failure: AgentFailure::new(kind, "x") }
}

#[test]
fn terminal_is_final_and_a_late_attempt_is_void() {
    for state in JobState::ALL.into_iter().filter(|s| s.is_terminal()) {
        assert_eq!(on_finished(&job(state, 1), 1, Outcome::Cancelled, 0.5), Decision::Ignore);
        assert_eq!(on_cancel(state), Cancellation::TooLate);
        for held in [None, Some(HeldState::Running), Some(HeldState::Interrupted), Some(HeldState::Finished)] {
            assert_eq!(on_hello(&job(state, 1), held), (Verdict::Forget, Decision::Ignore));
        }
    }
    assert_eq!(on_finished(&job(JobState::Running, 2), 1, Outcome::Cancelled, 0.5), Decision::Ignore);
}

#[test]
fn what_is_begun_at_most_once_is_not_tried_again_by_a_host_that_has_forgotten_it() {
    for state in [JobState::Running, JobState::Unknown] {
        let exec = Job { kind: JobKind::ContainerExec, ..job(state, 1) };
        let (verdict, decision) = on_hello(&exec, None);
        assert_eq!(verdict, Verdict::Forget);
        let Decision::End(Ending::Failed { error, .. }) = decision else { panic!("{decision:?}") };
        assert_eq!(error.kind, "outcome-unknown");
        // One that its agent holds and has not begun is begun by the next attempt.
        assert!(matches!(on_hello(&exec, Some(HeldState::Interrupted)).1, Decision::Requeue { counts: true, .. }));
        assert!(matches!(on_hello(&job(state, 1), None).1, Decision::Requeue { .. }));
    }
}

#[test]
fn a_retryable_failure_is_tried_five_times_in_all() {
    for attempt in 1..MAX_ATTEMPTS {
        let decision =
            on_finished(&job(JobState::Running, attempt), attempt, failed(FailureKind::DockerUnavailable), 0.5);
        assert!(matches!(decision, Decision::Requeue { counts: true, .. }), "attempt {attempt}: {decision:?}");
    }
    let decision = on_finished(&job(JobState::Running, 5), 5, failed(FailureKind::DockerUnavailable), 0.5);
    assert!(matches!(decision, Decision::End(Ending::Failed { .. })), "{decision:?}");
}

#[test]
fn a_final_failure_is_not_tried_again() {
    let decision = on_finished(&job(JobState::Running, 1), 1, failed(FailureKind::BuildFailed), 0.5);
    assert!(matches!(decision, Decision::End(Ending::Failed { confirmed: true, .. })));
}

#[test]
fn a_job_that_is_being_cancelled_is_never_tried_again() {
    let decision = on_finished(&job(JobState::Cancelling, 1), 1, failed(FailureKind::DockerTimeout), 0.5);
    assert!(matches!(decision, Decision::End(Ending::Cancelled { .. })));
}

#[test]
fn a_job_that_ended_well_before_the_cancellation_reached_it_has_ended_well() {
    let outcome = Outcome::Succeeded { product: Product::Nothing };
    let decision = on_finished(&job(JobState::Cancelling, 1), 1, outcome, 0.5);
    assert_eq!(decision, Decision::End(Ending::Succeeded(Product::Nothing)));
}

#[test]
fn a_busy_agent_gets_the_job_again_and_the_attempt_does_not_count() {
    let decision = on_not_taken(&job(JobState::Assigned, 1), 1, &NotTaken::Busy);
    assert!(matches!(decision, Decision::Requeue { counts: false, .. }));
    assert_eq!(on_not_taken(&job(JobState::Running, 1), 1, &NotTaken::Busy), Decision::Ignore);
}

#[test]
fn the_hello_goes_on_with_what_runs_and_repeats_what_was_interrupted() {
    let log_from = 60;
    let running = job(JobState::Unknown, 1);
    assert_eq!(on_hello(&running, Some(HeldState::Running)), (Verdict::Continue { log_from }, Decision::Run));
    assert_eq!(on_hello(&running, Some(HeldState::Finished)), (Verdict::Continue { log_from }, Decision::Ignore));
    assert!(matches!(
        on_hello(&running, Some(HeldState::Interrupted)),
        (Verdict::Forget, Decision::Requeue { counts: true, .. })
    ));
    assert!(matches!(on_hello(&running, None), (_, Decision::Requeue { .. })));
    // Assigned and not held: the assignment was lost on its way, and is sent again as it was.
    assert_eq!(on_hello(&job(JobState::Assigned, 1), None).1, Decision::Ignore);
}

#[test]
fn a_cancelled_job_that_the_agent_lost_may_have_left_something() {
    let (_, decision) = on_hello(&job(JobState::Cancelling, 1), None);
    assert_eq!(decision, Decision::End(Ending::Cancelled { confirmed: false }));
}

#[test]
fn a_job_that_kills_its_agent_is_given_up() {
    let (_, decision) = on_hello(&job(JobState::Running, MAX_ATTEMPTS), Some(HeldState::Interrupted));
    assert!(matches!(decision, Decision::End(Ending::Failed { confirmed: false, .. })));
}

#[test]
fn the_wait_doubles_from_two_seconds_to_five_minutes() {
    let seconds = |next| retry_delay(next, 0.5).as_secs();
    assert_eq!((seconds(2), seconds(3), seconds(4), seconds(20)), (2, 4, 8, 300));
}

#[test]
fn every_word_for_a_state_or_kind_reads_back() {
    assert!(JobState::ALL.into_iter().all(|s| JobState::parse(s.as_str()) == Some(s)));
    assert!(JobKind::ALL.into_iter().all(|k| JobKind::parse(k.as_str()) == Some(k)));
}

#[test]
fn a_final_failure_after_an_earlier_attempt_may_have_left_something() {
    let decision = on_finished(&job(JobState::Running, 2), 2, failed(FailureKind::ImageNotFound), 0.5);
    assert!(matches!(decision, Decision::End(Ending::Failed { confirmed: false, .. })), "{decision:?}");
    let decision = on_not_taken(&job(JobState::Cancelling, 2), 2, &NotTaken::DockerDown);
    assert_eq!(decision, Decision::End(Ending::Cancelled { confirmed: false }));
    let decision = on_finished(&job(JobState::Running, 1), 1, failed(FailureKind::Deadline), 0.5);
    assert!(matches!(decision, Decision::End(Ending::Failed { confirmed: false, .. })), "{decision:?}");
}

#[test]
fn an_attempt_that_was_not_taken_keeps_its_number_and_counts_for_nothing() {
    // Three assignments were refused: the fourth is the first try.
    let refused = Job { refusals: 3, ..job(JobState::Running, 4) };
    assert!(refused.is_first_attempt() && !refused.is_untouched());
    assert!(Job { refusals: 3, ..job(JobState::Queued, 3) }.is_untouched());
    for late in 1..4 {
        assert_eq!(on_finished(&refused, late, Outcome::Cancelled, 0.5), Decision::Ignore, "attempt {late}");
        let assigned = Job { refusals: 3, ..job(JobState::Assigned, 4) };
        assert_eq!(on_not_taken(&assigned, late, &NotTaken::Busy), Decision::Ignore, "attempt {late}");
    }
    // The limit is of tries, not of numbers.
    let retried = |attempt| {
        on_finished(
            &Job { refusals: 3, ..job(JobState::Running, attempt) },
            attempt,
            failed(FailureKind::DockerUnavailable),
            0.5,
        )
    };
    assert!(matches!(retried(7), Decision::Requeue { counts: true, .. }));
    assert!(matches!(retried(8), Decision::End(Ending::Failed { .. })));
}

#[test]
fn a_part_whose_host_was_deleted_without_asking_is_done_for_its_parent() {
    let failed = |kind| Job { error: Some(JobError::new(kind, "x")), ..job(JobState::Failed, 1) };
    assert!(failed(HOST_DELETED).is_done_for_parent());
    assert!(job(JobState::Succeeded, 1).is_done_for_parent());
    assert!(!failed("lost").is_done_for_parent());
    assert!(!job(JobState::Cancelled, 1).is_done_for_parent());
}
