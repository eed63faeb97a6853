//! What happens when: the deadlines of requests in order of time.
//!
//! Time never goes back, so requests that may take equally long come due in the
//! order in which they were sent: a queue is all they need. There are a few such
//! lanes, one for each of the spans in use; what finds none is put in order one
//! by one.
//!
//! Most requests end long before they are due, and mostly in the order in which
//! they were sent. What has ended stays in its lane until all before it have.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::Pending;
use super::slots::Slots;
use crate::time::Instant;

/// Most requests wait equally long, and so do those that were given up.
const LANES: usize = 2;
/// What has ended may stay in a lane until it is as much as what has not, and so
/// much more.
const SOME: usize = 64;

/// The deadlines of all requests in the table; each has one, once it is dated.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    lanes: [Lane; LANES],
    others: BTreeSet<Deadline>,
    /// Requests whose time begins when the time is told next: slots and serials.
    undated: Vec<(u32, u64)>,
}

/// Deadlines that were all set this span ahead, in microseconds. The first one
/// holds.
#[derive(Debug, Default)]
struct Lane {
    span: u64,
    queue: VecDeque<Deadline>,
}

/// When the request in a slot is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Instant,
    slot: u32,
    /// As much of the request's serial as there is room for: the slot may be
    /// another one's by now.
    serial: u32,
}

impl Deadline {
    fn of(pending: &Pending, slot: u32) -> Self {
        Self {
            at: pending.deadline,
            slot,
            serial: pending.serial as u32,
        }
    }

    /// Whether it is still that of the request.
    fn holds(&self, slots: &Slots) -> bool {
        slots.get(self.slot).is_some_and(|pending| {
            pending.lane != LaneId::NONE && Self::of(pending, self.slot) == *self
        })
    }
}

/// Where a deadline is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneId(u8);

impl LaneId {
    /// Among those that are in order one by one.
    const OTHERS: Self = Self(LANES as u8);
    /// Nowhere.
    pub(super) const NONE: Self = Self(u8::MAX);
}

impl Deadlines {
    /// Notes a request whose time begins when the time is told next.
    #[inline]
    pub(super) fn add_undated(&mut self, slot: u32, serial: u64) {
        self.undated.push((slot, serial));
    }

    #[inline]
    pub(super) fn has_undated(&self) -> bool {
        !self.undated.is_empty()
    }

    /// Begins the time of requests that have been waiting for it.
    pub(super) fn date(&mut self, slots: &mut Slots, now: Instant) {
        let mut undated = core::mem::take(&mut self.undated);
        for (slot, serial) in undated.drain(..) {
            let pending = slots.get(slot).filter(|p| p.serial == serial);
            if let Some(span) = pending.map(|pending| pending.timeout) {
                self.insert(slots, slot, now, span);
            }
        }
        self.undated = undated;
    }

    /// Notes the deadline of a request that is there already and has none, `span`
    /// ahead of `now`, which never goes back.
    #[inline]
    pub(super) fn insert(
        &mut self,
        slots: &mut Slots,
        slot: u32,
        now: Instant,
        span: Duration,
    ) {
        let at = now + span;
        let lane = self.lane_for(at.as_micros() - now.as_micros());
        let Some(pending) = slots.get_mut(slot) else {
            return;
        };
        pending.deadline = at;
        pending.lane = lane;
        let deadline = Deadline::of(pending, slot);
        match self.lanes.get_mut(usize::from(lane.0)) {
            Some(Lane { queue, .. }) => {
                if queue.len() > 2 * slots.len() + SOME {
                    queue.retain(|deadline| deadline.holds(slots));
                }
                queue.push_back(deadline);
            }
            None => {
                self.others.insert(deadline);
            }
        }
    }

    #[inline]
    fn lane_for(&mut self, span: u64) -> LaneId {
        let mut free = LaneId::OTHERS;
        for (number, lane) in (0..).zip(&self.lanes) {
            if lane.queue.is_empty() {
                free = LaneId(number);
            } else if lane.span == span {
                return LaneId(number);
            }
        }
        if let Some(lane) = self.lanes.get_mut(usize::from(free.0)) {
            lane.span = span;
        }
        free
    }

    /// Forgets the deadline of a request that is still there.
    #[inline]
    pub(super) fn remove(&mut self, slots: &mut Slots, slot: u32) {
        let Some(pending) = slots.get_mut(slot) else {
            return;
        };
        let lane = core::mem::replace(&mut pending.lane, LaneId::NONE);
        let deadline = Deadline::of(pending, slot);
        match self.lanes.get_mut(usize::from(lane.0)) {
            Some(Lane { queue, .. }) if queue.front() == Some(&deadline) => {
                queue.pop_front();
                while queue.front().is_some_and(|first| !first.holds(slots)) {
                    queue.pop_front();
                }
            }
            None if lane == LaneId::OTHERS => {
                self.others.remove(&deadline);
            }
            _ => {}
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.first().map(|first| first.at)
    }

    /// The request whose deadline is the earliest, if that has come. It stays.
    pub(super) fn due(&self, now: Instant) -> Option<u32> {
        let first = self.first()?;
        (first.at <= now).then_some(first.slot)
    }

    fn first(&self) -> Option<&Deadline> {
        let lanes = self.lanes.iter();
        let heads = lanes.filter_map(|lane| lane.queue.front());
        heads.chain(self.others.first()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(span: u64) -> Duration {
        Duration::from_millis(span)
    }

    /// Some spans have a lane, some have not; some are removed before their
    /// time.
    #[test]
    fn deadlines_come_due_in_order_and_removed_ones_do_not() {
        let mut slots = Slots::default();
        let mut deadlines = Deadlines::default();
        let mut expected = Vec::new();
        for number in 0..200_u64 {
            let now = Instant::EPOCH + millis(number / 3);
            let span = millis(1 + number * 37 % 7 * 10);
            let slot = slots.insert(Pending::sample());
            deadlines.insert(&mut slots, slot, now, span);
            expected.push((now + span, slot));
        }
        assert!(
            !deadlines.others.is_empty(),
            "there are more spans than lanes"
        );
        let mut number = 0;
        expected.retain(|(_, slot)| {
            number += 1;
            let kept = number % 5 != 0;
            if !kept {
                deadlines.remove(&mut slots, *slot);
                slots.remove(*slot);
            }
            kept
        });
        expected.sort_unstable();
        assert_eq!(deadlines.next(), Some(expected[0].0));
        let mut told: Vec<(Instant, u32)> = Vec::new();
        for step in 0..2_000 {
            let now = Instant::EPOCH + millis(step) / 10;
            while let Some(slot) = deadlines.due(now) {
                let at = slots.get(slot).unwrap().deadline;
                assert!(at <= now && told.last().is_none_or(|last| last.0 <= at));
                told.push((at, slot));
                deadlines.remove(&mut slots, slot);
                slots.remove(slot);
            }
        }
        told.sort_unstable();
        assert_eq!(told, expected);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn what_has_ended_behind_one_that_waits_is_forgotten_in_time() {
        let mut slots = Slots::default();
        let mut deadlines = Deadlines::default();
        let first = slots.insert(Pending::sample());
        deadlines.insert(&mut slots, first, Instant::EPOCH, millis(9));
        for number in 0..1000 {
            let now = Instant::EPOCH + millis(number) / 1000;
            let slot = slots.insert(Pending::sample());
            deadlines.insert(&mut slots, slot, now, millis(9));
            deadlines.remove(&mut slots, slot);
            slots.remove(slot);
        }
        assert_eq!(deadlines.next(), Some(Instant::EPOCH + millis(9)));
        let kept = deadlines.lanes.iter().map(|lane| lane.queue.len());
        assert!(kept.sum::<usize>() <= 2 + SOME + 2);
        deadlines.remove(&mut slots, first);
        assert_eq!(deadlines.next(), None);
    }
}
