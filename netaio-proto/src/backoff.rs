//! A schedule of retries: growing delays with full jitter, a cap, a count.

use core::time::Duration;

use crate::random::Random;

/// When to try again after a failure, and when to give up.
///
/// The first delay is up to `delay`, and its bound doubles with each attempt
/// until it reaches `cap`. With jitter (the default) the actual delay is drawn
/// evenly between zero and that bound, so that a thousand clients of one server
/// do not come back in step. A pure value: it neither sleeps nor reads a clock.
///
/// ```
/// use core::time::Duration;
/// use netaio_proto::{Backoff, Random};
///
/// let mut random = Random::from_seed([1; 32]);
/// let mut backoff = Backoff::new(Duration::from_millis(100)).max_retries(Some(2));
/// assert!(backoff.next_delay(&mut random).is_some());
/// assert!(backoff.next_delay(&mut random).is_some());
/// assert_eq!(backoff.next_delay(&mut random), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    delay: Duration,
    cap: Duration,
    max_retries: Option<u32>,
    jitter: bool,
    attempts: u32,
}

impl Backoff {
    /// Delays that start at `delay` and grow to 30 seconds, for ever.
    pub const fn new(delay: Duration) -> Self {
        Self {
            delay,
            cap: Duration::from_secs(30),
            max_retries: None,
            jitter: true,
            attempts: 0,
        }
    }

    /// The longest delay; never below the first one.
    #[must_use]
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// How many delays to give before giving up; `None`: never give up.
    #[must_use]
    pub const fn max_retries(mut self, retries: Option<u32>) -> Self {
        self.max_retries = retries;
        self
    }

    /// Whether delays are drawn at random below their bound (the default) or
    /// are the bound itself.
    #[must_use]
    pub const fn jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    /// Goes on as if so many delays had been given already.
    #[must_use]
    pub const fn after_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How many delays have been given since the start or the last `reset`.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Starts over, as after a success.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The bound of the next delay, without counting an attempt.
    pub fn bound(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        let grown = self.delay.saturating_mul(factor);
        grown.min(self.cap.max(self.delay))
    }

    /// How long to wait before the next attempt; `None` when it is time to
    /// give up.
    pub fn next_delay(&mut self, random: &mut Random) -> Option<Duration> {
        if self.max_retries.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let bound = self.bound();
        self.attempts = self.attempts.saturating_add(1);
        if !self.jitter {
            return Some(bound);
        }
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Some(Duration::from_micros(
            random.below(micros.saturating_add(1)),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_over_after_a_reset() {
        let mut random = Random::from_seed([0; 32]);
        let mut backoff = Backoff::new(Duration::from_millis(100))
            .cap(Duration::from_millis(350))
            .jitter(false);
        let mut next = || backoff.next_delay(&mut random).unwrap().as_millis();
        assert_eq!([next(), next(), next(), next()], [100, 200, 350, 350]);
        backoff.reset();
        assert_eq!(backoff.bound(), Duration::from_millis(100));
    }

    #[test]
    fn one_that_goes_on_after_attempts_has_their_delays_behind_it() {
        let mut random = Random::from_seed([0; 32]);
        let mut backoff = Backoff::new(Duration::from_millis(100))
            .max_retries(Some(4))
            .jitter(false)
            .after_attempts(2);
        let mut next = || backoff.next_delay(&mut random).map(|d| d.as_millis());
        assert_eq!([next(), next(), next()], [Some(400), Some(800), None]);
    }

    #[test]
    fn jitter_stays_below_the_bound_and_is_not_constant() {
        let mut random = Random::from_seed([7; 32]);
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let mut seen = alloc::collections::BTreeSet::new();
        for _ in 0..50 {
            let bound = backoff.bound();
            let delay = backoff.next_delay(&mut random).unwrap();
            assert!(delay <= bound);
            seen.insert(delay);
        }
        assert!(seen.len() > 40);
    }

    #[test]
    fn a_great_many_attempts_do_not_overflow() {
        let mut random = Random::from_seed([0; 32]);
        let mut backoff = Backoff::new(Duration::from_secs(1)).jitter(false);
        for _ in 0..100 {
            let _ = backoff.next_delay(&mut random);
        }
        assert_eq!(backoff.bound(), Duration::from_secs(30));
    }
}
