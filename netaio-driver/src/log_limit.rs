//! How many lines are logged about what peers can make happen again and again.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::endpoint::lock;

const MINUTE: Duration = Duration::from_secs(60);

/// What a line is about. Each kind has its own share.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topic {
    AuthFailed,
    HandlerFailed,
    HandlerPanicked,
    HandlerOverdue,
    TooManyHandlers,
    ReplyNotSent,
    ConnectionRefused,
    HeldUp,
    NotSent,
    TimeoutHandlerFailed,
}

const TOPICS: usize = Topic::TimeoutHandlerFailed as usize + 1;

/// Counts the lines of an endpoint; see `Limits::max_log_lines_per_minute`.
#[derive(Debug)]
pub(crate) struct LogLimit {
    most: u32,
    windows: Mutex<[Window; TOPICS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    pub(crate) fn new(most_per_minute: u32) -> Self {
        Self {
            most: most_per_minute,
            windows: Mutex::default(),
        }
    }

    /// Whether to log one more line about this. Tells first how many were left
    /// out before it.
    pub(crate) fn allows(&self, topic: Topic) -> bool {
        let left_out = self.take(topic, Instant::now());
        if let Some(left_out @ 1..) = left_out {
            tracing::warn!(?topic, left_out, "lines were left out");
        }
        left_out.is_some()
    }

    /// Counts a line: how many were left out before, or that it is left out.
    fn take(&self, topic: Topic, now: Instant) -> Option<u64> {
        let window = &mut lock(&self.windows)[topic as usize];
        if window.since.is_none_or(|since| now >= since + MINUTE) {
            window.since = Some(now);
            window.lines = 0;
        }
        if window.lines >= self.most {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_each_topic_are_counted_by_the_minute() {
        let limit = LogLimit::new(2);
        let start = Instant::now();
        let (failed, unsent) = (Topic::HandlerFailed, Topic::ReplyNotSent);
        assert_eq!(limit.take(failed, start), Some(0));
        assert_eq!(limit.take(failed, start), Some(0));
        assert_eq!(limit.take(failed, start), None);
        assert_eq!(limit.take(unsent, start), Some(0), "it has its own share");
        let later = start + MINUTE;
        assert_eq!(limit.take(failed, later - Duration::from_nanos(1)), None);
        assert_eq!(limit.take(failed, later), Some(2));
        assert_eq!(limit.take(failed, later), Some(0));
    }
}
