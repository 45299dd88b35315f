//! The codec under anything: whatever is written reads back, and whatever arrives is a message or an error, never a
//! panic and never more memory than a frame may take.

#![allow(clippy::unwrap_used, reason = "a test may; the lint spares only the functions marked as tests")]

use dockerforge_protocol::{
    codec::{self, CodecError, MAX_FRAME},
    ids::JobId,
    message::{FromAgent, ToAgent},
    report::{AgentFailure, Attempt, FailureKind, Outcome, Progress},
};
use proptest::prelude::*;
use uuid_bits::attempt_from;

/// Attempts made from plain numbers.
mod uuid_bits {
    use super::{Attempt, JobId};

    /// The attempt whose job's id has these bits.
    pub fn attempt_from(bits: u128, number: u32) -> Attempt {
        let job: JobId = format!("job_{bits:032x}").parse().unwrap();
        Attempt { job, number }
    }
}

fn messages() -> impl Strategy<Value = FromAgent> {
    let attempt = (any::<u128>(), any::<u32>()).prop_map(|(bits, number)| attempt_from(bits, number));
    prop_oneof![
        attempt.clone().prop_map(|attempt| FromAgent::Accepted { attempt }),
        (attempt.clone(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..2000))
            .prop_map(|(attempt, offset, bytes)| FromAgent::Log { attempt, offset, bytes }),
        (attempt.clone(), any::<String>(), any::<Option<u8>>())
            .prop_map(|(attempt, step, percent)| FromAgent::Progress { attempt, progress: Progress { step, percent } }),
        (attempt, any::<String>(), any::<u64>()).prop_map(|(attempt, detail, log_end)| FromAgent::Finished {
            attempt,
            outcome: Outcome::Failed { failure: AgentFailure::new(FailureKind::Internal, detail) },
            log_end,
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(message in messages()) {
        let bytes = codec::encode(&message).unwrap();
        prop_assert_eq!(codec::decode::<FromAgent>(&bytes).unwrap(), message);
    }

    #[test]
    fn whatever_arrives_is_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let _ = codec::decode::<FromAgent>(&bytes);
        let _ = codec::decode::<ToAgent>(&bytes);
    }

    #[test]
    fn a_message_cut_short_is_an_error(message in messages(), cut in 1_usize..64) {
        let bytes = codec::encode(&message).unwrap();
        prop_assert!(codec::decode::<FromAgent>(&bytes[..bytes.len().saturating_sub(cut)]).is_err());
    }
}

#[test]
fn a_frame_above_the_limit_is_refused_both_ways() {
    let message = FromAgent::Log { attempt: attempt_from(1, 1), offset: 0, bytes: vec![0; MAX_FRAME] };
    assert!(matches!(codec::encode(&message), Err(CodecError::TooLarge(_))));
    assert!(matches!(codec::decode::<FromAgent>(&vec![0xc0; MAX_FRAME + 1]), Err(CodecError::TooLarge(_))));
}

#[test]
fn deep_nesting_is_an_error_and_does_not_end_the_process() {
    // 0x91 is an array of one: a million of them inside each other would take a recursive reader's whole stack.
    assert!(codec::decode::<FromAgent>(&vec![0x91; 1_000_000]).is_err());
}
