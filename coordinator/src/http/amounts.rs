//! Amounts of what is counted, as the API writes them: in the bodies of users, and in the problem of a quota.

use crate::domain::quota::Counted;

/// An amount of what is counted, as the API writes it: processors with their fraction, as in a container's body; all
/// else is whole.
pub(super) fn amount(counted: Counted, amount: u64) -> serde_json::Number {
    #[allow(clippy::cast_precision_loss, reason = "no limit is above 2^53")]
    let fraction = (counted == Counted::Cpus && !amount.is_multiple_of(1000)).then(|| amount as f64 / 1000.0);
    match fraction {
        Some(fraction) => serde_json::Number::from_f64(fraction).unwrap_or_else(|| amount.into()),
        None if counted == Counted::Cpus => (amount / 1000).into(),
        None => amount.into(),
    }
}
