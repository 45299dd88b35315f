//! Waiting for something to become so. Nothing here sleeps and hopes: a condition is looked at until it holds, and when
//! its time is over the failure says what was seen last.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(25);
/// The least that is waited for anything, seconds. What becomes so ends the wait at once, so patience costs nothing but in
/// a test that fails; without it a machine that is busy for a while fails tests that are right.
const PATIENCE: u64 = 30;

/// Looks until `look` gives a value, for these seconds, or more where they are few. What it gives instead, an `Err`, is
/// what a failure shows.
///
/// # Panics
/// When the time is over.
pub async fn until<T>(seconds: u64, what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(seconds.max(PATIENCE), what, look).await
}

/// The same for a promise: so many seconds, and no more.
///
/// # Panics
/// When the time is over.
pub async fn within<T>(seconds: u64, what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(last) => {
                assert!(
                    started.elapsed() < Duration::from_secs(seconds),
                    "waited {seconds} s until {what}; last seen: {last}"
                );
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks for the whole time, and fails as soon as `look` does: for what must stay so.
///
/// # Panics
/// When it does not stay so.
pub async fn always(duration: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let started = Instant::now();
    while started.elapsed() < duration {
        if let Err(seen) = look().await {
            panic!("expected for {duration:?} that {what}; seen after {:?}: {seen}", started.elapsed());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for something to end, such as a stream, with the patience of [`until`].
///
/// # Panics
/// When it does not end.
pub async fn for_end<T>(what: &str, end: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(Duration::from_secs(PATIENCE), end).await;
    ended.unwrap_or_else(|_| panic!("waited {PATIENCE} s for the end of {what}"))
}

/// `Ok` if it holds, else what was seen.
pub fn check(holds: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{seen:?}")) }
}
