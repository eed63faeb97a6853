//! What happens when: the deadlines of requests in order of time.
//!
//! Time never goes back, so requests that may take equally long come due in the
//! order in which they were sent: a list is all they need. There are a few such
//! lanes, one for each of the spans in use; what finds none is put in order one
//! by one.

use alloc::collections::BTreeSet;
use core::time::Duration;

use super::slots::{List, Slots};
use crate::time::Instant;

/// Most requests wait equally long, and so do those that were given up.
const LANES: usize = 2;

/// The deadlines of all requests in the table; each has one.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    lanes: [Lane; LANES],
    others: BTreeSet<(Instant, u32)>,
}

/// Deadlines that were all set this span ahead, in microseconds.
#[derive(Debug, Default)]
struct Lane {
    span: u64,
    list: List,
}

/// Where a deadline is kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneId(u8);

impl LaneId {
    /// Among those that are in order one by one.
    const OTHERS: Self = Self(LANES as u8);
}

impl Deadlines {
    /// Notes the deadline of a request that is there already, `span` ahead of
    /// `now`, which never goes back.
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
        if let Some(pending) = slots.get_mut(slot) {
            pending.deadline = at;
            pending.lane = lane;
        }
        match self.lanes.get_mut(usize::from(lane.0)) {
            Some(lane) => lane.list.append(slots, slot, |p| &mut p.in_lane),
            None => {
                self.others.insert((at, slot));
            }
        }
    }

    #[inline]
    fn lane_for(&mut self, span: u64) -> LaneId {
        let mut free = LaneId::OTHERS;
        for (number, lane) in (0..).zip(&self.lanes) {
            if lane.list.is_empty() {
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
        let Some(pending) = slots.get(slot) else {
            return;
        };
        let (lane, at) = (pending.lane, pending.deadline);
        match self.lanes.get_mut(usize::from(lane.0)) {
            Some(lane) => lane.list.unlink(slots, slot, |p| &mut p.in_lane),
            None => {
                self.others.remove(&(at, slot));
            }
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self, slots: &Slots) -> Option<Instant> {
        self.first(slots).map(|(at, _)| at)
    }

    /// The request whose deadline is the earliest, if that has come. It stays.
    pub(super) fn due(&self, slots: &Slots, now: Instant) -> Option<u32> {
        let (at, slot) = self.first(slots)?;
        (at <= now).then_some(slot)
    }

    fn first(&self, slots: &Slots) -> Option<(Instant, u32)> {
        let heads = self.lanes.iter().filter_map(|lane| {
            let slot = lane.list.head?.get();
            Some((slots.get(slot)?.deadline, slot))
        });
        heads.chain(self.others.first().copied()).min()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::Pending;
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
        assert_eq!(deadlines.next(&slots), Some(expected[0].0));
        let mut told: Vec<(Instant, u32)> = Vec::new();
        for step in 0..2_000 {
            let now = Instant::EPOCH + millis(step) / 10;
            while let Some(slot) = deadlines.due(&slots, now) {
                let at = slots.get(slot).unwrap().deadline;
                assert!(at <= now && told.last().is_none_or(|last| last.0 <= at));
                told.push((at, slot));
                deadlines.remove(&mut slots, slot);
                slots.remove(slot);
            }
        }
        told.sort_unstable();
        assert_eq!(told, expected);
        assert_eq!(deadlines.next(&slots), None);
    }
}
