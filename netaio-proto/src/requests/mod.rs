//! Requests of ours that wait for a reply, and which reply belongs to which.
//!
//! A request carries a random id (`rid`), which our own servers and nodes
//! repeat in the reply: matching is then exact. What follows is for peers that
//! do not repeat it.
//!
//! On a stream such a peer is taken to answer the requests for one URI in the
//! order in which they were sent. A request keeps its place for a while after it
//! was given up, so that its late reply is not taken for the next one's.
//!
//! Datagrams get lost, so there a place would swallow the next reply as often as
//! the late one: a reply without an id goes to the oldest request that waits
//! for it, and one that was given up is gone.

mod deadlines;
mod matching;
mod pending;
mod rids;
mod slots;
mod targets;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;

use self::deadlines::{Deadlines, LaneId};
pub(crate) use self::matching::{Match, is_unlabelled};
use self::pending::Pending;
use self::rids::Rids;
use self::slots::{Links, List, Slots};
pub(crate) use self::targets::TargetId;
use self::targets::Targets;
use crate::action::TimeoutContext;
use crate::keyed_hash::KeyedHash;
use crate::plugin::Layers;
use crate::random::Random;
use crate::request::{OuterUse, Special};
use crate::time::Instant;
use crate::wire::message_type::{MessageType, TypeSet};

/// Names a request of one connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    slot: u32,
    serial: u64,
}

impl RequestId {
    /// A small number that no other pending request has; for tables beside the
    /// connection's own. It is used again once the request has ended.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// How replies without an id are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// By their order. A request that was given up keeps its place for `grace`.
    InOrder {
        /// How long.
        grace: Duration,
    },
    /// Not at all: datagrams come in any order, twice, or never.
    Datagrams,
}

/// What is known of the way in which the peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// Nothing yet.
    Unknown,
    /// So far every reply repeated its request's id.
    WithIds,
    /// Some reply did not.
    InOrder,
}

/// A deadline that has come.
#[derive(Debug)]
pub(crate) enum Expired {
    /// A request was not answered in time.
    TimedOut {
        request: RequestId,
        context: Box<TimeoutContext>,
        /// When the reply should have come at the latest.
        deadline: Instant,
        /// Which reply belongs to which request cannot be known any more.
        out_of_step: bool,
    },
    /// A request that was given up before has lost its place.
    Forgotten,
}

/// The place of what is never written.
const NEVER: Range<u64> = u64::MAX..u64::MAX;

/// All requests of one connection or node.
#[derive(Debug)]
pub(crate) struct Requests {
    slots: Slots,
    rids: Rids,
    targets: Targets,
    /// `None` while there is nothing: most connections are servers' and ask nothing.
    deadlines: Option<Box<Deadlines>>,
    /// All of them in the order of sending, while that is kept.
    all: List,
    /// Whether the order of sending is kept: for replies without an id, and for
    /// the end.
    in_order: bool,
    serial: u64,
    live: usize,
    /// Requests that were sent without some of the endpoint's plugins.
    unsealed: usize,
    arrival: Arrival,
    answers: Answers,
    /// The last request, in the order of sending, that a peer which answers in
    /// order has answered: it is done with those before.
    answered: u64,
    /// Until then a reply without an id may belong to a request that left no
    /// place behind.
    unplaced_until: Instant,
    /// Custom types that requests have named as answers.
    answer_types: TypeSet,
}

impl Requests {
    pub(crate) fn new(arrival: Arrival, random: &mut Random) -> Self {
        Self {
            slots: Slots::default(),
            rids: Rids::new(random),
            targets: Targets::new(KeyedHash::new(random)),
            deadlines: None,
            all: List::default(),
            in_order: false,
            serial: 0,
            live: 0,
            unsealed: 0,
            arrival,
            answers: Answers::Unknown,
            answered: 0,
            unplaced_until: Instant::EPOCH,
            answer_types: TypeSet::default(),
        }
    }

    /// Requests in the table, those included that were given up.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Requests that somebody waits for.
    #[inline]
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Whether the peer repeats the ids of requests, as far as is known.
    pub(crate) fn are_answered_by_id(&self) -> bool {
        self.answers == Answers::WithIds
    }

    /// Requests in the table that were sent without some of the endpoint's own
    /// plugins.
    pub(crate) fn unsealed(&self) -> usize {
        self.unsealed
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.as_ref()?.next()
    }

    /// An id for the next request, which no pending one has.
    #[inline]
    pub(crate) fn fresh_rid(&self, random: &mut Random) -> u64 {
        let slot = self.slots.next();
        loop {
            let rid = self.rids.fresh(random, slot);
            if self.slot_with(rid).is_none() {
                return rid;
            }
        }
    }

    /// Who is asked for what, for a request that is about to be sent. If it is
    /// not, [forget](Self::forget) it.
    #[inline]
    pub(crate) fn target(&mut self, remote: SocketAddr, uri: &[u8]) -> TargetId {
        self.targets.intern(remote, uri)
    }

    /// Takes back a target that nothing was sent to.
    pub(crate) fn forget(&mut self, target: TargetId) {
        self.targets.release(target);
    }

    /// Notes a request that has been sent. Its time begins with the next
    /// [`date`](Self::date).
    #[inline]
    pub(crate) fn insert(&mut self, request: NewRequest) -> RequestId {
        let NewRequest {
            rid,
            message_type,
            target,
            special,
            outer,
            timeout,
            place,
        } = request;
        if let Some(special) = &special {
            self.answer_types.extend(special.accepts);
        }
        self.serial += 1;
        let serial = self.serial;
        let behind = self.targets.get_mut(target).is_some_and(|target| {
            target.waiting += 1;
            target.abandoned > 0
        });
        let slot = self.slots.insert(Pending {
            serial,
            rid,
            message_type,
            target,
            special,
            outer,
            timeout,
            deadline: Instant::EPOCH,
            lane: LaneId::NONE,
            place,
            abandoned: false,
            behind,
            in_all: Links::default(),
            in_target: Links::default(),
        });
        let deadlines = self.deadlines.get_or_insert_default();
        deadlines.add_undated(slot, serial);
        if self.in_order {
            self.append(slot, target);
        }
        self.live += 1;
        self.unsealed += usize::from(outer != OuterUse::default());
        RequestId { slot, serial }
    }

    /// Says what time it is, from which the new requests' time counts.
    #[inline]
    pub(crate) fn date(&mut self, now: Instant) {
        if let Some(deadlines) = &mut self.deadlines
            && deadlines.has_undated()
        {
            deadlines.date(&mut self.slots, now);
        }
    }

    /// Puts a request last in the order of sending.
    fn append(&mut self, slot: u32, target: TargetId) {
        let slots = &mut self.slots;
        self.all.append(slots, slot, |pending| &mut pending.in_all);
        if let Some(target) = self.targets.get_mut(target) {
            let list = &mut target.list;
            list.append(slots, slot, |pending| &mut pending.in_target);
        }
    }

    /// Keeps the order of sending from now on.
    fn keep_order(&mut self) {
        if core::mem::replace(&mut self.in_order, true) {
            return;
        }
        let all = self.slots.iter();
        let mut all: Vec<_> =
            all.map(|(slot, p)| (p.serial, slot, p.target)).collect();
        all.sort_unstable_by_key(|(serial, ..)| *serial);
        for (_, slot, target) in all {
            self.append(slot, target);
        }
    }

    /// Gives back memory that an idle endpoint does not need.
    pub(crate) fn release(&mut self) {
        if self.len() == 0 {
            self.deadlines = None;
        }
    }

    #[inline]
    fn get(&self, id: RequestId) -> Option<&Pending> {
        self.slots.get(id.slot).filter(|p| p.serial == id.serial)
    }

    /// Ends a live request, whose reply had its id.
    #[inline]
    pub(crate) fn complete_by_id(&mut self, id: RequestId) {
        self.note_id();
        self.complete(id);
    }

    /// Notes that a reply had its request's id.
    #[inline]
    fn note_id(&mut self) {
        if self.answers == Answers::Unknown {
            self.answers = Answers::WithIds;
        }
    }

    /// The layers that the reply to a request must have.
    #[inline]
    pub(crate) fn layers(&self, id: RequestId) -> Option<Layers> {
        let pending = self.get(id)?;
        let special = pending.special.as_ref();
        Some(special.map_or(Layers::new(), |special| special.layers.clone()))
    }

    /// Ends a live request. Whoever waits for it must have been told.
    #[inline]
    pub(crate) fn complete(&mut self, id: RequestId) {
        if self.is_live(id) {
            self.note_answered(id.serial);
            self.remove(id.slot);
        }
    }

    /// Gives up a live request; `false` if it has ended already.
    pub(crate) fn cancel(&mut self, now: Instant, id: RequestId) -> bool {
        let live = self.is_live(id);
        if live {
            self.abandon(now, id.slot);
        }
        live
    }

    /// Notes that those live requests will not be sent of which nothing has
    /// left before this position; gives where they are, in order.
    pub(crate) fn withdraw(&mut self, left: u64) -> Vec<Range<u64>> {
        self.keep_order();
        let mut places = Vec::new();
        let mut next = self.all.head;
        while let Some(pending) =
            next.and_then(|slot| self.slots.get_mut(slot.get()))
        {
            if !pending.abandoned && pending.place.start >= left {
                places.push(core::mem::replace(&mut pending.place, NEVER));
            }
            next = pending.in_all.next;
        }
        places
    }

    /// Takes out the oldest live request: the connection is over. Tells whether
    /// it has been sent, if that is so of all before this position.
    pub(crate) fn pop_failed(&mut self, sent: u64) -> Option<(RequestId, bool)> {
        self.keep_order();
        loop {
            let slot = self.all.head?.get();
            let pending = self.slots.get(slot)?;
            let (serial, abandoned) = (pending.serial, pending.abandoned);
            let was_sent = pending.place.end <= sent;
            self.remove(slot);
            if !abandoned {
                return Some((RequestId { slot, serial }, was_sent));
            }
        }
    }

    /// Handles one deadline that has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Expired> {
        let slot = self.deadlines.as_ref()?.due(now)?;
        let pending = self.slots.get(slot)?;
        if pending.abandoned {
            self.remove(slot);
            return Some(Expired::Forgotten);
        }
        let id = RequestId {
            slot,
            serial: pending.serial,
        };
        let context = Box::new(pending.context(self.targets.get(pending.target)?));
        let deadline = pending.deadline;
        let out_of_step = self.is_out_of_step(pending);
        self.abandon(now, slot);
        Some(Expired::TimedOut {
            request: id,
            context,
            deadline,
            out_of_step,
        })
    }

    /// Whether the timeout of this request means that replies cannot be told
    /// apart any more: one given up before it was sent still waits for its
    /// reply, or swallowed one that may have been this one's.
    fn is_out_of_step(&self, pending: &Pending) -> bool {
        if self.answers != Answers::InOrder {
            return false;
        }
        let Some(target) = self.targets.get(pending.target) else {
            return false;
        };
        let swallowed = target.swallowed >= pending.serial;
        swallowed || (pending.behind && target.abandoned > 0)
    }

    /// Gives up a live request. Towards a peer that does not repeat ids it
    /// keeps its place for the grace period.
    fn abandon(&mut self, now: Instant, slot: u32) {
        let Arrival::InOrder { grace } = self.arrival else {
            self.remove(slot);
            return;
        };
        if self.answers == Answers::WithIds {
            self.unplaced_until = now + grace;
            self.remove(slot);
            return;
        }
        let Some(pending) = self.slots.get_mut(slot) else {
            return;
        };
        pending.abandoned = true;
        if let Some(special) = &mut pending.special {
            special.layers = Layers::new();
        }
        let target = pending.target;
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.remove(&mut self.slots, slot);
            deadlines.insert(&mut self.slots, slot, now, grace);
        }
        if let Some(target) = self.targets.get_mut(target) {
            target.abandoned += 1;
        }
        self.live -= 1;
    }

    #[inline]
    fn is_live(&self, id: RequestId) -> bool {
        self.get(id).is_some_and(|pending| !pending.abandoned)
    }

    fn remove(&mut self, slot: u32) {
        let slots = &mut self.slots;
        let Some(pending) = slots.get(slot) else {
            return;
        };
        let (id, outer) = (pending.target, pending.outer);
        let abandoned = pending.abandoned;
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.remove(slots, slot);
        }
        if self.in_order {
            self.all.unlink(slots, slot, |pending| &mut pending.in_all);
        }
        if let Some(target) = self.targets.get_mut(id) {
            if self.in_order {
                let list = &mut target.list;
                list.unlink(slots, slot, |pending| &mut pending.in_target);
            }
            target.abandoned -= usize::from(abandoned);
            target.waiting -= 1;
            if target.waiting == 0 {
                target.swallowed = 0;
                self.targets.release(id);
            }
        }
        slots.remove(slot);
        self.live -= usize::from(!abandoned);
        self.unsealed -= usize::from(outer != OuterUse::default());
        if slots.len() == 0 {
            self.in_order = self.answers == Answers::InOrder;
            if slots.release() {
                self.deadlines = None;
                self.targets.clear();
            }
        }
    }
}

/// A request that has just been sent.
pub(crate) struct NewRequest {
    pub(crate) rid: Option<u64>,
    pub(crate) message_type: MessageType,
    pub(crate) target: TargetId,
    pub(crate) special: Option<Box<Special>>,
    pub(crate) outer: OuterUse,
    pub(crate) timeout: Duration,
    pub(crate) place: Range<u64>,
}
